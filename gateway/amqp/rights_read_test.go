package amqp

import (
	"context"
	"testing"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// Who takes messages of a queue sees those whose subjects the rules allow: of a queue
// of one's own what is denied is left out, another's has to be allowed whole.
func TestDenyWithinAllow(t *testing.T) {
	s := startServer(t, bobs(
		shard.ACL{Resource: "subject", Filter: "bar", Operation: shard.OpAll},
		shard.ACL{Resource: "subject", Filter: "bar.>", Operation: shard.OpAll},
		shard.ACL{Resource: "subject", Filter: "bar.secret", Operation: shard.OpSubscribe, Deny: true},
		shard.ACL{Resource: "subject", Filter: "q.>", Operation: shard.OpAll},
		shard.ACL{Resource: "group", Filter: "amqp///q*", Operation: shard.OpAll},
	))
	admin, c := open(t, s), asBob(t, s)
	admin.exchange(frame.ExchangeDeclare{Exchange: "bar", Type: "topic"})
	admin.declare(1, frame.QueueDeclare{Queue: "q.theirs"})
	admin.bind("q.theirs", "bar", "#")
	admin.declare(1, frame.QueueDeclare{Queue: "q.part"})
	admin.bind("q.part", "bar", "open")
	c.declare(1, frame.QueueDeclare{Queue: "q.mine"})
	c.bind("q.mine", "bar", "#")
	for _, m := range []frame.Method{
		&frame.BasicConsume{Queue: "q.theirs"},
		&frame.BasicGet{Queue: "q.theirs"},
		&frame.QueueBind{Queue: "q.part", Exchange: "bar", RoutingKey: "#"},
		&frame.QueueBind{Queue: "q.mine", Exchange: "bar", RoutingKey: "secret"},
	} {
		c.channel(2)
		c.send(2, m)
		c.channelClosed(2, 403)
	}
	for _, key := range []string{"secret", "a", "secret", "b"} {
		admin.put(1, "bar", key, key)
	}
	c.wantGet(1, "q.mine", "a")
	c.wantGet(1, "q.mine", "b")
	c.wantGet(1, "q.mine", "")
	admin.put(1, "bar", "open", "x")
	c.wantGet(1, "q.part", "x")
	admin.wantGet(1, "q.theirs", "secret")
}

// A rule that changes holds for consumers that are there: they are cancelled, and what
// they had goes back.
func TestRuleWithdrawnFromConsumer(t *testing.T) {
	s := startServer(t, bobs(
		shard.ACL{Resource: "subject", Filter: "q.>", Operation: shard.OpAll},
		shard.ACL{Resource: "group", Filter: "amqp///q*", Operation: shard.OpAll},
	))
	admin, c := open(t, s), asBob(t, s)
	c.declare(1, frame.QueueDeclare{Queue: "q.mine"})
	admin.put(1, "", "q.mine", "x")
	call[*frame.BasicConsumeOk](c, 1, &frame.BasicConsume{Queue: "q.mine", ConsumerTag: "t"})
	if e, err := c.next(); err != nil || string(e.body) != "x" {
		t.Fatalf("%+v, %v", e, err)
	}
	deny := shard.ACL{Principal: "bob", Resource: gateway.ResourceSubject, Filter: "q.mine", Operation: shard.OpSubscribe, Deny: true}
	if err := s.broker.ACLs.Put(context.Background(), deny); err != nil {
		t.Fatal(err)
	}
	for {
		g, err := s.broker.Groups.Get("amqp///q.mine")
		if err != nil {
			t.Fatal(err)
		}
		if g.Stats().Consumers == 0 {
			break
		}
	}
	admin.wantGet(1, "q.mine", "x")
	admin.put(1, "", "q.mine", "secret")
	c.channel(2)
	c.send(2, &frame.BasicGet{Queue: "q.mine"})
	c.channelClosed(2, 403)
}

// Without rules one deletes what one declared.
func TestDeleteWithoutRules(t *testing.T) {
	s := startServer(t, testOptions{mem: shardmem.Options{}})
	admin, c := open(t, s), asBob(t, s)
	for _, x := range []*testClient{admin, c} {
		name := "admins"
		if x == c {
			name = "bobs"
		}
		x.declare(1, frame.QueueDeclare{Queue: name})
		x.exchange(frame.ExchangeDeclare{Exchange: "x." + name, Type: "fanout"})
	}
	for _, m := range []frame.Method{&frame.QueueDelete{Queue: "admins"}, &frame.ExchangeDelete{Exchange: "x.admins"}} {
		c.channel(2)
		c.send(2, m)
		c.channelClosed(2, 403)
	}
	call[*frame.QueueDeleteOk](c, 1, &frame.QueueDelete{Queue: "bobs"})
	call[*frame.ExchangeDeleteOk](c, 1, &frame.ExchangeDelete{Exchange: "x.bobs"})
	call[*frame.QueueDeleteOk](admin, 1, &frame.QueueDelete{Queue: "admins"})
}

// What a rule denies does not come by the dead letters of a queue of one's own, nor by
// an alternate exchange.
func TestDenyWithinAllowByDetours(t *testing.T) {
	s := startServer(t, bobs(
		shard.ACL{Resource: "subject", Filter: "bar", Operation: shard.OpAll},
		shard.ACL{Resource: "subject", Filter: "bar.>", Operation: shard.OpAll},
		shard.ACL{Resource: "subject", Filter: "bar.secret", Operation: shard.OpSubscribe, Deny: true},
		shard.ACL{Resource: "subject", Filter: "q.>", Operation: shard.OpAll},
		shard.ACL{Resource: "group", Filter: "amqp///q*", Operation: shard.OpAll},
	))
	admin, c := open(t, s), asBob(t, s)
	c.exchange(frame.ExchangeDeclare{Exchange: "q.lost", Type: "fanout"})
	alternate := frame.Table{{Name: "alternate-exchange", Value: frame.String("q.lost")}}
	c.channel(2)
	c.send(2, &frame.ExchangeDeclare{Exchange: "bar", Type: "topic", Arguments: alternate})
	c.channelClosed(2, 403)
	c.exchange(frame.ExchangeDeclare{Exchange: "q.own", Type: "topic", Arguments: alternate})
	admin.exchange(frame.ExchangeDeclare{Exchange: "bar", Type: "topic"})

	c.declare(1, frame.QueueDeclare{Queue: "q.box"})
	c.declare(1, frame.QueueDeclare{Queue: "q.mine", Arguments: deadArgs("", "q.box", frame.Field{Name: "x-max-length", Value: frame.Int(1)})})
	c.bind("q.mine", "bar", "#")
	for _, key := range []string{"secret", "a", "b"} {
		admin.put(1, "bar", key, key)
	}
	for {
		if e, ok := c.get(1, "q.box", true); ok {
			if string(e.body) != "a" {
				t.Fatalf("a dead letter brought %q", e.body)
			}
			break
		}
	}
	c.wantGet(1, "q.box", "")
}
