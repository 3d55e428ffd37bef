package amqp

import (
	"strings"
	"testing"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// TestDirectReplyOfOthers: whoever answers to a direct reply-to, by the subject or
// by the name that the request shows, is heard, and nothing of it is stored.
func TestDirectReplyOfOthers(t *testing.T) {
	s := startServer(t, testOptions{})
	c := open(t, s)
	c.declare(1, frame.QueueDeclare{Queue: "rpc"})
	c.consume(1, replyQueue, "replies", true)
	p := frame.Properties{Flags: frame.HasReplyTo, ReplyTo: replyQueue}
	c.write(publishFrames(nil, 1, "", "rpc", p, []byte("request"), false))
	c.wantGet(1, "rpc", "request")
	r := lastRecord(t, s, "rpc")
	for _, name := range []string{shard.HeaderReplySubject, shard.HeaderReplyTo} {
		subject := r.HeaderString(name)
		if !shard.Relayed(subject) {
			t.Errorf("%s %q is stored", name, subject)
		}
		answer := &shard.Record{Value: []byte("by " + name)}
		if n := s.broker.Live.Relay([]shard.Message{{Subject: subject, Record: answer}}); n != 1 {
			t.Errorf("%s %q reaches %d", name, subject, n)
		}
		c.deliver(1, "by "+name)
	}
	call[*frame.BasicCancelOk](c, 1, &frame.BasicCancel{ConsumerTag: "replies"})
	for _, name := range []string{shard.HeaderReplySubject, shard.HeaderReplyTo} {
		if s.broker.Live.Interest(r.HeaderString(name)) {
			t.Errorf("%s: somebody still waits", name)
		}
	}
}

// TestReplyToIsASubject: a request says, beside the queue that AMQP knows, where
// others answer.
func TestReplyToIsASubject(t *testing.T) {
	s := startServer(t, testOptions{})
	c := open(t, s)
	c.declare(1, frame.QueueDeclare{Queue: "rpc"})
	for to, want := range map[string]string{"answers.x": "answers.x", "": "", replyQueue + ".T": replySubject("T")} {
		c.write(publishFrames(nil, 1, "", "rpc", frame.Properties{Flags: frame.HasReplyTo, ReplyTo: to}, []byte("q"), false))
		e, _ := c.get(1, "rpc", true)
		if e.props.ReplyTo != to {
			t.Errorf("%q is read as %q", to, e.props.ReplyTo)
		}
		if r := lastRecord(t, s, "rpc"); r.HeaderString(shard.HeaderReplySubject) != want {
			t.Errorf("%q: others answer to %q, want %q", to, r.HeaderString(shard.HeaderReplySubject), want)
		}
	}
}

// TestDollarKeys: amq.topic keeps a message whose key begins with '$' as others.
func TestDollarKeys(t *testing.T) {
	s := startServer(t, testOptions{})
	c := open(t, s)
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	c.bind("q", "amq.topic", "#")
	c.put(1, "amq.topic", "$a2a.card", "card")
	c.wantGet(1, "q", "card")
	if r := lastRecord(t, s, "$a2a.card"); string(r.Value) != "card" {
		t.Errorf("stored %+v", r)
	}
	c.put(1, "", "$sparkplug.x", "cert")
	c.wantGet(1, "$sparkplug.x", "cert")
	c.write(publishFrames(nil, 1, "", "$SYS.broker.version", frame.Properties{}, []byte("lie"), false))
	c.channelClosed(1, codeAccessRefused)
	for _, topic := range s.broker.Topics.List() {
		if strings.HasPrefix(topic.Name, "$SYS") {
			t.Errorf("topic %s", topic.Name)
		}
	}
}
