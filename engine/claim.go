package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
	"github.com/robustmq/robustmq-go/tier/store"
)

// A store belongs to the cluster whose marker (tier.MarkerKey) it holds. Of it
// the engine keeps to these invariants:
//
//   - A gateway puts no segment before its cluster's marker is durable. So
//     whoever finds another gateway's segment and then looks for the marker
//     finds it: gateways that start at the same time do not refuse each other.
//   - A marker is put only into a store without segments, or of whose segments
//     the catalog names one (a deployment from before there were markers), or
//     when Options.AcceptForeign says so.
//   - A store without any segment and without our marker is not used by a catalog
//     that names segments: they are elsewhere, or gone. AcceptForeign uses it.
//   - Orphans are deleted only from a store with our marker and no other's, and
//     only those that were put after the marker, by the store's clock.

// ErrForeignStore: the store holds segments, and nothing says that they are of
// this catalog.
var ErrForeignStore = &shard.Error{Kind: shard.KindInvalid, Msg: "the object store holds segments that are not of this catalog"}

// ErrObjectsGone: the store holds no segment at all, and the catalog names some.
var ErrObjectsGone = &shard.Error{Kind: shard.KindInvalid, Msg: "the object store is empty, and the catalog names objects in it"}

// errNotForDeletion: nothing may be deleted from a store but what the catalog
// has named.
var errNotForDeletion = &shard.Error{Kind: shard.KindInvalid, Msg: "nothing is deleted"}

// headsOfNamed is how many objects that the catalog names are looked for in a
// store without a marker when the first page of a listing holds none of them.
const headsOfNamed = 16

// firstClaimTime bounds the claim at the start; the first flush tries again.
const firstClaimTime = 5 * time.Second

// Ownership is what a store says about whose it is.
type Ownership struct {
	// Since is when our marker was put, by the store's clock; zero: it is not there.
	Since time.Time
	// Others are the ids of other clusters with markers in the store.
	Others []string
	// Example is the key of a segment where our marker is not there and segments
	// are; Named tells whether the catalog names any of them.
	Example string
	Named   bool
	// Gone is an object that the catalog names where the store holds no segment.
	Gone string
}

// Ours tells whether our marker is there.
func (o *Ownership) Ours() bool { return !o.Since.IsZero() }

// Err gives ErrForeignStore or ErrObjectsGone with what was found, nil for a
// store that is this cluster's or may become so.
func (o *Ownership) Err() error {
	if !o.Ours() && o.Gone != "" {
		return fmt.Errorf("%w, as %s", ErrObjectsGone, o.Gone)
	}
	if o.Ours() || o.Example == "" || o.Named {
		return nil
	}
	found := "as " + o.Example
	if len(o.Others) > 0 {
		found += " and the marker of cluster " + strings.Join(o.Others, ", ")
	}
	return fmt.Errorf("%w: %s", ErrForeignStore, found)
}

// LookAtStore finds out whose a store is, and writes nothing. cat is nil where
// there is no cluster yet.
func LookAtStore(ctx context.Context, cat *catalog.Catalog, st store.Store) (Ownership, error) {
	var o Ownership
	if err := o.markers(ctx, cat, st); err != nil || o.Ours() {
		return o, err
	}
	page, err := st.List(ctx, tier.KeyPrefix, "", 0)
	if err != nil {
		return o, fmt.Errorf("look for segments: %w", err)
	}
	if len(page) == 0 {
		o.Gone = namesOne(cat)
		return o, nil
	}
	// Another gateway of this cluster may have been first since.
	if err := o.markers(ctx, cat, st); err != nil || o.Ours() {
		return o, err
	}
	o.Example = page[0].Key
	if cat != nil {
		o.Named, err = namesAny(ctx, cat, st, page)
	}
	return o, err
}

// namesOne gives an object of a segment of the catalog; "" when it has none.
func namesOne(cat *catalog.Catalog) string {
	if cat != nil {
		for s := range cat.Segments() {
			return s.Key
		}
	}
	return ""
}

// markers reads the store's markers.
func (o *Ownership) markers(ctx context.Context, cat *catalog.Catalog, st store.Store) error {
	page, err := st.List(ctx, tier.MarkerPrefix, "", 0)
	if err != nil {
		return fmt.Errorf("look for markers: %w", err)
	}
	o.Others = nil
	for _, m := range page {
		if cat != nil && m.Key == tier.MarkerKey(cat.ClusterID()) {
			o.Since = m.Modified
		} else {
			o.Others = append(o.Others, strings.TrimPrefix(m.Key, tier.MarkerPrefix))
		}
	}
	return nil
}

// namesAny tells whether the catalog names any of the store's objects, of which
// page is the first ones.
func namesAny(ctx context.Context, cat *catalog.Catalog, st store.Store, page []store.Info) (bool, error) {
	named := namedObjects(cat)
	if slices.ContainsFunc(page, func(i store.Info) bool { return named[i.Key] }) {
		return true, nil
	}
	if len(page) < store.MaxList {
		return false, nil // these are all
	}
	n := 0
	for key := range named {
		if n++; n > headsOfNamed {
			break
		}
		_, err := st.Head(ctx, key)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return false, fmt.Errorf("look for a segment of the catalog: %w", err)
		}
	}
	return false, nil
}

// namedObjects are all objects that the catalog names, those to be deleted too.
func namedObjects(cat *catalog.Catalog) map[string]bool {
	named := make(map[string]bool)
	for s := range cat.Segments() {
		named[s.Key] = true
	}
	for _, d := range cat.Deletions() {
		named[d.Key] = true
	}
	return named
}

// claimed tells whether the store has our marker; mu is held while it is looked for.
type claimed struct {
	yes   atomic.Bool
	seen  atomic.Int64          // when it was, in nanoseconds
	wrong atomic.Pointer[error] // what the last look found
	mu    sync.Mutex
}

// fresh tells whether the marker was there a moment ago.
func (c *claimed) fresh() bool {
	return c.yes.Load() && time.Since(time.Unix(0, c.seen.Load())).Abs() < markerTrust
}

// claim makes sure that the store is this cluster's; it comes before anything is
// put.
func (e *Engine) claim(ctx context.Context) error {
	if e.claimed.fresh() {
		return nil
	}
	e.claimed.mu.Lock()
	defer e.claimed.mu.Unlock()
	if e.claimed.fresh() {
		return nil
	}
	if err := e.stillOurs(ctx); err != nil || e.claimed.yes.Load() {
		return err
	}
	o, err := e.look(ctx)
	if err != nil {
		return err
	}
	if !o.Ours() {
		id := e.cat.ClusterID()
		text := fmt.Sprintf("Segments beside this object are of RobustMQ cluster %s. Do not delete it while they are there.\n", id)
		if err := e.store.Put(ctx, tier.MarkerKey(id), []byte(text)); err != nil && !errors.Is(err, store.ErrExists) {
			return fmt.Errorf("mark the object store as this cluster's: %w", err)
		}
	}
	if len(o.Others) > 0 {
		e.log.Warn("the object store holds markers of other clusters: orphans are not deleted from it", "clusters", o.Others)
	}
	e.claimed.seen.Store(time.Now().UnixNano())
	e.claimed.yes.Store(true)
	return nil
}

// look is LookAtStore; an error says that the store is not this cluster's, and
// may not be made so, or that it is not known.
func (e *Engine) look(ctx context.Context) (Ownership, error) {
	o, err := LookAtStore(ctx, e.cat, e.store)
	if err != nil {
		return o, fmt.Errorf("find out whose the object store is: %w", err)
	}
	if e.opts.AcceptForeign {
		return o, nil
	}
	return o, o.Err()
}

// claimFirst is claim at the start. A new cluster needs to know that the store is
// not another's: it would make its topics over those of a catalog that is
// missing. All else may wait until the first object is put.
func (e *Engine) claimFirst(ctx context.Context) error {
	if e.cat.Topics().Len() == 0 {
		if _, err := e.look(ctx); err != nil {
			return fmt.Errorf("begin a new cluster: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, firstClaimTime)
	defer cancel()
	err := e.claim(ctx)
	if err == nil || errors.Is(err, ErrForeignStore) || errors.Is(err, ErrObjectsGone) {
		return err
	}
	e.log.Warn("the object store is not marked as this cluster's yet; nothing is put into it until then", "error", err)
	return nil
}
