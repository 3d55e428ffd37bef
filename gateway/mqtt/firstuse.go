package mqtt

import (
	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
)

// maxFirstUses bounds the topics that are made together for one connection.
const maxFirstUses = 1024

// makeTopics makes the topics that the packets read so far use for the first time,
// together: one by one, each would hold the connection for a transaction of the
// catalog. What may not be published makes none. The messages follow in their order.
func (c *client) makeTopics() {
	var subjects []string
	seen := make(map[string]bool)
	for b := c.in.buf[c.in.r:c.in.w]; len(subjects) < maxFirstUses; {
		h, n, err := packet.DecodeHeader(b)
		if err != nil || n == 0 || len(b) < n+h.Len {
			break
		}
		if h.Type == packet.PUBLISH {
			if topic := packet.TopicOf(b[n : n+h.Len]); !seen[string(topic)] {
				seen[string(topic)] = true
				if subject, ok := c.firstUse(string(topic)); ok {
					subjects = append(subjects, subject)
				}
			}
		}
		b = b[n+h.Len:]
	}
	if len(subjects) > 1 {
		shard.MakeAll(c.ctx, c.srv.broker.Topics, subjects)
	}
}

// firstUse tells whether a PUBLISH to a topic would make one.
func (c *client) firstUse(topic string) (subject string, ok bool) {
	if !validTopic(topic) {
		return "", false
	}
	t := target{}
	t.subject, _ = shard.SubjectOfMQTT(topic)
	if c.srv.refusedTopic(topic, &t) != nil || shard.Relayed(t.subject) {
		return "", false
	}
	if _, err := c.srv.broker.Topics.Resolve(c.ctx, t.subject, false); shard.KindOf(err) != shard.KindNotFound || err == nil {
		return "", false
	}
	return t.subject, c.allowed(shard.OpPublish, t.subject)
}
