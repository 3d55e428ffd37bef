package nats

import (
	"context"
	"testing"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// TestRuleWithdrawn: subscriptions that are not allowed any more end, and the
// client is told, as nats-server does when it is reconfigured.
func TestRuleWithdrawn(t *testing.T) {
	rule := func(filter string) shard.ACL {
		return shard.ACL{Principal: "ann", Resource: gateway.ResourceSubject, Filter: filter, Operation: shard.OpSubscribe}
	}
	b := newBed(t, bedOptions{mem: shardmem.Options{
		Users: []shard.User{testUser(t, "ann", "a", nil), testUser(t, "root", "r", func(u *shard.User) { u.Superuser = true })},
		ACLs:  []shard.ACL{rule("open.>"), rule("closed.>")},
	}})
	c := b.dial(`{"verbose":false,"user":"ann","pass":"a"}`)
	c.send("SUB closed.> q 1", "SUB open.> 2")
	c.sync()
	if err := b.mem.Broker().ACLs.Delete(context.Background(), rule("closed.>")); err != nil {
		t.Fatal(err)
	}
	c.expect(`-ERR 'Permissions Violation for Subscription to "closed.>" using queue "q"'`)
	p := b.dial(`{"verbose":false,"user":"root","pass":"r"}`)
	p.send("PUB closed.x 6\r\nsecret", "PUB open.x 6\r\npublic")
	p.sync()
	if m := c.message(); m.subject != "open.x" || m.sid != "2" {
		t.Fatalf("got %s", m)
	}
	c.send("SUB closed.x 3")
	c.expect(`-ERR 'Permissions Violation for Subscription to "closed.x"'`)
}
