package group

import (
	"slices"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// consumer is a shard.Consumer. All but the first four fields is under the
// group's lock.
type consumer struct {
	g    *group
	cfg  shard.ConsumerConfig
	r    shard.Receiver
	free func() // a window may have room again

	paused, closed, delivering bool
	room                       int64 // bytes that it takes in this round
	// full is the round in which a window had no room.
	full uint64
	// first, last are its unacknowledged deliveries in the order of delivery.
	first, last *entry
	n           int
	batch       []shard.Delivery // what the round under way gives it
}

// level is the consumers of one priority.
type level struct {
	priority int
	cs       []*consumer
	turn     int
}

// Attach implements shard.Group.
func (g *group) Attach(cfg shard.ConsumerConfig, r shard.Receiver) (shard.Consumer, error) {
	cfg.Windows = slices.Clone(cfg.Windows)
	c := &consumer{g: g, cfg: cfg, r: r, free: g.kick}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return nil, shard.ErrGroupNotFound
	}
	if !cfg.Pull && g.steady() > 0 && (cfg.Exclusive || g.exclusive()) {
		return nil, shard.ErrExclusive
	}
	i, found := slices.BinarySearchFunc(g.levels, cfg.Priority, func(l *level, p int) int { return p - l.priority })
	if !found {
		g.levels = slices.Insert(g.levels, i, &level{priority: cfg.Priority})
	}
	g.levels[i].cs = append(g.levels[i].cs, c)
	g.elect()
	g.consumers++
	switch {
	case cfg.Pull:
		g.pulling++
		g.usedLocked(g.m.opts.Now())
	case g.steady() == 1:
		g.attend(true)
		g.idleSince = time.Time{}
		g.noteIdleLocked()
	}
	g.kick()
	return c, nil
}

// steady is the number of consumers that take what comes. Those that pull hold the
// group for nobody: between their calls it is idle.
func (g *group) steady() int { return g.consumers - g.pulling }

// usedLocked begins the group's idle time anew. It is written when a good part
// of that time has passed, not at each call.
func (g *group) usedLocked(now time.Time) {
	if g.steady() > 0 {
		return
	}
	g.idleSince = now
	if now.Sub(g.idleNoted) >= g.cfg.ExpireAfter/8 {
		g.noteIdleLocked()
	}
}

// attend has Interest count the group's bindings, or no more. The group is locked.
func (g *group) attend(on bool) {
	if g.attended == on {
		return
	}
	g.attended = on
	for _, b := range g.bound {
		if on {
			g.m.attended.Add(b.filter, b)
		} else {
			g.m.attended.Remove(b.filter, b)
		}
	}
}

func (g *group) exclusive() bool {
	for _, l := range g.levels {
		for _, c := range l.cs {
			if c.cfg.Exclusive {
				return true
			}
		}
	}
	return false
}

// noteIdleLocked has it written whether there are consumers, where that matters
// after a restart.
func (g *group) noteIdleLocked() {
	if g.cfg.ExpireAfter > 0 {
		g.configDirty, g.idleNoted = true, g.idleSince
		g.markLocked()
		g.rescheduleLocked()
	}
}

// Close implements shard.Consumer.
func (c *consumer) Close() {
	g := c.g
	g.mu.Lock()
	if c.closed {
		for c.delivering {
			g.cond.Wait()
		}
		g.mu.Unlock()
		return
	}
	c.closed = true
	for i, l := range g.levels {
		if k := slices.Index(l.cs, c); k >= 0 {
			if l.cs = slices.Delete(l.cs, k, k+1); len(l.cs) == 0 {
				g.levels = slices.Delete(g.levels, i, i+1)
			}
			break
		}
	}
	for c.delivering {
		g.cond.Wait()
	}
	n := c.n
	if g.active == c {
		g.active = nil
		g.elect()
	}
	if !g.over {
		var es []*entry
		for e := c.first; e != nil; e = e.next {
			es = append(es, e)
		}
		g.giveBack(es, time.Time{})
		g.consumers--
		switch {
		case c.cfg.Pull:
			g.pulling--
			g.usedLocked(g.m.opts.Now())
		case g.steady() == 0:
			g.attend(false)
			g.idleSince = g.m.opts.Now()
			g.noteIdleLocked()
		}
		g.kick()
	}
	g.mu.Unlock()
	c.let(n)
	for _, w := range c.cfg.Windows {
		w.Forget(c)
	}
}

// let gives n places of each window back. No lock is held.
func (c *consumer) let(n int) {
	if n == 0 || c.cfg.NoAck {
		return
	}
	for _, w := range c.cfg.Windows {
		w.Release(n)
	}
}

// acquire takes a place of every window, or of none.
func (c *consumer) acquire() bool {
	for i, w := range c.cfg.Windows {
		if !w.Acquire(c, c.free) {
			for _, v := range c.cfg.Windows[:i] {
				v.Release(1)
			}
			return false
		}
	}
	return true
}

// Ack implements shard.Consumer.
func (c *consumer) Ack(tags ...shard.DeliveryTag) (n int) {
	g := c.g
	g.mu.Lock()
	for _, t := range tags {
		if e := c.mine(t); e != nil {
			g.unlink(e)
			g.done(e)
			n++
		}
	}
	g.mu.Unlock()
	c.let(n)
	return n
}

// Nack implements shard.Consumer.
func (c *consumer) Nack(opts shard.NackOptions, tags ...shard.DeliveryTag) int {
	g := c.g
	g.mu.Lock()
	var es []*entry
	seen := make(map[*entry]struct{}, len(tags))
	for _, t := range tags {
		e := c.mine(t)
		if _, dup := seen[e]; e == nil || dup {
			continue
		}
		seen[e] = struct{}{}
		es = append(es, e)
	}
	for _, e := range es {
		if opts.Undelivered {
			e.count--
			g.dirtyLocked(e.cur) // what is written next has it
		}
		if opts.Drop {
			g.unlink(e)
			g.giveUp(e, shard.DeadRejected)
		}
	}
	if !opts.Drop {
		var until time.Time
		if opts.Delay > 0 {
			until = g.m.opts.Now().Add(opts.Delay)
		}
		g.giveBack(es, until)
	}
	g.kick()
	g.mu.Unlock()
	c.let(len(es))
	return len(es)
}

// mine gives the delivery of that tag if the consumer has it.
func (c *consumer) mine(t shard.DeliveryTag) *entry {
	cur := c.g.cursors[t.Shard]
	if cur == nil {
		return nil
	}
	e, _ := cur.find(t.Offset)
	if e == nil || e.state != delivered || e.holder != c {
		return nil
	}
	return e
}

// done takes an entry, which is on no queue, out of the group.
func (g *group) done(e *entry) {
	c := e.cur
	c.finish(e)
	g.ackedTotal++
	g.dirtyLocked(c)
	if g.durable {
		g.markLocked()
	}
}

// link notes that c has e.
func (g *group) link(c *consumer, e *entry) {
	e.state, e.holder = delivered, c
	if e.prev = c.last; c.last == nil {
		c.first = e
	} else {
		c.last.next = e
	}
	c.last = e
	c.n++
	g.unackedN++
	if g.unackedBytes+e.size > g.m.opts.UnackedBytes || g.m.unacked.Load()+e.size > g.m.opts.TotalBytes {
		e.msg.Record = nil
		return
	}
	g.unackedBytes += e.size
	g.m.unacked.Add(e.size)
}

func (g *group) unlink(e *entry) {
	c := e.holder
	if e.prev == nil {
		c.first = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		c.last = e.prev
	} else {
		e.next.prev = e.prev
	}
	e.prev, e.next, e.holder = nil, nil, nil
	c.n--
	g.unackedN--
	if e.msg.Record != nil {
		g.unackedBytes -= e.size
		g.m.unacked.Add(-e.size)
	}
}

// giveBack takes deliveries off their consumer and puts them back in their
// place, at once or at a time. The caller frees the windows.
func (g *group) giveBack(es []*entry, until time.Time) {
	lost := make(map[*cursor]int64)
	var spent []*entry
	for _, e := range es {
		g.unlink(e)
		switch {
		case g.cfg.MaxDeliver > 0 && int(e.count) >= g.cfg.MaxDeliver:
			spent = append(spent, e)
		case e.msg.Record == nil: // read it again
			c := e.cur
			c.remember(e)
			e.state = forgotten
			if at, ok := lost[c]; !ok || e.offset < at {
				lost[c] = e.offset
			}
		case !until.IsZero():
			e.state, e.at = delayed, until.UnixNano()
			g.heldN++
			g.held.push(e)
			g.wakeAtLocked(until)
		default:
			g.returned.push(e)
			g.readied(e)
		}
	}
	for c, offset := range lost {
		c.rewind(offset)
	}
	for _, e := range spent {
		g.giveUp(e, shard.DeadDeliveryLimit)
	}
}

// Get implements shard.Consumer.
func (c *consumer) Get() (shard.Delivery, bool) {
	g := c.g
	g.mu.Lock()
	defer g.mu.Unlock()
	g.usedLocked(g.m.opts.Now())
	for !c.closed && !g.over {
		now := g.m.opts.Now()
		g.tidy(now)
		if g.limits.MaxPriority > 0 && g.readMore() {
			continue // the best may be yet to be read
		}
		if e := g.next(now); e != nil {
			if !c.cfg.NoAck && !c.acquire() {
				return shard.Delivery{}, false
			}
			return g.give(c, e, now), true
		}
		if !g.readMore() {
			break
		}
	}
	return shard.Delivery{}, false
}

// Pause implements shard.Consumer.
func (c *consumer) Pause(on bool) {
	g := c.g
	g.mu.Lock()
	c.paused = on
	g.mu.Unlock()
	if !on {
		g.kick()
	}
}
