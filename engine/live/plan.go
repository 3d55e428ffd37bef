package live

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/robustmq/robustmq-go/shard"
)

// plan is the subscribers of one filter. It is immutable; a change makes another one
// that shares most of it.
type plan struct {
	direct list[*target]
	queues list[*queue]
}

// target is a subscriber with those of its filters that match.
type target struct {
	sub     *subscription
	filters list[*filter]
	ids     atomic.Pointer[[]shard.SubID] // of filters, made when it is delivered to
}

// queue is subscribers of which one takes a message.
type queue struct {
	name    string
	members list[*filter]
}

func (t *target) with(f *filter) *target { return &target{sub: t.sub, filters: t.filters.add(f)} }

// take adds a filter whose own target it is: that knows its place.
func (t *target) take(f *filter) *target {
	f.at = t.filters.n
	return t.with(f)
}

func (t *target) without(f *filter) *target {
	t.filters.get(t.filters.n - 1).at = f.at
	return &target{sub: t.sub, filters: t.filters.remove(f.at)}
}

// matched gives the ids of those filters that take what origin publishes.
func (t *target) matched(origin shard.Origin) []shard.SubID {
	for _, c := range t.filters.chunks {
		for _, f := range c.vals {
			if !f.takes(origin) {
				return t.some(origin)
			}
		}
	}
	if ids := t.ids.Load(); ids != nil {
		return *ids
	}
	ids := make([]shard.SubID, 0, t.filters.n)
	for f := range t.filters.all() {
		ids = append(ids, f.id)
	}
	t.ids.Store(&ids)
	return ids
}

func (t *target) some(origin shard.Origin) (ids []shard.SubID) {
	for f := range t.filters.all() {
		if f.takes(origin) {
			ids = append(ids, f.id)
		}
	}
	return ids
}

// members keeps the plan of a set's filters of one kind. It changes under the lock
// of the index, under which its maps are read, too.
type members struct {
	plan atomic.Pointer[plan]
	subs map[*subscription]int // places in plan.direct
	qs   map[string]int        // and in plan.queues
}

func (m *members) add(f *filter) {
	p := *m.plan.Load()
	if f.opts.Queue != "" {
		p.queues = m.addQueued(p.queues, f)
	} else if i, ok := m.subs[f.sub]; ok {
		p.direct = p.direct.replace(i, p.direct.get(i).take(f))
	} else {
		m.subs[f.sub] = p.direct.n
		p.direct = p.direct.add((&target{sub: f.sub}).take(f))
	}
	m.plan.Store(&p)
}

func (m *members) addQueued(qs list[*queue], f *filter) list[*queue] {
	at, ok := m.qs[f.opts.Queue]
	if !ok {
		m.qs[f.opts.Queue], f.at = qs.n, 0
		return qs.add(&queue{f.opts.Queue, list[*filter]{}.add(f)})
	}
	q := qs.get(at)
	f.at = q.members.n
	return qs.replace(at, &queue{q.name, q.members.add(f)})
}

func (m *members) remove(f *filter) {
	p := *m.plan.Load()
	if f.opts.Queue != "" {
		p.queues = m.removeQueued(p.queues, f)
		m.plan.Store(&p)
		return
	}
	i := m.subs[f.sub]
	t := p.direct.get(i)
	if t.filters.n > 1 {
		p.direct = p.direct.replace(i, t.without(f))
	} else {
		m.subs[p.direct.get(p.direct.n-1).sub] = i
		delete(m.subs, f.sub)
		p.direct = p.direct.remove(i)
	}
	m.plan.Store(&p)
}

func (m *members) removeQueued(qs list[*queue], f *filter) list[*queue] {
	at := m.qs[f.opts.Queue]
	q := qs.get(at)
	if q.members.n == 1 {
		m.qs[qs.get(qs.n-1).name] = at
		delete(m.qs, q.name)
		return qs.remove(at)
	}
	q.members.get(q.members.n - 1).at = f.at
	return qs.replace(at, &queue{q.name, q.members.remove(f.at)})
}

// audience is what a set of filters keeps: its subscribers of both kinds.
type audience struct{ early, durable members }

func newAudience(fs []*filter) keeper[*filter] {
	a := &audience{}
	for _, m := range []*members{&a.early, &a.durable} {
		m.subs, m.qs = make(map[*subscription]int), make(map[string]int)
		m.plan.Store(&plan{})
	}
	a.fill(fs)
	return a
}

// fill is add of many, without a plan for each.
func (a *audience) fill(fs []*filter) {
	targets := make(map[*members][]*target)
	for _, f := range fs {
		m := a.of(f)
		if f.opts.Queue != "" {
			m.add(f)
			continue
		}
		ts := targets[m]
		if i, ok := m.subs[f.sub]; ok {
			ts[i] = ts[i].take(f)
			continue
		}
		m.subs[f.sub] = len(ts)
		targets[m] = append(ts, (&target{sub: f.sub}).take(f))
	}
	for m, ts := range targets {
		m.plan.Store(&plan{direct: listOf(ts), queues: m.plan.Load().queues})
	}
}

func (a *audience) of(f *filter) *members {
	if f.opts.Durable {
		return &a.durable
	}
	return &a.early
}

func (a *audience) add(f *filter)    { a.of(f).add(f) }
func (a *audience) remove(f *filter) { a.of(f).remove(f) }

// match is the filters that one name matches, by their subscribers of each kind.
type match struct{ early, durable reach }

// reach is the subscribers of some filters. Who has several of them gets a message
// once: such are found beside, in as many steps as the filters have subscribers but
// for the one with most.
type reach struct {
	index *Index[*filter, match]
	of    []*members

	mu     sync.Mutex
	shared *shared
}

// shared is what several filters have in common.
type shared struct {
	plans   []*plan // of which it was made
	direct  []*target
	subs    map[*subscription]struct{}
	queues  []*queue
	byQueue map[string]struct{}
}

func (h *Hub) buildMatch(sets []*set[*filter]) *match {
	m := &match{}
	m.early.index, m.durable.index = h.index, h.index
	for _, s := range sets {
		a := s.kept.(*audience)
		m.early.of = append(m.early.of, &a.early)
		m.durable.of = append(m.durable.of, &a.durable)
	}
	return m
}

// run delivers messages of one subject that were published by one origin, and
// gives the number of deliveries.
func (r *reach) run(ms []shard.Message) int {
	if len(r.of) == 1 {
		return r.of[0].plan.Load().run(ms, nil)
	}
	s := r.common()
	n := 0
	for _, p := range s.plans {
		n += p.run(ms, s)
	}
	for _, t := range s.direct {
		n += t.deliver(ms)
	}
	for _, q := range s.queues {
		n += runQueue(q.members, ms)
	}
	return n
}

// run leaves out what is shared with other plans.
func (p *plan) run(ms []shard.Message, s *shared) int {
	n := 0
	for _, c := range p.direct.chunks {
		for _, t := range c.vals {
			if s != nil && len(s.subs) > 0 {
				if _, not := s.subs[t.sub]; not {
					continue
				}
			}
			n += t.deliver(ms)
		}
	}
	for q := range p.queues.all() {
		if s != nil && len(s.byQueue) > 0 {
			if _, not := s.byQueue[q.name]; not {
				continue
			}
		}
		n += runQueue(q.members, ms)
	}
	return n
}

// common gives what the filters share as they are now.
func (r *reach) common() *shared {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.shared; s != nil && s.current(r.of) {
		return s
	}
	r.index.mu.RLock()
	defer r.index.mu.RUnlock()
	s := &shared{plans: make([]*plan, len(r.of))}
	most := 0
	for i, m := range r.of {
		s.plans[i] = m.plan.Load()
		if s.plans[i].direct.n > s.plans[most].direct.n {
			most = i
		}
	}
	s.shareDirect(r.of, most)
	s.shareQueues(r.of)
	r.shared = s
	return s
}

func (s *shared) current(of []*members) bool {
	for i, m := range of {
		if s.plans[i] != m.plan.Load() {
			return false
		}
	}
	return true
}

func (s *shared) shareDirect(of []*members, most int) {
	for i, p := range s.plans {
		if i == most {
			continue
		}
		for t := range p.direct.all() {
			s.share(of, t, i, most)
		}
	}
}

// share notes a subscriber of the plan at i if another has it. Those before it looked already, but for the one with most.
func (s *shared) share(of []*members, t *target, i, most int) {
	if _, known := s.subs[t.sub]; known {
		return
	}
	all := t
	for j, m := range of {
		if j == i || j < i && j != most {
			continue
		}
		if at, ok := m.subs[t.sub]; ok {
			for f := range s.plans[j].direct.get(at).filters.all() {
				all = all.with(f)
			}
		}
	}
	if all == t {
		return
	}
	if s.subs == nil {
		s.subs = make(map[*subscription]struct{})
	}
	s.subs[t.sub] = struct{}{}
	s.direct = append(s.direct, all)
}

func (s *shared) shareQueues(of []*members) {
	for i := range of {
		for q := range s.plans[i].queues.all() {
			s.shareQueue(of, q, i)
		}
	}
}

func (s *shared) shareQueue(of []*members, q *queue, i int) {
	if _, known := s.byQueue[q.name]; known {
		return
	}
	var all []*filter
	for j := i + 1; j < len(of); j++ {
		if at, ok := of[j].qs[q.name]; ok {
			all = slices.AppendSeq(all, s.plans[j].queues.get(at).members.all())
		}
	}
	if all == nil {
		return
	}
	if s.byQueue == nil {
		s.byQueue = make(map[string]struct{})
	}
	s.byQueue[q.name] = struct{}{}
	all = slices.AppendSeq(all, q.members.all())
	s.queues = append(s.queues, &queue{q.name, listOf(all)})
}

// wants tells whether a filter takes what origin publishes.
func (r *reach) wants(origin shard.Origin) bool {
	wants := func(f *filter) bool { return f.opts.NotFrom == 0 || f.opts.NotFrom != origin }
	for _, m := range r.of {
		p := m.plan.Load()
		for t := range p.direct.all() {
			for f := range t.filters.all() {
				if wants(f) {
					return true
				}
			}
		}
		for q := range p.queues.all() {
			for f := range q.members.all() {
				if wants(f) {
					return true
				}
			}
		}
	}
	return false
}

// runQueue hands each message to one member, starting at a random one; what one
// member gets in a row goes in one call. What a member does not take goes on to
// the next.
func runQueue(members list[*filter], ms []shard.Message) int {
	n, at := 0, rand.IntN(members.n)
	each := max((len(ms)+members.n-1)/members.n, 1)
	for len(ms) > 0 {
		took := 0
		for range members.n {
			at = (at + 1) % members.n
			if took = members.get(at).deliver(ms[:min(each, len(ms))]); took > 0 {
				break
			}
		}
		if took == 0 {
			break
		}
		n, ms = n+took, ms[took:]
	}
	return n
}
