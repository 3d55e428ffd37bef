package engine

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/robustmq/robustmq-go/catalog/catalogtest"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// TestSnapshotReadsInOrder: a snapshot of large values reads what it is made of about once,
// whatever the order in which they are known.
func TestSnapshotReadsInOrder(t *testing.T) {
	st := &countStore{Store: mem.New(nil)}
	o := quiet()
	o.StateBytes, o.CacheBytes, o.TailBytes = 1, 4<<20, 1<<20
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), st)
	ctx := context.Background()
	const n, size, each = 8000, 2 << 10, 100
	for i := 0; i < n; i += each {
		var ops []shard.StateOp
		for k := range each {
			ops = append(ops, shard.StateOp{Key: fmt.Sprintf("k%05d", (i+k)*7919%n), Value: bytes.Repeat([]byte{byte(i)}, size)})
		}
		if err := shard.ApplyWait(ctx, r.state, largeOwner, ops...); err != nil {
			t.Fatal(err)
		}
		if i%2000 == 0 {
			if err := r.Flush(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := r.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"from the log", "from a snapshot"} {
		st.gets.Store(0)
		st.bytes.Store(0)
		r.snapshotNow()
		t.Logf("%s: %d reads, %d MiB of %d MiB", what, st.gets.Load(), st.bytes.Load()>>20, n*size>>20)
		if most := int64(4 * n * size); st.bytes.Load() > most {
			t.Errorf("%s: a snapshot of %d bytes reads %d", what, n*size, st.bytes.Load())
		}
		r.put(largeOwner, "other", make([]byte, 600))
	}
}

// TestSnapshotDueBesideDamage: what the log has of a slot that takes no part in snapshots
// makes none due of the others.
func TestSnapshotDueBesideDamage(t *testing.T) {
	clock := newTestClock()
	o := quiet()
	o.Now = clock.now
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), mem.New(nil))
	r.put("well", "k", []byte("1"))
	r.snapshotNow()
	hurt := &r.state.slots[(slotOfName("well")+1)%Slots]
	hurt.mu.Lock()
	hurt.damaged, hurt.tail = errSnapshot, 1<<30
	hurt.mu.Unlock()
	for range 3 {
		r.put("well", "k", []byte("2"))
		if did, err := r.Snapshot(context.Background()); did || err != nil {
			t.Fatalf("a snapshot is made for each change: %t, %v", did, err)
		}
	}
}
