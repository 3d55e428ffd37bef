package engine

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/robustmq/robustmq-go/catalog/catalogtest"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// TestOneSegment: read with OneSegment and by Age, shards give all that they have,
// a segment's worth at a time, older ones first, and what is in none last; the same
// after a merge.
func TestOneSegment(t *testing.T) {
	const shards, segments, each = 3, 4, 5
	o := quiet()
	o.MergeSegments = segments
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), mem.New(nil))
	ctx := context.Background()
	top, err := r.topics.Create(ctx, shard.Topic{Name: "t", Shards: shards})
	if err != nil {
		t.Fatal(err)
	}
	for seg := range segments + 1 { // the last stays in the log
		for s := range uint32(shards) {
			for i := range each {
				if _, err := r.try(top.Shard(s), fmt.Sprint(seg, i)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if seg < segments {
			if err := r.Flush(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	steps := func() (n int) {
		t.Helper()
		r.crash() // what is in memory is read from there
		for s := range uint32(shards) {
			id, age := top.Shard(s), int64(0)
			for at := int64(0); at < (segments+1)*each; n++ {
				was := age
				if age = r.Age(id, at); age < was || (age == math.MaxInt64) != (at >= segments*each) {
					t.Fatalf("offset %d has age %d, the one before %d", at, age, was)
				}
				res, err := r.Read(ctx, id, at, shard.ReadOptions{OneSegment: true})
				if err != nil || len(res.Batches) == 0 || res.Batches[0].BaseOffset() != at {
					t.Fatalf("read at %d: %d batches, error %v", at, len(res.Batches), err)
				}
				last := res.Batches[len(res.Batches)-1].LastOffset()
				if age != math.MaxInt64 && r.Age(id, last) != age {
					t.Fatalf("a read from %d to %d left its segment", at, last)
				}
				at = last + 1
			}
		}
		return n
	}
	if n := steps(); n != shards*(segments+1) {
		t.Fatalf("%d reads of %d shards in %d segments and the log", n, shards, segments)
	}
	if did, err := r.Merge(ctx); err != nil || !did {
		t.Fatalf("merge: %t, error %v", did, err)
	}
	if n := steps(); n != shards*2 {
		t.Fatalf("%d reads of %d shards in a segment and the log", n, shards)
	}
}
