package gateway

import (
	"testing"

	"github.com/robustmq/robustmq-go/shard"
)

type rules struct {
	shard.ACLs
	list    []shard.ACL
	changed chan struct{}
	read    int
}

func (r *rules) Rules() []shard.ACL {
	r.read++
	return r.list
}

func (r *rules) Changed() <-chan struct{} { return r.changed }

// TestRulesAreReadOnce: a deployment has rules for each of thousands of devices,
// and every publish asks. What they say is read when they change.
func TestRulesAreReadOnce(t *testing.T) {
	r := &rules{changed: make(chan struct{}), list: []shard.ACL{
		{Principal: "u", Resource: ResourceSubject, Filter: "a", Operation: shard.OpPublish},
		{Principal: "*", Resource: ResourceSubject, Filter: "b", Operation: shard.OpPublish},
		{Principal: "v", Resource: ResourceSubject, Filter: "c", Operation: shard.OpPublish},
	}}
	a := NewAuth(nil, r, AuthConfig{})
	ask := func(subject string, want bool) {
		t.Helper()
		if got := a.Allowed(Principal{Name: "u"}, nil, shard.OpPublish, ResourceSubject, subject); got != want {
			t.Errorf("publish to %q: %v", subject, got)
		}
	}
	for range 10 {
		ask("a", true)
		ask("b", true)
		ask("c", false)
	}
	if r.read != 1 {
		t.Errorf("the rules were read %d times", r.read)
	}
	r.list = []shard.ACL{{Principal: "*", Resource: ResourceSubject, Filter: "a", Operation: shard.OpPublish, Deny: true}}
	close(r.changed)
	r.changed = make(chan struct{})
	ask("a", false)
	r.list = nil
	close(r.changed)
	r.changed = make(chan struct{})
	ask("a", true)
}

// TestSubscriptionWithinRules: a wildcard of the client's must not reach beyond
// the wildcard of the rule that allows it.
func TestSubscriptionWithinRules(t *testing.T) {
	allow := func(f string) shard.ACL {
		return shard.ACL{Principal: "u", Resource: ResourceSubject, Filter: f, Operation: shard.OpSubscribe}
	}
	deny := func(f string) shard.ACL {
		r := allow(f)
		r.Deny = true
		return r
	}
	for _, c := range []struct {
		rules []shard.ACL
		sub   string
		want  bool
	}{
		{[]shard.ACL{allow("a.*")}, "a.b", true},
		{[]shard.ACL{allow("a.*")}, "a.*", true},
		{[]shard.ACL{allow("a.*")}, "a.>", false},
		{[]shard.ACL{allow("a.*")}, "*.b", false},
		{[]shard.ACL{allow("a.*")}, "a.b.c", false},
		{[]shard.ACL{allow("a.>")}, "a.*.c", true},
		{[]shard.ACL{allow("a.>")}, "a.>", true},
		{[]shard.ACL{allow("a.>")}, ">", false},
		{[]shard.ACL{allow("a.>")}, "*", false},
		{[]shard.ACL{allow("*.b")}, "*.b", true},
		{[]shard.ACL{allow("*.b")}, "*.*", false},
		{[]shard.ACL{allow(">")}, "a.>", true},
		{[]shard.ACL{allow(">"), deny("secret.x")}, "secret.*", false},
		{[]shard.ACL{allow(">"), deny("secret.x")}, ">", false},
		{[]shard.ACL{allow(">"), deny("secret.x")}, "public.*", true},
		{[]shard.ACL{allow("ord*")}, "orders", true},
		{[]shard.ACL{allow("ord*")}, "orders.>", true},
		{[]shard.ACL{allow("ord*")}, "order-1.*.x", true},
		{[]shard.ACL{allow("ord*")}, "or.>", false},
		{[]shard.ACL{allow("ord*")}, "*", false},
		{[]shard.ACL{allow("ord*")}, ">", false},
		{[]shard.ACL{allow("a.ord*")}, "a.orders.*", true},
		{[]shard.ACL{allow("a.ord*")}, "a.*", false},
		{[]shard.ACL{allow("a.ord*")}, "a.*.orders", false},
		{[]shard.ACL{allow(">"), deny("ord*")}, "orders.>", false},
		{[]shard.ACL{allow(">"), deny("ord*")}, "*", false},
		{[]shard.ACL{allow(">"), deny("ord*")}, "*.x", false},
		{[]shard.ACL{allow(">"), deny("ord*")}, ">", false},
		{[]shard.ACL{allow(">"), deny("ord*")}, "or.>", true},
		{[]shard.ACL{allow(">"), deny("a.ord*")}, "a.>", false},
		{[]shard.ACL{allow(">"), deny("a.ord*")}, "*.orders", false},
		{[]shard.ACL{allow(">"), deny("a.ord*")}, "*.x.*", true},
		{[]shard.ACL{allow(">"), deny("a.ord*")}, "b.>", true},
		{[]shard.ACL{allow(">"), deny("a.ord*")}, "*", true},
	} {
		a := NewAuth(nil, &rules{list: c.rules}, AuthConfig{})
		if got := a.Allowed(Principal{Name: "u"}, nil, shard.OpSubscribe, ResourceSubject, c.sub); got != c.want {
			t.Errorf("rules %v, subscribe %q: %v", c.rules, c.sub, got)
		}
	}
}
