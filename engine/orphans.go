package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
)

// Orphan is an object that the catalog does not name.
type Orphan struct {
	Key  string
	Size int64
	Age  time.Duration
	// Kept ones are never deleted: they may be another catalog's.
	Kept bool
}

// orphanAge is how old an unnamed object must be: longer than any upload.
const orphanAge = time.Hour

// maxOrphanShare of all objects may be deleted at once; more looks like a wrong
// catalog.
const maxOrphanShare = 0.2

// Orphans lists objects that the catalog does not name, that no other living
// gateway put and that are older than an hour. With remove it deletes those that
// were put after the cluster's marker, unless they are more than a fifth of all
// objects; nothing where the store has no such marker, or another cluster's too.
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
			if age := e.opts.Now().Sub(n.Time()); age > orphanAge {
				out = append(out, Orphan{Key: o.Key, Size: o.Size, Age: age, Kept: since.IsZero() || !o.Modified.After(since)})
			}
		}
		if len(page) == 0 {
			return out, total, nil
		}
	}
}
