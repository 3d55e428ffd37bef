package amqp

import (
	"context"
	"testing"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// TestEndGroup: an administrator deletes a queue, with its bindings, by the name of
// its group; one that is consumed only by force.
func TestEndGroup(t *testing.T) {
	s := startServer(t, testOptions{config: func(c *Config) { c.VHosts = []string{"t1"} }})
	ctx := context.Background()
	for _, vhost := range []string{"/", "t1"} {
		c := dialAs(t, s, vhost, "PLAIN", "\x00admin\x00robustmq")
		ch := c.channel(1)
		c.declare(ch, frame.QueueDeclare{Queue: "a/b", Durable: true})
		call[*frame.QueueBindOk](c, ch, &frame.QueueBind{Queue: "a/b", Exchange: "amq.direct", RoutingKey: "k"})
		c.confirms(ch)
		c.put(ch, "amq.direct", "k", "x")
		c.consume(ch, "a/b", "tag", false)
		name := "amqp/" + vhost + "/a/b"
		if err := s.srv.EndGroup(ctx, name, false); shard.KindOf(err) != shard.KindInvalid {
			t.Errorf("%s: one that is consumed: %v", name, err)
		}
		if err := s.srv.EndGroup(ctx, name, true); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.broker.Groups.Get(name); shard.KindOf(err) != shard.KindNotFound {
			t.Errorf("%s is still there: %v", name, err)
		}
		if s.srv.vhosts[vhost].queue("a/b") != nil {
			t.Errorf("%s: the queue is still there", name)
		}
		if err := s.srv.EndGroup(ctx, name, true); shard.KindOf(err) != shard.KindNotFound {
			t.Errorf("%s twice: %v", name, err)
		}
	}
}
