package amqp

import (
	"context"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// A subject of another protocol that is longer than a routing key may be is cut at a
// character, and is whole in a header, by consume and by get.
func TestLongRoutingKey(t *testing.T) {
	s := startServer(t, testOptions{})
	c := open(t, s)
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	c.declare(1, frame.QueueDeclare{Queue: "p"})
	c.bind("q", "amq.topic", "#")
	c.bind("p", "amq.topic", "#")
	c.consume(1, "p", "", true)
	for n := range 4 {
		subject := strings.Repeat("x", 250+n) + "." + strings.Repeat("€", 100)
		topic, err := s.broker.Topics.Resolve(context.Background(), subject, true)
		if err != nil {
			t.Fatal(err)
		}
		r := shard.Record{Timestamp: time.Now().UnixMilli(), Value: []byte("v")}
		if _, err := shard.AppendWait(context.Background(), s.broker.Log, topic.Shard(0), shard.BatchOf(r), shard.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
		e := c.wantGet(1, "q", "v")
		d, m := c.deliver(1, "v")
		for key, h := range map[string]frame.Table{e.method.(*frame.BasicGetOk).RoutingKey: e.props.Headers, m.RoutingKey: d.props.Headers} {
			if !utf8.ValidString(key) || !strings.HasPrefix(subject, key) || len(key) < 252 {
				t.Errorf("routing key of %d bytes %q", len(key), key)
			}
			if v, _ := h.Get("x-routing-key"); v.Str != subject {
				t.Errorf("x-routing-key is %q", v.Str)
			}
		}
	}
}
