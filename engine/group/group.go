package group

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/robustmq-go/engine/live"
	"github.com/robustmq/robustmq-go/shard"
)

// maxName bounds the names of groups and the IDs of bindings, in bytes.
const maxName = 64 << 10

// group is a shard.Group. It lives until its gone channel is closed.
type group struct {
	m       *Manager
	name    string
	durable bool
	// queued: a worker will look after it.
	queued atomic.Bool
	// ready is closed once it is created, gone once its name is free again.
	ready, gone chan struct{}
	// changing serialises changes of bindings; taken before mu.
	changing sync.Mutex

	mu        sync.Mutex
	cond      sync.Cond // a delivery or a fill ended
	cfg       shard.GroupConfig
	idleSince time.Time // of the last use; zero while there are steady consumers
	idleNoted time.Time // the one that was written last
	over      bool

	bound    map[string]*binding // active, by ID
	all      []*binding          // and those removed that are still needed
	serial   uint64
	rev      uint64 // rises with each change of bindings
	removed  int    // of all
	attended bool   // it has steady consumers: m.attended has its bindings
	pending  int    // changes of bindings and purges under way: nothing is read meanwhile
	lookup   *live.Index[*binding, []*binding]
	lookRev  uint64
	cursors  map[shard.ID]*cursor
	lag      []*cursor // those that are not live, in no order
	ring     fifo
	returned heapOf // by place
	held     heapOf // delayed, by time
	seq      uint64
	chance   uint64 // seq of the last entry that consumers had the chance to take

	readyN, heldN           int
	readyBytes              int64
	unackedN                int
	unackedBytes            int64
	ackedTotal, againTotal  int64
	levels                  []*level
	consumers, pulling      int // all; those of them that pull
	dispatching, again      bool
	round                   uint64
	filling                 bool
	fillAt, lazyAt, writeAt time.Time
	wakeAt                  time.Time
	timed                   int // see wakes; under the timer's lock
	limits                  shard.GroupLimits
	limited                 bool      // tidy has something to do
	active                  *consumer // the single one
	graves                  []grave
	dyingN                  int   // given up, and not buried yet
	dyingBytes              int64 // counted in m.queued, too
	burying                 bool  // a call of bury is under way
	bodyBytes               int64 // values of what is ready
	sizedN, sizedBytes      int64 // values seen so far
	writes
}

func newGroup(m *Manager, c shard.GroupConfig) *group {
	c.Data = slices.Clone(c.Data)
	g := &group{
		m: m, name: c.Name, durable: c.Durable, cfg: c, ready: make(chan struct{}), gone: make(chan struct{}),
		bound: make(map[string]*binding), cursors: make(map[shard.ID]*cursor),
	}
	g.cond.L = &g.mu
	g.returned.less = before
	g.held.less = func(a, b *entry) bool { return a.at < b.at }
	return g
}

// usable tells whether the group was created and did not end.
func (g *group) usable() bool {
	select {
	case <-g.ready:
	default:
		return false
	}
	return g.ended() == nil
}

// ended gives nil while the group lives, else the channel that tells when its
// name is free.
func (g *group) ended() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return g.gone
	}
	return nil
}

// Config implements shard.Group.
func (g *group) Config() shard.GroupConfig {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cfg
}

// Bindings implements shard.Group.
func (g *group) Bindings() shard.GroupBindings { return (*bindings)(g) }

// Stats implements shard.Group.
func (g *group) Stats() shard.GroupStats {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tidy(g.m.opts.Now())
	s := shard.GroupStats{
		Ready: int64(g.readyN + g.heldN), Unacked: int64(g.unackedN), Consumers: g.steady(),
		Acked: g.ackedTotal, Redelivered: g.againTotal,
	}
	for _, c := range g.lag {
		s.Ready += c.waiting()
	}
	return s
}

// SetData implements shard.Group.
func (g *group) SetData(ctx context.Context, data []byte, expireAfter time.Duration) error {
	g.mu.Lock()
	if g.over {
		g.mu.Unlock()
		return shard.ErrGroupNotFound
	}
	if err := checkConfig(&shard.GroupConfig{Name: g.name, Data: data, ExpireAfter: expireAfter}); err != nil {
		g.mu.Unlock()
		return err
	}
	if expireAfter != g.cfg.ExpireAfter && g.steady() == 0 {
		g.idleSince = g.m.opts.Now() // a new bound does not reach back: the idle time before kept to the old one
		g.idleNoted = g.idleSince
	}
	g.cfg.Data, g.cfg.ExpireAfter = slices.Clone(data), expireAfter
	g.configDirty = true
	wait := g.markLocked()
	g.rescheduleLocked()
	g.mu.Unlock()
	return g.written(ctx, wait)
}

// Purge implements shard.Group.
func (g *group) Purge(ctx context.Context) (int64, error) {
	n, wait, err := g.purge(ctx)
	g.kick()
	if err != nil {
		return n, err
	}
	return n, g.written(ctx, wait)
}

func (g *group) purge(ctx context.Context) (n int64, wait uint64, err error) {
	g.mu.Lock()
	if g.over {
		g.mu.Unlock()
		return 0, 0, shard.ErrGroupNotFound
	}
	g.pending++ // or what is dropped now would be read on at once
	defer func() {
		g.mu.Lock()
		g.pending--
		g.mu.Unlock()
	}()
	var behind []*cursor
	for _, c := range g.cursors {
		n += g.purgeLocked(c)
		if !c.live {
			behind = append(behind, c)
		}
	}
	wait = g.markLocked()
	g.mu.Unlock()
	for _, c := range behind {
		k, err := g.skip(ctx, c)
		if err != nil {
			return n, 0, err
		}
		n += k
	}
	if len(behind) > 0 {
		wait = g.touch(1)
	}
	return n, wait, nil
}

// purgeLocked drops what a cursor has ready or delayed in memory.
func (g *group) purgeLocked(c *cursor) (n int64) {
	for _, e := range slices.Clone(c.out[c.head:]) {
		switch e.state {
		case queued:
			g.unready(e)
		case delayed:
			g.heldN--
		default:
			continue
		}
		n++
		c.finish(e)
	}
	g.dirtyLocked(c)
	return n
}

// skip takes a cursor that is catching up to the end.
func (g *group) skip(ctx context.Context, c *cursor) (int64, error) {
	b, err := g.m.opts.Log.Bounds(ctx, c.id)
	if err != nil {
		return 0, err
	}
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.live || c.gone {
		return 0, nil
	}
	n := g.purgeLocked(c) + c.waiting()
	end := max(b.End, c.f.end.Load(), c.next)
	c.drop(end)
	c.setLive(true)
	c.next, c.behind, c.counted = end, 0, 0
	c.gen++
	c.advance()
	return n, nil
}

// room tells whether one more message may be queued.
func (g *group) room() bool {
	if g.dyingFull() {
		return false
	}
	o := &g.m.opts
	limit := o.IdleMessages
	if g.consumers > 0 || g.limits.MaxPriority > 0 {
		limit = o.ReadyMessages
	}
	return g.readyN < limit && g.readyBytes < o.ReadyBytes &&
		(g.m.queued.Load() < o.TotalBytes || g.readyN == 0 || g.readyN < 16 && g.readyBytes < leastBytes)
}

// leastBytes is what each group may have ready, up to 16 messages, however much
// all have.
const leastBytes = 16 << 10

// wanted tells whether a consumer takes messages now.
func (g *group) wanted() bool {
	for _, l := range g.levels {
		for _, c := range l.cs {
			if !c.paused {
				return true
			}
		}
	}
	return false
}

// push takes messages of one shard that match the group's bindings. The feed is
// locked.
func (g *group) push(f *feed, gm *groupMatch, t *shard.Topic, run []shard.Message, batchBytes int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return
	}
	c := g.cursors[f.id]
	all := gm.all(f.id, run[0].Record.Offset)
	rejected := false
	var slab []entry
	for i := range run {
		ms := &run[i]
		if c != nil && ms.Record.Offset < c.next {
			c.rejectedTo = 0 // taken where it was read
			continue
		}
		if g.limits.NotUnder != nil && g.walled(ms.Subject) {
			continue
		}
		pub := gm.public
		if !all {
			if pub = g.matching(gm.bindings, f.id, ms.Record); len(pub) == 0 {
				continue
			}
		}
		if c == nil {
			c = g.cursorLocked(f, t, ms.Record.Offset)
		}
		if g.rejects() {
			g.reject(c, ms, pub)
			rejected = true
			continue
		}
		c.rejectedTo = 0
		switch {
		case g.hopeless(ms) && c.live:
			c.next = ms.Record.Offset + 1
		case !c.live:
			c.behindBy(ms.Record.Offset, 1)
		case !g.room():
			c.setLive(false)
			c.next, c.counted, c.behind = ms.Record.Offset, ms.Record.Offset, 1
			c.gen++
		default:
			if len(slab) == 0 {
				slab = make([]entry, len(run)-i)
			}
			e := &slab[0]
			slab = slab[1:]
			e.msg, e.bindings, e.offset, e.fed = *ms, pub, ms.Record.Offset, true
			g.enqueue(c, e, int64(batchBytes/len(run)))
			c.next = ms.Record.Offset + 1
		}
	}
	if rejected {
		g.markLocked()
	}
	if g.steady() == 0 {
		g.chance = g.seq
	}
	if g.consumers > 0 || g.limited {
		g.kick()
	}
}

// enqueue puts a new entry at the end of the queue. share is its part of the
// memory that its batch takes.
func (g *group) enqueue(c *cursor, e *entry, share int64) {
	e.cur, e.count = c, c.firstCount(e.offset)
	e.size = max(int64(e.msg.Record.Size()), share) + entryOverhead
	g.seq++
	g.sizedN++
	g.sizedBytes += int64(len(e.msg.Record.Value))
	e.seq = g.seq
	c.insert(e)
	g.line(e)
	g.readied(e)
}

func (g *group) readied(e *entry) {
	e.state = queued
	g.readyN++
	g.readyBytes += e.size
	g.bodyBytes += int64(len(e.msg.Record.Value))
	g.m.queued.Add(e.size)
}

// unready takes an entry off the count of ready ones; what still points to it
// passes it over by its state.
func (g *group) unready(e *entry) {
	g.readyN--
	g.readyBytes -= e.size
	g.bodyBytes -= int64(len(e.msg.Record.Value))
	g.m.queued.Add(-e.size)
}

// peek gives the first ready entry.
func (g *group) peek() *entry {
	for g.ring.len() > 0 && g.ring.first().state != queued {
		g.ring.pop()
	}
	for g.returned.len() > 0 && g.returned.first().state != queued {
		g.returned.pop()
	}
	switch {
	case g.ring.len() == 0 && g.returned.len() == 0:
		return nil
	case g.ring.len() == 0 || g.returned.len() > 0 && g.returned.first().seq < g.ring.first().seq:
		return g.returned.first()
	}
	return g.ring.first()
}

// end stops the group: nothing is delivered or written from then on. Its
// consumers hear err unless that is nil. It gives false if it ended before.
func (g *group) end(err error) bool {
	g.mu.Lock()
	if g.over {
		g.mu.Unlock()
		return false
	}
	g.over = true
	var cs []*consumer
	for _, l := range g.levels {
		cs = append(cs, l.cs...)
	}
	all, cursors := g.all, g.cursors
	g.active, g.graves, g.lag = nil, nil, nil
	g.attend(false)
	g.levels, g.consumers, g.pulling, g.cursors = nil, 0, 0, make(map[shard.ID]*cursor)
	for _, c := range cs {
		c.closed = true
		for c.delivering {
			g.cond.Wait()
		}
	}
	g.m.queued.Add(-g.readyBytes - g.dyingBytes)
	g.m.unacked.Add(-g.unackedBytes)
	g.readyN, g.heldN, g.readyBytes, g.unackedBytes, g.dyingN, g.dyingBytes = 0, 0, 0, 0, 0, 0
	g.ring, g.returned.es, g.held.es = fifo{}, nil, nil
	g.cond.Broadcast()
	g.m.timer.forget(g)
	g.mu.Unlock()
	for _, b := range all {
		g.m.index.Remove(b.filter, b)
	}
	for _, c := range cursors {
		c.f.mu.Lock()
		delete(c.f.cursors, c)
		c.f.mu.Unlock()
	}
	for _, c := range cs {
		c.let(c.n)
		if err != nil {
			c.r.Closed(err)
		}
	}
	return true
}

// dropCursor forgets a cursor whose topic is gone.
func (g *group) dropCursor(c *cursor) {
	c.f.mu.Lock()
	delete(c.f.cursors, c)
	c.f.mu.Unlock()
	g.mu.Lock()
	if c.gone || g.cursors[c.id] != c {
		g.mu.Unlock()
		return
	}
	c.gone = true
	c.setLive(true)
	delete(g.cursors, c.id)
	var free []*consumer
	for _, e := range c.out[c.head:] {
		switch e.state {
		case queued:
			g.unready(e)
		case delayed:
			g.heldN--
		case delivered:
			free = append(free, e.holder)
			g.unlink(e)
		case dying:
			g.undying(e)
		}
		e.state = done
	}
	for _, b := range g.all {
		delete(b.starts, c.id)
		delete(b.ends, c.id)
	}
	g.dropKeys = append(g.dropKeys, cursorKey(c.id))
	g.markLocked()
	g.mu.Unlock()
	for _, c := range free {
		c.let(1)
	}
}
