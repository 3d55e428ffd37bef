package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
)

// maxLevel is where merging ends.
const maxLevel = 4

func (e *Engine) mergeLoop(ctx context.Context) {
	tick := time.NewTicker(e.opts.MergeInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for ctx.Err() == nil {
			did, err := e.Merge(ctx)
			if err != nil && ctx.Err() == nil {
				e.log.Warn("merging segments failed; it is tried again", "error", err)
			}
			if err != nil || !did {
				break
			}
		}
	}
}

// Merge rewrites one run of neighbouring segments of a level into the next
// level: fewer objects, each shard's records together, dead and superseded
// records left out. did is false when there is nothing to merge.
func (e *Engine) Merge(ctx context.Context) (did bool, err error) {
	if e.waits() {
		return false, nil
	}
	run := e.mergeRun()
	if run == nil {
		return false, nil
	}
	err = e.merge(ctx, run)
	if err != nil && shard.KindOf(err) == shard.KindCorrupt {
		// What cannot be read stays where it is; the others must not wait for it.
		var bad *badSegment
		if errors.As(err, &bad) {
			e.setUnmergeable(bad.id)
			e.log.Error("a damaged segment is left out of merging", "error", err)
			return true, nil
		}
	}
	return true, err
}

// badSegment is a segment that a merge could not read.
type badSegment struct {
	id  ulid.ULID
	err error
}

// Error implements error.
func (b *badSegment) Error() string { return fmt.Sprintf("segment %s: %v", b.id, b.err) }

// Unwrap gives the cause.
func (b *badSegment) Unwrap() error { return b.err }

func (e *Engine) setUnmergeable(id ulid.ULID) {
	e.unmergeable.Store(id, true)
	e.counters.unmergeable.Add(1)
}

// mergeRun picks segments of one level that follow one another in time.
func (e *Engine) mergeRun() []*catalog.Segment {
	segs := slices.Collect(e.cat.Segments())
	slices.SortFunc(segs, func(a, b *catalog.Segment) int {
		if a.Created != b.Created {
			return int(min(max(a.Created-b.Created, -1), 1))
		}
		return a.ULID.Compare(b.ULID)
	})
	var run []*catalog.Segment
	var size int64
	for _, s := range segs {
		if _, bad := e.unmergeable.Load(s.ULID); bad || s.Size > e.opts.SegmentBytes/2 {
			run, size = nil, 0
			continue
		}
		if len(run) > 0 && (s.Level != run[0].Level || size+s.Size > 2*e.opts.SegmentBytes) {
			run, size = nil, 0
		}
		run, size = append(run, s), size+s.Size
		if len(run) >= e.opts.MergeSegments && run[0].Level < maxLevel {
			if full := e.withExtents(run); full != nil && e.whole(full) {
				return full
			}
			size -= run[0].Size
			run = run[1:]
		}
	}
	return nil
}

// withExtents reads the run's extents; nil when one of them is gone meanwhile.
func (e *Engine) withExtents(run []*catalog.Segment) []*catalog.Segment {
	out := make([]*catalog.Segment, 0, len(run))
	for _, s := range run {
		full, ok := e.cat.Segment(s.ULID)
		if !ok {
			return nil
		}
		out = append(out, &full)
	}
	return out
}

// whole tells whether no extent of another segment lies between the run's
// extents of any shard, so that the merged ones can take their place.
func (e *Engine) whole(run []*catalog.Segment) bool {
	in := make(map[ulid.ULID]bool, len(run))
	bounds := make(map[shard.ID]span)
	for _, s := range run {
		in[s.ULID] = true
		for i := range s.Extents {
			x := &s.Extents[i]
			b, ok := bounds[x.Shard]
			if !ok {
				b = span{x.Base, x.Last}
			}
			bounds[x.Shard] = span{min(b.from, x.Base), max(b.to, x.Last)}
		}
	}
	for id, b := range bounds {
		for _, x := range e.cat.Extents(id) {
			if x.Extent.Base <= b.to && x.Extent.Last >= b.from && !in[x.Segment.ULID] {
				return false
			}
		}
	}
	return true
}

// merge reads the run shard by shard, writes the merged objects and swaps them
// in by one transaction.
func (e *Engine) merge(ctx context.Context, run []*catalog.Segment) error {
	type source struct {
		seg *catalog.Segment
		ext catalog.Extent
	}
	byShard := make(map[shard.ID][]source)
	var ids []shard.ID
	sweeps := make(map[*catalog.Segment]*tier.Sweep, len(run))
	for _, s := range run {
		sweeps[s] = tier.NewSweep(e.store, s.Key, s.Size, int64(max(mergeReadBytes/len(run), mergeReadLeast)))
		for _, x := range s.Extents {
			if e.dead(&x) {
				continue
			}
			if byShard[x.Shard] == nil {
				ids = append(ids, x.Shard)
			}
			byShard[x.Shard] = append(byShard[x.Shard], source{s, x})
		}
	}
	slices.SortFunc(ids, shard.ID.Compare)
	out := mergeOutput{e: e, level: int(run[0].Level) + 1, created: run[0].Created}
	tried := false // to swap: from then on the objects may be named
	defer func() {
		out.close()
		if !tried {
			out.discard()
		}
	}()
	for _, id := range ids {
		srcs := byShard[id]
		slices.SortFunc(srcs, func(a, b source) int { return int(min(max(a.ext.Base-b.ext.Base, -1), 1)) })
		keep, err := e.compaction(ctx, id, srcs[0].ext.Base)
		if err != nil {
			return err
		}
		for _, src := range srcs {
			if err := e.mergeExtent(ctx, &out, src.seg.Key, sweeps[src.seg].Batches(ctx, tierExtent(src.ext)), src.ext.Shard, keep); err != nil {
				if shard.KindOf(err) == shard.KindCorrupt {
					err = &badSegment{src.seg.ULID, err}
				}
				return err
			}
		}
	}
	if err := out.emit(ctx); err != nil {
		return err
	}
	remove := make([]ulid.ULID, len(run))
	for i, s := range run {
		remove[i] = s.ULID
	}
	tried = true
	if err := e.session.SwapSegments(ctx, out.done, remove); err != nil {
		return fmt.Errorf("swap %d segments for %d: %w", len(run), len(out.done), err)
	}
	e.counters.merges.Add(1)
	return nil
}

// mergeReadBytes is the memory that a merge reads into, all of its segments
// together; mergeReadLeast is how much of one it reads at least at a time.
const (
	mergeReadBytes = 16 << 20
	mergeReadLeast = 64 << 10
)

// mergeExtent copies an extent of a segment to the output, compacted where keep is
// not nil. The shard's last batch stays whole whatever keep says: where it ends is
// how the shard's next offset is known after a restart.
func (e *Engine) mergeExtent(ctx context.Context, out *mergeOutput, key string, batches iter.Seq2[[]byte, error], id shard.ID, keep func(*shard.Record) bool) error {
	_, end, _ := e.cat.Bounds(id)
	after := int64(0)
	for raw, err := range batches {
		if err != nil {
			return e.tierError(err, id, after, key)
		}
		b, err := shard.VerifiedBatch(raw)
		if err != nil {
			return &shard.Error{Kind: shard.KindCorrupt, Op: "merge segment " + key, Shard: &id, Offset: after, Err: err}
		}
		after = b.LastOffset() + 1
		if keep != nil && !b.Control() && b.LastOffset() < end {
			if b, err = compact(b, keep); err != nil {
				return err
			}
		}
		if b == nil {
			continue
		}
		if err := out.add(ctx, id, b.Raw()); err != nil {
			return err
		}
	}
	return nil
}

// compact leaves out superseded records; a batch that loses none stays as it is.
func compact(b *shard.Batch, keep func(*shard.Record) bool) (*shard.Batch, error) {
	recs, err := b.Records()
	if err != nil {
		return nil, err
	}
	all := true
	for i := range recs {
		if !keep(&recs[i]) {
			all = false
			break
		}
	}
	if all {
		return b, nil
	}
	return b.Rewrite(keep)
}

// compaction gives the rule by which records of a compacted shard stay, nil for
// one that is not compacted. first says where the merge begins.
func (e *Engine) compaction(ctx context.Context, id shard.ID, first int64) (func(*shard.Record) bool, error) {
	t, ok := e.cat.Topics().ByNum(id.Topic)
	if !ok || !t.Config.Compact {
		return nil, nil
	}
	if id.Topic == stateTopicNum && e.epochs[id.Index%Slots] == 0 {
		return nil, nil // its owner has the map that tells what is old
	}
	oldest := first
	if base, _, ok := e.cat.Bounds(id); ok {
		oldest = base
	}
	if id.Topic == stateTopicNum {
		return e.state.compaction(int(id.Index), first <= oldest), nil
	}
	lag, deletions := t.Config.CompactionTimes()
	now := e.opts.Now().UnixMilli()
	young, tombstones := int64(math.MaxInt64), now-deletions
	if lag > 0 {
		young = now - lag
	}
	newest, err := e.newestOffsets(ctx, id, first, young)
	if err != nil {
		return nil, err
	}
	return func(r *shard.Record) bool {
		if r.Key == nil || r.Timestamp > young {
			return true
		}
		if r.Value == nil && first <= oldest && r.Timestamp < tombstones {
			return false
		}
		return newest[string(r.Key)] <= r.Offset
	}, nil
}

// maxCompactBytes bounds the memory of one shard's compaction, of which a key
// takes compactKeyBytes and itself; keys past it are all kept until a later pass.
const (
	maxCompactBytes = 256 << 20
	compactKeyBytes = 64
)

// newestOffsets maps each key to its last offset from first to the shard's end,
// of records that are not younger than young: those supersede nothing yet.
func (e *Engine) newestOffsets(ctx context.Context, id shard.ID, first, young int64) (map[string]int64, error) {
	newest := make(map[string]int64)
	bytes := 0
	b, err := e.Bounds(ctx, id)
	if err != nil {
		return nil, err
	}
	for from := max(first, b.Start); from < b.End; {
		r, err := e.Read(ctx, id, from, shard.ReadOptions{MaxBytes: 4 << 20})
		if err != nil && shard.KindOf(err) == shard.KindCorrupt && r.Resume > from {
			from = r.Resume // it supersedes nothing that can be read
			continue
		}
		if shard.KindOf(err) == shard.KindOutOfRange && r.Bounds.Start > from {
			from = r.Bounds.Start
			continue
		}
		if err != nil {
			return nil, err
		}
		if len(r.Batches) == 0 {
			break
		}
		for _, batch := range r.Batches {
			recs, err := batch.Records()
			if err != nil {
				return nil, shard.At(err, "compact", id, batch.BaseOffset())
			}
			for i := range recs {
				if recs[i].Timestamp > young {
					continue
				}
				k := string(recs[i].Key)
				if _, known := newest[k]; recs[i].Key != nil && (known || bytes < maxCompactBytes) {
					newest[k] = recs[i].Offset
					if !known {
						bytes += len(k) + compactKeyBytes
					}
				}
			}
			batch.Forget()
			from = batch.LastOffset() + 1
		}
	}
	return newest, nil
}

// compaction of the state log: what the map holds now stays. A deletion stays
// while older records that it hides may exist elsewhere.
func (st *stateStore) compaction(slot int, oldest bool) func(*shard.Record) bool {
	sl := &st.slots[slot]
	return func(r *shard.Record) bool {
		owner, key, err := splitStateKey(r.Key)
		if err != nil {
			return false // none of State's, see replay
		}
		sl.mu.RLock()
		defer sl.mu.RUnlock()
		if _, underway := sl.flight[string(r.Key)]; underway { // the map does not know it yet
			return true
		}
		var cur shard.StateValue
		ok := false
		if o := sl.owners[owner]; o != nil {
			cur, ok = o.values[key]
		}
		if !ok {
			return r.Value == nil && !oldest
		}
		return r.Offset+1 >= cur.Rev
	}
}
