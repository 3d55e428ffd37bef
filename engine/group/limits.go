package group

import (
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// buryRetry is how long a message that could not be buried rests.
const buryRetry = time.Second

// grave is a message that was given up and is to be handed to the undertaker.
type grave struct {
	e      *entry
	d      shard.Delivery
	reason shard.DeadReason
}

// Limit implements shard.LimitedGroup.
func (g *group) Limit(l shard.GroupLimits) {
	g.mu.Lock()
	g.limits = l
	g.limited = l.Dead != nil || l.HasTTL || l.MaxMessages != 0 || l.MaxBytes != 0 || l.MaxPriority > 0
	g.prioritise()
	g.elect()
	g.mu.Unlock()
	g.kick()
}

// giveUp takes an entry that is on no queue out of the group: at once, or when
// the undertaker has it. Until then it is outstanding, so a crash brings it back.
func (g *group) giveUp(e *entry, reason shard.DeadReason) {
	if g.limits.Dead == nil {
		g.done(e)
		return
	}
	e.state = dying
	g.dyingN++
	g.dyingBytes += e.size
	g.m.queued.Add(e.size)
	g.graves = append(g.graves, grave{e, shard.Delivery{
		Message: e.msg, Bindings: e.bindings, Count: int(e.count),
		Tag: shard.DeliveryTag{Shard: e.cur.id, Offset: e.offset},
	}, reason})
	g.kick()
}

// undying takes an entry off the count of those that are given up.
func (g *group) undying(e *entry) {
	g.dyingN--
	g.dyingBytes -= e.size
	g.m.queued.Add(-e.size)
}

// dyingFull tells that the undertaker has as much to do as may be: what comes waits in
// the log.
func (g *group) dyingFull() bool {
	o := &g.m.opts
	return g.dyingN >= o.ReadyMessages || g.dyingBytes >= o.ReadyBytes ||
		g.dyingN >= 16 && g.dyingBytes >= leastBytes && g.m.queued.Load() >= o.TotalBytes
}

// bury hands over what was given up. The group is locked, but not meanwhile: one
// call does it for all, or the order would be lost.
func (g *group) bury() {
	if g.burying {
		return
	}
	g.burying = true
	defer func() { g.burying = false }()
	for len(g.graves) > 0 && !g.over {
		graves, u := g.graves, g.limits.Dead
		g.graves = nil
		g.mu.Unlock()
		for i := range graves {
			x := &graves[i]
			switch {
			case u == nil:
				g.buried(x, nil)
			case x.d.Record == nil: // let go while it was delivered
				go g.exhume(u, x)
			default:
				u.Bury(x.d, x.reason, func(err error) { g.buried(x, err) })
			}
		}
		g.mu.Lock()
	}
}

// exhume reads a message again that left memory, and buries it.
func (g *group) exhume(u shard.Undertaker, x *grave) {
	res, err := g.m.opts.Log.Read(g.m.ctx, x.d.Tag.Shard, x.d.Tag.Offset, shard.ReadOptions{MaxBytes: 1})
	if err != nil {
		switch shard.KindOf(err) {
		case shard.KindOutOfRange, shard.KindNotFound, shard.KindCorrupt:
			g.m.opts.Logger.Warn("a message that was given up is gone", "group", g.name, "shard", x.d.Tag.Shard.String(), "offset", x.d.Tag.Offset, "err", err)
			err = nil
		}
		g.buried(x, err)
		return
	}
	for _, b := range res.Batches {
		recs, err := b.Records()
		for i := range recs {
			if err == nil && recs[i].Offset == x.d.Tag.Offset {
				x.d.Record = &recs[i]
				u.Bury(x.d, x.reason, func(err error) { g.buried(x, err) })
				return
			}
		}
	}
	g.buried(x, nil)
}

// buried takes the outcome.
func (g *group) buried(x *grave, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.over || x.e.state != dying:
	case err == nil:
		g.undying(x.e)
		g.done(x.e)
		g.kick()
	default:
		time.AfterFunc(buryRetry, func() {
			g.mu.Lock()
			g.graves = append(g.graves, *x)
			g.mu.Unlock()
			g.kick()
		})
	}
}

// ends gives when an entry's time is over, in milliseconds since the epoch.
func (g *group) ends(e *entry) (at int64, ok bool) {
	at, ok = e.msg.Expires()
	if own := e.msg.Since() + g.limits.TTL.Milliseconds(); g.limits.HasTTL && (!ok || own < at) {
		return own, true
	}
	return at, ok
}

// fresh tells whether a message came a moment ago and no consumer that is ready had
// the chance to take it: one whose time is over all the same is delivered then, as
// RabbitMQ does with a TTL of 0.
func (g *group) fresh(e *entry) bool { return e.fed && e.seq > g.chance }

// hopeless tells whether a message is over as it comes: its own expiration is 0, and
// there is neither a consumer nor an undertaker.
func (g *group) hopeless(ms *shard.Message) bool {
	return g.steady() == 0 && g.limits.Dead == nil && ms.Record.Stillborn()
}

// tidy takes out what expired at the head, and what is too much.
func (g *group) tidy(now time.Time) {
	if !g.limited || g.over {
		return
	}
	for e := g.peek(); e != nil; e = g.peek() {
		at, ok := g.ends(e)
		if !ok || g.fresh(e) {
			break
		}
		if now.UnixMilli() < at {
			g.wakeAtLocked(time.UnixMilli(at))
			break
		}
		g.take(e)
		g.giveUp(e, shard.DeadExpired)
	}
	l := &g.limits
	if l.MaxMessages == 0 && l.MaxBytes == 0 || l.Reject {
		return
	}
	behind, rest := g.behind()
	for over(int64(g.readyN)+behind, l.MaxMessages) || over(g.bodyBytes+rest, l.MaxBytes) {
		e := g.peek()
		if e == nil || (l.MaxMessages < 0 || l.MaxBytes < 0) && g.fresh(e) {
			break // what is behind is read first
		}
		g.take(e)
		g.giveUp(e, shard.DeadMaxLength)
	}
}

// over tells whether there is more than a bound of GroupLimits.
func over(n, bound int64) bool { return bound != 0 && n > max(bound, 0) }

// behind estimates the messages that are not in memory, and their bytes.
func (g *group) behind() (n, bytes int64) {
	for _, c := range g.lag {
		n += c.waiting()
	}
	if n > 0 && g.sizedN > 0 {
		bytes = n * g.sizedBytes / g.sizedN
	}
	return n, bytes
}

// elect chooses the single active consumer where there is none: the oldest of
// the highest priority.
func (g *group) elect() {
	if !g.limits.SingleActive || g.active != nil {
		return
	}
	for _, l := range g.levels {
		for _, c := range l.cs {
			if !c.cfg.Pull && !c.closed {
				g.active = c
				return
			}
		}
	}
}
