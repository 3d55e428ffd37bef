package group

import (
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// A round bounds what is handed out before anybody else has a turn.
const (
	roundMessages = 256
	roundBytes    = 1 << 20
	roundsInARow  = 16
)

// serve is what a worker does for a group.
func (g *group) serve() {
	g.mu.Lock()
	now := g.m.opts.Now()
	if !g.wakeAt.IsZero() && !now.Before(g.wakeAt) {
		g.onTime(now)
	}
	g.write(now)
	if g.dispatching { // another worker is at it and will look again
		g.again = true
		g.mu.Unlock()
		return
	}
	g.dispatching = true
	for k := 0; !g.over; k++ {
		if k == roundsInARow {
			g.kick()
			break
		}
		g.again = false
		if g.deliverRound() {
			continue
		}
		if !g.reading() {
			g.chance = g.seq
		}
		if !g.again {
			break
		}
	}
	g.dispatching = false
	g.tidy(g.m.opts.Now())
	g.bury()
	g.startFill()
	g.mu.Unlock()
}

// deliverRound hands out some messages, and gives false when there was nothing
// to do. The group is locked, but not while receivers are called.
func (g *group) deliverRound() bool {
	if g.consumers == 0 || g.readyN == 0 || g.reading() {
		return false
	}
	now := g.m.opts.Now()
	g.round++
	var got []*consumer
	var bytes int64
	n := 0
	for n < roundMessages && bytes < roundBytes {
		e := g.next(now)
		if e == nil {
			break
		}
		c, own := g.choose(e)
		if own {
			g.take(e)
			g.done(e)
			continue
		}
		if c == nil {
			break
		}
		if len(c.batch) == 0 {
			got = append(got, c)
			c.open()
		}
		bytes += e.size
		if c.room -= e.size; c.room <= 0 {
			c.full = g.round
		}
		c.batch = append(c.batch, g.give(c, e, now))
		n++
	}
	if n == 0 {
		return false
	}
	for _, c := range got {
		c.delivering = true
	}
	g.mu.Unlock()
	for _, c := range got {
		c.r.Deliver(c.batch)
	}
	g.mu.Lock()
	for _, c := range got {
		clear(c.batch)
		c.batch, c.delivering = c.batch[:0], false
	}
	g.cond.Broadcast()
	return true
}

// open asks how much a consumer takes in a round.
func (c *consumer) open() {
	c.room = roundBytes
	if r, ok := c.r.(shard.Roomy); ok {
		c.room = min(c.room, int64(r.Room()))
	}
}

// next gives the first ready entry that can be delivered; those that cannot any
// more are done with.
func (g *group) next(now time.Time) *entry {
	for {
		e := g.peek()
		if e == nil {
			return nil
		}
		reason := shard.DeadExpired
		if at, ok := g.ends(e); !ok || now.UnixMilli() < at || g.fresh(e) {
			if !g.spent(e) {
				return e
			}
			reason = shard.DeadDeliveryLimit
		}
		g.take(e)
		g.giveUp(e, reason)
	}
}

// spent tells that an entry was with a consumer for the last time when the
// process ended. A count of 1 may be that of a message that was never sent out.
func (g *group) spent(e *entry) bool {
	return e.count > 1 && g.cfg.MaxDeliver > 0 && int(e.count) >= g.cfg.MaxDeliver
}

// take takes the first ready entry off the queue.
func (g *group) take(e *entry) {
	g.unready(e)
	if g.returned.len() > 0 && g.returned.first() == e {
		g.returned.pop()
	} else {
		g.ring.pop()
	}
	e.state = done
}

// choose gives the consumer whose turn it is, with its windows acquired; nil
// when none takes anything now. own tells that the message is not to be
// delivered: everybody who could take it published it.
func (g *group) choose(e *entry) (c *consumer, own bool) {
	for _, l := range g.levels {
		for range l.cs {
			l.turn = (l.turn + 1) % len(l.cs)
			c := l.cs[l.turn]
			if c.paused || c.closed || c.cfg.Pull || c.full == g.round || g.limits.SingleActive && c != g.active {
				continue
			}
			if c.cfg.NoLocal && c.cfg.Origin != 0 && e.msg.Origin == c.cfg.Origin {
				own = true
				continue
			}
			if !c.cfg.NoAck && !c.acquire() {
				c.full = g.round
				continue
			}
			return c, false
		}
	}
	return nil, own
}

// give makes a delivery of the first ready entry.
func (g *group) give(c *consumer, e *entry, now time.Time) shard.Delivery {
	g.take(e)
	e.count++
	if e.count > 1 {
		g.againTotal++
	}
	cur := e.cur
	d := shard.Delivery{Message: e.msg, Tag: shard.DeliveryTag{Shard: cur.id, Offset: e.offset}, Count: int(e.count), Bindings: e.bindings}
	d.Redelivered = e.count > 1 || e.offset < cur.perhaps
	cur.high = max(cur.high, e.offset+1)
	if c.cfg.NoAck {
		g.done(e)
		return d
	}
	e.at = now.UnixNano()
	g.link(c, e)
	if g.durable {
		g.dirtyLocked(cur)
		if g.lazyAt.IsZero() {
			g.lazyAt = now.Add(g.m.opts.LazyWrite)
			g.wakeAtLocked(g.lazyAt)
		}
	}
	if t := g.cfg.AckTimeout; t > 0 {
		g.wakeAtLocked(now.Add(t))
	}
	return d
}

// onTime does what is due.
func (g *group) onTime(now time.Time) {
	g.wakeAt = time.Time{}
	for g.held.len() > 0 {
		e := g.held.first()
		if e.state == delayed && e.at > now.UnixNano() {
			break
		}
		g.held.pop()
		if e.state == delayed {
			g.heldN--
			g.returned.push(e)
			g.readied(e)
		}
	}
	g.timeOut(now)
	if !g.lazyAt.IsZero() && !now.Before(g.lazyAt) {
		g.lazyAt = time.Time{}
		g.markLocked()
	}
	if x := g.cfg.ExpireAfter; x > 0 && g.steady() == 0 && !g.over && !now.Before(g.idleSince.Add(x)) {
		go g.expire()
	}
	g.rescheduleLocked()
}

// timeOut returns deliveries that were not acknowledged in time.
func (g *group) timeOut(now time.Time) {
	if g.cfg.AckTimeout <= 0 {
		return
	}
	for _, l := range g.levels {
		for _, c := range l.cs {
			var late []*entry
			for e := c.first; e != nil && e.at+int64(g.cfg.AckTimeout) <= now.UnixNano(); e = e.next {
				late = append(late, e)
			}
			if len(late) > 0 {
				g.giveBack(late, time.Time{})
				go c.let(len(late)) // the group is locked here
			}
		}
	}
}

// rescheduleLocked sets the group's next wake-up.
func (g *group) rescheduleLocked() {
	if g.over {
		return
	}
	if g.held.len() > 0 {
		g.wakeAtLocked(time.Unix(0, g.held.first().at))
	}
	if t := g.cfg.AckTimeout; t > 0 {
		for _, l := range g.levels {
			for _, c := range l.cs {
				if c.first != nil {
					g.wakeAtLocked(time.Unix(0, c.first.at).Add(t))
				}
			}
		}
	}
	for _, at := range []time.Time{g.lazyAt, g.fillAt, g.writeAt} {
		if !at.IsZero() {
			g.wakeAtLocked(at)
		}
	}
	if x := g.cfg.ExpireAfter; x > 0 && g.steady() == 0 {
		g.wakeAtLocked(g.idleSince.Add(x))
	}
}

// expire deletes a group that nobody used for its time.
func (g *group) expire() {
	g.mu.Lock()
	x, expired := g.cfg.ExpireAfter, g.limits.Expired
	due := !g.over && g.steady() == 0 && x > 0 && !g.m.opts.Now().Before(g.idleSince.Add(x))
	g.mu.Unlock()
	if !due {
		return
	}
	if err := g.m.Delete(g.m.ctx, g.name); err != nil {
		if shard.KindOf(err) != shard.KindNotFound {
			g.m.opts.Logger.Warn("a group that expired could not be deleted", "group", g.name, "err", err)
		}
		return
	}
	if expired != nil {
		expired()
	}
}
