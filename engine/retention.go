package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
)

func (e *Engine) retentionLoop(ctx context.Context) {
	tick := time.NewTicker(e.opts.RetentionInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := e.Retain(ctx); err != nil && ctx.Err() == nil {
			e.log.Warn("retention pass failed; it is tried again", "error", err)
		}
	}
}

// Retain makes one retention pass: it raises start offsets by age and size,
// unreferences segments that nobody can read any more, and deletes those whose
// grace has passed. Its cost grows with the extents that exist, not with the
// shards. What fails does not keep the rest from being done.
func (e *Engine) Retain(ctx context.Context) error {
	if e.waits() { // what groups still need is not known
		return nil
	}
	var errs []error
	for _, id := range e.expiring() {
		if err := e.retainShard(ctx, id); err != nil {
			errs = append(errs, fmt.Errorf("trim shard %s: %w", id, err))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	errs = append(errs, e.unreference(ctx), e.deleteObjects(ctx), e.forgetState(ctx))
	return errors.Join(errs...)
}

// limits are what retention goes by.
type limits struct {
	topic     *shard.Topic // nil: it is gone
	ms, bytes int64        // negative: no limit
	cutoff    int64
}

// limitsOf gives a topic's limits.
func (e *Engine) limitsOf(num shard.TopicNum) limits {
	t, ok := e.cat.Topics().ByNum(num)
	if !ok {
		return limits{}
	}
	l := limits{topic: t, ms: e.opts.RetentionMs, bytes: e.opts.RetentionBytes}
	if t.Config.RetentionMs != 0 {
		l.ms = t.Config.RetentionMs
	}
	if t.Config.RetentionBytes != 0 {
		l.bytes = t.Config.RetentionBytes
	}
	if t.Internal || t.Config.Compact && !t.Config.Delete {
		l.ms, l.bytes = -1, -1
	}
	l.cutoff = e.opts.Now().UnixMilli() - l.ms
	return l
}

// expiring gives the shards that may have an extent too old or too many.
func (e *Engine) expiring() []shard.ID {
	topics := make(map[shard.TopicNum]limits)
	sizes := make(map[shard.ID]int64)
	var out []shard.ID
	for s := range e.cat.Segments() {
		seg, ok := e.cat.Segment(s.ULID)
		if !ok {
			continue
		}
		var l limits
		for i := range seg.Extents {
			x := &seg.Extents[i]
			if i == 0 || x.Shard.Topic != seg.Extents[i-1].Shard.Topic {
				if l, ok = topics[x.Shard.Topic]; !ok {
					l = e.limitsOf(x.Shard.Topic)
					topics[x.Shard.Topic] = l
				}
			}
			old := l.ms >= 0 && x.MaxTime < l.cutoff && x.Last >= e.kept.start(x.Shard)
			if l.topic != nil && l.bytes >= 0 {
				before := sizes[x.Shard]
				sizes[x.Shard] = before + x.Len
				old = old || before <= l.bytes && before+x.Len > l.bytes
			}
			if l.topic != nil && old {
				out = append(out, x.Shard)
			}
		}
	}
	slices.SortFunc(out, shard.ID.Compare)
	return slices.Compact(out)
}

// retainShard raises one shard's start offset past the extents that are too old
// or too many, but not past what a durable cursor still needs. As in Kafka, an
// extent goes only when what is left still has the size that may be kept.
func (e *Engine) retainShard(ctx context.Context, id shard.ID) error {
	l := e.limitsOf(id.Topic)
	if l.topic == nil || id.Index >= l.topic.Shards {
		return nil
	}
	exts := e.cat.Extents(id)
	var size int64
	for i := range exts {
		size += exts[i].Extent.Len
	}
	start := e.kept.start(id)
	to := start
	for i := range exts {
		x := &exts[i].Extent
		old := l.ms >= 0 && x.MaxTime < l.cutoff
		much := l.bytes >= 0 && size-x.Len >= l.bytes
		if !old && !much {
			break
		}
		to, size = x.Last+1, size-x.Len
	}
	if !l.topic.Config.RetentionHard {
		if pin, ok := e.groups.Pinned(id); ok {
			to = min(to, pin)
		}
	}
	if to <= start {
		return nil
	}
	return e.TrimBefore(ctx, id, to)
}

// forgetState takes what the state log says of shards of deleted topics out of it.
func (e *Engine) forgetState(ctx context.Context) error {
	exists := func(n shard.TopicNum) bool { _, ok := e.cat.Topics().ByNum(n); return ok }
	e.kept.dropTopics(exists)
	for slot := range Slots {
		owner := fmt.Sprintf("engine/%03d", slot)
		var ops []shard.StateOp
		err := e.state.Range(ctx, owner, "", func(key string, _ shard.StateValue) bool {
			if _, id, ok := parseShardStateKey(key); ok && !exists(id.Topic) {
				ops = append(ops, shard.StateOp{Key: key})
			}
			return len(ops) < 1000
		})
		if err == nil && len(ops) > 0 {
			err = shard.ApplyWait(ctx, e.state, owner, ops...)
		}
		if err != nil && shard.KindOf(err) != shard.KindCorrupt {
			return fmt.Errorf("forget deleted topics: %w", err)
		}
	}
	return nil
}

// dead tells whether nobody can read an extent any more.
func (e *Engine) dead(x *catalog.Extent) bool {
	t, ok := e.cat.Topics().ByNum(x.Shard.Topic)
	return !ok || x.Shard.Index >= t.Shards || x.Last < e.kept.start(x.Shard)
}

// unreference takes segments without a living extent out of the catalog.
func (e *Engine) unreference(ctx context.Context) error {
	for s := range e.cat.Segments() {
		seg, ok := e.cat.Segment(s.ULID)
		if !ok {
			continue
		}
		alive := false
		for i := range seg.Extents {
			if !e.dead(&seg.Extents[i]) {
				alive = true
				break
			}
		}
		if alive {
			continue
		}
		if err := e.session.SwapSegments(ctx, nil, []ulid.ULID{seg.ULID}); err != nil {
			return fmt.Errorf("unreference segment %s: %w", seg.Key, err)
		}
	}
	return nil
}

// deleteObjects deletes what the catalog has listed for deletion, once its grace
// has passed.
func (e *Engine) deleteObjects(ctx context.Context) error {
	ds := e.cat.Deletions()
	limit := e.opts.Now().Add(-e.opts.DeleteGrace).UnixMilli()
	ds = slices.DeleteFunc(ds, func(d catalog.Deletion) bool { return d.When > limit })
	for part := range slices.Chunk(ds, 100) {
		keys := make([]string, len(part))
		ids := make([]ulid.ULID, len(part))
		for i, d := range part {
			keys[i], ids[i] = d.Key, d.ULID
		}
		if err := e.store.Delete(ctx, keys...); err != nil {
			return fmt.Errorf("delete objects: %w", err)
		}
		for _, d := range part {
			e.reader.Forget(d.Key, d.Size)
		}
		if err := e.cat.FinishDeletion(ctx, ids...); err != nil {
			return err
		}
		e.counters.deletedObjects.Add(int64(len(part)))
	}
	return nil
}
