package engine

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
)

// A snapshot of state is a segment with the live values of slots as of an offset of
// each slot's state log, upto: what the log holds below it is dead, so that no segment
// of records stays for the sake of state, and a start reads the snapshot and what came
// after it.
//
// The records of a slot lie in the shard of its index of the internal topic
// snapshotTopic, at offsets that rise with each snapshot. The last extent of a shard
// counts; its first record has no key, and says what follows:
//
//	first record   value: version (1 byte), upto (varint), number of values (varint)
//	other records  key: as in the state log; value: revision (varint), value
//
// The segment's row says upto, too (catalog.SectionSnapshot): version (1 byte), number
// of slots (varint), of each its index and upto (varints), by rising index.
const (
	snapshotTopic   = "robustmq.state-snapshots"
	snapshotVersion = 1
	// snapshotBatch is the size from which on a batch of a snapshot is closed: who reads
	// one large value decodes the batch that it is in.
	snapshotBatch = 16 << 10
	// snapshotShare of a segment is how much of the state log may have come since the
	// last snapshot, if that was not larger.
	snapshotShare = 16
	// snapshotSegments is how many segments a snapshot may weigh, about: what is more
	// becomes several.
	snapshotSegments = 4
)

// slotSnapshot is what one slot had.
type slotSnapshot struct {
	slot   int
	upto   int64 // of the state log: all before it is in values
	end    int64 // of the state log: all in values is before it
	bytes  int64 // of the state log since the last snapshot
	values []slotValue
	// shelf is where the snapshot has the large values, by revision.
	shelf map[int64]int64
}

type slotValue struct {
	owner, key string
	shard.StateValue
	// shelf is where the former snapshot has it; 0: it lies here or in the log. It is
	// kept, since the slot forgets it with the next change.
	shelf int64
}

// copyOut gives the slot's values and what of the log they stand for.
func (sl *stateSlot) copyOut(s *shardLog, slot int) slotSnapshot {
	sl.mu.RLock()
	defer sl.mu.RUnlock()
	s.mu.Lock()
	out := slotSnapshot{slot: slot, upto: s.next, bytes: sl.tail}
	s.mu.Unlock()
	if len(sl.flying) > 0 {
		out.upto = sl.flying[0].base
	}
	out.end = out.upto
	for name, o := range sl.owners {
		for key, v := range o.values {
			out.values = append(out.values, slotValue{name, key, v, sl.shelf[v.Rev]})
			out.end = max(out.end, v.Rev)
		}
	}
	return out
}

// flight is a change that is queued for the log.
type flight struct {
	base int64
	done bool
}

// land notes that a change is done; mu is held.
func (sl *stateSlot) land(base int64) {
	for i := range sl.flying {
		if sl.flying[i].base == base {
			sl.flying[i].done = true
			break
		}
	}
	n := 0
	for n < len(sl.flying) && sl.flying[n].done {
		n++
	}
	sl.flying = slices.Delete(sl.flying, 0, n)
}

// snapshotDue gives the slots to be written, none while it is not time: they are those
// that changed, and those whose snapshots lie in segments of which most is dead.
func (e *Engine) snapshotDue(now time.Time) []int {
	var changed []int
	var tail, size int64
	for slot := range e.state.slots {
		sl := &e.state.slots[slot]
		sl.mu.RLock()
		if e.epochs[slot] > 0 && sl.damaged == nil {
			if sl.tail > 0 {
				changed = append(changed, slot)
			}
			tail, size = tail+sl.tail, size+sl.snapshot
		}
		sl.mu.RUnlock()
	}
	age := now.Sub(time.UnixMilli(e.snapshotAt))
	young := age >= 0 && age < e.opts.SnapshotInterval // below 0 the clock went back
	if len(changed) == 0 || tail <= max(e.opts.SegmentBytes/snapshotShare, size) && young {
		return nil
	}
	return e.withNeighbours(changed)
}

// withNeighbours adds the slots of snapshots that would be mostly dead without them.
func (e *Engine) withNeighbours(slots []int) []int {
	t := e.snapshots()
	if t == nil {
		return slots
	}
	in := make(map[int]bool, len(slots))
	for _, s := range slots {
		in[s] = true
	}
	type segment struct {
		size, live int64
		slots      []int
	}
	segs := make(map[ulid.ULID]*segment)
	for slot := range Slots {
		seg, x, ok := e.lastSnapshot(t, slot)
		if !ok || in[slot] || e.state.slots[slot].refused() != nil {
			continue
		}
		s := segs[seg.ULID]
		if s == nil {
			s = &segment{size: seg.Size}
			segs[seg.ULID] = s
		}
		s.live += x.Len
		s.slots = append(s.slots, slot)
	}
	for _, s := range segs {
		if 2*s.live < s.size {
			slots = append(slots, s.slots...)
		}
	}
	slices.Sort(slots)
	return slots
}

// lastSnapshot gives where a slot's snapshot is.
func (e *Engine) lastSnapshot(t *shard.Topic, slot int) (*catalog.Segment, catalog.Extent, bool) {
	id := t.Shard(uint32(slot))
	_, last, ok := e.cat.Bounds(id)
	if !ok {
		return nil, catalog.Extent{}, false
	}
	return e.cat.FindExtent(id, last)
}

// Snapshot writes a snapshot of the state, if it is time for one.
func (e *Engine) Snapshot(ctx context.Context) (did bool, err error) {
	e.merging.Lock()
	defer e.merging.Unlock()
	if e.failed.Load() != nil || e.stateWaits() != nil {
		return false, nil
	}
	if e.inDoubt != nil {
		if err := e.swapSnapshot(ctx, e.inDoubt); err != nil {
			return false, fmt.Errorf("find out about a snapshot of state: %w", err)
		}
	}
	slots := e.snapshotDue(e.opts.Now())
	if len(slots) == 0 {
		return false, nil
	}
	for _, part := range e.snapshotParts(slots) {
		if err := e.snapshot(ctx, part); err != nil {
			return did, fmt.Errorf("write snapshot of state: %w", err)
		}
		did = true
	}
	return did, nil
}

// snapshotParts parts slots so that the snapshot of each part has a size that a store
// takes, in the time that a PUT has. No slot has more than its last snapshot and what came since.
func (e *Engine) snapshotParts(slots []int) (parts [][]int) {
	var bytes int64
	for _, slot := range slots {
		sl := &e.state.slots[slot]
		sl.mu.RLock()
		n := sl.snapshot + sl.tail
		sl.mu.RUnlock()
		if bytes += n; len(parts) == 0 || bytes > snapshotSegments*e.opts.SegmentBytes {
			parts, bytes = append(parts, nil), n
		}
		last := len(parts) - 1
		parts[last] = append(parts[last], slot)
	}
	return parts
}

func (e *Engine) snapshot(ctx context.Context, slots []int) error {
	t, err := e.ensureSnapshotTopic(ctx)
	if err != nil {
		return err
	}
	snaps, err := e.copyState(ctx, slots)
	if err != nil || len(snaps) == 0 {
		return err
	}
	out := &mergeOutput{e: e, created: e.opts.Now().UnixMilli(), class: classSnapshot, limit: 1 << 62, sections: []catalog.Section{snapshotSection(snaps)}}
	tried := false
	defer func() {
		out.close()
		if !tried {
			out.discard()
		}
	}()
	for i := range snaps {
		id, base := t.Shard(uint32(snaps[i].slot)), int64(0)
		if _, last, ok := e.cat.Bounds(id); ok {
			base = last + 1
		}
		if err := e.writeSlot(ctx, out, id, base, &snaps[i]); err != nil {
			return err
		}
	}
	if err := out.emit(ctx); err != nil {
		return err
	}
	tried = true
	for i := range snaps {
		snaps[i].values = nil
		sl := &e.state.slots[snaps[i].slot]
		sl.mu.Lock()
		sl.nextShelf = snaps[i].shelf // readers look there, too, from before the swap on
		sl.mu.Unlock()
	}
	return e.swapSnapshot(ctx, &snapshotSwap{seg: out.done[0], remove: e.oldSnapshots(t, snaps), snaps: snaps})
}

// snapshotSwap names a snapshot in the catalog. While it is not known whether it did,
// the same is tried again before anything else: another one would lie over it.
type snapshotSwap struct {
	seg    catalog.Segment
	remove []ulid.ULID
	snaps  []slotSnapshot
}

func (e *Engine) swapSnapshot(ctx context.Context, x *snapshotSwap) error {
	err := e.session.SwapSegments(ctx, []catalog.Segment{x.seg}, x.remove)
	e.inDoubt = nil
	switch {
	case errors.Is(err, catalog.ErrTooLarge), errors.Is(err, catalog.ErrOverlap), errors.Is(err, catalog.ErrInvalid), errors.Is(err, catalog.ErrConflict):
		return err // it has not happened
	case err != nil:
		e.inDoubt = x
		return err
	}
	e.counters.snapshots.Add(1)
	e.snapshotAt = x.seg.Created
	for i := range x.snaps {
		k := slices.IndexFunc(x.seg.Extents, func(ext catalog.Extent) bool { return ext.Shard.Index == uint32(x.snaps[i].slot) })
		e.snapshotTaken(&x.snaps[i], &x.seg.Extents[k])
	}
	return nil
}

// copyState copies the slots, and sees to it that the segments hold all that is in the
// copies: a snapshot must not know what only the write-ahead log has.
func (e *Engine) copyState(ctx context.Context, slots []int) ([]slotSnapshot, error) {
	var snaps []slotSnapshot
	logs := make(map[int]*shardLog, len(slots))
	flush := false
	for _, slot := range slots {
		s, _, err := e.shardFor(shard.ID{Topic: stateTopicNum, Index: uint32(slot)})
		if err != nil {
			return nil, err
		}
		snap := e.state.slots[slot].copyOut(s, slot)
		snaps, logs[slot] = append(snaps, snap), s
		flush = flush || s.flushedEnd() < snap.end
	}
	if flush {
		if err := e.Flush(ctx); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(snaps, func(s slotSnapshot) bool { return logs[s.slot].flushedEnd() < s.end }), nil
}

func (s *shardLog) flushedEnd() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flushed
}

// asTheyLie orders values as the former snapshot and then the log have them: large ones
// are read one after the other, and each block of them once.
func asTheyLie(a, b slotValue) int {
	return cmp.Or(cmp.Compare(a.shelf, b.shelf), cmp.Compare(a.Rev, b.Rev))
}

// writeSlot adds a slot to a snapshot.
func (e *Engine) writeSlot(ctx context.Context, out *mergeOutput, id shard.ID, base int64, s *slotSnapshot) error {
	now := e.opts.Now().UnixMilli()
	slices.SortFunc(s.values, asTheyLie)
	s.shelf = make(map[int64]int64)
	head := binary.AppendUvarint(binary.AppendUvarint([]byte{snapshotVersion}, uint64(s.upto)), uint64(len(s.values)))
	recs := []shard.Record{{Timestamp: now, Value: head}}
	size, first := 0, base
	emit := func() error {
		b := shard.BatchOf(recs...)
		b.Assign(base, e.epochs[s.slot])
		base = b.LastOffset() + 1
		recs, size = recs[:0], 0
		return out.add(ctx, id, b.Raw(), arrivedAt(now))
	}
	for i := range s.values {
		v := &s.values[i]
		data, err := e.state.dataOf(ctx, s.slot, v)
		if err != nil {
			return err
		}
		if v.Data == nil {
			s.shelf[v.Rev] = first + int64(i) + 1 // the head is the first record
		}
		rec := shard.Record{Timestamp: now, Key: stateKey(v.owner, v.key)}
		rec.Value = append(binary.AppendUvarint(make([]byte, 0, len(data)+9), uint64(v.Rev)), data...)
		n := len(rec.Key) + len(rec.Value) + 16
		if size > 0 && size+n > snapshotBatch {
			if err := emit(); err != nil {
				return err
			}
		}
		recs, size = append(recs, rec), size+n
	}
	return emit()
}

// oldSnapshots gives the snapshots that nobody needs once these are there.
func (e *Engine) oldSnapshots(t *shard.Topic, snaps []slotSnapshot) []ulid.ULID {
	fresh := make(map[int]bool, len(snaps))
	for i := range snaps {
		fresh[snaps[i].slot] = true
	}
	needed := make(map[ulid.ULID]bool)
	for slot := range Slots {
		seg, _, ok := e.lastSnapshot(t, slot)
		if ok {
			needed[seg.ULID] = needed[seg.ULID] || !fresh[slot]
		}
	}
	var old []ulid.ULID
	for id, yes := range needed {
		if !yes && len(old) < maxRun {
			old = append(old, id)
		}
	}
	return old
}

// snapshotTaken notes what a snapshot took the place of.
func (e *Engine) snapshotTaken(s *slotSnapshot, x *catalog.Extent) {
	id := shard.ID{Topic: stateTopicNum, Index: uint32(s.slot)}
	e.kept.raise(id, s.upto)
	e.kept.raise(x.Shard, x.Base)
	if log, _, err := e.shardFor(id); err == nil {
		log.raise(s.upto)
	}
	sl := &e.state.slots[s.slot]
	sl.mu.Lock()
	defer sl.mu.Unlock()
	sl.tail -= s.bytes
	sl.snapshot = x.Len
	sl.shelf, sl.nextShelf = s.shelf, nil
}

// snapshots gives the topic of snapshots, nil where there is none yet.
func (e *Engine) snapshots() *shard.Topic {
	if t, ok := e.cat.Topics().ByName(snapshotTopic); ok && t.Internal && t.Shards == Slots {
		return t
	}
	return nil
}

func (e *Engine) ensureSnapshotTopic(ctx context.Context) (*shard.Topic, error) {
	if t := e.snapshots(); t != nil {
		return t, nil
	}
	t, err := e.cat.CreateTopic(ctx, shard.Topic{Name: snapshotTopic, Shards: Slots, Internal: true,
		Created: e.opts.Now().UnixMilli(), Config: shard.TopicConfig{Compact: true}})
	if errors.Is(err, shard.ErrTopicExists) {
		if t := e.snapshots(); t != nil {
			return t, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("create topic %s: %w", snapshotTopic, err)
	}
	return t, nil
}
