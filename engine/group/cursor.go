package group

import (
	"cmp"
	"slices"
	"sort"

	"github.com/robustmq/robustmq-go/shard"
)

// State of an entry.
const (
	queued    = iota // in the ready queue
	delayed          // held back
	delivered        // with a consumer
	done             // acknowledged or dropped from the group
	forgotten        // no longer in memory, still the group's: it is read again
	dying            // given up, with the undertaker
)

// entryOverhead is what an entry takes beside its message, in bytes.
const entryOverhead = 192

// entry is one message of the group that is not done.
type entry struct {
	msg      shard.Message // Record is nil when the message was let go
	bindings []*shard.Binding
	cur      *cursor
	offset   int64
	// seq is the place in the group: what was queued first has the lower.
	seq   uint64
	size  int64
	count int32 // deliveries
	state uint8
	// fed tells that it came from the feed, and was not read back.
	fed bool
	// priority is 0 where the group has none.
	priority uint8
	// holder has it delivered; prev and next are its list in delivery order.
	holder     *consumer
	prev, next *entry
	// at is, in nanoseconds, when it was delivered or when its delay ends.
	at int64
}

// cursor is a group's place in one shard. All is under the group's lock.
type cursor struct {
	g     *group
	f     *feed
	id    shard.ID
	top   *shard.Topic
	live  bool // see setLive
	lagAt int  // in g.lag, while it is not live
	// next is where it reads on. Everything before is outstanding, done or not ours.
	next int64
	// gen changes when next does other than by reading.
	gen uint64
	// out[head:] is outstanding, in offset order, with done ones in between.
	out     []*entry
	head    int
	doneOut int
	// acked are runs above the floor that are done and no longer in out.
	acked runs
	// high is the offset after the last delivered; below redelivered everything
	// was delivered once before a restart.
	high, redelivered int64
	// below perhaps it may have been: the process before did not say how far it came.
	perhaps int64
	// counts are deliveries of what was forgotten.
	counts map[int64]int32
	// behind counts what is the group's from offset counted on and not queued.
	behind, counted int64
	// scanned and matched are what catching up met, for an estimate.
	scanned, matched int64
	// rejectedTo is the offset after the last message, if that was rejected, else 0.
	rejectedTo int64
	dirty      bool
	saved      int64 // floor as last written
	gone       bool
	bad        bool // something unreadable was reported
}

// cursorLocked gives the group's cursor on a feed, a live one at next if there
// is none. The feed and the group are locked.
func (g *group) cursorLocked(f *feed, t *shard.Topic, next int64) *cursor {
	if c := g.cursors[f.id]; c != nil {
		return c
	}
	c := &cursor{g: g, f: f, id: f.id, top: t, next: next, live: true, saved: -1}
	g.cursors[f.id] = c
	f.cursors[c] = struct{}{}
	return c
}

// setLive makes the cursor one that is fed, or one that reads.
func (c *cursor) setLive(on bool) {
	g := c.g
	if c.live == on {
		return
	}
	if c.live = on; !on {
		c.lagAt = len(g.lag)
		g.lag = append(g.lag, c)
		return
	}
	last := len(g.lag) - 1
	if c.lagAt > last || g.lag[c.lagAt] != c { // the group ended
		return
	}
	g.lag[c.lagAt] = g.lag[last]
	g.lag[c.lagAt].lagAt = c.lagAt
	g.lag[last] = nil
	g.lag = g.lag[:last]
}

// position is the offset up to which the cursor knows all.
func (c *cursor) position() int64 {
	if c.live {
		return max(c.next, c.f.end.Load())
	}
	return c.next
}

// floor is the offset below which all is done.
func (c *cursor) floor() int64 {
	p := c.position()
	if c.head < len(c.out) {
		return min(p, c.out[c.head].offset)
	}
	return p
}

// find gives the outstanding entry at an offset, and its index in out.
func (c *cursor) find(offset int64) (*entry, int) {
	out := c.out[c.head:]
	i := sort.Search(len(out), func(i int) bool { return out[i].offset >= offset })
	if i < len(out) && out[i].offset == offset {
		return out[i], c.head + i
	}
	return nil, c.head + i
}

// insert puts an entry in its place.
func (c *cursor) insert(e *entry) {
	if n := len(c.out); n == c.head || c.out[n-1].offset < e.offset {
		c.out = append(c.out, e)
		return
	}
	_, i := c.find(e.offset)
	c.out = append(c.out, nil)
	copy(c.out[i+1:], c.out[i:])
	c.out[i] = e
}

// finish marks an entry as done; the group has taken it off its queues.
func (c *cursor) finish(e *entry) {
	e.state = done
	e.msg, e.bindings, e.holder = shard.Message{}, nil, nil
	c.doneOut++
	c.advance()
	if c.doneOut > 1024 && c.doneOut > (len(c.out)-c.head)/2 {
		c.compact()
	}
	delete(c.counts, e.offset)
}

// advance lets go of done entries at the head. Those that would be read again
// become runs.
func (c *cursor) advance() {
	for c.head < len(c.out) && c.out[c.head].state == done {
		if at := c.out[c.head].offset; !c.live && at >= c.next {
			c.acked = c.acked.add(at, at)
		}
		c.out[c.head] = nil
		c.head++
		c.doneOut--
	}
	if c.head == len(c.out) {
		c.out, c.head = c.out[:0], 0
	} else if c.head > 1024 && c.head > len(c.out)/2 {
		n := copy(c.out, c.out[c.head:])
		clear(c.out[n:])
		c.out, c.head = c.out[:n], 0
	}
	if len(c.acked) > 0 {
		c.acked = c.acked.from(c.floor())
	}
}

// compact makes runs of the done entries.
func (c *cursor) compact() {
	c.acked = c.doneRuns()
	kept := c.out[:0]
	for _, e := range c.out[c.head:] {
		if e.state != done && e.state != forgotten {
			kept = append(kept, e)
		}
	}
	clear(c.out[len(kept):])
	c.out, c.head, c.doneOut = kept, 0, 0
	c.advance()
}

// doneRuns gives what is done above the floor, as far as is known. Below the
// position, what lies between two done entries is done or not the group's; past
// it, it may be yet to be read again.
func (c *cursor) doneRuns() runs {
	rs := append(runs(nil), c.acked...)
	out, read := c.out[c.head:], c.position()
	for i := 0; i < len(out); i++ {
		if out[i].state != done {
			continue
		}
		lo := out[i].offset
		for i+1 < len(out) && out[i+1].state == done && out[i+1].offset < read {
			i++
		}
		rs = rs.add(lo, out[i].offset)
	}
	return rs
}

// drop counts everything from the position up to end as done, but for what is
// outstanding.
func (c *cursor) drop(end int64) {
	lo := c.next
	for _, e := range c.out[c.head:] {
		if e.state == done || e.offset < lo {
			continue
		}
		if lo < e.offset {
			c.acked = c.acked.add(lo, e.offset-1)
		}
		lo = e.offset + 1
	}
	if lo < end {
		c.acked = c.acked.add(lo, end-1)
	}
}

// savedRuns are doneRuns as they are written: what lies between the last
// outstanding entry and the position needs no reading either.
func (c *cursor) savedRuns() runs {
	rs := c.doneRuns()
	lo := c.floor()
	if n := len(c.out); n > c.head {
		for n--; n > c.head && (c.out[n].state == done || c.out[n].state == forgotten); n-- {
		}
		lo = c.out[n].offset + 1
	}
	if p := c.position(); lo < p && lo > c.floor() {
		rs = rs.add(lo, p-1)
	}
	return rs
}

// savedCounts are the deliveries, where more than one, of what is not done. One
// alone is told by the high mark.
func (c *cursor) savedCounts() []savedCount {
	var cs []savedCount
	for _, e := range c.out[c.head:] {
		if e.count > 1 && e.state != done && e.state != forgotten {
			cs = append(cs, savedCount{e.offset, e.count})
		}
	}
	if len(c.counts) > 0 {
		floor := c.floor()
		for offset, n := range c.counts {
			if n > 1 && offset >= floor {
				cs = append(cs, savedCount{offset, n})
			}
		}
		slices.SortFunc(cs, func(a, b savedCount) int { return cmp.Compare(a.offset, b.offset) })
		cs = slices.CompactFunc(cs, func(a, b savedCount) bool { return a.offset == b.offset })
	}
	return cs[:min(len(cs), maxSavedCounts)]
}

// rewind makes the cursor read again from offset to on. Queued entries from
// there on leave memory; delivered and delayed ones stay.
func (c *cursor) rewind(to int64) {
	if c.live {
		c.counted, c.behind = c.position(), 0
	}
	c.next = min(c.position(), to)
	c.setLive(false)
	c.gen++
	for _, e := range c.out[c.head:] {
		if e.state == queued && e.offset >= to {
			c.remember(e)
			c.g.unready(e)
			e.state = forgotten
			c.behindBy(e.offset, 1)
		}
	}
	c.compact()
}

// remember keeps the delivery count of an entry that leaves memory.
func (c *cursor) remember(e *entry) {
	if e.count > 0 && len(c.counts) < maxCounts {
		if c.counts == nil {
			c.counts = make(map[int64]int32)
		}
		c.counts[e.offset] = e.count
	} else if e.count > 0 {
		c.redelivered = max(c.redelivered, e.offset+1)
	}
}

// behindBy corrects the count of what is still to be read.
func (c *cursor) behindBy(offset, n int64) {
	if offset >= c.counted {
		c.behind = max(c.behind+n, 0)
	}
}

// firstCount is what an entry's count begins with.
func (c *cursor) firstCount(offset int64) int32 {
	if n, ok := c.counts[offset]; ok {
		delete(c.counts, offset)
		return n
	}
	if offset < c.redelivered {
		return 1
	}
	return 0
}

// waiting estimates how many messages are still to be read; it is exact where
// every record is the group's.
func (c *cursor) waiting() int64 {
	if c.live {
		return 0
	}
	n := c.behind
	left := c.counted - c.next
	if left <= 0 {
		return n
	}
	for _, r := range c.acked {
		left -= max(0, min(r.hi+1, c.counted)-max(r.lo, c.next))
	}
	for _, e := range c.out[c.head:] {
		if e.offset >= c.next && e.offset < c.counted && e.state != forgotten {
			left--
		}
	}
	if left > 0 && !c.g.takesAll(c) && c.scanned > 0 {
		left = max(left*c.matched/c.scanned, 1)
	}
	return n + max(left, 0)
}
