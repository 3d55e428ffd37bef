package engine

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/catalog/catalogtest"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// scaled are the default sizes, all divided by the same number, and nothing that
// happens by itself.
func scaled(by int64) Options {
	o, d := quiet(), DefaultOptions()
	o.FlushBytes, o.SegmentBytes, o.MergeSegments = d.FlushBytes/by, d.SegmentBytes/by, d.MergeSegments
	return o
}

// testClock is a clock that stands still until it is moved.
type testClock struct{ ms atomic.Int64 }

func newTestClock() *testClock {
	c := &testClock{}
	c.ms.Store(1_700_000_000_000)
	return c
}

func (c *testClock) now() time.Time        { return time.UnixMilli(c.ms.Load()) }
func (c *testClock) move(by time.Duration) { c.ms.Add(by.Milliseconds()) }

func (r *rig) mergeAll() (n int) {
	r.t.Helper()
	for {
		did, err := r.Merge(context.Background())
		if err != nil {
			r.t.Fatal(err)
		}
		if !did {
			return n
		}
		if n++; n > 1000 {
			r.t.Fatal("merging does not come to an end")
		}
	}
}

// flushOf appends so many bytes to shards in turn and flushes them.
func (r *rig) flushOf(ids []shard.ID, bytes int64, ts int64) {
	r.t.Helper()
	const each = 8 << 10
	for i := 0; bytes > 0; i++ {
		rec := shard.Record{Timestamp: ts, Value: make([]byte, min(each, bytes))}
		if _, err := shard.AppendWait(context.Background(), r.Engine, ids[i%len(ids)], shard.BatchOf(rec), shard.AppendOptions{}); err != nil {
			r.t.Fatal(err)
		}
		bytes -= each
	}
	if err := r.Flush(context.Background()); err != nil {
		r.t.Fatal(err)
	}
}

// TestMergeSteadyLoad: flushes of just over flush.bytes, as a steady load makes them,
// are merged with the default sizes.
func TestMergeSteadyLoad(t *testing.T) {
	o := scaled(64)
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), mem.New(nil))
	ids := []shard.ID{r.topic("a", shard.TopicConfig{}).Shard(0), r.topic("b", shard.TopicConfig{}).Shard(0)}
	for range 3 * o.MergeSegments {
		r.flushOf(ids, o.FlushBytes+o.FlushBytes/16, 1)
	}
	n := r.mergeAll()
	s := r.Stats()
	bytes := int64(3*o.MergeSegments) * (o.FlushBytes + o.FlushBytes/16)
	if most := int(2*bytes/o.SegmentBytes) + o.MergeSegments; n == 0 || s.Segments > most {
		t.Fatalf("%d merges, %d segments are left, want %d at most", n, s.Segments, most)
	}
	for _, id := range ids {
		b, err := r.Bounds(context.Background(), id)
		if got := len(r.values(id, 0)); err != nil || int64(got) != b.End {
			t.Errorf("%d records of %d: %v", got, b.End, err)
		}
	}
}

// TestMergeParts: what a flush put together is parted by its kind, and what is mostly
// dead is rewritten whatever its size.
func TestMergeParts(t *testing.T) {
	clock := newTestClock()
	o := scaled(64)
	o.Now = clock.now
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), mem.New(nil))
	ctx := context.Background()
	short := r.topic("short", shard.TopicConfig{RetentionMs: 1000}).Shard(0)
	long := r.topic("long", shard.TopicConfig{RetentionMs: -1}).Shard(0)
	compact := r.topic("compact", shard.TopicConfig{Compact: true}).Shard(0)
	for i := range o.MergeSegments {
		if err := shard.ApplyWait(ctx, r.state, "owner", shard.StateOp{Key: fmt.Sprint(i), Value: []byte("v")}); err != nil {
			t.Fatal(err)
		}
		r.segmentOf(compact, clock.now().UnixMilli(), "k", fmt.Append(nil, i))
		r.flushOf([]shard.ID{short, long}, o.FlushBytes, clock.now().UnixMilli())
	}
	if r.mergeAll() == 0 {
		t.Fatal("nothing was merged")
	}
	for s := range r.cat.Segments() {
		full, _ := r.cat.Segment(s.ULID)
		for _, x := range full.Extents {
			if s.Level > 0 && classOf(s) != r.classOfShard(x.Shard) {
				t.Errorf("shard %s lies in a segment of class %d", x.Shard, classOf(s))
			}
		}
	}
	clock.move(time.Minute)
	if err := r.Retain(ctx); err != nil {
		t.Fatal(err)
	}
	r.mergeAll()
	var size, live int64
	for s := range r.cat.Segments() {
		size += s.Size
	}
	for _, id := range []shard.ID{long, compact} {
		for _, x := range r.cat.Extents(id) {
			live += x.Extent.Len
		}
	}
	if size > live+live/4+o.SegmentBytes/4 {
		t.Errorf("segments have %d bytes for %d that can be read", size, live)
	}
	for _, x := range r.cat.Extents(short) {
		if x.Extent.Last >= r.kept.start(short) {
			t.Errorf("what retention freed is there: %+v", x.Extent)
		}
	}
	if got := r.keysAndValues(compact); !slices.Contains(got, fmt.Sprint("k=", o.MergeSegments-1)) {
		t.Errorf("the compacted topic holds %q", got)
	}
}

// TestCompactedBound: a compacted topic takes no more than 2.5 times what is live, and
// what is enough for a merge, however large it is and whatever lies beside it.
func TestCompactedBound(t *testing.T) {
	o := scaled(256) // segments of 256 KiB
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), mem.New(nil))
	ctx := context.Background()
	compact := r.topic("compact", shard.TopicConfig{Compact: true}).Shard(0)
	plain := r.topic("plain", shard.TopicConfig{RetentionMs: -1}).Shard(0)
	const keys, perFlush = 5000, 150
	want := map[string]string{}
	n := 0
	var worst float64
	for i := range 600 {
		recs := make([]shard.Record, perFlush)
		for j := range recs {
			k, v := fmt.Sprint("key-", n*7919%keys), fmt.Sprintf("%0100d", n)
			n++
			want[k] = v
			recs[j] = shard.Record{Timestamp: int64(n), Key: []byte(k), Value: []byte(v)}
		}
		if _, err := shard.AppendWait(ctx, r.Engine, compact, shard.BatchOf(recs...), shard.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
		r.flushOf([]shard.ID{plain}, 8<<10, int64(n))
		r.mergeAll()
		var bytes int64
		for _, x := range r.cat.Extents(compact) {
			bytes += x.Extent.Len
		}
		live := int64(len(want)) * 130
		if bytes > live*5/2+o.SegmentBytes/4 {
			t.Fatalf("after %d flushes: %d bytes for %d that are live", i+1, bytes, live)
		}
		if i > 100 {
			worst = max(worst, float64(bytes)/float64(live))
		}
	}
	s := r.Stats()
	t.Logf("%.2f times what is live at worst, %d segments, %.1f MB merged of %.1f MB", worst, s.Segments, float64(s.MergedBytes)/1e6, float64(s.FlushedBytes)/1e6)
	got := map[string]string{}
	for _, kv := range r.keysAndValues(compact) {
		k, v := kv[:len(kv)-101], kv[len(kv)-100:]
		got[k] = v
	}
	for k, v := range want {
		if got[k] != v {
			t.Fatalf("%s is %q, want %q", k, got[k], v)
		}
	}
}

// TestCompactedCampaign: a shard too large for one merge is compacted part after part.
func TestCompactedCampaign(t *testing.T) {
	o := scaled(2048) // segments of 32 KiB
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), mem.New(nil))
	compact := r.topic("compact", shard.TopicConfig{Compact: true}).Shard(0)
	const keys, rounds = 40, 25
	for i := range keys * rounds {
		r.segmentOf(compact, int64(i), fmt.Sprintf("k%02d", i%keys), slices.Concat(fmt.Appendf(nil, "%04d", i), make([]byte, 4<<10)))
	}
	r.mergeAll()
	got := r.keysAndValues(compact)
	if len(got) < keys || len(got) > 5*keys/2+2 {
		t.Fatalf("%d records are left, want %d to %d", len(got), keys, 5*keys/2)
	}
	for i, kv := range got[len(got)-keys:] {
		if want := fmt.Sprintf("k%02d=%04d", i, keys*(rounds-1)+i); kv[:len(want)] != want {
			t.Fatalf("%q, want %q", kv[:len(want)], want)
		}
	}
}
