package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/wal"
)

// Retention frees whole segments, not always the oldest one first: one that holds
// a living extent of another shard stays, with what nobody can read any more in
// it. So a hole below a shard's start offset is no finding. The start offsets are
// in the state log, which is read only when there is a hole to explain.

// hole is offsets that no segment, or no entry of the log, holds.
type hole struct {
	id      shard.ID
	finding Finding
}

// holes reports those that are not below their shard's start.
func (c *checker) holes(ctx context.Context) {
	for i := range c.open {
		h := &c.open[i]
		start, err := c.startOf(ctx, h.id)
		if err != nil {
			c.find("store", h.finding.Where, "the start offset of shard %s cannot be found out: %s", h.id, err)
		}
		if h.finding.From = max(h.finding.From, start); h.finding.From <= h.finding.To {
			c.add(c.at(h.finding))
		}
	}
	c.open = nil
}

// below takes the holes of the log that are below their shard's start away.
func (c *checker) below(ctx context.Context, gaps []Finding) []Finding {
	return slices.DeleteFunc(gaps, func(g Finding) bool {
		start, err := c.startOf(ctx, *g.Shard)
		return err == nil && g.To < start
	})
}

// startOf gives a shard's start offset.
func (c *checker) startOf(ctx context.Context, id shard.ID) (int64, error) {
	owner := shardStateOwner(id)
	slot := slotOfName(owner)
	sl, ok := c.slots[slot]
	if !ok {
		sl = &stateSlot{owners: make(map[string]*stateOwner)}
		if c.slots == nil {
			c.slots = make(map[int]*stateSlot)
		}
		c.slots[slot] = sl
		if err := c.readSlot(ctx, shard.ID{Topic: stateTopicNum, Index: uint32(slot)}, sl); err != nil {
			return 0, err
		}
	}
	var start int64
	sl.walk(owner, shardStateKey("start", id), func(key string, v shard.StateValue) bool {
		if key == shardStateKey("start", id) && len(v.Data) == 8 {
			start = int64(binary.BigEndian.Uint64(v.Data))
		}
		return true
	})
	return start, nil
}

// readSlot reads a shard of the state log: what the segments have of it, and what
// only the write-ahead log has. Damage in it is passed over; it is a finding of
// its own.
func (c *checker) readSlot(ctx context.Context, id shard.ID, sl *stateSlot) error {
	r, err := tier.NewReader(c.st, tier.ReaderOptions{CacheBytes: 16 << 20})
	if err != nil {
		return err
	}
	defer r.Close()
	for _, x := range c.cat.Extents(id) {
		seg := tier.Segment{Key: x.Segment.Key, Size: x.Segment.Size, Extent: tierExtent(x.Extent)}
		for from := x.Extent.Base; from <= x.Extent.Last; {
			next, err := c.readState(ctx, r, seg, from, sl)
			if err != nil {
				return err
			}
			from = next
		}
	}
	if c.o.WALDir == "" {
		return nil
	}
	_, err = wal.Dump(wal.Source{Dir: c.o.WALDir, FS: c.o.FS}, func(_ wal.Pos, e wal.Entry) error {
		if e.Shard != id {
			return nil
		}
		if b, err := shard.ParseBatch(e.Data); err == nil {
			if recs, err := b.Records(); err == nil {
				sl.replay(recs)
			}
		}
		return nil
	})
	return err
}

// readState takes up what one read gives of a state shard, and tells where the
// next one begins.
func (c *checker) readState(ctx context.Context, r *tier.Reader, seg tier.Segment, from int64, sl *stateSlot) (int64, error) {
	parts, err := r.Batches(ctx, seg, from, 4<<20)
	var damaged *tier.CorruptError
	switch {
	case errors.As(err, &damaged) && damaged.From <= damaged.To && damaged.To >= from:
		return damaged.To + 1, nil
	case errors.As(err, &damaged), errors.Is(err, store.ErrNotFound):
		return seg.Extent.Last + 1, nil
	case err != nil:
		return 0, fmt.Errorf("read state: %w", err)
	case len(parts) == 0:
		return seg.Extent.Last + 1, nil
	}
	for _, p := range parts {
		b, err := shard.VerifiedPieces(p)
		if err != nil {
			return 0, err
		}
		if recs, err := b.Records(); err == nil {
			sl.replay(recs)
		}
		from = b.LastOffset() + 1
	}
	return from, nil
}
