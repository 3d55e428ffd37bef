package engine

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/robustmq/robustmq-go/catalog/catalogtest"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// orphanOf puts what an object of from holds into st, under a key that is two hours old
// and that no catalog names.
func orphanOf(t *testing.T, from *rig, key string, st store.Store) string {
	t.Helper()
	ctx := context.Background()
	info, err := from.store.Head(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	b, err := from.store.Get(ctx, key, 0, info.Size)
	if err != nil {
		t.Fatal(err)
	}
	to := tier.Key(0, 1, ulid.MustNew(ulid.Timestamp(time.Now().Add(-2*time.Hour)), ulid.DefaultEntropy()))
	if err := st.Put(ctx, to, b); err != nil {
		t.Fatal(err)
	}
	return to
}

// newestKey is the object that names a shard's last offset.
func newestKey(t *testing.T, r *rig, id shard.ID) string {
	t.Helper()
	_, last, ok := r.cat.Bounds(id)
	if !ok {
		t.Fatal("nothing was flushed")
	}
	seg, _, _ := r.cat.FindExtent(id, last)
	return seg.Key
}

// TestOrphansOfALaterCatalog: etcd was restored from an older snapshot, so that what was
// written since is in orphans alone. They are not deleted; what a failed commit left is.
func TestOrphansOfALaterCatalog(t *testing.T) {
	ctx := context.Background()
	rigOf := func() (*rig, shard.ID) {
		r := newRigOn(t, quiet(), catalogtest.OpenEmbedded(t), mem.New(nil))
		return r, r.topic("a", shard.TopicConfig{}).Shard(0)
	}
	restored, id := rigOf()
	restored.segmentOf(id, 5_000, "", []byte("0"))
	later, same := rigOf() // the same cluster as it was before the restore
	if same != id {
		t.Fatalf("shards %v and %v", same, id)
	}
	later.segmentOf(id, 1_000, "", []byte("0 of then"))
	replaced := newestKey(t, later, id)
	later.segmentOf(id, 6_000, "", []byte("1 of then"))
	beyond := newestKey(t, later, id)
	other := later.topic("b", shard.TopicConfig{}).Shard(0)
	later.segmentOf(other, 6_000, "", []byte("x"))

	kept := map[string]string{
		orphanOf(t, later, replaced, restored.store):                   "its offset is a later record's",
		orphanOf(t, later, beyond, restored.store):                     "its offset is past the end",
		orphanOf(t, later, newestKey(t, later, other), restored.store): "its topic is newer than all",
	}
	failed := orphanOf(t, restored, newestKey(t, restored, id), restored.store)
	rep, err := Check(ctx, restored.cat, restored.store, CheckOptions{WALDir: t.TempDir(), Quick: true})
	told := 0
	for _, f := range rep.Findings {
		if _, ok := kept[f.Where]; f.Unnamed && ok {
			told++
		}
	}
	if err != nil || told != 2 || len(rep.Findings) != told { // offsets that were given again are somewhere
		t.Errorf("findings %v, %v", rep.Findings, err)
	}
	found, err := restored.Orphans(ctx, true)
	if err != nil || len(found) != len(kept)+1 {
		t.Fatalf("orphans %v, %v", found, err)
	}
	for _, o := range found {
		if why := kept[o.Key]; o.Only != (why != "") || o.Kept != o.Only {
			t.Errorf("%+v: %s", o, why)
		}
	}
	for key, why := range kept {
		if _, err := restored.store.Head(ctx, key); err != nil {
			t.Errorf("deleted, though %s: %v", why, err)
		}
	}
	if _, err := restored.store.Head(ctx, failed); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("what a failed commit left: %v", err)
	}
}

// TestOrphanOfFreedRecords: what retention has freed is not kept for an orphan's sake.
func TestOrphanOfFreedRecords(t *testing.T) {
	ctx := context.Background()
	r := newRigOn(t, quiet(), catalogtest.OpenEmbedded(t), mem.New(nil))
	id := r.topic("a", shard.TopicConfig{}).Shard(0)
	r.segmentOf(id, 5_000, "", []byte("0"))
	key := orphanOf(t, r, newestKey(t, r, id), r.store)
	r.segmentOf(id, 6_000, "", []byte("1"))
	if err := r.TrimBefore(ctx, id, 1); err != nil {
		t.Fatal(err)
	}
	if err := r.Retain(ctx); err != nil {
		t.Fatal(err)
	}
	if first, _, ok := r.cat.Bounds(id); !ok || first != 1 {
		t.Fatalf("the catalog begins at %d, %v", first, ok)
	}
	found, err := r.Orphans(ctx, true)
	if err != nil || len(found) != 1 || found[0].Key != key || found[0].Kept {
		t.Fatalf("orphans %+v, %v", found, err)
	}
}
