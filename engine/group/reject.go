package group

import "github.com/robustmq/robustmq-go/shard"

// fits tells whether the group is shorter than its limits.
func (g *group) fits() bool {
	n, bytes := g.behind()
	l := &g.limits
	return !over(int64(g.readyN)+n+1, l.MaxMessages) && (l.MaxBytes == 0 || g.bodyBytes+bytes < l.MaxBytes)
}

// rejects tells whether what comes now stays out. What expired makes room first. What
// would be one dead letter too many is taken, and waits in the log.
func (g *group) rejects() bool {
	if !g.limits.Reject || g.fits() || g.limits.RejectDead && g.dyingFull() {
		return false
	}
	g.tidy(g.m.opts.Now())
	return !g.fits()
}

// reject keeps a message out: it is done with, or on its way to the undertaker,
// before it was ever ready. Rejected ones with none taken in between are one run,
// so there are no more runs than messages that wait.
func (g *group) reject(c *cursor, ms *shard.Message, pub []*shard.Binding) {
	at := ms.Record.Offset
	if c.live {
		c.next = at + 1
	}
	if g.limits.RejectDead && g.limits.Dead != nil {
		g.seq++
		e := &entry{msg: *ms, bindings: pub, cur: c, offset: at, seq: g.seq, size: int64(ms.Record.Size()) + entryOverhead}
		c.insert(e)
		g.giveUp(e, shard.DeadMaxLength)
	} else {
		lo := at
		if c.rejectedTo > 0 {
			lo = c.rejectedTo - 1
		}
		c.acked = c.acked.add(lo, at)
		c.rejectedTo = at + 1
		c.advance()
		g.dirtyLocked(c)
	}
	if g.limits.Rejected != nil {
		g.limits.Rejected(c.id, at, ms.Origin)
	}
}
