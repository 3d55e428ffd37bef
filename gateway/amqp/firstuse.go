package amqp

import (
	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// maxFirstUses bounds the topics that are made together for one connection.
const maxFirstUses = 1024

// makeTopics makes the topic of a subject that has none, and those of the
// publishes behind it that are read already: one by one, each would hold the
// connection for a transaction of the catalog.
func (c *conn) makeTopics(subject string) {
	subjects := []string{subject}
	seen := map[string]bool{subject: true}
	var methods frame.Decoder
	for b := c.ahead; len(subjects) < maxFirstUses; {
		f, n, err := frame.Parse(b, c.frameMax)
		if err != nil || n == 0 {
			break
		}
		b = b[n:]
		if f.Type != frame.TypeMethod {
			continue
		}
		m, _, err := methods.Decode(f.Payload)
		if err != nil {
			break
		}
		if p, ok := m.(*frame.BasicPublish); ok {
			if s := c.subjectAhead(p); s != "" && !seen[s] {
				seen[s] = true
				if c.unknown(s) && c.allowed(shard.OpPublish, gateway.ResourceSubject, s) {
					subjects = append(subjects, s)
				}
			}
		}
	}
	if len(subjects) > 1 {
		shard.MakeAll(c.ctx, c.s.env.Broker.Topics, subjects)
	}
}

// subjectAhead gives the subject of a publish that may make a topic: by the default
// exchange or amq.topic; the other exchanges have topics of their own.
func (c *conn) subjectAhead(p *frame.BasicPublish) string {
	s := c.vh.subjectOfQueue(p.RoutingKey)
	if p.RoutingKey == "" || p.Exchange != "" && p.Exchange != "amq.topic" || shard.Relayed(p.RoutingKey) || c.vh.checkSubject(s) != nil || shard.Relayed(s) {
		return ""
	}
	return s
}

// unknown tells whether no topic captures a subject.
func (c *conn) unknown(subject string) bool {
	_, err := c.s.env.Broker.Topics.Resolve(c.ctx, subject, false)
	return err != nil && shard.KindOf(err) == shard.KindNotFound
}
