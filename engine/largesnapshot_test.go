package engine

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// largeRig is a state of large values that no cache holds.
type largeRig struct {
	*rig
	t      *testing.T
	newest map[string][]byte
}

const largeOwner = "mqtt/retained/07"

func newLargeRig(t *testing.T) *largeRig {
	o := quiet()
	o.StateBytes = 1 // nothing is most of it: each read is from the log or a snapshot
	return &largeRig{rig: newRig(t, o), t: t, newest: map[string][]byte{}}
}

func (r *largeRig) set(key string, size int) {
	r.t.Helper()
	v := bytes.Repeat([]byte{byte(rand.IntN(256))}, size)
	r.put(largeOwner, key, v)
	r.newest[key] = v
}

func (r *largeRig) check(when string) {
	r.t.Helper()
	for key, want := range r.newest {
		v, ok, err := r.state.Get(context.Background(), largeOwner, key)
		if err != nil || !ok || !bytes.Equal(v.Data, want) {
			r.t.Fatalf("%s: %s: %v, %v, %d bytes, want %d", when, key, err, ok, len(v.Data), len(want))
		}
	}
}

// TestLargeStateOverSnapshots: a value that lies in the log alone is in the snapshot that
// lets go of the log, whether it changes before, between or after, over crashes.
func TestLargeStateOverSnapshots(t *testing.T) {
	r := newLargeRig(t)
	for round := range 6 {
		for i := range 8 {
			if round == 0 || rand.IntN(3) == 0 {
				r.set(fmt.Sprint("k", i), []int{3, largeState, 700, 300 << 10}[rand.IntN(4)])
			}
		}
		r.set("k0", 1000+round) // a snapshot is of what changed
		r.check("written")
		r.snapshotNow()
		r.check("in a snapshot")
		r.set("k1", 900+round)
		r.check("changed after a snapshot")
		r.crash()
		r.check("after a crash")
		if round%2 == 1 {
			r.snapshotNow()
			r.check("in a snapshot that was made of a snapshot")
			r.crash()
			r.check("after another crash")
		}
	}
}

// TestLargeStateIsReadWhileSnapshotsAreTaken: a value is found at any moment.
func TestLargeStateIsReadWhileSnapshotsAreTaken(t *testing.T) {
	r := newLargeRig(t)
	for i := range 4 {
		r.set(fmt.Sprint("k", i), 600+i)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				v, ok, err := r.state.Get(context.Background(), largeOwner, fmt.Sprint("k", i))
				if err != nil || !ok || len(v.Data) != 600+i {
					t.Errorf("k%d: %v, %v, %d bytes", i, err, ok, len(v.Data))
					return
				}
			}
		})
	}
	for i := range 20 {
		if err := shard.ApplyWait(context.Background(), r.state, largeOwner, shard.StateOp{Key: "other", Value: make([]byte, 800+i)}); err != nil {
			t.Fatal(err)
		}
		r.snapshotNow()
		time.Sleep(time.Millisecond)
	}
	cancel()
	wg.Wait()
}

// TestLargeStateThatChangesMeanwhile: a snapshot has a value as it was copied, though it
// was overwritten or deleted before it was read. Else a snapshot of much that changes
// often would never come about.
func TestLargeStateThatChangesMeanwhile(t *testing.T) {
	r := newLargeRig(t)
	for _, k := range []string{"a", "b", "c"} {
		r.set(k, 700)
	}
	r.snapshotNow()
	r.set("a", 800)
	r.set("d", 800)
	ctx := context.Background()
	snaps, err := r.copyState(ctx, []int{slotOfName(largeOwner)})
	if err != nil {
		t.Fatal(err)
	}
	was := maps.Clone(r.newest)
	for _, k := range []string{"a", "b"} {
		r.set(k, 900)
	}
	for _, k := range []string{"c", "d"} {
		r.put(largeOwner, k, nil)
		delete(r.newest, k)
	}
	if err := r.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	for i := range snaps[0].values {
		v := &snaps[0].values[i]
		if data, err := r.state.dataOf(ctx, snaps[0].slot, v); err != nil || !bytes.Equal(data, was[v.key]) {
			t.Errorf("%s is copied as %d bytes, want %d: %v", v.key, len(data), len(was[v.key]), err)
		}
	}
	r.check("after it")
}
