package live

import (
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
	// gen rises after each change and so outdates what is cached.
	gen  atomic.Uint64
	size atomic.Int64

	mu      sync.RWMutex
	subject node[V]
	mqtt    node[V]

	cache struct {
		sync.RWMutex
		gen uint64
		m   map[names]*M
	}
	topics struct {
		sync.RWMutex
		gen uint64
		m   map[*shard.Topic]bool
	}
}

// node is one level of a trie.
type node[V comparable] struct {
	lits map[string]*node[V]
	one  *node[V]
	many *node[V]
	rest []V
	here []V
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

// Add puts a value under a filter.
func (x *Index[V, M]) Add(f shard.Filter, v V) {
	if len(f.Tokens) == 0 {
		return
	}
	x.mu.Lock()
	slot := x.root(f.Space).place(f.Tokens)
	// A match that is being computed reads the old slice, so this one is new.
	*slot = append((*slot)[:len(*slot):len(*slot)], v)
	x.mu.Unlock()
	x.size.Add(1)
	x.gen.Add(1)
}

// Remove takes a value from under a filter; once, if it is there more often.
func (x *Index[V, M]) Remove(f shard.Filter, v V) {
	if len(f.Tokens) == 0 {
		return
	}
	x.mu.Lock()
	removed := x.root(f.Space).remove(f.Tokens, v)
	x.mu.Unlock()
	if removed {
		x.size.Add(-1)
		x.gen.Add(1)
	}
}

func (x *Index[V, M]) root(s shard.Space) *node[V] {
	if s == shard.SpaceMQTT {
		return &x.mqtt
	}
	return &x.subject
}

func (n *node[V]) place(ts []shard.Token) *[]V {
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

// remove takes v out and prunes what became empty.
func (n *node[V]) remove(ts []shard.Token, v V) bool {
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
	if c == nil || !c.remove(ts[1:], v) {
		return false
	}
	if !c.empty() {
		return true
	}
	switch t := ts[0]; t.Kind {
	case shard.TokenOne:
		n.one = nil
	case shard.TokenMany:
		n.many = nil
	default:
		delete(n.lits, t.Text)
	}
	return true
}

func (n *node[V]) empty() bool {
	return len(n.lits) == 0 && n.one == nil && n.many == nil && len(n.rest) == 0 && len(n.here) == 0
}

func without[V comparable](vs *[]V, v V) bool {
	for i, o := range *vs {
		if o == v {
			kept := make([]V, 0, len(*vs)-1)
			*vs = append(append(kept, (*vs)[:i]...), (*vs)[i+1:]...)
			return true
		}
	}
	return false
}

// search collects the values whose filters match one name.
type search[V comparable] struct {
	sep   byte
	found []V
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
		s.found = append(s.found, m.here...)
		if !m.leaf() {
			s.many(m, name, done)
		}
	}
	if done {
		s.found = append(s.found, n.here...)
		return
	}
	s.found = append(s.found, n.rest...)
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
	return len(n.lits) == 0 && n.one == nil && n.many == nil && len(n.rest) == 0
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
func (n *node[V]) collect(found []V, name string, space shard.Space) []V {
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
		if m, ok := x.cache.m[n]; ok {
			x.cache.RUnlock()
			return m
		}
	}
	x.cache.RUnlock()
	m := x.find(n)
	n.subject, n.mqtt = strings.Clone(n.subject), strings.Clone(n.mqtt)
	x.cache.Lock()
	defer x.cache.Unlock()
	switch {
	case gen < x.cache.gen: // found in an older index: true, but not to be kept
		return m
	case gen > x.cache.gen || len(x.cache.m) >= maxCached || x.cache.m == nil:
		x.cache.gen, x.cache.m = gen, make(map[names]*M)
	}
	if known, ok := x.cache.m[n]; ok {
		return known
	}
	x.cache.m[n] = m
	return m
}

func (x *Index[V, M]) find(n names) *M {
	x.mu.RLock()
	vs := x.subject.collect(nil, n.subject, shard.SpaceSubject)
	if !x.mqtt.empty() {
		if n.how == namedExact {
			vs = x.mqtt.collect(vs, n.mqtt, shard.SpaceMQTT)
		} else {
			topic := strings.ReplaceAll(n.subject, ".", "/")
			vs = x.mqtt.collect(vs, topic, shard.SpaceMQTT)
			if n.how == namedForeign && topic != n.subject {
				vs = x.mqtt.collect(vs, n.subject, shard.SpaceMQTT)
			}
		}
	}
	x.mu.RUnlock()
	if vs = unique(vs); len(vs) == 0 {
		return nil
	}
	return x.build(vs)
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

// CanMatch tells whether a record of the topic may match; true may be wrong,
// false never is. It is cheap while the index and the topic do not change.
func (x *Index[V, M]) CanMatch(t *shard.Topic) bool {
	if x.size.Load() == 0 {
		return false
	}
	gen := x.gen.Load()
	x.topics.RLock()
	if x.topics.gen == gen {
		if can, ok := x.topics.m[t]; ok {
			x.topics.RUnlock()
			return can
		}
	}
	x.topics.RUnlock()
	can := x.canMatch(t)
	x.topics.Lock()
	defer x.topics.Unlock()
	if gen < x.topics.gen {
		return can
	}
	if gen > x.topics.gen || x.topics.m == nil || len(x.topics.m) >= maxCached {
		x.topics.gen, x.topics.m = gen, make(map[*shard.Topic]bool)
	}
	x.topics.m[t] = can
	return can
}

func (x *Index[V, M]) canMatch(t *shard.Topic) bool {
	if t.Name == shard.CatchAllTopic {
		return true
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	captures := t.Filters()
	left := maxOverlapChecks
	check := func(f shard.Filter) bool {
		for _, c := range captures {
			if f.Overlaps(c) {
				return true
			}
		}
		left--
		return left <= 0
	}
	if t.CapturesMany() {
		if x.subject.any(shard.Filter{}, check) {
			return true
		}
	} else if len(x.subject.collect(nil, t.Name, shard.SpaceSubject)) > 0 {
		return true
	}
	return x.mqtt.any(shard.Filter{Space: shard.SpaceMQTT}, check)
}

// any tells whether check holds for one of the filters below n.
func (n *node[V]) any(f shard.Filter, check func(shard.Filter) bool) bool {
	with := func(t shard.Token) shard.Filter {
		return shard.Filter{Space: f.Space, Tokens: append(f.Tokens[:len(f.Tokens):len(f.Tokens)], t)}
	}
	if len(n.here) > 0 && check(f) || len(n.rest) > 0 && check(with(shard.Token{Kind: shard.TokenRest})) {
		return true
	}
	if n.one != nil && n.one.any(with(shard.Token{Kind: shard.TokenOne}), check) ||
		n.many != nil && n.many.any(with(shard.Token{Kind: shard.TokenMany}), check) {
		return true
	}
	for text, c := range n.lits {
		if c.any(with(shard.Token{Text: text}), check) {
			return true
		}
	}
	return false
}
