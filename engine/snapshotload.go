package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
)

// snapshotSection says in the row of a snapshot up to where each slot is in it.
func snapshotSection(snaps []slotSnapshot) catalog.Section {
	b := binary.AppendUvarint([]byte{snapshotVersion}, uint64(len(snaps)))
	for i := range snaps {
		b = binary.AppendUvarint(b, uint64(snaps[i].slot))
		b = binary.AppendUvarint(b, uint64(snaps[i].upto))
	}
	return catalog.Section{Kind: catalog.SectionSnapshot, Data: b}
}

var errSnapshot = shard.Errorf(shard.KindCorrupt, "snapshot of state is malformed")

// snapshotUpto reads from a snapshot's row up to where a slot is in it.
func snapshotUpto(seg *catalog.Segment, slot int) (int64, error) {
	b, ok := seg.Section(catalog.SectionSnapshot)
	if !ok || len(b) == 0 || b[0] != snapshotVersion {
		return 0, fmt.Errorf("%w: segment %s has no known snapshot's row", errSnapshot, seg.ULID)
	}
	n, b := takeUvarint(b[1:])
	for range min(n, Slots) {
		var index, upto uint64
		index, b = takeUvarint(b)
		upto, b = takeUvarint(b)
		if int64(upto) >= 0 && b != nil && index == uint64(slot) {
			return int64(upto), nil
		}
	}
	return 0, fmt.Errorf("%w: segment %s does not name slot %d", errSnapshot, seg.ULID, slot)
}

// takeUvarint reads a number; what follows is nil where there is none.
func takeUvarint(b []byte) (v uint64, rest []byte) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil
	}
	return v, b[n:]
}

// snapshotOf gives up to where a snapshot has a slot's state log.
func (e *Engine) snapshotOf(slot uint32) int64 {
	t := e.snapshots()
	if t == nil || slot >= Slots {
		return 0
	}
	seg, _, ok := e.lastSnapshot(t, int(slot))
	if !ok {
		return 0
	}
	upto, err := snapshotUpto(seg, int(slot))
	if err != nil {
		return 0
	}
	return upto
}

// flushedTo gives the offset after what segments have of a shard. Of the state log that
// may be less than what a snapshot has.
func (e *Engine) flushedTo(id shard.ID) int64 {
	end := int64(0)
	if _, last, ok := e.cat.Bounds(id); ok {
		end = last + 1
	}
	if id.Topic == stateTopicNum {
		end = max(end, e.snapshotOf(id.Index))
	}
	return end
}

// findSnapshots notes what snapshots took the place of, before the log is replayed.
func (e *Engine) findSnapshots() error {
	t := e.snapshots()
	if t == nil {
		e.snapshotAt = e.opened
		return nil
	}
	for slot := range Slots {
		seg, x, ok := e.lastSnapshot(t, slot)
		if !ok {
			continue
		}
		upto, err := snapshotUpto(seg, slot)
		if err != nil {
			return err
		}
		e.kept.raise(shard.ID{Topic: stateTopicNum, Index: uint32(slot)}, upto)
		e.kept.raise(x.Shard, x.Base)
		e.state.slots[slot].snapshot = x.Len
		e.snapshotAt = max(e.snapshotAt, seg.Created)
	}
	return nil
}

// loadSnapshots loads the slots that this gateway owns from their snapshots, each
// object once, in the order in which they lie there.
func (e *Engine) loadSnapshots(ctx context.Context) error {
	t := e.snapshots()
	if t == nil {
		return nil
	}
	type source struct {
		seg  *catalog.Segment
		exts []catalog.Extent
	}
	by := make(map[ulid.ULID]*source)
	for slot := range Slots {
		seg, x, ok := e.lastSnapshot(t, slot)
		if !ok || e.epochs[slot] == 0 {
			continue
		}
		if by[seg.ULID] == nil {
			by[seg.ULID] = &source{seg: seg}
		}
		by[seg.ULID].exts = append(by[seg.ULID].exts, x)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for _, s := range by {
		g.Go(func() error {
			sweep := tier.NewSweep(e.store, s.seg.Key, s.seg.Size, snapshotWindow)
			for i := range s.exts {
				if err := e.loadSlot(gctx, sweep, s.seg, &s.exts[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// snapshotWindow is how much of a snapshot one GET reads.
const snapshotWindow = 8 << 20

// loadSlot loads one slot. What cannot be read of it refuses the slot, as damage of the
// state log does.
func (e *Engine) loadSlot(ctx context.Context, sweep *tier.Sweep, seg *catalog.Segment, x *catalog.Extent) error {
	slot := int(x.Shard.Index)
	sl := &e.state.slots[slot]
	left, err := int64(-1), error(nil)
	for raw, rerr := range sweep.Batches(ctx, tierExtent(*x)) {
		if err = rerr; err != nil {
			err = e.tierError(err, x.Shard, x.Base, seg.Key)
			break
		}
		if left, err = sl.restore(raw, left); err != nil {
			break
		}
	}
	if err == nil && left != 0 {
		err = fmt.Errorf("%w: %d values are missing", errSnapshot, left)
	}
	if err != nil && shard.KindOf(err) != shard.KindCorrupt {
		return fmt.Errorf("load snapshot of slot %d: %w", slot, err)
	}
	if err != nil {
		e.log.Error("state is damaged: what this slot keeps is refused, all else is served", "slot", slot, "error", err)
		sl.damaged = errors.Join(sl.damaged, fmt.Errorf("load snapshot of slot %d: %w", slot, err))
	}
	return nil
}

// restore takes the values of a batch of a snapshot; left is how many are to come, or
// below 0 before the first.
func (sl *stateSlot) restore(raw []byte, left int64) (int64, error) {
	b, err := shard.VerifiedBatch(raw)
	if err != nil {
		return left, fmt.Errorf("%w: %w", errSnapshot, err)
	}
	recs, err := b.Records()
	if err != nil {
		return left, fmt.Errorf("%w: %w", errSnapshot, err)
	}
	sl.mu.Lock()
	defer sl.mu.Unlock()
	for i := range recs {
		r := &recs[i]
		if left < 0 {
			if r.Key != nil || len(r.Value) == 0 || r.Value[0] != snapshotVersion {
				return left, fmt.Errorf("%w: it begins with something else", errSnapshot)
			}
			_, rest := takeUvarint(r.Value[1:])
			n, rest := takeUvarint(rest)
			if left = int64(n); rest == nil || left < 0 {
				return left, fmt.Errorf("%w: its head is short", errSnapshot)
			}
			continue
		}
		owner, key, err := splitStateKey(r.Key)
		rev, data := takeUvarint(r.Value)
		if err != nil || data == nil || int64(rev) <= 0 || left == 0 {
			return left, fmt.Errorf("%w: value of %q", errSnapshot, r.Key)
		}
		sl.put(owner, key, slices.Clone(data), int64(rev))
		if sl.large(owner, data) {
			sl.shelf[int64(rev)] = r.Offset
		}
		left--
	}
	return left, nil
}
