package kafka

import (
	"bytes"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

// A Kafka producer reaches one of the subjects that a topic captures by the header
// robustmq-subject, which is the one reserved header that a client may write: with it
// a command from Kafka meets the one device that subscribes to that subject. Without
// it a record is of the subject that the topic is named by.

const reservedHeader = "header names that begin with " + shard.ReservedPrefix + " are reserved, but for " + shard.HeaderSubject

// addresses gives the check of the subjects that records for t name: the topic has to
// capture them, and this client may publish to them.
func (c *conn) addresses(t *shard.Topic) func(subject []byte) *refusal {
	var last []byte // most batches name one
	return func(subject []byte) *refusal {
		if last != nil && bytes.Equal(last, subject) {
			return nil
		}
		name := string(subject)
		if err := shard.CheckSubject(name); err != nil {
			return invalidRecord("the header " + shard.HeaderSubject + " holds no subject: " + err.Error())
		}
		if name != t.Name {
			if of, err := c.srv.broker.Topics.Resolve(c.ctx, name, false); err != nil || of.Num != t.Num || shard.Relayed(name) {
				return invalidRecord("the topic does not capture the subject that the header " + shard.HeaderSubject + " names")
			}
			if !c.allowed(shard.OpPublish, gateway.ResourceSubject, name) {
				return refuse(codeTopicAuthorizationFailed, "not authorised to publish to the subject that the header "+shard.HeaderSubject+" names")
			}
		}
		last = append(last[:0:0], subject...)
		return nil
	}
}
