package tier

import (
	"context"
	"sync/atomic"
)

// aheadStart is the read-ahead in bytes that a Cursor begins with.
const aheadStart = 512 << 10

// aheadObjects is how many objects one step of read-ahead looks into.
const aheadObjects = 16

// Segment is one shard's extent and the object that it is in.
type Segment struct {
	Key    string
	Size   int64 // of the object, in bytes
	Extent Extent
}

// Next returns what follows a segment in its shard, and false when nothing does
// yet. It must not block: it is a look-up in memory.
type Next func(Segment) (Segment, bool)

// Cursor is one sequential reader of a shard. It reads ahead in the background:
// 512 KiB at first, twice as much with each read that goes on where the one
// before ended, up to ReaderOptions.AheadBytes and to its share of the cache,
// across the borders of objects; back to 512 KiB on a seek. A Cursor is used by
// one goroutine at a time. Cursors that have caught up with the tail should be
// closed: each has a share of the cache.
type Cursor struct {
	r      *Reader
	next   Next
	opened bool
	shares bool // counted in r.cursors

	window int64 // bytes to be read ahead
	expect int64 // offset with which a sequential reader comes next
	seen   Segment
	at     int64   // place in seen with which a sequential reader comes next
	ahead  int64   // bytes read ahead and not read yet
	seg    Segment // where read-ahead stands
	pos    int64
}

type cursorCount struct{ n atomic.Int64 }

// Cursor returns a Cursor. next may be nil: then read-ahead ends with an object.
func (r *Reader) Cursor(next Next) *Cursor { return &Cursor{r: r, next: next} }

// Close gives back the cursor's share of the read-ahead. The Cursor may be used
// again.
func (c *Cursor) Close() {
	if c.shares {
		c.r.cursors.n.Add(-1)
	}
	c.shares, c.opened = false, false
}

// Batches is Reader.Batches of a segment.
func (c *Cursor) Batches(ctx context.Context, seg Segment, from int64, maxBytes int) ([]Pieces, error) {
	if !c.shares {
		c.shares = true
		c.r.cursors.n.Add(1)
	}
	sequential := c.opened && from == c.expect && seg.Extent.Shard == c.seen.Extent.Shard
	if sequential {
		c.window = min(c.window*2, c.r.opts.AheadBytes)
		c.extend() // before the read: both are on their way together
	} else {
		c.window, c.ahead = aheadStart, 0
	}
	out, at, err := c.r.read(ctx, seg, from, maxBytes, !sequential)
	if err != nil {
		c.opened = false
		return nil, err
	}
	if sequential {
		c.ahead -= c.distance(seg, at.pos)
	}
	c.opened, c.expect, c.seen, c.at = true, at.offset, seg, at.pos
	if c.ahead <= 0 { // read-ahead was overtaken, or has not begun
		c.seg, c.pos, c.ahead = seg, at.pos, 0
	}
	if !sequential {
		c.extend()
	}
	return out, nil
}

// distance is how many bytes a read went on that ended in seg at pos.
func (c *Cursor) distance(seg Segment, pos int64) int64 {
	if seg.Key == c.seen.Key && seg.Extent.Pos == c.seen.Extent.Pos {
		return pos - c.at
	}
	return c.seen.Extent.Pos + c.seen.Extent.Len - c.at + pos - seg.Extent.Pos
}

// share is how many bytes this cursor may read ahead, so that all cursors
// together fill no more than a quarter of the cache: what the 2Q
// cache keeps of blocks seen once when it is full of blocks seen more often.
func (c *Cursor) share() int64 {
	return min(c.window, c.r.cache.size/4/max(1, c.r.cursors.n.Load()))
}

// extend reads ahead until the window is full, once it is half empty: so that
// GETs are large.
func (c *Cursor) extend() {
	window := c.share()
	if window < min(aheadStart, c.r.cache.block) || c.ahead > window/2 {
		return
	}
	block := c.r.cache.block
	for range aheadObjects {
		end := c.seg.Extent.Pos + c.seg.Extent.Len
		if c.pos >= end {
			if c.next == nil {
				return
			}
			seg, ok := c.next(c.seg)
			if !ok || checkExtent(seg.Key, seg.Size, seg.Extent) != nil {
				return
			}
			c.seg, c.pos = seg, seg.Extent.Pos
			continue
		}
		n := min(window-c.ahead, end-c.pos)
		if n <= 0 {
			return
		}
		lo, hi := c.pos/block, (c.pos+n-1)/block
		got := c.r.cache.ahead(c.seg.Key, c.seg.Size, lo, hi)
		to := min((lo+got)*block, end) // what of the extent is in those blocks
		if got == 0 || to <= c.pos {
			return
		}
		c.ahead += to - c.pos
		c.pos = to
	}
}
