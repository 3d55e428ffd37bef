package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
	"github.com/robustmq/robustmq-go/tier/store"
)

// Orphan is an object that the catalog does not name.
type Orphan struct {
	Key  string
	Size int64
	Age  time.Duration
	// Kept ones are never deleted: they may be another catalog's, or are Only.
	Kept bool
	// Only tells that they hold records that the catalog knows nothing of.
	Only bool
}

// orphanAge is how old an unnamed object must be: longer than any upload.
const orphanAge = time.Hour

// maxOrphanShare of all objects may be deleted at once; more looks like a wrong
// catalog.
const maxOrphanShare = 0.2

// Orphans lists objects that the catalog does not name, that no other living
// gateway put and that are older than an hour. With remove it deletes those that
// were put after the cluster's marker and hold nothing that the catalog does not
// have elsewhere, unless they are more than a fifth of all objects; nothing where the store has no such marker, or another cluster's too.
func (e *Engine) Orphans(ctx context.Context, remove bool) ([]Orphan, error) {
	return e.orphans(ctx, remove, false)
}

// orphans is Orphans; alone says that no gateway runs, whatever leases say.
func (e *Engine) orphans(ctx context.Context, remove, alone bool) ([]Orphan, error) {
	owner, err := LookAtStore(ctx, e.cat, e.store)
	if err != nil {
		return nil, err
	}
	all, total, err := e.findOrphans(ctx, alone, owner.Since)
	if err != nil || !remove || len(all) == 0 {
		return all, err
	}
	if !owner.Ours() {
		return all, fmt.Errorf("%w: the object store does not have the marker of this catalog's cluster %s", errNotForDeletion, e.cat.ClusterID())
	}
	if len(owner.Others) > 0 {
		return all, fmt.Errorf("%w: the object store is also that of cluster %s; where that is gone for good, delete its marker below %s", errNotForDeletion, strings.Join(owner.Others, ", "), tier.MarkerPrefix)
	}
	out := slices.DeleteFunc(slices.Clone(all), func(o Orphan) bool { return o.Kept })
	if float64(len(out)) > maxOrphanShare*float64(total) && len(out) > 10 {
		return all, shard.Errorf(shard.KindInvalid, "%d of %d objects are orphans: too many to delete; is this the right catalog?", len(out), total)
	}
	for _, o := range out {
		if err := e.store.Delete(ctx, o.Key); err != nil {
			return all, fmt.Errorf("delete orphan %s: %w", o.Key, err)
		}
	}
	return all, nil
}

// onlyHere tells whether an orphan holds records that the catalog has nowhere
// else. What a failed commit leaves behind is flushed again from the log, under
// the same offsets; but when etcd was restored from an older snapshot, what was
// written since is in orphans alone: offsets past the catalog's, topics past
// its newest, or offsets that were given to later records.
func (e *Engine) onlyHere(ctx context.Context, key string, size int64) (bool, error) {
	ix, err := tier.ReadIndex(ctx, e.store, key, size)
	var version *tier.VersionError
	var damaged *tier.CorruptError
	switch {
	case errors.As(err, &version):
		return true, nil
	case errors.As(err, &damaged), errors.Is(err, store.ErrNotFound):
		return false, nil // nobody can read it
	case err != nil:
		return false, fmt.Errorf("look into orphan %s: %w", key, err)
	}
	newest := newestTopic(e.cat)
	for i := range ix.Extents {
		x := &ix.Extents[i]
		t, ok := e.cat.Topics().ByNum(x.Shard.Topic)
		if !ok {
			if x.Shard.Topic > newest {
				return true, nil
			}
			continue // deleted
		}
		if x.Shard.Topic == stateTopicNum && x.Last < e.snapshotOf(x.Shard.Index) {
			continue // a snapshot has it
		}
		_, has, ok := e.cat.FindExtent(x.Shard, x.Last)
		if !ok || !t.Config.Compact && has.Base <= x.Last && has.MinTime > x.MaxTime {
			return true, nil
		}
	}
	return false, nil
}

// newestTopic is the highest number of a topic that is there.
func newestTopic(cat *catalog.Catalog) (n shard.TopicNum) {
	for t := range cat.Topics().All() {
		n = max(n, t.Num)
	}
	return n
}

// findOrphans gives the orphans and the number of all objects. since is when the
// store got our marker; zero: it has none.
func (e *Engine) findOrphans(ctx context.Context, alone bool, since time.Time) (out []Orphan, total int, err error) {
	named := namedObjects(e.cat)
	e.flusher.mu.Lock()
	named[e.flusher.mu.doubtful] = true
	e.flusher.mu.Unlock()
	alive := make(map[int64]bool)
	for _, g := range e.cat.Gateways() {
		alive[g.Incarnation] = !alone
	}
	if e.session != nil { // nil in an offline look
		delete(alive, e.session.Incarnation())
	}
	for after := ""; ; {
		page, err := e.store.List(ctx, tier.KeyPrefix, after, 0)
		if err != nil {
			return nil, 0, fmt.Errorf("list segments: %w", err)
		}
		for _, o := range page {
			total++
			after = o.Key
			n, err := tier.ParseKey(o.Key)
			if err != nil || named[o.Key] || alive[n.Epoch] { // a living gateway may yet commit it
				continue
			}
			age := e.opts.Now().Sub(n.Time())
			if age <= orphanAge {
				continue
			}
			only, err := e.onlyHere(ctx, o.Key, o.Size)
			if err != nil {
				return nil, 0, err
			}
			out = append(out, Orphan{Key: o.Key, Size: o.Size, Age: age, Kept: only || since.IsZero() || !o.Modified.After(since), Only: only})
		}
		if len(page) == 0 {
			return out, total, nil
		}
	}
}
