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

// TestDenyWithinAllow: a subscription of which a rule denies some is taken, and what
// is denied is not delivered; one that is put under a rule later is, too. A queue's
// has to be allowed whole.
func TestDenyWithinAllow(t *testing.T) {
	rule := func(filter string, deny bool) shard.ACL {
		return shard.ACL{Principal: "ann", Resource: gateway.ResourceSubject, Filter: filter, Operation: shard.OpSubscribe, Deny: deny}
	}
	b := newBed(t, bedOptions{mem: shardmem.Options{
		Users: []shard.User{testUser(t, "ann", "a", nil), testUser(t, "root", "r", func(u *shard.User) { u.Superuser = true })},
		ACLs:  []shard.ACL{rule("bar.>", false), rule("bar.secret", true), rule("late.>", false)},
	}})
	c, p := b.dial(`{"verbose":false,"user":"ann","pass":"a"}`), b.dial(`{"verbose":false,"user":"root","pass":"r"}`)
	c.send("SUB bar.> 1", "UNSUB 1 2", "SUB late.> 2", "SUB bar.> q 3")
	c.expect(`-ERR 'Permissions Violation for Subscription to "bar.>" using queue "q"'`)
	c.send("SUB bar.secret 4")
	c.expect(`-ERR 'Permissions Violation for Subscription to "bar.secret"'`)
	c.sync()
	p.send("PUB bar.secret 6\r\nsecret", "PUB bar.a 1\r\na", "PUB bar.secret 6\r\nsecret", "PUB late.secret 1\r\nb", "PUB bar.c 1\r\nc", "PUB bar.d 1\r\nd")
	p.sync()
	for _, want := range []string{"bar.a", "late.secret", "bar.c"} {
		if m := c.message(); m.subject != want {
			t.Fatalf("got %s, want %s", m, want)
		}
	}
	changed := b.srv.rules.Load()
	if err := b.mem.Broker().ACLs.Put(context.Background(), rule("late.secret", true)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the rule is taken up", func() bool { return b.srv.rules.Load() > changed })
	c.send("SUB late.> 5") // waits for those before it
	c.sync()
	p.send("PUB late.secret 6\r\nsecret", "PUB late.a 1\r\na")
	p.sync()
	for range 2 {
		if m := c.message(); m.subject != "late.a" {
			t.Fatalf("got %s", m)
		}
	}
}
