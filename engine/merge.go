package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
)

func (e *Engine) mergeLoop(ctx context.Context) {
	tick := time.NewTicker(e.opts.MergeInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if _, err := e.Snapshot(ctx); err != nil && ctx.Err() == nil {
			e.log.Warn("a snapshot of state failed; it is tried again", "error", err)
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

// mergeJob is a merge that was chosen.
type mergeJob struct {
	segs []*catalog.Segment // with their extents, as inTime
	// take tells which extents are merged; nil: all that can be read. What else can be
	// read stays where it is: the segment is named anew without what was taken.
	take    func(*catalog.Extent) bool
	level   int
	classes func(shard.ID) mergeClass
	// rule gives which records of a shard stay, from the first offset that is merged
	// on; nil: all do.
	rule func(ctx context.Context, id shard.ID, first int64) (func(*shard.Record) bool, error)
	done func() // once it is swapped in
}

// Merge makes one merge that mergePolicy chooses: fewer objects, each shard's records
// together, dead and superseded records left out. did is false when there is nothing
// to merge.
func (e *Engine) Merge(ctx context.Context) (did bool, err error) {
	e.merging.Lock()
	defer e.merging.Unlock()
	job, err := e.chooseMerge(ctx, e.gather())
	if job == nil || err != nil {
		return false, err
	}
	for _, s := range job.segs {
		e.inMerge.Store(s.ULID, true)
	}
	err = e.merge(ctx, job)
	e.inMerge.Clear()
	if err == nil && job.done != nil {
		job.done()
	}
	if err != nil && shard.KindOf(err) == shard.KindCorrupt {
		// What cannot be read stays where it is; the others must not wait for it.
		var bad *badSegment
		if errors.As(err, &bad) {
			e.campaign = nil
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

func (e *Engine) mergePolicy() mergePolicy {
	return mergePolicy{e.opts.MergeSegments, e.opts.SegmentBytes}
}

// chooseMerge gives the next merge, nil when there is none. The kinds take turns, so
// that none waits for ever for another.
func (e *Engine) chooseMerge(ctx context.Context, segs []mergeSeg) (*mergeJob, error) {
	kinds := [...]func(context.Context, []mergeSeg) (*mergeJob, error){e.tierJob, e.compactionJob, e.sparseJob}
	for range kinds {
		kind := kinds[e.mergeTurn%len(kinds)]
		e.mergeTurn++
		if job, err := kind(ctx, segs); job != nil || err != nil {
			return job, err
		}
	}
	return nil, nil
}

// tierJob merges a run of segments into the next level.
func (e *Engine) tierJob(_ context.Context, segs []mergeSeg) (*mergeJob, error) {
	var full []*catalog.Segment
	p := e.mergePolicy()
	run := p.tier(segs, func(run []mergeSeg) bool {
		full = e.withExtents(run)
		return full != nil && e.whole(full) && p.worth(run, e.distinct(full))
	})
	if run == nil {
		return nil, nil
	}
	job := &mergeJob{segs: full, classes: e.classOfShard, rule: e.compaction}
	clean := true
	for _, s := range run {
		job.level = max(job.level, s.level+1)
		clean = clean && s.class == classClean
	}
	if clean {
		job.classes = func(shard.ID) mergeClass { return classClean }
		job.rule = nil
	}
	return job, nil
}

// sparseJob rewrites a segment of which much is dead.
func (e *Engine) sparseJob(_ context.Context, segs []mergeSeg) (*mergeJob, error) {
	s := e.mergePolicy().sparse(segs)
	if s == nil {
		return nil, nil
	}
	full := e.withExtents([]mergeSeg{*s})
	if full == nil {
		return nil, nil
	}
	return &mergeJob{segs: full, level: s.level, classes: func(shard.ID) mergeClass { return s.class }}, nil
}

// classOfShard gives where a merge puts a shard.
func (e *Engine) classOfShard(id shard.ID) mergeClass {
	t, ok := e.cat.Topics().ByNum(id.Topic)
	switch {
	case id.Topic == stateTopicNum:
		return classState
	case ok && t.Config.Compact:
		return classDirty
	}
	return classPlain
}

// withExtents reads the run's extents; nil when one of them is gone meanwhile.
func (e *Engine) withExtents(run []mergeSeg) []*catalog.Segment {
	out := make([]*catalog.Segment, 0, len(run))
	for _, s := range run {
		full, ok := e.cat.Segment(s.id)
		if !ok {
			return nil
		}
		out = append(out, &full)
	}
	return out
}

// distinct counts the shards of which a run holds something that can be read.
func (e *Engine) distinct(run []*catalog.Segment) int {
	ids := make(map[shard.ID]struct{})
	for _, s := range run {
		for i := range s.Extents {
			if !e.dead(&s.Extents[i]) {
				ids[s.Extents[i].Shard] = struct{}{}
			}
		}
	}
	return len(ids)
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
			if e.dead(x) {
				continue
			}
			b, ok := bounds[x.Shard]
			if !ok {
				b = span{x.Base, x.Last}
			}
			bounds[x.Shard] = span{min(b.from, x.Base), max(b.to, x.Last)}
		}
	}
	for id, b := range bounds {
		for at := b.from; at <= b.to; {
			seg, x, ok := e.cat.FindExtent(id, at)
			if !ok || x.Base > b.to {
				break
			}
			if !in[seg.ULID] {
				return false
			}
			at = x.Last + 1
		}
	}
	return true
}

// mergeSource is an extent to be merged.
type mergeSource struct {
	seg *catalog.Segment
	ext catalog.Extent
}

// sources gives what a job merges, by shard, and of the segments of which something
// stays what they are to be named as.
func (e *Engine) sources(job *mergeJob) (ids []shard.ID, byShard map[shard.ID][]mergeSource, rest []catalog.Segment) {
	byShard = make(map[shard.ID][]mergeSource)
	for _, s := range job.segs {
		var stays []catalog.Extent
		for _, x := range s.Extents {
			switch {
			case e.dead(&x):
				continue
			case job.take != nil && !job.take(&x):
				stays = append(stays, x)
				continue
			case byShard[x.Shard] == nil:
				ids = append(ids, x.Shard)
			}
			byShard[x.Shard] = append(byShard[x.Shard], mergeSource{s, x})
		}
		if len(stays) > 0 {
			again := *s
			again.ULID, again.Extents = ulid.Make(), stays
			rest = append(rest, again)
		}
	}
	slices.SortFunc(ids, shard.ID.Compare)
	for _, srcs := range byShard {
		slices.SortFunc(srcs, func(a, b mergeSource) int { return int(min(max(a.ext.Base-b.ext.Base, -1), 1)) })
	}
	return ids, byShard, rest
}

// merge reads a job's extents shard by shard, writes the merged objects and swaps them
// in by one transaction.
func (e *Engine) merge(ctx context.Context, job *mergeJob) error {
	ids, byShard, rest := e.sources(job)
	sweeps := make(map[*catalog.Segment]*tier.Sweep, len(job.segs))
	for _, s := range job.segs {
		sweeps[s] = tier.NewSweep(e.store, s.Key, s.Size, int64(max(mergeReadBytes/len(job.segs), mergeReadLeast)))
	}
	out := e.newOutputs(job, byShard)
	tried := false // to swap: from then on the objects may be named
	defer func() {
		out.close()
		if !tried {
			out.discard()
		}
	}()
	for _, id := range ids {
		srcs := byShard[id]
		var keep func(*shard.Record) bool
		var err error
		if job.rule != nil {
			if keep, err = job.rule(ctx, id, srcs[0].ext.Base); err != nil {
				return err
			}
		}
		for _, src := range srcs {
			if err := e.mergeExtent(ctx, out.of(id), src.seg.Key, sweeps[src.seg].Batches(ctx, tierExtent(src.ext)), &src.ext, keep); err != nil {
				if shard.KindOf(err) == shard.KindCorrupt {
					err = &badSegment{src.seg.ULID, err}
				}
				return err
			}
		}
	}
	done, err := out.finish(ctx)
	if err != nil {
		return err
	}
	remove := make([]ulid.ULID, len(job.segs))
	for i, s := range job.segs {
		remove[i] = s.ULID
	}
	tried = true
	if err := e.session.SwapSegments(ctx, append(rest, done...), remove); err != nil {
		return fmt.Errorf("swap %d segments for %d: %w", len(job.segs), len(done)+len(rest), err)
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
func (e *Engine) mergeExtent(ctx context.Context, out *mergeOutput, key string, batches iter.Seq2[[]byte, error], x *catalog.Extent, keep func(*shard.Record) bool) error {
	id := x.Shard
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
		if err := out.add(ctx, id, b.Raw(), arrivalOf(x)); err != nil {
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
