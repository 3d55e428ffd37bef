package clients

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/eclipse/paho.golang/paho"

	"github.com/robustmq/robustmq-go/test/harness"
)

var mqttClients atomic.Int64

// DialMQTT connects an MQTT 5 client; the configuration's Conn is set here. A client id is made up
// where the packet has none.
func DialMQTT(ctx context.Context, port int, cfg paho.ClientConfig, cp paho.Connect) (*paho.Client, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", harness.Addr(port))
	if err != nil {
		return nil, fmt.Errorf("connect by mqtt: %w", err)
	}
	cfg.Conn = nc
	c := paho.NewClient(cfg)
	if cp.ClientID == "" {
		cp.ClientID = fmt.Sprintf("e2e-%d", mqttClients.Add(1))
	}
	if cp.KeepAlive == 0 {
		cp.KeepAlive = 60
	}
	if !cp.UsernameFlag {
		cp.Username, cp.UsernameFlag = harness.User, true
		cp.Password, cp.PasswordFlag = []byte(harness.Password), true
	}
	ack, err := c.Connect(ctx, &cp)
	if err != nil {
		nc.Close()
		if ack != nil {
			return nil, fmt.Errorf("connect by mqtt: reason code %#x: %w", ack.ReasonCode, err)
		}
		return nil, fmt.Errorf("connect by mqtt: %w", err)
	}
	return c, nil
}

type mqttWriter struct{ c *paho.Client }

func newMQTTWriter(ctx context.Context, port int) (Writer, error) {
	c, err := DialMQTT(ctx, port, paho.ClientConfig{}, paho.Connect{CleanStart: true})
	if err != nil {
		return nil, err
	}
	return mqttWriter{c}, nil
}

func (w mqttWriter) Close() { _ = w.c.Disconnect(&paho.Disconnect{}) }

func (w mqttWriter) Write(ctx context.Context, m Message) error {
	props := &paho.PublishProperties{}
	for _, h := range headersAndFields(m) {
		if h.Typed != nil {
			return errTyped
		}
		_, field := m.Fields[h.Name]
		switch {
		case field && h.Name == ContentType:
			props.ContentType = string(h.Value)
		case field && h.Name == CorrelationID:
			props.CorrelationData = h.Value
		case field && h.Name == ReplyTo:
			props.ResponseTopic = string(h.Value)
		case field && h.Name == Expiration:
			ms, err := millis(string(h.Value))
			if err != nil {
				return err
			}
			secs := uint32(ms / 1000)
			props.MessageExpiry = &secs
		default:
			props.User.Add(h.Name, string(h.Value))
		}
	}
	r, err := w.c.Publish(ctx, &paho.Publish{Topic: m.Name, QoS: 1, Payload: m.Value, Properties: props})
	if err != nil {
		return fmt.Errorf("publish by mqtt: %w", err)
	}
	if r.ReasonCode != 0 && r.ReasonCode != 0x10 { // no matching subscribers is a success
		return fmt.Errorf("publish by mqtt: reason code %#x", r.ReasonCode)
	}
	return nil
}

type mqttReader struct {
	*inbox
	c *paho.Client
}

func newMQTTReader(ctx context.Context, port int, filter string) (Reader, error) {
	box := newInbox()
	cfg := paho.ClientConfig{OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
		box.put(mqttMessage(p.Packet))
		return true, nil
	}}}
	c, err := DialMQTT(ctx, port, cfg, paho.Connect{CleanStart: true})
	if err != nil {
		return nil, err
	}
	if _, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 1}}}); err != nil {
		return nil, fmt.Errorf("subscribe by mqtt: %w", err)
	}
	return &mqttReader{box, c}, nil
}

func (r *mqttReader) Close() {
	_ = r.c.Disconnect(&paho.Disconnect{})
	r.end()
}

func mqttMessage(p *paho.Publish) Message {
	m := Message{Name: p.Topic, Value: p.Payload, Fields: map[string]string{}}
	set := func(name, v string) {
		if v != "" {
			m.Fields[name] = v
		}
	}
	set(ContentType, p.Properties.ContentType)
	set(ReplyTo, p.Properties.ResponseTopic)
	set(CorrelationID, string(p.Properties.CorrelationData))
	if e := p.Properties.MessageExpiry; e != nil {
		set(Expiration, strconv.FormatUint(uint64(*e)*1000, 10))
	}
	for _, u := range p.Properties.User {
		m.Headers = append(m.Headers, Header{Name: strings.Clone(u.Key), Value: []byte(u.Value)})
	}
	return m
}
