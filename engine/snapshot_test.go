package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/catalog/catalogtest"
	"github.com/robustmq/robustmq-go/internal/vfs"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// countStore counts what is read.
type countStore struct {
	store.Store
	gets, bytes atomic.Int64
}

func (c *countStore) Get(ctx context.Context, key string, offset, length int64) ([]byte, error) {
	b, err := c.Store.Get(ctx, key, offset, length)
	c.gets.Add(1)
	c.bytes.Add(int64(len(b)))
	return b, err
}

// put changes one value; nil deletes it.
func (r *rig) put(owner, key string, value []byte) {
	r.t.Helper()
	if err := shard.ApplyWait(context.Background(), r.state, owner, shard.StateOp{Key: key, Value: value}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) snapshotNow() {
	r.t.Helper()
	r.snapshotAt = 0 // it is time
	if did, err := r.Snapshot(context.Background()); err != nil || !did {
		r.t.Fatalf("snapshot: %t, %v", did, err)
	}
}

// stateOf reads all values, with their revisions.
func (r *rig) stateOf() map[string]string {
	out := make(map[string]string)
	for i := range r.state.slots {
		sl := &r.state.slots[i]
		sl.mu.RLock()
		for name, o := range sl.owners {
			for key, v := range o.values {
				out[name+" "+key] = fmt.Sprintf("%s %d", v.Data, v.Rev)
			}
		}
		sl.mu.RUnlock()
	}
	return out
}

func (r *rig) wantState(what string, want map[string]string) {
	r.t.Helper()
	got := r.stateOf()
	for k, v := range want {
		if got[k] != v {
			r.t.Fatalf("%s: %s is %q, want %q", what, k, got[k], v)
		}
	}
	if len(got) != len(want) {
		r.t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
}

// TestSnapshotModel: whatever is changed, snapshot, flushed, merged, freed and crashed
// in whatever order, the state and its revisions are what they were.
func TestSnapshotModel(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 5))
			o := quiet()
			o.MergeSegments = 3
			if seed%2 == 1 {
				o.Durability, o.ObjectFlushInterval = shard.DurabilityObject, time.Millisecond
			}
			r := newRigOn(t, o, catalogtest.OpenEmbedded(t), mem.New(nil))
			ctx := context.Background()
			for range 150 {
				switch rng.IntN(12) {
				default:
					v := fmt.Appendf(nil, "v%d", rng.Int())
					if rng.IntN(4) == 0 {
						v = nil
					}
					r.put(fmt.Sprint("owner", rng.IntN(6)), fmt.Sprint("key", rng.IntN(5)), v)
				case 0:
					if err := r.Flush(ctx); err != nil {
						t.Fatal(err)
					}
				case 1:
					r.snapshotAt = 0
					if _, err := r.Snapshot(ctx); err != nil {
						t.Fatal(err)
					}
				case 2:
					r.mergeAll()
				case 3:
					if err := r.Retain(ctx); err != nil {
						t.Fatal(err)
					}
				case 4:
					want := r.stateOf()
					r.crash()
					r.wantState("after a crash", want)
				}
			}
		})
	}
}

// TestSnapshotPinsNothing: with state in every segment, retention frees them all, and a
// start reads one object's worth of state.
func TestSnapshotPinsNothing(t *testing.T) {
	clock := newTestClock()
	st := &countStore{Store: mem.New(nil)}
	o := scaled(64)
	o.Now = clock.now
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), st)
	ctx := context.Background()
	id := r.topic("t", shard.TopicConfig{RetentionMs: 1000}).Shard(0)
	const segments = 100
	for i := range segments {
		r.put(fmt.Sprint("owner", i%50), "commit", fmt.Append(nil, i))
		r.flushOf([]shard.ID{id}, 64<<10, clock.now().UnixMilli())
	}
	r.put("idle", "last", []byte("x"))
	want := r.stateOf()
	r.snapshotNow()
	r.put("idle", "last", []byte("x")) // the start of "t" is kept in the state, too
	clock.move(time.Minute)
	for range 2 {
		if err := r.Retain(ctx); err != nil {
			t.Fatal(err)
		}
		r.mergeAll()
	}
	var bytes int64
	for s := range r.cat.Segments() {
		bytes += s.Size
	}
	if most := int64(200 << 10); bytes > most {
		t.Errorf("%d bytes are left of %d segments of 64 KiB, want %d at most", bytes, segments, most)
	}
	if err := r.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	st.gets.Store(0)
	r.crash()
	if n := st.gets.Load(); n > 10 {
		t.Errorf("a start makes %d reads of the store", n)
	}
	got := r.stateOf()
	for k, v := range want {
		if k != "idle last" && got[k] != v {
			t.Errorf("%s is %q, want %q", k, got[k], v)
		}
	}
	r.put("idle", "last", []byte("y"))
	if rep := r.check(); len(rep.Findings) > 0 {
		t.Errorf("verify finds %v", rep.Findings)
	}
}

// TestSnapshotKnowsNoLog: what only the log has is in no snapshot: it is flushed first.
func TestSnapshotKnowsNoLog(t *testing.T) {
	r := newRigOn(t, quiet(), catalogtest.OpenEmbedded(t), mem.New(nil))
	r.put("o", "k", []byte("1"))
	r.snapshotNow()
	id := shard.ID{Topic: stateTopicNum, Index: uint32(slotOfName("o"))}
	if _, last, ok := r.cat.Bounds(id); !ok || last != 0 {
		t.Fatalf("segments hold the state log up to %d, %t", last, ok)
	}
	if start := r.kept.start(id); start != 1 {
		t.Fatalf("the state log begins at %d", start)
	}
}

// TestSnapshotInDoubt: a snapshot whose commit was not answered is committed again,
// before another one is.
func TestSnapshotInDoubt(t *testing.T) {
	var faults catalogtest.Faults
	cfg := catalogtest.Config(t)
	cfg.WrapKV = faults.Wrap
	r := newRigOn(t, quiet(), catalogtest.Open(t, cfg), mem.New(nil))
	r.put("o", "k", []byte("1"))
	r.snapshotNow() // makes the topic
	r.put("o", "k", []byte("2"))
	if err := r.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	faults.LoseAnswerThen(cancel)
	r.snapshotAt = 0
	if did, err := r.Snapshot(ctx); err == nil || did || r.inDoubt == nil {
		t.Fatalf("snapshot without an answer: %t, %v", did, err)
	}
	first := r.inDoubt.seg.ULID
	r.put("o", "k", []byte("3"))
	if did, err := r.Snapshot(context.Background()); err != nil || did {
		t.Fatalf("settling the doubt: snapshot %t, %v", did, err)
	}
	r.snapshotNow()
	if r.inDoubt != nil {
		t.Fatal("the doubt is not settled")
	}
	if _, ok := r.cat.Segment(first); ok {
		t.Error("the snapshot of which it was not known whether it was committed has no successor")
	}
	want := r.stateOf()
	r.crash()
	r.wantState("after a crash", want)
}

// TestSnapshotDamaged: a slot whose snapshot cannot be read is refused, others serve.
func TestSnapshotDamaged(t *testing.T) {
	flips := &flipStore{Store: mem.New(nil)}
	r := newRigOn(t, quiet(), catalogtest.OpenEmbedded(t), flips)
	r.put("hurt", "k", []byte("victim"))
	r.put("well", "k", []byte("2"))
	r.snapshotNow()
	flips.text = []byte("victim")
	r.crash()
	ctx := context.Background()
	if _, _, err := r.state.Get(ctx, "hurt", "k"); shard.KindOf(err) != shard.KindCorrupt {
		t.Errorf("a damaged snapshot is served: %v", err)
	}
	if v, ok, err := r.state.Get(ctx, "well", "k"); err != nil || !ok || string(v.Data) != "2" {
		t.Errorf("%q %t %v", v.Data, ok, err)
	}
	if _, degraded := r.Health(); degraded == nil || !strings.Contains(degraded.Error(), "snapshot") {
		t.Errorf("health says %v", degraded)
	}
}

// TestSnapshotFullDisk: without room for it there is no snapshot, and nothing is lost.
func TestSnapshotFullDisk(t *testing.T) {
	full := errors.New("full")
	var on atomic.Bool
	o := quiet()
	o.FS = vfs.Inject(vfs.NewMem(), func(op vfs.Op) error {
		if on.Load() && op.Kind == vfs.OpWrite && strings.HasSuffix(op.Name, spoolName) {
			return full
		}
		return nil
	})
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), mem.New(nil))
	r.put("o", "k", []byte("1"))
	on.Store(true)
	r.snapshotAt = 0
	if _, err := r.Snapshot(context.Background()); !errors.Is(err, full) {
		t.Fatalf("snapshot on a full disk: %v", err)
	}
	on.Store(false)
	r.snapshotNow()
	want := r.stateOf()
	r.crash()
	r.wantState("after a crash", want)
}

// TestSnapshotDue: by what the log has had since, by age, and never without a change.
func TestSnapshotDue(t *testing.T) {
	clock := newTestClock()
	o := quiet()
	o.Now = clock.now
	o.SegmentBytes = 16 << 10
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), mem.New(nil))
	ctx := context.Background()
	due := func(what string, want bool) {
		t.Helper()
		if did, err := r.Snapshot(ctx); err != nil || did != want {
			t.Fatalf("%s: snapshot %t, %v", what, did, err)
		}
	}
	due("empty", false)
	r.put("o", "k", []byte("1"))
	due("one change", false)
	clock.move(DefaultOptions().SnapshotInterval)
	due("an old change", true)
	clock.move(time.Hour)
	due("nothing new", false)
	r.put("o", "k", make([]byte, 2<<10))
	due("an hour later", true)
	r.put("o", "k", make([]byte, 2<<10))
	due("as much as the last one has", false)
	r.put("o", "k", make([]byte, 2<<10))
	due("more than the last one has", true)
	n := 0
	for s := range r.cat.Segments() {
		if classOf(s) == classSnapshot {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d snapshots are left", n)
	}
}
