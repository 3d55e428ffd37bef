package engine

import (
	"context"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/catalog/catalogtest"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// TestArrival: when a record came is known whatever time its writer gave it: in
// memory, after a flush, after a merge; after a crash it came with the start.
func TestArrival(t *testing.T) {
	clock := newTestClock()
	o := quiet()
	o.MergeSegments = 4
	o.Now = clock.now
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), mem.New(nil))
	ctx := context.Background()
	id := r.topic("a", shard.TopicConfig{RetentionMs: -1}).Shard(0)
	wantAt := func(what string, offset int64, from, to time.Time) {
		t.Helper()
		first, last, ok := r.Arrived(id, offset)
		if !ok || first != from.UnixMilli() || last != to.UnixMilli() {
			t.Errorf("%s: offset %d came from %d to %d, %t; want %d to %d", what, offset, first, last, ok, from.UnixMilli(), to.UnixMilli())
		}
	}
	begun := clock.now()
	for i := range int64(8) {
		r.append(id, "the writer says 1970")
		wantAt("in memory", i, clock.now(), clock.now())
		clock.move(time.Second)
		if i%2 == 1 {
			if err := r.Flush(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.crash() // which forgets what memory knows
	for i := range int64(8) {
		at := begun.Add(time.Duration(i/2*2) * time.Second)
		wantAt("flushed", i, at, at.Add(time.Second))
	}
	if did, err := r.Merge(ctx); err != nil || !did {
		t.Fatalf("merge: %t, %v", did, err)
	}
	for i := range int64(8) {
		wantAt("merged", i, begun, begun.Add(7*time.Second))
	}
	clock.move(time.Second)
	r.append(id, "not flushed")
	clock.move(time.Hour)
	r.crash()
	wantAt("replayed", 8, clock.now(), clock.now())
	if err := r.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	wantAt("replayed and flushed", 8, clock.now(), clock.now())
	if _, _, ok := r.Arrived(id, 9); ok {
		t.Error("a record that is not there has come")
	}
}

// TestArrivalUnknown: what earlier versions stored has no arrival, alone or merged.
func TestArrivalUnknown(t *testing.T) {
	old, known := arrival{}, arrival{5, 7}
	for _, x := range []struct{ a, b, want arrival }{
		{known, arrival{6, 9}, arrival{5, 9}}, {known, old, old}, {old, known, old}, {old, old, old}} {
		if got := x.a.with(x.b); got != x.want {
			t.Errorf("%v with %v is %v", x.a, x.b, got)
		}
	}
}
