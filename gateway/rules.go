package gateway

import (
	"net"
	"strings"

	"github.com/robustmq/robustmq-go/shard"
)

// Resources of an access rule.
const (
	ResourceSubject = "subject"
	ResourceGroup   = "group"
	ResourceCluster = "cluster"
)

// Allowed tells whether p may do op to a resource: a subject, a subscription
// filter in canonical subject form, a group's name, or "cluster". With no rule
// at all everything is allowed; else what no rule allows is denied, and a
// denying rule wins.
func (a *Auth) Allowed(p Principal, remote net.Addr, op shard.Operation, resource, name string) bool {
	if p.Superuser {
		return true
	}
	set := a.ruleset()
	if set.none {
		return op != shard.OpAdmin || !p.Anonymous
	}
	allowed := false
	for _, of := range [2][]shard.ACL{set.of[p.Name], set.of["*"]} {
		for i := range of {
			r := &of[i]
			if r.Operation != op && r.Operation != shard.OpAll || r.Resource != resource && r.Resource != "*" ||
				!hostMatches(r.Host, remote) || !ruleMatches(r, op, name) {
				continue
			}
			if r.Deny {
				return false
			}
			allowed = true
		}
	}
	return allowed
}

// ruleset is the access rules by principal, so that a question costs what the
// rules of who asks cost, not those of all. It holds until changed is closed.
type ruleset struct {
	changed <-chan struct{}
	none    bool
	of      map[string][]shard.ACL
}

func (a *Auth) ruleset() *ruleset {
	if s := a.rules.Load(); s != nil {
		select {
		case <-s.changed:
		default:
			return s
		}
	}
	s := &ruleset{changed: a.acls.Changed(), of: make(map[string][]shard.ACL)} // first, or a change could be missed
	rules := a.acls.Rules()
	s.none = len(rules) == 0
	for _, r := range rules {
		s.of[r.Principal] = append(s.of[r.Principal], r)
	}
	a.rules.Store(s)
	return s
}

// RulesChanged gives a channel that is closed when the access rules change; what
// was allowed before it is to be asked again then.
func (a *Auth) RulesChanged() <-chan struct{} { return a.acls.Changed() }

func hostMatches(host string, remote net.Addr) bool {
	if host == "" || host == "*" {
		return true
	}
	if remote == nil {
		return false
	}
	h, _, err := net.SplitHostPort(remote.String())
	return err == nil && h == host
}

// ruleMatches tells whether a rule is about a name. A subscription to many
// subjects is allowed by a rule that covers all of them, and denied by one that
// holds any of them.
func ruleMatches(r *shard.ACL, op shard.Operation, name string) bool {
	if op != shard.OpSubscribe || r.Resource != ResourceSubject || !strings.ContainsAny(name, "*>") {
		return nameMatches(r, name)
	}
	if prefix, ok := rawPrefix(r.Filter); ok {
		return prefixMatches(prefix, name, r.Deny)
	}
	want, err := shard.ParseSubjectFilter(name)
	rule, err2 := shard.ParseSubjectFilter(r.Filter)
	switch {
	case r.Filter == "*" || r.Filter == ">":
		return true
	case err2 != nil:
		return false
	case err != nil:
		return r.Deny
	case r.Deny:
		return rule.Overlaps(want)
	}
	return covers(rule.Tokens, want.Tokens)
}

// covers tells whether every subject that inner matches is matched by outer.
func covers(outer, inner []shard.Token) bool {
	for i, o := range outer {
		switch {
		case i >= len(inner):
			return false
		case o.Kind == shard.TokenRest:
			return true
		case inner[i].Kind == shard.TokenRest:
			return false
		case o.Kind == shard.TokenLiteral && (inner[i].Kind != shard.TokenLiteral || inner[i].Text != o.Text):
			return false
		}
	}
	return len(outer) == len(inner)
}

// rawPrefix gives the prefix of a rule "orders-*": all names that begin with
// "orders-", whatever follows. "*" and "a.*" are filters over tokens.
func rawPrefix(filter string) (string, bool) {
	p, ok := strings.CutSuffix(filter, "*")
	return p, ok && p != "" && p[len(p)-1] != '.'
}

// prefixMatches holds a subscription to many subjects against a prefix: all of
// them have it, or, for a rule that denies, some can have it.
func prefixMatches(prefix, sub string, deny bool) bool {
	if !deny {
		return strings.HasPrefix(sub[:strings.IndexAny(sub, "*>")], prefix)
	}
	for {
		p, moreP, last := cut(prefix)
		token, moreSub, end := cut(sub)
		switch {
		case token == ">":
			return true
		case last:
			return token == "*" || strings.HasPrefix(token, p)
		case end, token != "*" && token != p:
			return false
		}
		prefix, sub = moreP, moreSub
	}
}

func cut(name string) (token, rest string, last bool) {
	token, rest, more := strings.Cut(name, ".")
	return token, rest, !more
}

func nameMatches(r *shard.ACL, name string) bool {
	if r.Filter == "*" || r.Filter == ">" || r.Filter == name {
		return true
	}
	if r.Resource == ResourceSubject {
		if f, err := shard.ParseSubjectFilter(r.Filter); err == nil && f.Match(name) {
			return true
		}
		if strings.HasSuffix(r.Filter, ".*") { // one token, not a prefix
			return false
		}
	}
	prefix, ok := strings.CutSuffix(r.Filter, "*")
	return ok && strings.HasPrefix(name, prefix)
}
