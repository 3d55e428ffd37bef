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
// at all it is what byDefault says; else what no rule allows is denied, and a
// denying rule wins. A filter is allowed where all of it is: see Coverage for
// those that are in part.
func (a *Auth) Allowed(p Principal, remote net.Addr, op shard.Operation, resource, name string) bool {
	return a.Coverage(p, remote, op, resource, name) == CoversAll
}

// MaySee asks about the subject that a record carries: whatever it is read by.
// Wildcards in it are letters.
func (a *Auth) MaySee(p Principal, remote net.Addr, subject string) bool {
	return a.ask(p, remote, question{op: shard.OpSubscribe, resource: ResourceSubject, name: subject}) == CoversAll
}

// Coverage says how much of a filter a principal may have.
type Coverage uint8

// The coverages.
const (
	// CoversNone: no rule allows it all, or one denies it all.
	CoversNone Coverage = iota
	// CoversPart: a rule allows it all, and one denies some of it. A subscription
	// is taken, and each message asked about by its subject.
	CoversPart
	CoversAll
)

// Coverage is Allowed for who can deal with a part of a filter.
func (a *Auth) Coverage(p Principal, remote net.Addr, op shard.Operation, resource, name string) Coverage {
	q := question{op: op, resource: resource, name: name}
	q.wild = op == shard.OpSubscribe && resource == ResourceSubject && strings.ContainsAny(name, "*>")
	return a.ask(p, remote, q)
}

// question is what is asked of the rules; wild says that the name is a filter.
type question struct {
	op             shard.Operation
	resource, name string
	wild           bool
}

func (a *Auth) ask(p Principal, remote net.Addr, q question) Coverage {
	switch {
	case p.Superuser:
		return CoversAll
	case q.op == shard.OpAdmin && p.Anonymous: // whatever a rule for "*" says
		return CoversNone
	}
	set := a.ruleset()
	if set.none {
		return coverage(byDefault(q.op, q.resource))
	}
	c := CoversNone
	part := false
	for _, of := range [2][]rule{set.of[p.Name], set.of["*"]} {
		for i := range of {
			r := &of[i]
			if r.Operation != q.op && r.Operation != shard.OpAll || r.Resource != q.resource && r.Resource != "*" ||
				!hostMatches(r.Host, remote, r.Deny) {
				continue
			}
			switch m := r.matches(&q); {
			case r.Deny && m == CoversAll:
				return CoversNone
			case r.Deny:
				part = part || m == CoversPart
			case m == CoversAll:
				c = CoversAll
			}
		}
	}
	if part && c == CoversAll {
		return CoversPart
	}
	return c
}

func coverage(all bool) Coverage {
	if all {
		return CoversAll
	}
	return CoversNone
}

// byDefault is what everybody who is let in may do while there is no rule at all:
// publish and subscribe, in whatever protocol. Creating is the first use of a
// subject, a queue or a group; describing is looking for them.
func byDefault(op shard.Operation, resource string) bool {
	switch op {
	case shard.OpPublish, shard.OpSubscribe:
		return true
	case shard.OpCreate:
		return resource != ResourceCluster
	case shard.OpDescribe:
		return true
	}
	return false
}

// ruleset is the access rules by principal, so that a question costs what the
// rules of who asks cost, not those of all. It holds until changed is closed.
type ruleset struct {
	changed <-chan struct{}
	none    bool
	of      map[string][]rule
}

// rule is an access rule whose filter is read.
type rule struct {
	shard.ACL
	every    bool // all names
	filter   shard.Filter
	isFilter bool   // filter was read
	prefix   string // of "orders-*": all names that begin with "orders-", whatever follows
	isPrefix bool
}

func newRule(r shard.ACL) rule {
	x := rule{ACL: r, every: r.Filter == "*" || r.Filter == ">"}
	if r.Resource == ResourceSubject || r.Resource == "*" {
		f, err := shard.ParseSubjectFilter(r.Filter)
		x.filter, x.isFilter = f, err == nil
	}
	// Of subjects "a.*" is a filter over tokens, and no prefix.
	p, ok := strings.CutSuffix(r.Filter, "*")
	x.prefix, x.isPrefix = p, ok && p != "" && (r.Resource != ResourceSubject || p[len(p)-1] != '.')
	return x
}

func (a *Auth) ruleset() *ruleset {
	if s := a.rules.Load(); s != nil {
		select {
		case <-s.changed:
		default:
			return s
		}
	}
	s := &ruleset{changed: a.acls.Changed(), of: make(map[string][]rule)} // first, or a change could be missed
	rules := a.acls.Rules()
	s.none = len(rules) == 0
	for _, r := range rules {
		s.of[r.Principal] = append(s.of[r.Principal], newRule(r))
	}
	a.rules.Store(s)
	return s
}

// Ruled tells whether there is any access rule.
func (a *Auth) Ruled() bool { return !a.ruleset().none }

// RulesChanged gives a channel that is closed when the access rules change; what
// was allowed before it is to be asked again then.
func (a *Auth) RulesChanged() <-chan struct{} { return a.acls.Changed() }

func hostMatches(host string, remote net.Addr, deny bool) bool {
	if host == "" || host == "*" {
		return true
	}
	if remote == nil {
		return false
	}
	h, _, err := net.SplitHostPort(remote.String())
	return err == nil && h == host && (deny || !foreign(remote))
}

// matches tells how much of what is asked for a rule is about.
func (r *rule) matches(q *question) Coverage {
	if r.every {
		return CoversAll
	}
	if !q.wild {
		return coverage(r.names(q.name))
	}
	want, err := shard.ParseSubjectFilter(q.name)
	if _, literal := want.Literal(); err == nil && literal { // "a*b" is a token
		return coverage(r.names(q.name))
	}
	switch {
	case r.isPrefix && prefixCovers(r.prefix, q.name):
		return CoversAll
	case r.isPrefix:
		return some(prefixOverlaps(r.prefix, q.name))
	case !r.isFilter:
		return CoversNone
	case err != nil:
		return CoversPart // nobody can tell: it does not do to allow
	case covers(r.filter.Tokens, want.Tokens):
		return CoversAll
	}
	return some(r.filter.Overlaps(want))
}

func some(part bool) Coverage {
	if part {
		return CoversPart
	}
	return CoversNone
}

// names tells whether a rule is about one name.
func (r *rule) names(name string) bool {
	return r.Filter == name || r.isFilter && r.filter.Match(name) ||
		r.isPrefix && strings.HasPrefix(name, r.prefix)
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

// prefixCovers tells whether all subjects of a subscription have a prefix.
func prefixCovers(prefix, sub string) bool {
	return strings.HasPrefix(sub[:strings.IndexAny(sub, "*>")], prefix)
}

// prefixOverlaps tells whether some subject of a subscription can have a prefix.
func prefixOverlaps(prefix, sub string) bool {
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
