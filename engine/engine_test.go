package engine

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// rig is an engine on an embedded catalog that can be closed and opened again.
type rig struct {
	t     *testing.T
	dir   string
	cat   *catalog.Catalog
	store store.Store
	opts  Options
	*Engine
}

func newRig(t *testing.T, opts Options) *rig {
	t.Helper()
	cat, err := catalog.Open(context.Background(), catalog.Config{Embedded: t.TempDir(), LeaseTTL: 5 * time.Second,
		Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cat.Close() })
	return newRigOn(t, opts, cat, mem.New(nil))
}

// newRigOn is newRig on a catalog and a store of the caller's.
func newRigOn(t *testing.T, opts Options, cat *catalog.Catalog, st store.Store) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), store: st, opts: opts, cat: cat}
	if opts.FS != nil {
		r.dir = "/wal"
	}
	r.open()
	t.Cleanup(func() { r.abandon() })
	return r
}

func (r *rig) open() {
	r.t.Helper()
	o := r.opts
	o.WALDir = r.dir
	if o.WALFileBytes == 0 {
		o.WALFileBytes = 1 << 20
	}
	o.Node = shard.Node{Name: "test-1"}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	e, err := Open(context.Background(), r.cat, r.store, o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.Engine = e
}

// crash drops the engine without a flush and opens it again.
func (r *rig) crash() {
	r.t.Helper()
	r.abandon()
	r.open()
}

func (r *rig) topic(name string, cfg shard.TopicConfig) *shard.Topic {
	r.t.Helper()
	x, err := r.topics.Create(context.Background(), shard.Topic{Name: name, Shards: 1, Config: cfg})
	if err != nil {
		r.t.Fatal(err)
	}
	return x
}

func (r *rig) append(id shard.ID, values ...string) int64 {
	r.t.Helper()
	recs := make([]shard.Record, len(values))
	for i, v := range values {
		recs[i] = shard.Record{Timestamp: int64(1000 + i), Value: []byte(v)}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	res, err := shard.AppendWait(ctx, r.Engine, id, shard.BatchOf(recs...), shard.AppendOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return res.Base
}

// values reads everything from an offset.
func (r *rig) values(id shard.ID, from int64) []string {
	r.t.Helper()
	var out []string
	for {
		res, err := r.Read(context.Background(), id, from, shard.ReadOptions{})
		if err != nil {
			r.t.Fatal(err)
		}
		if len(res.Batches) == 0 {
			return out
		}
		for _, b := range res.Batches {
			recs, err := b.Records()
			if err != nil {
				r.t.Fatal(err)
			}
			for _, rec := range recs {
				if rec.Offset >= from {
					out = append(out, fmt.Sprintf("%d:%s", rec.Offset, rec.Value))
				}
			}
			from = b.LastOffset() + 1
		}
	}
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func TestAppendReadCrashFlush(t *testing.T) {
	r := newRig(t, Options{FlushInterval: time.Hour})
	id := r.topic("a", shard.TopicConfig{}).Shard(0)
	r.append(id, "x", "y")
	r.append(id, "z")
	want(t, r.values(id, 0), "0:x", "1:y", "2:z")
	want(t, r.values(id, 1), "1:y", "2:z")
	r.crash() // from the WAL
	want(t, r.values(id, 0), "0:x", "1:y", "2:z")
	if err := r.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if base := r.append(id, "w"); base != 3 {
		t.Fatalf("base %d after the flush", base)
	}
	r.crash() // from object and WAL
	want(t, r.values(id, 0), "0:x", "1:y", "2:z", "3:w")
	if err := r.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.crash() // from objects
	want(t, r.values(id, 2), "2:z", "3:w")
	if base := r.append(id, "v"); base != 4 {
		t.Fatalf("base %d after a crash", base)
	}
}

func TestObjectDurability(t *testing.T) {
	r := newRig(t, Options{ObjectFlushInterval: 20 * time.Millisecond, FlushInterval: time.Hour})
	id := r.topic("o", shard.TopicConfig{Durability: shard.DurabilityObject}).Shard(0)
	r.append(id, "x")
	if _, _, ok := r.cat.Bounds(id); !ok {
		t.Fatal("acknowledged before the segment was committed")
	}
	want(t, r.values(id, 0), "0:x")
}

func TestStateSurvives(t *testing.T) {
	r := newRig(t, Options{FlushInterval: time.Hour})
	ctx := context.Background()
	put := func(key, value string, cond int64) error {
		op := shard.StateOp{Key: key, If: cond}
		if value != "" {
			op.Value = []byte(value)
		}
		return shard.ApplyWait(ctx, r.state, "owner", op)
	}
	if err := put("k", "1", shard.NoRev); err != nil {
		t.Fatal(err)
	}
	if err := put("k", "2", shard.NoRev); err == nil {
		t.Fatal("created twice")
	}
	v, ok, _ := r.state.Get(ctx, "owner", "k")
	if !ok || string(v.Data) != "1" {
		t.Fatalf("read %q %v", v.Data, ok)
	}
	if err := put("k", "3", v.Rev); err != nil {
		t.Fatal(err)
	}
	if err := put("gone", "x", shard.AnyRev); err != nil {
		t.Fatal(err)
	}
	if err := put("gone", "", shard.AnyRev); err != nil {
		t.Fatal(err)
	}
	for _, flush := range []bool{false, true} {
		if flush {
			if err := r.Flush(ctx); err != nil {
				t.Fatal(err)
			}
		}
		r.crash()
		v, ok, _ = r.state.Get(ctx, "owner", "k")
		if _, gone, _ := r.state.Get(ctx, "owner", "gone"); !ok || string(v.Data) != "3" || gone {
			t.Fatalf("after a crash: %q %v, deleted key there: %v", v.Data, ok, gone)
		}
	}
}

// The state log is the engine's own: what is published to its name is refused, and what
// earlier versions stored there does not keep a gateway from starting.
func TestStateLogIsNobodyElses(t *testing.T) {
	o := quiet()
	o.MergeSegments = 4
	r := newRig(t, o)
	ctx := context.Background()
	apply := func() {
		t.Helper()
		if err := shard.ApplyWait(ctx, r.state, "owner", shard.StateOp{Key: "k", Value: []byte("1")}); err != nil {
			t.Fatal(err)
		}
		if err := r.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	apply()
	if x, err := r.topics.Resolve(ctx, stateTopic, true); shard.KindOf(err) != shard.KindInvalid {
		t.Errorf("resolved as %+v, %v", x, err)
	}
	if x, ok := r.topics.ByName(stateTopic); ok {
		t.Errorf("found by name: %+v", x)
	}
	id := shard.ID{Topic: stateTopicNum, Index: uint32(slotOfName("owner"))}
	batch := func() *shard.Batch { return shard.BatchOf(shard.Record{Value: []byte("hello")}) }
	if _, err := shard.AppendWait(ctx, r, id, batch(), shard.AppendOptions{}); shard.KindOf(err) != shard.KindNotFound {
		t.Errorf("appended: %v", err)
	}
	stored := make(chan error, 1)
	b := batch()
	p, err := r.pend(id, b, shard.CompletionFunc(func(res shard.AppendResult) { stored <- res.Err }), 0)
	if err == nil {
		err = p.admit(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, queued := p.append(&shard.AppendOptions{})
	if err := <-stored; !queued || err != nil {
		t.Fatal(err)
	}
	r.crash()
	if v, ok, err := r.state.Get(ctx, "owner", "k"); !ok || string(v.Data) != "1" || err != nil {
		t.Errorf("after a restart: %q %v %v", v.Data, ok, err)
	}
	for range 4 { // a merge drops it
		apply()
	}
	if did, err := r.Merge(ctx); err != nil || !did {
		t.Fatalf("merge: %t, error %v", did, err)
	}
	r.crash()
	for at := int64(0); ; {
		res, err := r.Read(ctx, id, at, shard.ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Batches) == 0 {
			break
		}
		for _, b := range res.Batches {
			recs, err := b.Records()
			if err != nil {
				t.Fatal(err)
			}
			for i := range recs {
				if _, _, err := splitStateKey(recs[i].Key); err != nil {
					t.Errorf("offset %d after a merge: %v", recs[i].Offset, err)
				}
			}
			at = b.LastOffset() + 1
		}
	}
}
