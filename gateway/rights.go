package gateway

import (
	"net"
	"slices"
	"strings"

	"github.com/robustmq/robustmq-go/shard"
)

// What it takes to administer, the same in every protocol and the admin API.
// docs/SECURITY.md has the table.

// Administrator tells whether p may do everything: a superuser, or by a rule that
// allows admin on the cluster. Anonymous clients never are.
func (a *Auth) Administrator(p Principal, remote net.Addr) bool {
	return a.Allowed(p, remote, shard.OpAdmin, ResourceCluster, ResourceCluster)
}

// MaySeeAccounts tells whether p may look at rules, accounts and their limits.
func (a *Auth) MaySeeAccounts(p Principal, remote net.Addr) bool {
	return a.Administrator(p, remote) || !p.Anonymous && a.Ruled() &&
		a.Allowed(p, remote, shard.OpDescribe, ResourceCluster, ResourceCluster)
}

// MaySetPassword tells whether p may change the password of an account: an
// administrator, and everybody their own.
func (a *Auth) MaySetPassword(p Principal, remote net.Addr, user string) bool {
	return !p.Anonymous && p.Name == user || a.Administrator(p, remote)
}

// MayManageTopic tells whether p may create, alter or delete a topic of that name.
// The topic that takes the subjects past the bound is no first use of a subject.
func (a *Auth) MayManageTopic(p Principal, remote net.Addr, op shard.Operation, name string) bool {
	if name == shard.CatchAllTopic && !a.Ruled() {
		return a.Administrator(p, remote)
	}
	return a.Allowed(p, remote, op, ResourceSubject, name) ||
		op == shard.OpCreate && a.Allowed(p, remote, op, ResourceCluster, ResourceCluster) ||
		a.Administrator(p, remote)
}

// MayManageGroup is MayManageTopic for a group.
func (a *Auth) MayManageGroup(p Principal, remote net.Addr, op shard.Operation, name string) bool {
	return a.Allowed(p, remote, op, ResourceGroup, name) || a.Administrator(p, remote)
}

// MayCapture tells whether p may let a topic take what is published to the
// subjects of filters: rules allow publishing and subscribing to all of them.
// Without rules it takes a superuser, for a capture decides what becomes of
// others' messages.
func (a *Auth) MayCapture(p Principal, remote net.Addr, filters []string) bool {
	if a.Administrator(p, remote) {
		return true
	}
	if !a.Ruled() {
		return len(filters) == 0
	}
	for _, f := range filters {
		for _, op := range []shard.Operation{shard.OpPublish, shard.OpSubscribe} {
			q := question{op: op, resource: ResourceSubject, name: f, wild: strings.ContainsAny(f, "*>")}
			if a.ask(p, remote, q) != CoversAll {
				return false
			}
		}
	}
	return true
}

// NewCaptures gives the filters that a change of a topic adds to those that p
// answers for; its own name needs no right but that to create it.
func NewCaptures(old []string, t *shard.Topic) []string {
	var added []string
	for _, f := range t.Captures {
		if !t.CapturesName(f) && !slices.Contains(old, f) {
			added = append(added, f)
		}
	}
	return added
}

// maxUserName bounds the name of an account, in bytes.
const maxUserName = 256

// CheckUserName refuses the names that accounts cannot have.
func CheckUserName(name string) error {
	if name == "" || name == "*" || name == "anonymous" || len(name) > maxUserName {
		return shard.Errorf(shard.KindInvalid, "user name is empty, reserved or too long")
	}
	return nil
}

// KeepSuperuser refuses that name ends to be a superuser when no other is.
func (a *Auth) KeepSuperuser(name string) error {
	if u, ok := a.users.User(name); !ok || !u.Superuser {
		return nil
	}
	for _, o := range a.users.List() {
		if o.Superuser && o.Name != name {
			return nil
		}
	}
	return shard.Errorf(shard.KindExists, "user %q is the last superuser: nobody could administer the cluster", name)
}

// Sight is what a principal may see of a topic's records: some topics capture
// subjects that it may not subscribe to.
type Sight struct {
	auth   *Auth
	who    Principal
	remote net.Addr
	how    Coverage
}

// SightOf tells how much of a topic p may see. Who may not subscribe to the
// topic's own name sees nothing of it by that name; of what it captures, p sees
// the records whose subject p may subscribe to.
func (a *Auth) SightOf(p Principal, remote net.Addr, t *shard.Topic) Sight {
	s := Sight{auth: a, who: p, remote: remote}
	if !a.MaySee(p, remote, t.Name) {
		return s
	}
	s.how = CoversAll
	if p.Superuser || !t.CapturesMany() {
		return s
	}
	filters := t.Captures
	if t.Name == shard.CatchAllTopic {
		filters = []string{">"}
	}
	any := false
	for _, f := range filters {
		c := a.reach(p, remote, f)
		any = any || c != CoversNone
		if c != CoversAll {
			s.how = CoversPart
		}
	}
	if !any {
		s.how = CoversNone
	}
	return s
}

// reach is how much of a capture p may see. Unlike a subscription it need not be
// allowed whole: what no rule allows is left out record by record.
func (a *Auth) reach(p Principal, remote net.Addr, filter string) Coverage {
	q := question{op: shard.OpSubscribe, resource: ResourceSubject, name: filter, wild: strings.ContainsAny(filter, "*>")}
	c := a.ask(p, remote, q)
	if c != CoversNone || !q.wild {
		return c
	}
	set := a.ruleset()
	for _, of := range [2][]rule{set.of[p.Name], set.of["*"]} {
		for i := range of {
			r := &of[i]
			if !r.Deny && (r.Operation == q.op || r.Operation == shard.OpAll) && (r.Resource == q.resource || r.Resource == "*") &&
				hostMatches(r.Host, remote, false) && r.matches(&q) != CoversNone {
				return CoversPart
			}
		}
	}
	return CoversNone
}

// None tells whether nothing of it may be seen.
func (s Sight) None() bool { return s.how == CoversNone }

// All tells whether no record need be looked at.
func (s Sight) All() bool { return s.how == CoversAll }

// Record tells whether a record of the topic may be seen.
func (s Sight) Record(t *shard.Topic, r *shard.Record) bool {
	return s.how == CoversAll || s.how == CoversPart && s.auth.MaySee(s.who, s.remote, t.SubjectOf(r))
}
