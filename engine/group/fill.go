package group

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/robustmq/robustmq-go/engine/live"
	"github.com/robustmq/robustmq-go/shard"
)

const (
	fillBytes   = 512 << 10
	fillRetry   = time.Second
	fillTimeout = 30 * time.Second
)

// behindCursor gives a cursor that is catching up and may read, nil when there
// is none or no room.
func (g *group) behindCursor() *cursor {
	if g.over || g.pending > 0 || !g.room() {
		return nil
	}
	if len(g.lag) == 0 {
		return nil
	}
	return g.lag[rand.IntN(len(g.lag))] // so all get on
}

// guessed tells whether a cursor that was restored takes some records of its shard
// and nobody knows how many. Such a group reads without a consumer: its counts
// speak of messages that are not there else. The way is not long, see sweepBehind.
func (g *group) guessed() bool {
	for _, c := range g.lag {
		if c.scanned == 0 && c.counted > c.next && !g.takesAll(c) {
			return true
		}
	}
	return false
}

// startFill has the group read on where it has consumers, runs low and is
// behind. The group is locked.
func (g *group) startFill() {
	if g.filling || !g.wanted() && !g.limited && !g.guessed() || g.readyN > g.m.opts.ReadyMessages/2 || g.readyBytes > g.m.opts.ReadyBytes/2 ||
		!g.fillAt.IsZero() && g.m.opts.Now().Before(g.fillAt) || g.behindCursor() == nil {
		return
	}
	g.filling = true
	g.fillAt = time.Time{}
	g.m.wg.Go(func() { // from a worker, so Close still waits
		select {
		case g.m.fills <- struct{}{}:
			g.fill()
			<-g.m.fills
		case <-g.m.ctx.Done():
		}
		g.mu.Lock()
		g.filling = false
		g.cond.Broadcast()
		g.mu.Unlock()
		g.kick()
	})
}

// fill reads until there is no room, or all cursors are live.
func (g *group) fill() {
	for g.m.ctx.Err() == nil {
		g.mu.Lock()
		c := g.behindCursor()
		if c == nil {
			g.mu.Unlock()
			return
		}
		from, gen := c.next, c.gen
		g.mu.Unlock()
		if !g.step(c, from, gen) {
			g.mu.Lock()
			g.fillAt = g.m.opts.Now().Add(fillRetry)
			g.wakeAtLocked(g.fillAt)
			g.mu.Unlock()
			return
		}
		g.kick()
	}
}

// readMore is for Get: it reads a bit and tells whether to look again. The
// group is locked, but not while it reads.
func (g *group) readMore() bool {
	if g.filling {
		g.cond.Wait()
		return true
	}
	c := g.behindCursor()
	if c == nil {
		return false
	}
	g.filling = true
	from, gen := c.next, c.gen
	g.mu.Unlock()
	ok := g.step(c, from, gen)
	g.mu.Lock()
	g.filling = false
	g.cond.Broadcast()
	return ok
}

// step reads once for a cursor that is catching up. It gives false when that
// has to be tried again later.
func (g *group) step(c *cursor, from int64, gen uint64) bool {
	ctx, cancel := context.WithTimeout(g.m.ctx, fillTimeout)
	defer cancel()
	res, err := g.m.opts.Log.Read(ctx, c.id, from, shard.ReadOptions{MaxBytes: fillBytes})
	switch {
	case err == nil && len(res.Batches) == 0:
		return g.rejoin(c, gen, res.Bounds)
	case err == nil:
		return g.read(c, gen, res.Batches)
	}
	switch shard.KindOf(err) {
	case shard.KindOutOfRange:
		return g.jump(c, gen, res.Bounds)
	case shard.KindNotFound:
		g.dropCursor(c)
		return true
	case shard.KindCorrupt:
		if res.Resume > from {
			return g.passDamage(c, gen, res.Resume, err)
		}
	}
	g.mu.Lock()
	said := c.bad
	c.bad = true
	g.mu.Unlock()
	if !said && g.m.ctx.Err() == nil {
		g.m.opts.Logger.Warn("a group cannot read its shard; it is tried again", "group", g.name, "shard", c.id.String(), "offset", from, "err", err)
	}
	return false
}

// rejoin makes a cursor live that has read everything which was fed.
func (g *group) rejoin(c *cursor, gen uint64, b shard.Bounds) bool {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.gone || c.live || c.gen != gen || g.pending > 0 {
		return true
	}
	if c.next < c.f.end.Load() {
		return b.End > c.next // else the log knows less than was fed: later
	}
	c.setLive(true)
	c.behind, c.counted, c.bad = 0, 0, false
	c.gen++
	c.advance()
	g.prune()
	return true
}

// jump follows a shard whose bounds moved past the cursor.
func (g *group) jump(c *cursor, gen uint64, b shard.Bounds) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.gone || c.live || c.gen != gen {
		return true
	}
	switch {
	case c.next < b.Start:
		g.m.opts.Logger.Warn("a group lost messages that were freed before it had them",
			"group", g.name, "shard", c.id.String(), "from", c.next, "to", b.Start)
		c.next = b.Start
	case c.next > b.End:
		c.next = b.End
	default:
		return false
	}
	c.gen++
	c.advance()
	g.dirtyLocked(c)
	g.markLocked()
	return true
}

// passDamage goes on after a range that nobody can read any more: the messages
// behind it must not wait for ever.
func (g *group) passDamage(c *cursor, gen uint64, to int64, err error) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.gone || c.live || c.gen != gen {
		return true
	}
	g.m.opts.Logger.Error("a group lost messages that are damaged", "group", g.name, "shard", c.id.String(), "from", c.next, "to", to, "err", err)
	c.next = to
	c.gen++
	c.advance()
	g.dirtyLocked(c)
	g.markLocked()
	return true
}

// read queues the group's messages of some batches, as far as there is room.
func (g *group) read(c *cursor, gen uint64, bs []*shard.Batch) bool {
	now := g.m.opts.Now()
	for _, b := range bs {
		recs, err := b.Records()
		came := g.m.arrivalOf(c.id, b.BaseOffset())
		g.mu.Lock()
		if c.gone || c.live || c.gen != gen || g.pending > 0 || g.over {
			g.mu.Unlock()
			return true
		}
		c.bad = false
		if err != nil {
			g.m.opts.Logger.Error("a group skips a batch that cannot be decoded",
				"group", g.name, "shard", c.id.String(), "offset", b.BaseOffset(), "err", err)
		}
		share := int64(b.Held() / max(len(recs), 1))
		full := false
		for i := range recs {
			if full = !g.readRecord(c, &recs[i], share, now, came); full {
				break
			}
		}
		if !full {
			c.next = max(c.next, b.LastOffset()+1)
		}
		c.advance()
		g.cond.Broadcast()
		g.mu.Unlock()
		if full {
			return true
		}
	}
	return true
}

// readRecord queues a record if it is the group's; it gives false when there is
// no room for it.
func (g *group) readRecord(c *cursor, r *shard.Record, share int64, now time.Time, came arrival) bool {
	if r.Offset < c.next {
		return true
	}
	c.scanned++
	if e, _ := c.find(r.Offset); e != nil && e.state != forgotten {
		if e.state == delivered || e.state == delayed { // it returns to its place
			g.seq++
			e.seq = g.seq
		}
		c.next = r.Offset + 1
		return true
	}
	if c.acked.has(r.Offset) {
		c.next = r.Offset + 1
		return true
	}
	subject := live.Subject(c.top, r)
	pub := g.match(c, subject, r)
	if len(pub) > 0 {
		if !g.room() {
			c.scanned--
			return false
		}
		c.matched++
		c.behindBy(r.Offset, -1)
		if g.m.queued.Load() > g.m.opts.TotalBytes/2 { // thousands of groups: none keeps whole batches for a message of it
			r = r.Clone()
			share = 0
		}
		ms := shard.Message{Topic: c.top, Shard: c.id.Index, Subject: subject, Record: r, Arrived: came.of(r)}
		if g.limits.Dead != nil || !ms.Expired(now) {
			g.enqueue(c, &entry{msg: ms, bindings: pub, offset: r.Offset}, share)
		}
	}
	c.next = r.Offset + 1
	return true
}
