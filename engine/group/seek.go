package group

import (
	"context"

	"github.com/robustmq/robustmq-go/shard"
)

var _ shard.GroupSeeker = (*group)(nil)

// Seek implements shard.GroupSeeker.
func (g *group) Seek(ctx context.Context, to shard.SeekTo) error {
	g.changing.Lock()
	defer g.changing.Unlock()
	g.mu.Lock()
	err := g.movable()
	if err == nil {
		g.pending++ // nothing is read meanwhile
	}
	g.mu.Unlock()
	if err != nil {
		return err
	}
	defer g.kick()
	err = g.seekAll(ctx, to)
	g.mu.Lock()
	g.pending--
	wait := g.markLocked()
	g.mu.Unlock()
	if err != nil {
		return err
	}
	return g.written(ctx, wait)
}

// movable tells why the group cannot be moved; nil when it can. It is locked.
func (g *group) movable() error {
	switch {
	case g.over:
		return shard.ErrGroupNotFound
	case g.steady() > 0:
		return shard.Errorf(shard.KindInvalid, "the group has %d consumers: it is moved only while it has none", g.steady())
	case g.unackedN > 0 || g.burying || len(g.graves) > 0:
		return shard.Errorf(shard.KindInvalid, "the group has messages that are delivered and not acknowledged")
	}
	return nil
}

// seekAll moves the group in every shard that it may have messages of.
func (g *group) seekAll(ctx context.Context, to shard.SeekTo) error {
	g.mu.Lock()
	shards := make(map[shard.ID]*shard.Topic)
	for id, c := range g.cursors {
		shards[id] = c.top
	}
	all := g.all
	g.mu.Unlock()
	for _, b := range all {
		g.m.opts.Topics.Overlapping(b.filter, func(t *shard.Topic) {
			for i := uint32(0); i < t.Shards && !t.Internal; i++ {
				shards[t.Shard(i)] = t
			}
		})
	}
	type move struct {
		t      *shard.Topic
		offset int64
		b      shard.Bounds
	}
	moves := make(map[shard.ID]move) // all are known before the first is made
	for id, t := range shards {
		b, err := g.m.opts.Log.Bounds(ctx, id)
		if shard.KindOf(err) == shard.KindNotFound {
			continue
		}
		if err != nil {
			return shard.At(err, "move group", id, 0)
		}
		offset, ok, err := to(ctx, t, id, b)
		if err != nil {
			return err
		}
		if ok {
			moves[id] = move{t, min(max(offset, b.Start), b.End), b}
		}
	}
	for id, m := range moves {
		if err := g.seek(m.t, id, m.offset, m.b); err != nil {
			return err
		}
	}
	return nil
}

// seek moves the group in one shard.
func (g *group) seek(t *shard.Topic, id shard.ID, offset int64, b shard.Bounds) error {
	f := g.m.makeFeed(id, 0)
	f.mu.Lock()
	defer f.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.movable(); err != nil {
		return err
	}
	c := g.cursorLocked(f, t, b.End)
	g.purgeLocked(c)
	for _, e := range c.out[c.head:] {
		if e.state != done && e.state != forgotten {
			return shard.Errorf(shard.KindInvalid, "the group has messages that are on their way out of it")
		}
	}
	end := max(b.End, f.end.Load())
	clear(c.out)
	c.out, c.head, c.doneOut, c.acked, c.counts = c.out[:0], 0, 0, nil, nil
	c.high, c.redelivered, c.rejectedTo, c.scanned, c.matched = 0, 0, 0, 0, 0
	c.perhaps, c.next, c.behind, c.counted = 0, offset, 0, end
	c.setLive(offset >= end)
	c.gen++
	for _, x := range g.all {
		if !x.removed && x.starts[id] > offset {
			x.starts[id] = offset
			g.dirtyBinding(x)
		}
	}
	g.rev++
	g.dirtyLocked(c)
	return nil
}

// Holds implements shard.GroupSeeker.
func (g *group) Holds(id shard.ID) (offset int64, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.cursors[id]
	if !g.durable || c == nil || c.live && c.head >= len(c.out) {
		return 0, false
	}
	return c.floor(), true
}

// Holders gives the durable groups that need a shard's records below an offset,
// with the lowest that each needs.
func (m *Manager) Holders(id shard.ID, below int64) map[string]int64 {
	f := m.feed(id)
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[string]int64)
	for c := range f.cursors {
		if offset, ok := c.g.Holds(id); ok && offset < below {
			out[c.g.name] = offset
		}
	}
	return out
}
