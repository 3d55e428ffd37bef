package mqtt

import (
	"context"
	"encoding/json"

	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
)

// will is a client's will; it is also the value of keyWill.
type will struct {
	Topic   string `json:"topic"`
	QoS     uint8  `json:"qos"`
	Retain  bool   `json:"retain,omitempty"`
	Props   []byte `json:"props,omitempty"` // as on the wire
	Payload []byte `json:"payload,omitempty"`
	Delay   uint32 `json:"delay,omitempty"` // seconds
	// Due is when it is to be published, in milliseconds since the epoch; 0
	// while the client is connected.
	Due int64 `json:"due,omitempty"`
}

// takeWill checks the will of a CONNECT.
func (c *client) takeWill(p *packet.Connect) error {
	w := p.Will
	if w == nil {
		return nil
	}
	switch {
	case !validTopic(w.Topic):
		return protocolError(packet.TopicNameInvalid, "will topic is not a topic name")
	case len(w.Payload) > c.srv.cfg.MaxWillBytes:
		return protocolError(packet.PacketTooLarge, "will is too large")
	}
	if !c.mayWill(w.Topic) {
		return protocolError(packet.NotAuthorized, "not allowed to publish to the will topic")
	}
	subject, _ := shard.SubjectOfMQTT(w.Topic)
	switch {
	case shard.ServerOwn(subject): // 4.7.2
		return protocolError(packet.NotAuthorized, "topics under $SYS are the server's")
	case w.Retain && shard.Relayed(subject):
		return protocolError(packet.RetainNotSupported, "messages of the will topic are relayed and not kept")
	}
	if v, ok := w.Props.Find(packet.PropResponseTopic); ok && !responseTopic(v.Data) {
		return protocolError(packet.ProtocolError, "response topic is not a topic name")
	}
	c.will = &will{Topic: w.Topic, QoS: w.QoS, Retain: w.Retain, Payload: w.Payload,
		Props: w.Props, Delay: w.Props.Num(packet.PropWillDelay, 0)}
	return nil
}

func (c *client) mayWill(topic string) bool {
	subject, _ := shard.SubjectOfMQTT(topic)
	return c.allowed(shard.OpPublish, subject)
}

func parseWill(data []byte) (*will, error) {
	w := &will{}
	if err := json.Unmarshal(data, w); err != nil {
		return nil, shard.Errorf(shard.KindCorrupt, "read will: %w", err)
	}
	if !validTopic(w.Topic) || w.QoS > 2 {
		return nil, shard.Errorf(shard.KindCorrupt, "read will: topic or QoS is invalid")
	}
	return w, nil
}

// publishWill publishes a will with all its properties [MQTT-3.1.2-8].
func (s *Server) publishWill(ctx context.Context, id string, w *will) {
	p := &packet.Publish{QoS: w.QoS, Retain: w.Retain, Topic: []byte(w.Topic), Props: w.Props, Payload: w.Payload}
	if err := s.publishDetached(ctx, p); err != nil {
		s.env.Log.Warn("publish will", "client", id, "topic", w.Topic, "error", err)
	}
}
