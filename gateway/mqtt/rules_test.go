package mqtt

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

var (
	ruleOpen   = shard.ACL{Principal: "ann", Resource: "subject", Filter: "open.>", Operation: shard.OpAll}
	ruleClosed = shard.ACL{Principal: "ann", Resource: "subject", Filter: "closed.>", Operation: shard.OpAll}
	ruleAdmin  = shard.ACL{Principal: "root", Resource: "subject", Filter: ">", Operation: shard.OpAll}
)

// ruled is a bed with two users, whose rules a test changes.
func ruled(t *testing.T) (b *bed, as func(name string, k *packet.Connect) *peer) {
	b = newBed(t, bedOptions{mem: shardmem.Options{
		Users: []shard.User{user(t, "ann", "secret"), user(t, "root", "secret")},
		ACLs:  []shard.ACL{ruleOpen, ruleClosed, ruleAdmin},
	}})
	return b, func(name string, k *packet.Connect) *peer {
		k.HasUser, k.User, k.HasPassword, k.Password = true, name, true, []byte("secret")
		return b.connect(k)
	}
}

// withdraw deletes a rule.
func (b *bed) withdraw(r shard.ACL) {
	b.t.Helper()
	if err := b.mem.Broker().ACLs.Delete(context.Background(), r); err != nil {
		b.t.Fatal(err)
	}
}

// awaitSubscriptions waits until the gateway counts so many.
func (b *bed) awaitSubscriptions(n int64) {
	b.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); b.stats.Subscriptions.Load() != n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("%d subscriptions, want %d", b.stats.Subscriptions.Load(), n)
		}
	}
}

// TestRuleWithdrawnFromLiveSession: subscriptions that are not allowed any more
// deliver nothing, whatever feeds them, and the others go on.
func TestRuleWithdrawnFromLiveSession(t *testing.T) {
	b, as := ruled(t)
	s, p := as("ann", kept(5, "s")), as("root", clean(5, "p"))
	for i, q := range []uint8{0, 1, 2} {
		s.subscribe(fmt.Sprintf("closed/%d", i), q)
	}
	s.subscribe("$share/g/closed/3", 1)
	s.subscribe("open/#", 1)
	b.withdraw(ruleClosed)
	b.awaitSubscriptions(1)
	for i := range 4 {
		p.publish(fmt.Sprintf("closed/%d", i), "secret", 1, uint16(i+1))
		p.expect(fmt.Sprintf("PUBACK %d", i+1))
	}
	p.publish("open/x", "public", 1, 9)
	p.expect("PUBACK 9")
	s.expect(`PUBLISH open/x "public" q1 id1`)
	s.send(&packet.Unsubscribe{ID: 5, Filters: []string{"closed/1", "open/#"}})
	s.expect("UNSUBACK 5 [17 0]")
	s.send(&packet.Subscribe{ID: 6, Filters: []packet.Subscription{{Filter: "closed/1", QoS: 1}}})
	s.expect("SUBACK 6 [135]")
}

// TestRuleWithdrawnFromSession: a session that was away while its rule was
// withdrawn gets neither what was kept for it nor what comes later.
func TestRuleWithdrawnFromSession(t *testing.T) {
	b, as := ruled(t)
	s, p := as("ann", kept(5, "s")), as("root", clean(5, "p"))
	s.subscribe("closed/#", 2)
	s.subscribe("$share/g/closed/x", 1)
	s.subscribe("open/#", 1)
	p.publish("closed/y", "in flight", 1, 1)
	p.expect("PUBACK 1")
	s.expect(`PUBLISH closed/y "in flight" q1 id1`)
	s.bye()
	for i, topic := range []string{"closed/x", "open/x"} {
		p.publish(topic, "kept", 1, uint16(i+2))
		p.expect(fmt.Sprintf("PUBACK %d", i+2))
	}
	b.withdraw(ruleClosed)
	s = as("ann", kept(5, "s")).present(true)
	k, ok := s.read().(*packet.Publish)
	if !ok || string(k.Topic) != "open/x" {
		t.Fatalf("got %s, want open/x alone", show(k))
	}
	s.send(&packet.Ack{Kind: packet.PUBACK, ID: k.ID})
	b.awaitSubscriptions(1)
	p.publish("closed/x", "later", 1, 5)
	p.expect("PUBACK 5")
	s.quiet()
	s.bye()
	if err := b.mem.Broker().ACLs.Put(context.Background(), ruleClosed); err != nil {
		t.Fatal(err)
	}
	s = as("ann", kept(5, "s")).present(true)
	b.awaitSubscriptions(1)
	s.quiet()
}

// TestRuleWithdrawnFromWill: a will is not published where its user may not
// publish any more.
func TestRuleWithdrawnFromWill(t *testing.T) {
	b, as := ruled(t)
	p := as("root", clean(5, "p"))
	p.subscribe("#", 1)
	for _, topic := range []string{"closed/will", "open/will"} {
		k := clean(5, topic)
		k.Will = &packet.Will{Topic: topic, Payload: []byte("gone")}
		s := as("ann", k)
		if topic == "closed/will" {
			b.withdraw(ruleClosed)
		}
		s.close()
	}
	p.expect(`PUBLISH open/will "gone" q0`)
}

// TestManyFiltersAreFewWrites: a SUBSCRIBE and an UNSUBSCRIBE wait for the store a
// few times, however many filters they hold, and lose none.
func TestManyFiltersAreFewWrites(t *testing.T) {
	var writes atomic.Int64
	b := newBed(t, bedOptions{mem: shardmem.Options{FailState: func(owner string) error {
		if strings.HasSuffix(owner, "/many") {
			writes.Add(1)
		}
		return nil
	}}})
	const n = 500
	s, p := b.connect(kept(5, "many")), b.connect(clean(5, "p"))
	sub, unsub := &packet.Subscribe{ID: 1}, &packet.Unsubscribe{ID: 2}
	for i := range n {
		f := fmt.Sprintf("t/%d", i)
		sub.Filters = append(sub.Filters, packet.Subscription{Filter: f, QoS: 1})
		if i > 0 {
			unsub.Filters = append(unsub.Filters, f)
		}
	}
	few := func(what string) {
		t.Helper()
		if k := writes.Swap(0); k > 20 {
			t.Fatalf("%s made %d writes", what, k)
		}
	}
	writes.Store(0)
	s.send(sub)
	if a, ok := s.read().(*packet.Suback); !ok || len(a.Codes) != n || a.Codes[n-1] != 1 {
		t.Fatalf("got %+v", a)
	}
	few("SUBSCRIBE")
	s.bye()
	p.publish("t/499", "m", 1, 1)
	p.expect("PUBACK 1")
	s = b.connect(kept(5, "many")).present(true)
	s.expect(`PUBLISH t/499 "m" q1 id1`)
	b.awaitSubscriptions(n)
	writes.Store(0)
	s.send(unsub)
	if a, ok := s.read().(*packet.Unsuback); !ok || len(a.Codes) != n-1 || a.Codes[n-2] != 0 {
		t.Fatalf("got %+v", a)
	}
	few("UNSUBSCRIBE")
	b.awaitSubscriptions(1)
}

// TestManyFiltersAreNotCompared: subscriptions of one kind are not compared with
// each other, or the time to make them grows with the square of their number.
func TestManyFiltersAreNotCompared(t *testing.T) {
	filter := func(name string, qos uint8) *sub {
		sb, err := newSub(name, qos, 0)
		if err != nil {
			t.Fatal(err)
		}
		return sb
	}
	ss := &session{subs: make(map[string]*sub)}
	var fresh []*sub
	for i := range 50_000 {
		fresh = append(fresh, filter(fmt.Sprintf("t/%d", i), 1))
	}
	ss.noteMixed(fresh)
	if ss.mixed {
		t.Fatal("subscriptions of one kind are mixed")
	}
	for _, sb := range fresh[:100] {
		ss.subs[sb.filter] = sb
	}
	if ss.noteMixed([]*sub{filter("other/+", 0)}); ss.mixed {
		t.Fatal("subscriptions that do not overlap are mixed")
	}
	if ss.noteMixed([]*sub{filter("t/+", 0)}); !ss.mixed {
		t.Fatal("subscriptions that overlap are not mixed")
	}
}

// TestDenyWithinAllow: a subscription of which a rule denies some is taken, and what
// is denied is not delivered, whatever feeds it; nor what the rule that allows it does
// not name. A shared one has to be allowed whole.
func TestDenyWithinAllow(t *testing.T) {
	b, as := ruled(t)
	deny := func(filter string) {
		t.Helper()
		r := shard.ACL{Principal: "ann", Resource: "subject", Filter: filter, Operation: shard.OpSubscribe, Deny: true}
		if err := b.mem.Broker().ACLs.Put(context.Background(), r); err != nil {
			t.Fatal(err)
		}
	}
	deny("open.secret")
	deny("open.*.hush")
	p := as("root", clean(5, "p"))
	id := uint16(0)
	put := func(topic string, retain bool) {
		t.Helper()
		id++
		p.publish(topic, "m", 1, id, func(k *packet.Publish) { k.Retain = retain })
		p.expect(fmt.Sprintf("PUBACK %d", id))
	}
	put("open/secret", true)
	put("open/kept", true)
	put("open", true) // which "open/#" matches, and the rule does not
	s, q := as("ann", kept(5, "s")), as("ann", clean(5, "q"))
	s.subscribe("open/#", 1)
	q.subscribe("open/+", 0)
	s.expect(`PUBLISH open/kept "m" q1 id1 retain`)
	q.expect(`PUBLISH open/kept "m" q0 retain`)
	s.send(&packet.Ack{Kind: packet.PUBACK, ID: 1})
	for _, f := range []string{"$share/g/open/#", "open/secret", "+/secret"} {
		s.send(&packet.Subscribe{ID: 6, Filters: []packet.Subscription{{Filter: f, QoS: 1}}})
		s.expect("SUBACK 6 [135]")
	}
	for _, topic := range []string{"open/secret", "open/x/hush", "open", "open/x.hush", "open/a"} {
		put(topic, false)
	}
	s.expect(`PUBLISH open/a "m" q1 id2`)
	s.send(&packet.Ack{Kind: packet.PUBACK, ID: 2})
	q.expect(`PUBLISH open/a "m" q0`)
	// A rule that comes later, for a session that is away too.
	s.bye()
	put("open/late", false)
	put("open/b", false)
	deny("open.late")
	s = as("ann", kept(5, "s")).present(true)
	k, ok := s.read().(*packet.Publish)
	if !ok || string(k.Topic) != "open/b" {
		t.Fatalf("got %s, want open/b alone", show(k))
	}
	s.quiet()
	q.expect(`PUBLISH open/late "m" q0`, `PUBLISH open/b "m" q0`)
}
