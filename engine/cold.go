package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
	"github.com/robustmq/robustmq-go/tier/store"
)

const (
	// maxCold is how many sequential readers of segments are told apart; the one
	// that was heard of longest ago is forgotten first.
	maxCold = 256
	// coldIdle is how long a reader that does not come back keeps its share of
	// the read-ahead.
	coldIdle = 30 * time.Second
	// coldScan is the least budget of a read that may be the first of many: one
	// that looks for a record or two reads nothing ahead.
	coldScan = 64 << 10
)

// coldReads knows the sequential readers of segments by where they come next,
// whatever protocol they speak, so that what they will ask for is on its way.
type coldReads struct {
	mu  sync.Mutex
	lru *simplelru.LRU[coldAt, *coldReader]
}

// coldAt is where a reader comes next.
type coldAt struct {
	id     shard.ID
	offset int64
}

type coldReader struct {
	cursor *tier.Cursor // nil when it was taken
	since  time.Time
}

func newColdReads() *coldReads {
	c := &coldReads{}
	// NewLRU refuses only counts below one.
	c.lru, _ = simplelru.NewLRU(maxCold, func(_ coldAt, r *coldReader) {
		if r.cursor != nil {
			r.cursor.Close()
		}
	})
	return c
}

// take gives the cursor of the reader who comes to an offset now, which is then
// the caller's alone; nil when nobody is known.
func (c *coldReads) take(id shard.ID, offset int64, now time.Time) *tier.Cursor {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		at, r, ok := c.lru.GetOldest()
		if !ok || now.Sub(r.since) < coldIdle {
			break
		}
		c.lru.Remove(at)
	}
	at := coldAt{id, offset}
	r, ok := c.lru.Peek(at)
	if !ok {
		return nil
	}
	cursor := r.cursor
	r.cursor = nil
	c.lru.Remove(at)
	return cursor
}

// put keeps a cursor for when its reader comes to an offset.
func (c *coldReads) put(id shard.ID, offset int64, cursor *tier.Cursor, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lru.Remove(coldAt{id, offset}) // the other of two readers in step
	c.lru.Add(coldAt{id, offset}, &coldReader{cursor, now})
}

// Age implements shard.Ager.
func (e *Engine) Age(id shard.ID, offset int64) int64 {
	seg, _, ok := e.cat.FindExtent(id, offset)
	if !ok {
		return math.MaxInt64
	}
	return seg.Created
}

// nextExtent is what the catalog has after a segment of a shard.
func (e *Engine) nextExtent(s tier.Segment) (tier.Segment, bool) {
	seg, ext, ok := e.cat.FindExtent(s.Extent.Shard, s.Extent.Last+1)
	if !ok {
		return tier.Segment{}, false
	}
	return tier.Segment{Key: seg.Key, Size: seg.Size, Extent: tierExtent(ext)}, true
}

// readObject reads what is flushed, through the cache and ahead of a reader who
// goes on where he ended. It may span extents. The batches lie in the cache: who
// keeps one keeps its block.
func (e *Engine) readObject(ctx context.Context, s *shardLog, from, limit int64, opts shard.ReadOptions) ([]*shard.Batch, error) {
	budget := opts.MaxBytes
	if opts.OneSegment {
		out, _, err := e.readExtents(ctx, s, e.reader.Pass, from, limit, budget, true)
		return out, err
	}
	if budget < coldScan {
		out, _, err := e.readExtents(ctx, s, e.reader.Batches, from, limit, budget, false)
		return out, err
	}
	now := e.opts.Now()
	cursor := e.cold.take(s.id, from, now)
	if cursor == nil {
		cursor = e.reader.Cursor(e.nextExtent)
	}
	out, next, err := e.readExtents(ctx, s, cursor.Batches, from, limit, budget, false)
	s.mu.Lock()
	more := next < s.flushed
	s.mu.Unlock()
	if err == nil && more && next > from {
		e.cold.put(s.id, next, cursor, now)
	} else {
		cursor.Close()
	}
	return out, err
}

type readFunc func(ctx context.Context, seg tier.Segment, from int64, maxBytes int) ([]tier.Pieces, error)

// readExtents is readObject through read, of one extent or as many as it takes; next
// is the offset after what it gives.
func (e *Engine) readExtents(ctx context.Context, s *shardLog, read readFunc, from, limit int64, budget int, one bool) (out []*shard.Batch, next int64, err error) {
	for n := 0; from < limit && n < budget && !(one && n > 0); {
		seg, ext, ok := e.cat.FindExtent(s.id, from)
		if !ok || ext.Base >= limit {
			break
		}
		at := tier.Segment{Key: seg.Key, Size: seg.Size, Extent: tierExtent(ext)}
		parts, err := read(ctx, at, from, budget-n)
		if errors.Is(err, store.ErrNotFound) {
			if now, _, ok := e.cat.FindExtent(s.id, from); !ok || now.ULID != seg.ULID {
				err = fmt.Errorf("%w: %w", errMoved, err)
			}
		}
		if err != nil {
			return out, from, e.tierError(err, s.id, from, seg.Key)
		}
		if len(parts) == 0 {
			from = ext.Last + 1
			continue
		}
		for _, p := range parts {
			b, err := shard.VerifiedPieces(p)
			if err != nil {
				return out, from, &shard.Error{Kind: shard.KindCorrupt, Op: "read segment " + seg.Key, Shard: &s.id, Offset: from, Err: err}
			}
			if b.BaseOffset() >= limit {
				return out, from, nil
			}
			out = append(out, b)
			n += b.Size()
			from = b.LastOffset() + 1
		}
	}
	return out, from, nil
}
