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
// grace has passed. Its cost grows with the shards that have extents and, where any
// segment has changed, with the segments (2.5 µs for each), not with their extents.
// What fails does not keep the rest from being done.
func (e *Engine) Retain(ctx context.Context) error {
	errs := []error{e.observeClock(ctx), e.checkStore(ctx)}
	if e.waits() { // what groups still need is not known
		return errors.Join(errs...)
	}
	for _, id := range e.expiring() {
		if err := e.retainShard(ctx, id); err != nil {
			errs = append(errs, fmt.Errorf("trim shard %s: %w", id, err))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	e.pins.tell()
	errs = append(errs, e.unreference(ctx), e.deleteObjects(ctx), e.forgetState(ctx))
	return errors.Join(errs...)
}

// limits are what retention goes by.
type limits struct {
	topic     *shard.Topic // nil: it is gone
	ms, bytes int64        // negative: no limit
	cutoffs
}

// old tells whether an extent's newest record is too old.
func (l *limits) old(x *catalog.Extent) bool { return l.ms >= 0 && l.passed(x.MaxTime) }

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
	l.cutoffs = e.clock.cutoffs(l.ms)
	return l
}

// expiring gives the shards whose first extent is too old or too much. The look at
// each shard costs the same however many extents it has.
func (e *Engine) expiring() []shard.ID {
	topics := make(map[shard.TopicNum]limits)
	var out []shard.ID
	e.cat.EachShard(func(id shard.ID, s catalog.ShardExtents) {
		l, ok := topics[id.Topic]
		if !ok {
			l = e.limitsOf(id.Topic)
			topics[id.Topic] = l
		}
		if l.topic != nil && (l.old(&s.First) || l.much(s.Bytes, &s.First)) {
			out = append(out, id)
		}
	})
	slices.SortFunc(out, shard.ID.Compare)
	return out
}

// much tells whether an extent may go since what is left, of size bytes with it, still
// has the size that may be kept, as in Kafka.
func (l *limits) much(size int64, x *catalog.Extent) bool {
	return l.bytes >= 0 && size-x.Len >= l.bytes
}

// retainShard raises one shard's start offset past the extents that are too old
// or too many, but not past what a durable cursor still needs.
func (e *Engine) retainShard(ctx context.Context, id shard.ID) error {
	l := e.limitsOf(id.Topic)
	if l.topic == nil || id.Index >= l.topic.Shards {
		return nil
	}
	var size int64
	if l.bytes >= 0 {
		e.cat.WalkExtents(id, func(_ *catalog.Segment, x *catalog.Extent) bool {
			size += x.Len
			return true
		})
	}
	start := e.kept.start(id)
	to := start
	e.cat.WalkExtents(id, func(_ *catalog.Segment, x *catalog.Extent) bool {
		if x.Last < start {
			size -= x.Len
			return true
		}
		if !l.old(x) && !l.much(size, x) {
			return false
		}
		to, size = x.Last+1, size-x.Len
		return true
	})
	if !l.topic.Config.RetentionHard {
		e.notePins(id, to)
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

// unreference takes segments without a living extent out of the catalog, but for
// those that a merge is about to.
func (e *Engine) unreference(ctx context.Context) error {
	e.removing.Lock()
	defer e.removing.Unlock()
	var dead []ulid.ULID
	for _, s := range e.gather() {
		if _, taken := e.inMerge.Load(s.id); s.extents == 0 && !taken {
			dead = append(dead, s.id)
		}
	}
	for part := range slices.Chunk(dead, unreferenceAtOnce) {
		if err := e.session.SwapSegments(ctx, nil, part); err != nil {
			return fmt.Errorf("unreference %d segments: %w", len(part), err)
		}
	}
	return nil
}

// unreferenceAtOnce is how many segments one transaction takes out.
const unreferenceAtOnce = 32

// deleteObjects deletes what the catalog has listed for deletion, once its grace
// has passed.
func (e *Engine) deleteObjects(ctx context.Context) error {
	ds := e.cat.Deletions()
	grace := e.clock.cutoffs(e.opts.DeleteGrace.Milliseconds())
	ds = slices.DeleteFunc(ds, func(d catalog.Deletion) bool { return !grace.passed(d.When - 1) })
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
