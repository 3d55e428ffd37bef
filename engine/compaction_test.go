package engine

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/catalog/catalogtest"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// TestCompactionTimes: min.compaction.lag.ms keeps what is young and what only
// something young supersedes; delete.retention.ms says how long deletions stay.
func TestCompactionTimes(t *testing.T) {
	now := time.Now()
	o := quiet()
	o.Now = func() time.Time { return now }
	o.MergeSegments = 4
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), mem.New(nil))
	ctx := context.Background()
	hours := func(n int) int64 { return now.Add(-time.Duration(n) * time.Hour).UnixMilli() }
	const hour = "3600000"
	for _, x := range []struct {
		name  string
		extra map[string]string
		want  []string
	}{
		{"plain", nil, []string{"b=", "a=4", "c=6"}},
		{"lag", map[string]string{shard.MinCompactionLag: hour}, []string{"a=2", "b=", "a=4", "c=6"}},
		{"deletions", map[string]string{shard.DeleteRetention: hour}, []string{"a=4", "c=6"}},
	} {
		id := r.topic(x.name, shard.TopicConfig{Compact: true, Extra: x.extra}).Shard(0)
		r.segmentOf(id, hours(9), "a", []byte("1"))
		r.segmentOf(id, hours(8), "a", []byte("2"))
		r.segmentOf(id, hours(7), "b", []byte("3"))
		r.segmentOf(id, hours(7), "b", nil)
		r.segmentOf(id, now.UnixMilli(), "a", []byte("4"))
		r.segmentOf(id, hours(5), "c", []byte("5"))
		r.segmentOf(id, hours(5), "c", []byte("6"))
		r.segmentOf(id, hours(5), "d", []byte("7"))
		for did := true; did; {
			var err error
			if did, err = r.Merge(ctx); err != nil {
				t.Fatal(err)
			}
		}
		got := r.keysAndValues(id)
		got = slices.DeleteFunc(got, func(s string) bool { return s == "d=7" })
		if !slices.Equal(got, x.want) {
			t.Errorf("%s: %q is left, want %q", x.name, got, x.want)
		}
	}
}

// keysAndValues reads what segments hold of a shard.
func (r *rig) keysAndValues(id shard.ID) []string {
	r.t.Helper()
	r.crash() // what is in memory is not compacted
	var out []string
	for at := int64(0); ; {
		res, err := r.Read(context.Background(), id, at, shard.ReadOptions{})
		if err != nil {
			r.t.Fatal(err)
		}
		for _, b := range res.Batches {
			recs, err := b.Records()
			if err != nil {
				r.t.Fatal(err)
			}
			for i := range recs {
				out = append(out, fmt.Sprintf("%s=%s", recs[i].Key, recs[i].Value))
			}
			at = b.LastOffset() + 1
		}
		if at >= res.Bounds.End || len(res.Batches) == 0 {
			return out
		}
	}
}

// inObjects reads what is left of a shard when the log's disk is lost: what the
// segments hold.
func (r *rig) inObjects(id shard.ID) []string {
	r.t.Helper()
	var out []string
	for _, x := range r.cat.Extents(id) {
		sweep := tier.NewSweep(r.store, x.Segment.Key, x.Segment.Size, 1<<20)
		for raw, err := range sweep.Batches(context.Background(), tierExtent(x.Extent)) {
			if err != nil {
				r.t.Fatal(err)
			}
			b, err := shard.VerifiedBatch(raw)
			if err != nil {
				r.t.Fatal(err)
			}
			recs, err := b.Records()
			if err != nil {
				r.t.Fatal(err)
			}
			for i := range recs {
				out = append(out, fmt.Sprintf("%s=%s", recs[i].Key, recs[i].Value))
			}
		}
	}
	return out
}

// TestCompactionAgainstObjects: a record supersedes another one in a segment only once
// it is in a segment itself. The loss of the log's disk costs the newest value of a
// key, never all of them.
func TestCompactionAgainstObjects(t *testing.T) {
	o := quiet()
	o.MergeSegments = 4
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), mem.New(nil))
	ctx := context.Background()
	id := r.topic("c", shard.TopicConfig{Compact: true}).Shard(0)
	for i := range 4 {
		r.segmentOf(id, int64(i+1), "k", fmt.Append(nil, i))
		r.segmentOf(id, int64(i+1), fmt.Sprint("other", i), []byte("x"))
	}
	for _, value := range [][]byte{[]byte("only in the log"), nil} {
		rec := shard.Record{Timestamp: 9, Key: []byte("k"), Value: value}
		if _, err := shard.AppendWait(ctx, r.Engine, id, shard.BatchOf(rec), shard.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for did := true; did; {
		var err error
		if did, err = r.Merge(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.inObjects(id); !slices.Contains(got, "k=3") || slices.Contains(got, "k=2") {
		t.Fatalf("segments hold %q", got)
	}
}
