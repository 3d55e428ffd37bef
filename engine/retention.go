package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
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
// grace has passed.
func (e *Engine) Retain(ctx context.Context) error {
	for _, t := range e.topics.List() {
		if t.Config.Compact && !t.Config.Delete {
			continue
		}
		for i := range t.Shards {
			if err := e.retainShard(ctx, t, t.Shard(i)); err != nil {
				return err
			}
		}
	}
	if err := e.unreference(ctx); err != nil {
		return err
	}
	return e.deleteObjects(ctx)
}

// retainShard raises one shard's start offset past the extents that are too old
// or too many, but not past what a durable cursor still needs.
func (e *Engine) retainShard(ctx context.Context, t *shard.Topic, id shard.ID) error {
	ms, limit := e.opts.RetentionMs, e.opts.RetentionBytes
	if t.Config.RetentionMs != 0 {
		ms = t.Config.RetentionMs
	}
	if t.Config.RetentionBytes != 0 {
		limit = t.Config.RetentionBytes
	}
	if ms < 0 && limit < 0 {
		return nil
	}
	exts := e.cat.Extents(id)
	if len(exts) == 0 {
		return nil
	}
	var size int64
	for i := range exts {
		size += exts[i].Extent.Len
	}
	start := e.starts.get(id)
	cutoff := e.opts.Now().UnixMilli() - ms
	to := start
	for i := range exts {
		x := &exts[i].Extent
		old := ms >= 0 && x.MaxTime < cutoff
		much := limit >= 0 && size > limit
		if !old && !much {
			break
		}
		to, size = x.Last+1, size-x.Len
	}
	if !t.Config.RetentionHard {
		if pin, ok := e.groups.Pinned(id); ok {
			to = min(to, pin)
		}
	}
	if to <= start {
		return nil
	}
	return e.TrimBefore(ctx, id, to)
}

// dead tells whether nobody can read an extent any more.
func (e *Engine) dead(x *catalog.Extent) bool {
	t, ok := e.cat.Topics().ByNum(x.Shard.Topic)
	return !ok || x.Shard.Index >= t.Shards || x.Last < e.starts.get(x.Shard)
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
	for _, d := range ds {
		if d.When > limit {
			continue
		}
		if err := e.store.Delete(ctx, d.Key); err != nil {
			return fmt.Errorf("delete object %s: %w", d.Key, err)
		}
		e.reader.Forget(d.Key, d.Size)
		if err := e.cat.FinishDeletion(ctx, d.ULID); err != nil {
			return err
		}
		e.counters.deletedObjects.Add(1)
	}
	return nil
}

// Orphan is an object that the catalog does not name.
type Orphan struct {
	Key  string
	Size int64
	Age  time.Duration
}

// orphanAge is how old an unnamed object must be: longer than any upload.
const orphanAge = time.Hour

// maxOrphanShare of all objects may be deleted at once; more looks like a wrong
// catalog.
const maxOrphanShare = 0.2

// Orphans lists objects that the catalog does not name and that are older than
// an hour; with remove it deletes them, unless they are more than a fifth of
// all objects.
func (e *Engine) Orphans(ctx context.Context, remove bool) ([]Orphan, error) {
	named := make(map[string]bool)
	for s := range e.cat.Segments() {
		named[s.Key] = true
	}
	for _, d := range e.cat.Deletions() {
		named[d.Key] = true
	}
	var out []Orphan
	total, after := 0, ""
	for {
		page, err := e.store.List(ctx, "segments/", after, 1000)
		if err != nil {
			return nil, fmt.Errorf("list segments: %w", err)
		}
		for _, o := range page {
			total++
			after = o.Key
			n, err := tier.ParseKey(o.Key)
			if age := e.opts.Now().Sub(n.Time()); err == nil && !named[o.Key] && age > orphanAge {
				out = append(out, Orphan{Key: o.Key, Size: o.Size, Age: age})
			}
		}
		if len(page) == 0 {
			break
		}
	}
	if !remove || len(out) == 0 {
		return out, nil
	}
	if float64(len(out)) > maxOrphanShare*float64(total) && len(out) > 10 {
		return out, shard.Errorf(shard.KindInvalid, "%d of %d objects are orphans: too many to delete; is this the right catalog?", len(out), total)
	}
	for _, o := range out {
		if err := e.store.Delete(ctx, o.Key); err != nil {
			return out, fmt.Errorf("delete orphan %s: %w", o.Key, err)
		}
	}
	return out, nil
}
