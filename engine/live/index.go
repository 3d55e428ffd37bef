package live

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/robustmq/robustmq-go/shard"
)

// maxCached bounds the cached matches of an Index; past it they are dropped.
const maxCached = 1 << 16

// maxOverlapChecks bounds how many filters CanMatch compares with a topic's
// captures before it says yes.
const maxOverlapChecks = 64

// Index finds the values whose filters match a message. V is one filter's value,
// compared by identity; M is what is made of all that match, once per distinct
// name. It is safe for concurrent use.
type Index[V comparable, M any] struct {
	build func([]V) *M
	// Instead of build: buildSets makes M of sets, each with what keep makes of its
	// values and follows from then on. It need not be made again when they change.
	buildSets func([]*set[V]) *M
	keep      func([]V) keeper[V]
	// gen rises when a filter comes that nobody had, or the last of one goes, and so
	// outdates which filters match a name.
	gen  atomic.Uint64
	size atomic.Int64

	mu      sync.RWMutex
	subject node[V]
	mqtt    node[V]

	cache struct {
		sync.RWMutex
		gen uint64
		m   map[names]*cached[V, M]
	}
	topics struct {
		sync.RWMutex
		gen uint64
		m   map[*shard.Topic]bool
	}
}

// cached is what one name matches: the sets, and what was made of them.
type cached[V comparable, M any] struct {
	m       *M
	sets    []*set[V] // nil where a change of values changes nothing
	version uint64
}

func (c *cached[V, M]) fresh() bool { return len(c.sets) == 0 || versionOf(c.sets) == c.version }

// node is one level of a trie.
type node[V comparable] struct {
	lits map[string]*node[V]
	one  *node[V]
	many *node[V]
	rest *set[V]
	here *set[V]
}

// names are all names that a message is offered under.
type names struct {
	subject string
	// mqtt is the exact MQTT topic where it is kept beside the subject.
	mqtt string
	how  uint8
}

const (
	namedForeign = iota // offered to MQTT with levels for tokens, and verbatim
	namedMQTT           // it came by MQTT: with levels for tokens only
	namedExact          // under names.mqtt
)

// NewIndex makes an empty index. build gets the values that match in no order,
// at least one; what it returns is shared and must not change.
func NewIndex[V comparable, M any](build func([]V) *M) *Index[V, M] {
	return &Index[V, M]{build: build}
}

// Len is the number of filters.
func (x *Index[V, M]) Len() int { return int(x.size.Load()) }

// Add puts a value under a filter. What it costs does not grow with how many are
// under it, nor does a match of the filter cost more for it.
func (x *Index[V, M]) Add(f shard.Filter, v V) {
	if len(f.Tokens) == 0 {
		return
	}
	x.mu.Lock()
	slot := x.root(f.Space).place(f.Tokens)
	fresh := *slot == nil
	if fresh {
		*slot = &set[V]{}
	}
	(*slot).add(v)
	x.mu.Unlock()
	x.size.Add(1)
	if fresh {
		x.gen.Add(1)
	}
}

// Remove takes a value from under a filter; once, if it is there more often.
func (x *Index[V, M]) Remove(f shard.Filter, v V) {
	if len(f.Tokens) == 0 {
		return
	}
	x.mu.Lock()
	removed, last := x.root(f.Space).remove(f.Tokens, v)
	x.mu.Unlock()
	if removed {
		x.size.Add(-1)
	}
	if last {
		x.gen.Add(1)
	}
}

func (x *Index[V, M]) root(s shard.Space) *node[V] {
	if s == shard.SpaceMQTT {
		return &x.mqtt
	}
	return &x.subject
}

func (n *node[V]) place(ts []shard.Token) **set[V] {
	for _, t := range ts {
		switch t.Kind {
		case shard.TokenRest:
			return &n.rest
		case shard.TokenOne:
			if n.one == nil {
				n.one = &node[V]{}
			}
			n = n.one
		case shard.TokenMany:
			if n.many == nil {
				n.many = &node[V]{}
			}
			n = n.many
		default:
			c := n.lits[t.Text]
			if c == nil {
				if n.lits == nil {
					n.lits = make(map[string]*node[V])
				}
				c = &node[V]{}
				n.lits[t.Text] = c
			}
			n = c
		}
	}
	return &n.here
}

// remove takes v out and prunes what became empty; last tells that the filter had
// no other value.
func (n *node[V]) remove(ts []shard.Token, v V) (removed, last bool) {
	if len(ts) == 0 {
		return without(&n.here, v)
	}
	var c *node[V]
	switch t := ts[0]; t.Kind {
	case shard.TokenRest:
		return without(&n.rest, v)
	case shard.TokenOne:
		c = n.one
	case shard.TokenMany:
		c = n.many
	default:
		c = n.lits[t.Text]
	}
	if c == nil {
		return false, false
	}
	if removed, last = c.remove(ts[1:], v); !last || !c.empty() {
		return removed, last
	}
	switch t := ts[0]; t.Kind {
	case shard.TokenOne:
		n.one = nil
	case shard.TokenMany:
		n.many = nil
	default:
		delete(n.lits, t.Text)
	}
	return removed, last
}

func (n *node[V]) empty() bool {
	return len(n.lits) == 0 && n.one == nil && n.many == nil && n.rest == nil && n.here == nil
}

func without[V comparable](at **set[V], v V) (removed, last bool) {
	s := *at
	if s == nil || !s.remove(v) {
		return false, false
	}
	if len(s.vals) > 0 {
		return true, false
	}
	*at = nil
	return true, true
}

// search collects the filters, each by its values, that match one name.
type search[V comparable] struct {
	sep   byte
	found []*set[V]
	// seen are the nodes below a TokenMany and how much of the name was left
	// there: a path with several of them is walked once.
	seen map[step[V]]struct{}
}

type step[V comparable] struct {
	n    *node[V]
	left int // bytes; -1 when no token is left
}

// from goes on at n with the rest of the name, of which no token is left when
// done.
func (s *search[V]) from(n *node[V], name string, done bool) {
	if m := n.many; m != nil {
		s.take(m.here)
		if !m.leaf() {
			s.many(m, name, done)
		}
	}
	if done {
		s.take(n.here)
		return
	}
	s.take(n.rest)
	tok, rest, end := name, "", true
	if i := strings.IndexByte(name, s.sep); i >= 0 {
		tok, rest, end = name[:i], name[i+1:], false
	}
	if c := n.lits[tok]; c != nil {
		s.from(c, rest, end)
	}
	if n.one != nil {
		s.from(n.one, rest, end)
	}
}

func (s *search[V]) take(v *set[V]) {
	if v != nil {
		s.found = append(s.found, v)
	}
}

// many goes on below a TokenMany with every rest of the name. Its own values
// are found already.
func (s *search[V]) many(m *node[V], name string, done bool) {
	if s.seen == nil {
		s.seen = make(map[step[V]]struct{})
	}
	for {
		at := step[V]{m, len(name)}
		if done {
			at.left = -1
		}
		if _, dup := s.seen[at]; dup {
			return
		}
		s.seen[at] = struct{}{}
		s.from(m, name, done)
		if done {
			return
		}
		name, done = after(name, s.sep)
	}
}

func (n *node[V]) leaf() bool {
	return len(n.lits) == 0 && n.one == nil && n.many == nil && n.rest == nil
}

func after(name string, sep byte) (rest string, end bool) {
	if i := strings.IndexByte(name, sep); i >= 0 {
		return name[i+1:], false
	}
	return "", true
}

// collect appends what matches a name, to what may hold some of it already. At
// an MQTT root a leading wildcard does not match names that begin with '$'
// [MQTT-4.7.2-1].
func (n *node[V]) collect(found []*set[V], name string, space shard.Space) []*set[V] {
	s := search[V]{sep: space.Separator(), found: found}
	if space != shard.SpaceMQTT || !strings.HasPrefix(name, "$") {
		s.from(n, name, false)
		return s.found
	}
	tok, rest, end := name, "", true
	if i := strings.IndexByte(name, '/'); i >= 0 {
		tok, rest, end = name[:i], name[i+1:], false
	}
	if c := n.lits[tok]; c != nil {
		s.from(c, rest, end)
	}
	return s.found
}

// Has tells whether a filter matches a subject, without a look at the values.
func (x *Index[V, M]) Has(subject string) bool {
	if x.size.Load() == 0 {
		return false
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.sets(names{subject: subject})) > 0
}

// Match finds what matches a record of that subject; nil when nothing does.
// Equal results of consecutive calls are the same pointer while the index is
// not changed. subject and r may be kept by nobody.
func (x *Index[V, M]) Match(subject string, r *shard.Record) *M {
	if x.size.Load() == 0 {
		return nil
	}
	n := names{subject: subject}
	for i := range r.Headers {
		switch h := &r.Headers[i]; h.Name {
		case shard.HeaderMQTT:
			n.how = max(n.how, namedMQTT)
		case shard.HeaderMQTTTopic:
			if n.how != namedExact {
				n.how, n.mqtt = namedExact, unsafeString(h.Value)
			}
		}
	}
	return x.match(n)
}

func (x *Index[V, M]) match(n names) *M {
	gen := x.gen.Load()
	x.cache.RLock()
	if x.cache.gen == gen {
		if c, ok := x.cache.m[n]; ok && c.fresh() {
			x.cache.RUnlock()
			return c.m
		}
	}
	x.cache.RUnlock()
	c := x.find(n)
	n.subject, n.mqtt = strings.Clone(n.subject), strings.Clone(n.mqtt)
	x.cache.Lock()
	defer x.cache.Unlock()
	switch {
	case gen < x.cache.gen: // found in an older index: true, but not to be kept
		return c.m
	case gen > x.cache.gen || len(x.cache.m) >= maxCached || x.cache.m == nil:
		x.cache.gen, x.cache.m = gen, make(map[names]*cached[V, M])
	}
	if known, ok := x.cache.m[n]; ok && known.fresh() {
		return known.m
	}
	x.cache.m[n] = c
	return c.m
}

func (x *Index[V, M]) find(n names) *cached[V, M] {
	x.mu.RLock()
	sets := unique(x.sets(n)) // one with a TokenMany may match in several ways
	switch {
	case len(sets) == 0:
		x.mu.RUnlock()
		return &cached[V, M]{}
	case x.buildSets != nil:
		all := !slices.ContainsFunc(sets, func(s *set[V]) bool { return s.kept == nil })
		x.mu.RUnlock()
		if !all {
			x.keepAll(sets)
		}
		return &cached[V, M]{m: x.buildSets(sets)}
	}
	c := &cached[V, M]{sets: sets, version: versionOf(sets)}
	var vs []V
	for _, s := range sets {
		vs = append(vs, s.vals...)
	}
	x.mu.RUnlock()
	if len(sets) > 1 {
		vs = unique(vs)
	}
	c.m = x.build(vs)
	return c
}

// keepAll has each set's values made into what is kept of them.
func (x *Index[V, M]) keepAll(sets []*set[V]) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, s := range sets {
		if s.kept == nil {
			s.kept = x.keep(s.vals)
		}
	}
}

// sets gives the filters that match a name. The index is locked.
func (x *Index[V, M]) sets(n names) []*set[V] {
	found := x.subject.collect(nil, n.subject, shard.SpaceSubject)
	if x.mqtt.empty() {
		return found
	}
	if n.how == namedExact {
		return x.mqtt.collect(found, n.mqtt, shard.SpaceMQTT)
	}
	topic := strings.ReplaceAll(n.subject, ".", "/")
	found = x.mqtt.collect(found, topic, shard.SpaceMQTT)
	if n.how == namedForeign && topic != n.subject {
		found = x.mqtt.collect(found, n.subject, shard.SpaceMQTT)
	}
	return found
}

func unique[V comparable](vs []V) []V {
	if len(vs) < 2 {
		return vs
	}
	seen := make(map[V]struct{}, len(vs))
	out := vs[:0]
	for _, v := range vs {
		if _, dup := seen[v]; !dup {
			seen[v] = struct{}{}
			out = append(out, v)
		}
	}
	return out
}
