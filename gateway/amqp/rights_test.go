package amqp

import (
	"testing"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

func bobs(rules ...shard.ACL) testOptions {
	for i := range rules {
		rules[i].Principal = "bob"
	}
	return testOptions{mem: shardmem.Options{ACLs: rules}}
}

func asBob(t *testing.T, s *testServer) *testClient {
	t.Helper()
	c := dialAs(t, s, "/", "PLAIN", "\x00bob\x00secret")
	c.channel(1)
	c.confirms(1)
	return c
}

// Who binds or unbinds needs to write on the destination and to read of the source.
func TestBindRights(t *testing.T) {
	s := startServer(t, bobs(
		shard.ACL{Resource: "subject", Filter: "mine.>", Operation: shard.OpAll},
		shard.ACL{Resource: "subject", Filter: "read", Operation: shard.OpSubscribe},
		shard.ACL{Resource: "subject", Filter: "read.>", Operation: shard.OpSubscribe},
		shard.ACL{Resource: "group", Filter: "amqp///mine*", Operation: shard.OpAll},
		shard.ACL{Resource: "group", Filter: "amqp///amq.gen*", Operation: shard.OpCreate},
	))
	admin := open(t, s)
	for _, x := range []string{"mine.x", "read", "theirs"} {
		admin.exchange(frame.ExchangeDeclare{Exchange: x, Type: "topic"})
	}
	for _, q := range []string{"mine.q", "theirs"} {
		admin.declare(1, frame.QueueDeclare{Queue: q})
	}
	admin.bind("theirs", "read", "k")
	call[*frame.ExchangeBindOk](admin, 1, &frame.ExchangeBind{Destination: "theirs", Source: "read", RoutingKey: "k"})
	c := asBob(t, s)
	for _, tc := range []struct {
		what string
		m    frame.Method
		ok   bool
	}{
		{"bind another's queue", &frame.QueueBind{Queue: "theirs", Exchange: "mine.x", RoutingKey: "k"}, false},
		{"unbind another's queue", &frame.QueueUnbind{Queue: "theirs", Exchange: "read", RoutingKey: "k"}, false},
		{"bind to what is not to be read", &frame.QueueBind{Queue: "mine.q", Exchange: "theirs", RoutingKey: "k"}, false},
		{"bind another's exchange", &frame.ExchangeBind{Destination: "theirs", Source: "mine.x", RoutingKey: "k"}, false},
		{"unbind another's exchange", &frame.ExchangeUnbind{Destination: "theirs", Source: "read", RoutingKey: "k"}, false},
		{"bind an exchange that is only read", &frame.ExchangeBind{Destination: "read", Source: "mine.x", RoutingKey: "k"}, false},
		{"bind to another's exchange", &frame.ExchangeBind{Destination: "mine.x", Source: "theirs", RoutingKey: "k"}, false},
		{"name another's alternate exchange", &frame.ExchangeDeclare{Exchange: "mine.y", Type: "topic", Arguments: frame.Table{{Name: "alternate-exchange", Value: frame.String("theirs")}}}, false},
		{"bind", &frame.QueueBind{Queue: "mine.q", Exchange: "read", RoutingKey: "k"}, true},
		{"unbind", &frame.QueueUnbind{Queue: "mine.q", Exchange: "read", RoutingKey: "k"}, true},
		{"bind exchanges", &frame.ExchangeBind{Destination: "mine.x", Source: "read", RoutingKey: "k"}, true},
		{"unbind exchanges", &frame.ExchangeUnbind{Destination: "mine.x", Source: "read", RoutingKey: "k"}, true},
		{"name an alternate exchange", &frame.ExchangeDeclare{Exchange: "mine.z", Type: "topic", Arguments: frame.Table{{Name: "alternate-exchange", Value: frame.String("mine.x")}}}, true},
	} {
		c.channel(2)
		c.send(2, tc.m)
		e, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		closed, refused := e.method.(*frame.ChannelClose)
		if refused == tc.ok || refused && closed.ReplyCode != 403 {
			t.Errorf("%s: %T %+v", tc.what, e.method, e.method)
		}
		if refused {
			c.send(2, &frame.ChannelCloseOk{})
		} else {
			call[*frame.ChannelCloseOk](c, 2, &frame.ChannelClose{})
		}
	}
	// An exclusive queue of the connection is nobody else's.
	q := c.declare(1, frame.QueueDeclare{Exclusive: true}).Queue
	call[*frame.QueueBindOk](c, 1, &frame.QueueBind{Queue: q, Exchange: "read", RoutingKey: "k"})
	admin.put(1, "read", "k", "x")
	admin.wantGet(1, "theirs", "x") // it is bound still
}

// What a queue gives up is published with the rights of who declared it.
func TestDeadLetterRights(t *testing.T) {
	s := startServer(t, bobs(
		shard.ACL{Resource: "subject", Filter: "mine.>", Operation: shard.OpAll},
		shard.ACL{Resource: "subject", Filter: "amq.topic", Operation: shard.OpPublish},
		shard.ACL{Resource: "subject", Filter: "payroll.>", Operation: shard.OpSubscribe},
		shard.ACL{Resource: "group", Filter: "amqp///mine*", Operation: shard.OpAll},
	))
	admin, c := open(t, s), asBob(t, s)
	admin.declare(1, frame.QueueDeclare{Queue: "payroll.out", Durable: true})
	admin.declare(1, frame.QueueDeclare{Queue: "mine.dead", Durable: true})
	dlx := func(exchange string) frame.Table {
		return frame.Table{{Name: "x-dead-letter-exchange", Value: frame.String(exchange)}, {Name: "x-max-length", Value: frame.Int(1)}}
	}
	for _, args := range []frame.Table{deadArgs("", "payroll.out"), deadArgs("amq.topic", "payroll.out"), dlx("payroll")} {
		c.channel(2)
		c.send(2, &frame.QueueDeclare{Queue: "mine.q", Arguments: args})
		c.channelClosed(2, 403)
	}
	c.declare(1, frame.QueueDeclare{Queue: "mine.q", Durable: true, Arguments: dlx("amq.topic")})
	c.bind("mine.q", "amq.topic", "payroll.*")
	c.bind("mine.q", "amq.topic", "mine.in")
	c.bind("mine.dead", "amq.topic", "mine.in")
	s.stop() // over a restart, too
	mem := s.mem.Reopen()
	t.Cleanup(mem.Close)
	s = serveOn(t, testOptions{}, mem, mem.Broker())
	admin, c = open(t, s), asBob(t, s)
	for range 2 {
		admin.put(1, "", "payroll.out", "x") // to mine.q too, which gives up both
	}
	for range 2 {
		c.put(1, "amq.topic", "mine.in", "y") // and the first of these
	}
	c.wantGet(1, "mine.dead", "y")
	c.wantGet(1, "mine.dead", "y")
	wantDead(t, c, "mine.dead", "y", map[string]string{"queue": "mine.q"})
	admin.wantGet(1, "payroll.out", "x")
	admin.wantGet(1, "payroll.out", "x")
	admin.wantGet(1, "payroll.out", "") // nothing was published there in bob's name
}
