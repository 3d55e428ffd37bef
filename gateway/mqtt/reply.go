package mqtt

import (
	"bytes"
	"strings"

	"github.com/robustmq/robustmq-go/shard"
)

// A Response Topic is a topic, so it is translated as topics are: a responder of
// any protocol that answers where it is told to answers to whom it should.

// headerResponse keeps the Response Topic as it was sent, where it is not the
// subject in shard.HeaderReplyTo, behind that. Without it that header is the
// Response Topic: earlier versions kept it so.
const headerResponse = shard.ReservedPrefix + "mqtt-response"

// appendReplyTo maps a Response Topic to headers.
func appendReplyTo(dst []shard.Header, topic []byte) []shard.Header {
	if bytes.IndexByte(topic, '/') < 0 && bytes.IndexByte(topic, '.') < 0 {
		return append(dst, shard.Header{Name: shard.HeaderReplyTo, Value: topic})
	}
	subject, _ := shard.SubjectOfMQTT(string(topic))
	return append(dst, shard.Header{Name: shard.HeaderReplyTo, Value: []byte(subject)},
		shard.Header{Name: headerResponse, Value: topic})
}

// replyTopic gives the Response Topic of a record, and the header that it stands
// for, -1 for none.
func replyTopic(r *shard.Record, foreign bool) (topic []byte, header int) {
	if foreign {
		return foreignReply(r)
	}
	header = -1
	for i := range r.Headers {
		switch h := &r.Headers[i]; {
		case h.Name == shard.HeaderMQTT: // behind it lie user properties
			return topic, header
		case h.Name == headerResponse && header >= 0:
			topic = h.Value
		case h.Name == shard.HeaderReplyTo && header < 0 && responseTopic(h.Value):
			topic, header = h.Value, i
		}
	}
	return topic, header
}

// foreignReply is replyTopic of a message of another protocol. The reply subject is
// where an answer goes, whatever reply-to says: that may be a name which only its
// protocol knows.
func foreignReply(r *shard.Record) (topic []byte, header int) {
	subject, replyTo := -1, -1
	for i := range r.Headers {
		switch r.Headers[i].Name {
		case shard.HeaderReplySubject:
			if t, ok := topicOfReply(r.Headers[i].Value); ok && subject < 0 {
				topic, subject = t, i
			}
		case shard.HeaderReplyTo:
			if _, ok := topicOfReply(r.Headers[i].Value); ok && replyTo < 0 {
				replyTo = i
			}
		}
	}
	switch {
	case replyTo < 0:
		return topic, subject
	case subject < 0:
		topic, _ = topicOfReply(r.Headers[replyTo].Value)
		return topic, replyTo
	}
	if v := r.Headers[replyTo].Value; bytes.HasPrefix(v, []byte(shard.DirectReply)) || bytes.Equal(v, r.Headers[subject].Value) {
		return topic, replyTo
	}
	return topic, subject // and reply-to is a user property
}

// topicOfReply gives the topic by which an MQTT client publishes to a subject; ok
// is false where none does.
func topicOfReply(subject []byte) (topic []byte, ok bool) {
	if bytes.IndexByte(subject, '/') >= 0 {
		return nil, false
	}
	t := strings.ReplaceAll(string(subject), ".", "/")
	return []byte(t), validTopic(t)
}
