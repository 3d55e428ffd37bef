package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/catalog/catalogtest"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/tier/store/dir"
	"github.com/robustmq/robustmq-go/tier/store/fault"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// openOn opens an engine on a catalog and a store, and closes what was opened.
func openOn(t *testing.T, r *rig, st store.Store, change func(*Options)) error {
	t.Helper()
	o := quiet()
	o.WALDir, o.WALFileBytes, o.Node = t.TempDir(), 1<<20, shard.Node{Name: "test-1"}
	if change != nil {
		change(&o)
	}
	e, err := Open(context.Background(), r.cat, st, o)
	if err == nil {
		e.abandon()
	}
	return err
}

// used gives a rig that has flushed a record, closed.
func used(t *testing.T, st store.Store) *rig {
	t.Helper()
	r := newRigOn(t, quiet(), catalogtest.OpenEmbedded(t), st)
	r.append(r.topic("a", shard.TopicConfig{}).Shard(0), "x")
	if err := r.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.abandon()
	return r
}

// keys lists a store.
func keys(t *testing.T, st store.Store, prefix string) []string {
	t.Helper()
	page, err := st.List(context.Background(), prefix, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]string, len(page))
	for i, o := range page {
		out[i] = o.Key
	}
	return out
}

func unmark(t *testing.T, r *rig) {
	t.Helper()
	if err := r.store.Delete(context.Background(), tier.MarkerKey(r.cat.ClusterID())); err != nil {
		t.Fatal(err)
	}
}

// eachStore runs a test on stores in memory and in a directory.
func eachStore(t *testing.T, f func(t *testing.T, st store.Store)) {
	t.Run("mem", func(t *testing.T) { f(t, mem.New(nil)) })
	t.Run("dir", func(t *testing.T) {
		st, err := dir.Open(t.TempDir(), dir.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = st.Close() }()
		f(t, st)
	})
}

// TestFreshCatalogBesideSegments: it is refused, with and without the other
// cluster's marker, and again; the catalog stays as it was and nothing is
// written. When it is wanted it serves, and what was there is never deleted.
func TestFreshCatalogBesideSegments(t *testing.T) {
	for _, marked := range []bool{true, false} {
		t.Run(fmt.Sprintf("marked %v", marked), func(t *testing.T) {
			eachStore(t, func(t *testing.T, st store.Store) {
				ctx := context.Background()
				first := used(t, st)
				if !marked {
					unmark(t, first)
				}
				before := keys(t, st, "")
				second := &rig{cat: catalogtest.OpenEmbedded(t), store: st}
				for range 2 {
					if err := openOn(t, second, st, nil); !errors.Is(err, ErrForeignStore) {
						t.Fatalf("open: %v", err)
					}
				}
				if n := second.cat.Topics().Len(); n != 0 {
					t.Errorf("%d topics were made", n)
				}
				later := func() time.Time { return time.Now().Add(24 * time.Hour) }
				found, err := Orphans(ctx, second.cat, st, later, true, true)
				if len(found) == 0 || !found[0].Kept || !errors.Is(err, errNotForDeletion) {
					t.Errorf("orphans: %v, %v", found, err)
				}
				if after := keys(t, st, ""); fmt.Sprint(after) != fmt.Sprint(before) {
					t.Fatalf("the store holds %v, before %v", after, before)
				}
				if err := openOn(t, second, st, func(o *Options) { o.AcceptForeign = true }); err != nil {
					t.Fatalf("open where it is accepted: %v", err)
				}
				if err := openOn(t, second, st, nil); err != nil {
					t.Fatalf("open after that: %v", err)
				}
				found, err = Orphans(ctx, second.cat, st, later, true, true)
				if len(found) == 0 || !found[0].Kept || (err != nil) != marked {
					t.Errorf("orphans when accepted: %v, %v", found, err)
				}
				for _, k := range before {
					if _, err := st.Head(ctx, k); err != nil {
						t.Errorf("%s: %v", k, err)
					}
				}
				if err := openOn(t, first, st, nil); err != nil { // its catalog is found again
					t.Errorf("open with the first catalog: %v", err)
				}
			})
		})
	}
}

// TestForeignOrphansStay: where two clusters have marked a store, neither deletes
// orphans; when one is gone and its marker deleted, the other deletes its own.
func TestForeignOrphansStay(t *testing.T) {
	ctx := context.Background()
	st := mem.New(nil)
	r := used(t, st)
	other := tier.MarkerKey(ulid.Make().String())
	mine := tier.Key(0, 1, ulid.MustNew(ulid.Timestamp(time.Now().Add(-2*time.Hour)), ulid.DefaultEntropy()))
	for _, k := range []string{other, mine} {
		if err := st.Put(ctx, k, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := Orphans(ctx, r.cat, st, time.Now, true, true); len(found) != 1 || !errors.Is(err, errNotForDeletion) {
		t.Fatalf("orphans: %v, %v", found, err)
	}
	if err := st.Delete(ctx, other); err != nil {
		t.Fatal(err)
	}
	if found, err := Orphans(ctx, r.cat, st, time.Now, true, true); len(found) != 1 || found[0].Kept || err != nil {
		t.Fatalf("orphans: %v, %v", found, err)
	}
	if _, err := st.Head(ctx, mine); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("the orphan: %v", err)
	}
}

// TestUpgradeMarks: a deployment from before there were markers serves on and gets
// its marker; what was an orphan then is kept.
func TestUpgradeMarks(t *testing.T) {
	eachStore(t, func(t *testing.T, st store.Store) {
		r := used(t, st)
		unmark(t, r)
		orphan := tier.Key(0, 1, ulid.MustNew(ulid.Timestamp(time.Now().Add(-2*time.Hour)), ulid.DefaultEntropy()))
		if err := st.Put(context.Background(), orphan, []byte("x")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond) // a file system's clock is coarse
		if err := openOn(t, r, st, nil); err != nil {
			t.Fatal(err)
		}
		if got := keys(t, st, tier.MarkerPrefix); len(got) != 1 || got[0] != tier.MarkerKey(r.cat.ClusterID()) {
			t.Fatalf("markers %v", got)
		}
		if found, err := Orphans(context.Background(), r.cat, st, time.Now, true, true); len(found) != 1 || !found[0].Kept || err != nil {
			t.Fatalf("orphans: %v, %v", found, err)
		}
	})
}

// TestKnownCatalogOnAnothersStore: a catalog in use none of whose segments are in
// the store is refused as well.
func TestKnownCatalogOnAnothersStore(t *testing.T) {
	a, b := used(t, mem.New(nil)), used(t, mem.New(nil))
	if err := openOn(t, a, b.store, nil); !errors.Is(err, ErrForeignStore) {
		t.Fatalf("open: %v", err)
	}
	if got := keys(t, b.store, tier.MarkerPrefix); len(got) != 1 {
		t.Fatalf("markers %v", got)
	}
	rep, err := Check(context.Background(), a.cat, b.store, CheckOptions{Quick: true})
	if err != nil {
		t.Fatal(err)
	}
	told := false
	for _, f := range rep.Findings {
		told = told || f.Part == "store" && f.Where == tier.KeyPrefix
	}
	if !told {
		t.Errorf("findings %v", rep.Findings)
	}
}

// TestKnownCatalogOnEmptyStore: a catalog in use is refused on a store without
// segments, which is a wrong one or has lost them; nothing is put there.
func TestKnownCatalogOnEmptyStore(t *testing.T) {
	eachStore(t, func(t *testing.T, st store.Store) {
		r := used(t, mem.New(nil))
		for range 2 {
			if err := openOn(t, r, st, nil); !errors.Is(err, ErrObjectsGone) {
				t.Fatalf("open: %v", err)
			}
		}
		rep, err := Check(context.Background(), r.cat, st, CheckOptions{Quick: true})
		if err != nil || !slices.ContainsFunc(rep.Findings, func(f Finding) bool { return f.Where == tier.MarkerPrefix }) {
			t.Errorf("findings %v, %v", rep.Findings, err)
		}
		if got := keys(t, st, ""); len(got) != 0 {
			t.Fatalf("the store holds %v", got)
		}
		if err := openOn(t, r, st, func(o *Options) { o.AcceptForeign = true }); err != nil {
			t.Fatalf("open where it is accepted: %v", err)
		}
		if err := openOn(t, r, st, nil); err != nil {
			t.Fatalf("open after that: %v", err)
		}
	})
}

// TestNamedBeyondFirstPage: among very many objects those that the catalog names
// need not be on the first page.
func TestNamedBeyondFirstPage(t *testing.T) {
	st := mem.New(nil)
	r := used(t, st)
	unmark(t, r)
	for i := range store.MaxList {
		if err := st.Put(context.Background(), fmt.Sprintf("%s-%d", tier.KeyPrefix, i), nil); err != nil { // before "0"
			t.Fatal(err)
		}
	}
	o, err := LookAtStore(context.Background(), r.cat, st)
	if err != nil || !o.Named || o.Ours() || o.Err() != nil {
		t.Fatalf("%+v, %v", o, err)
	}
}

// raced is a store in which another gateway is faster: when segments are looked
// for, it has just put its marker and one.
type raced struct {
	store.Store
	once sync.Once
	put  func(store.Store)
}

func (s *raced) List(ctx context.Context, prefix, after string, limit int) ([]store.Info, error) {
	if prefix == tier.KeyPrefix {
		s.once.Do(func() { s.put(s.Store) })
	}
	return s.Store.List(ctx, prefix, after, limit)
}

// TestGatewaysStartTogether: one that finds another's first segment finds the
// marker of their cluster, too.
func TestGatewaysStartTogether(t *testing.T) {
	ctx := context.Background()
	cat := catalogtest.OpenEmbedded(t)
	st := &raced{Store: mem.New(nil), put: func(st store.Store) {
		for _, k := range []string{tier.MarkerKey(cat.ClusterID()), tier.Key(0, 1, ulid.Make())} {
			if err := st.Put(ctx, k, []byte("x")); err != nil {
				t.Error(err)
			}
		}
	}}
	if err := openOn(t, &rig{cat: cat}, st, nil); err != nil {
		t.Fatal(err)
	}
}

// TestStoreAwayAtStart: a new cluster does not start, a known one does; it puts
// nothing before it knows whose the store is, and goes on by itself.
func TestStoreAwayAtStart(t *testing.T) {
	ctx := context.Background()
	bare := mem.New(nil)
	away := fault.New(bare, fault.Options{Rates: map[fault.Fault]float64{fault.Unavailable: 1}})
	r := &rig{cat: catalogtest.OpenEmbedded(t)}
	if err := openOn(t, r, away, nil); !errors.Is(err, store.ErrTemporary) || r.cat.Topics().Len() != 0 {
		t.Fatalf("open a new cluster: %v, %d topics", err, r.cat.Topics().Len())
	}
	away.Off(true)
	known := newRigOn(t, quiet(), r.cat, away)
	unmark(t, known)
	id := known.topic("a", shard.TopicConfig{}).Shard(0)
	away.Off(false)
	known.crash()
	known.append(id, "x")
	if err := known.Flush(ctx); !errors.Is(err, store.ErrTemporary) {
		t.Fatalf("flush: %v", err)
	}
	away.Off(true)
	foreign := tier.Key(0, 1, ulid.Make())
	if err := bare.Put(ctx, foreign, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := known.Flush(ctx); !errors.Is(err, ErrForeignStore) {
		t.Fatalf("flush into another's store: %v", err)
	}
	if got := keys(t, bare, ""); len(got) != 1 {
		t.Fatalf("the store holds %v", got)
	}
	if err := bare.Delete(ctx, foreign); err != nil {
		t.Fatal(err)
	}
	if err := known.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if got := keys(t, bare, tier.MarkerPrefix); len(got) != 1 {
		t.Fatalf("markers %v", got)
	}
}

// TestSecondGateway: a gateway of another name does not start beside one that lives, where it
// would serve nothing; when that is gone it takes over.
func TestSecondGateway(t *testing.T) {
	cat, err := catalog.Open(context.Background(), catalog.Config{Embedded: t.TempDir(), LeaseTTL: time.Second, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cat.Close() })
	r := newRigOn(t, quiet(), cat, mem.New(nil))
	o := quiet()
	o.WALDir, o.WALFileBytes, o.Logger, o.Node = t.TempDir(), 1<<20, slog.New(slog.DiscardHandler), shard.Node{Name: "test-2"}
	if e, err := Open(context.Background(), cat, r.store, o); shard.KindOf(err) != shard.KindMoved {
		if err == nil {
			_ = e.Close(context.Background())
		}
		t.Fatalf("a second gateway opened: %v", err)
	}
	id := r.topic("a", shard.TopicConfig{}).Shard(0)
	r.append(id, "a0")
	stopped := make(chan error, 1)
	time.AfterFunc(100*time.Millisecond, func() { stopped <- r.Close(context.Background()) })
	e, err := Open(context.Background(), cat, r.store, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(<-stopped, e.Close(context.Background())); err != nil {
		t.Error(err)
	}
}
