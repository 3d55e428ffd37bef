package gateway

import (
	"testing"

	"github.com/robustmq/robustmq-go/shard"
)

type rules struct {
	shard.ACLs
	list []shard.ACL
}

func (r rules) Rules() []shard.ACL { return r.list }

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
		a := NewAuth(nil, rules{list: c.rules}, AuthConfig{})
		if got := a.Allowed(Principal{Name: "u"}, nil, shard.OpSubscribe, ResourceSubject, c.sub); got != c.want {
			t.Errorf("rules %v, subscribe %q: %v", c.rules, c.sub, got)
		}
	}
}
