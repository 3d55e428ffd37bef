package engine

import (
	"context"
	"math"
	"slices"

	"github.com/oklog/ulid/v2"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
)

// compaction gives the rule by which records of a compacted shard stay, nil for
// one that is not compacted. first says where the merge begins.
func (e *Engine) compaction(ctx context.Context, id shard.ID, first int64) (func(*shard.Record) bool, error) {
	t, ok := e.cat.Topics().ByNum(id.Topic)
	if !ok || !t.Config.Compact {
		return nil, nil
	}
	if id.Topic == stateTopicNum {
		return isState, nil
	}
	oldest := first
	if base, _, ok := e.cat.Bounds(id); ok {
		oldest = base
	}
	lag, deletions := t.Config.CompactionTimes()
	now := e.clock.now().UnixMilli() // deletions that are dropped are gone for good
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

// isState keeps the records of the state log whatever they say: which of them are
// superseded a snapshot settles. What is none of State's goes, see replay.
func isState(r *shard.Record) bool {
	_, _, err := splitStateKey(r.Key)
	return err == nil
}

// campaign is the compaction of one shard that is too large for a merge: part after
// part, by what was newest when it began.
type campaign struct {
	id        shard.ID
	next, end int64 // offsets: what is left
	keep      func(*shard.Record) bool
}

// Bounds of one merge that compacts: what it reads, in segments, and how many segments
// it may take something out of.
const (
	compactSegments = 16
	compactTouched  = 24
	compactRows     = 40_000
)

// compactionJob compacts the shards that are due.
func (e *Engine) compactionJob(ctx context.Context, segs []mergeSeg) (*mergeJob, error) {
	byID := make(map[ulid.ULID]*mergeSeg, len(segs))
	for i := range segs {
		byID[segs[i].id] = &segs[i]
	}
	if e.campaign != nil {
		return e.nextOfCampaign(byID), nil
	}
	due := e.mergePolicy().due(e.compactShards(byID))
	if len(due) == 0 {
		return nil, nil
	}
	limit := compactSegments * e.opts.SegmentBytes
	if first := due[0]; first.clean+first.dirty > limit {
		return e.beginCampaign(ctx, first.id, byID)
	}
	take := make(map[shard.ID]bool)
	touched := make(map[ulid.ULID]bool)
	var bytes int64
	for _, s := range due {
		of := make(map[ulid.ULID]bool)
		e.cat.WalkExtents(s.id, func(seg *catalog.Segment, _ *catalog.Extent) bool {
			if !touched[seg.ULID] {
				of[seg.ULID] = true
			}
			return true
		})
		if bytes += s.clean + s.dirty; len(take) > 0 && (bytes > limit || len(touched)+len(of) > compactTouched) {
			break
		}
		for id := range of {
			touched[id] = true
		}
		take[s.id] = true
	}
	if len(touched) > compactTouched { // one shard in many segments
		return e.beginCampaign(ctx, due[0].id, byID)
	}
	return e.extractJob(touched, byID, func(x *catalog.Extent) bool { return take[x.Shard] }, e.compaction), nil
}

// extractJob takes extents out of the segments that hold them.
func (e *Engine) extractJob(touched map[ulid.ULID]bool, byID map[ulid.ULID]*mergeSeg, take func(*catalog.Extent) bool,
	rule func(context.Context, shard.ID, int64) (func(*shard.Record) bool, error)) *mergeJob {
	var run []mergeSeg
	for id := range touched {
		if s := byID[id]; s != nil {
			run = append(run, *s)
		}
	}
	slices.SortFunc(run, inTime)
	full := e.withExtents(run)
	if full == nil || len(full) != len(touched) {
		return nil // a flush has come between: next time
	}
	return &mergeJob{segs: full, level: 1, take: take, rule: rule, classes: func(shard.ID) mergeClass { return classClean }}
}

// compactShards gives what the shards of compacted topics weigh. One of which a
// segment cannot be read is left out.
func (e *Engine) compactShards(byID map[ulid.ULID]*mergeSeg) (out []compactShard) {
	for t := range e.cat.Topics().All() {
		if !t.Config.Compact || t.Internal {
			continue
		}
		for index := range t.Shards {
			s := compactShard{id: t.Shard(index)}
			start, well := e.kept.start(s.id), true
			e.cat.WalkExtents(s.id, func(seg *catalog.Segment, x *catalog.Extent) bool {
				m := byID[seg.ULID]
				well = m != nil && !m.bad
				switch {
				case x.Last < start || !well:
				case m.class == classClean:
					s.clean += x.Len
				default:
					s.dirty += x.Len
				}
				return well
			})
			if well {
				out = append(out, s)
			}
		}
	}
	return out
}

// beginCampaign begins to compact a shard part after part.
func (e *Engine) beginCampaign(ctx context.Context, id shard.ID, byID map[ulid.ULID]*mergeSeg) (*mergeJob, error) {
	base, last, ok := e.cat.Bounds(id)
	if !ok {
		return nil, nil
	}
	keep, err := e.compaction(ctx, id, base)
	if err != nil || keep == nil {
		return nil, err
	}
	e.campaign = &campaign{id: id, next: base, end: last + 1, keep: keep}
	return e.nextOfCampaign(byID), nil
}

// nextOfCampaign compacts the next part; nil: it has come to its end.
func (e *Engine) nextOfCampaign(byID map[ulid.ULID]*mergeSeg) *mergeJob {
	c := e.campaign
	touched := make(map[ulid.ULID]bool)
	var bytes int64
	rows := 0
	from, to := c.next, int64(-1)
	e.cat.WalkExtents(c.id, func(seg *catalog.Segment, x *catalog.Extent) bool {
		s := byID[seg.ULID]
		switch {
		case x.Last < from:
			return true
		case x.Base >= c.end || s == nil || s.bad:
			return false
		}
		bytes, rows = bytes+x.Len, rows+s.extents
		if to >= 0 && (bytes > compactSegments*e.opts.SegmentBytes || len(touched) >= compactTouched || rows > compactRows) {
			return false
		}
		touched[seg.ULID] = true
		to = x.Last
		return true
	})
	if to < 0 {
		e.campaign = nil
		return nil
	}
	job := e.extractJob(touched, byID,
		func(x *catalog.Extent) bool { return x.Shard == c.id && x.Base >= from && x.Last <= to },
		func(context.Context, shard.ID, int64) (func(*shard.Record) bool, error) { return c.keep, nil })
	if job != nil {
		job.done = func() { c.next = to + 1 }
	}
	return job
}

// maxCompactBytes bounds the memory of one shard's compaction, of which a key
// takes compactKeyBytes and itself; keys past it are all kept until a later pass.
const (
	maxCompactBytes = 256 << 20
	compactKeyBytes = 64
)

// newestOffsets maps each key to its last offset from first to where segments end,
// of records that are not younger than young: those supersede nothing yet. Nor does
// a record that only the log has: with the log's disk both would be gone.
func (e *Engine) newestOffsets(ctx context.Context, id shard.ID, first, young int64) (map[string]int64, error) {
	newest := make(map[string]int64)
	bytes := 0
	b, err := e.Bounds(ctx, id)
	if err != nil {
		return nil, err
	}
	_, last, _ := e.cat.Bounds(id)
	end := min(b.End, last+1)
	for from := max(first, b.Start); from < end; {
		r, err := e.Read(ctx, id, from, shard.ReadOptions{MaxBytes: 4 << 20, Until: end})
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
