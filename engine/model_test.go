package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// modelShard is what a shard must hold: the acknowledged values by offset.
type modelShard struct {
	id     shard.ID
	acked  map[int64]string
	start  int64
	end    int64 // after the last acknowledged offset
	object bool
}

// TestModelRandom runs random appends, flushes, merges, trims and crashes
// against a model: what was acknowledged is readable, at its offset, for ever.
func TestModelRandom(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			runModel(t, rand.New(rand.NewPCG(seed, 1)), 250)
		})
	}
}

func runModel(t *testing.T, rng *rand.Rand, steps int) {
	r := newRig(t, Options{FlushInterval: time.Hour, ObjectFlushInterval: 5 * time.Millisecond, FlushBytes: 32 << 10,
		SegmentBytes: 24 << 10, TailBytes: 16 << 10, MergeSegments: 4, MergeInterval: time.Hour, RetentionInterval: time.Hour,
		DeleteGrace: time.Nanosecond, RetentionMs: -1})
	var ms []*modelShard
	for i := range 5 {
		cfg := shard.TopicConfig{}
		if i == 4 {
			cfg.Durability = shard.DurabilityObject
		}
		ms = append(ms, &modelShard{id: r.topic(fmt.Sprintf("t%d", i), cfg).Shard(0), acked: map[int64]string{}, object: i == 4})
	}
	ctx := context.Background()
	for range steps {
		m := ms[rng.IntN(len(ms))]
		switch k := rng.IntN(100); {
		case k < 60:
			r.modelAppend(rng, m)
		case k < 75:
			if err := r.Flush(ctx); err != nil {
				t.Fatal(err)
			}
		case k < 83:
			if rng.IntN(2) == 0 {
				r.snapshotAt = 0
			}
			if _, err := r.Snapshot(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Merge(ctx); err != nil {
				t.Fatal(err)
			}
		case k < 86:
			to := m.start + rng.Int64N(m.end-m.start+1)
			if err := r.TrimBefore(ctx, m.id, to); err != nil {
				t.Fatal(err)
			}
			m.start = max(m.start, to)
			if err := r.Retain(ctx); err != nil {
				t.Fatal(err)
			}
		case k < 94:
			r.checkModel(m)
		default:
			r.crash()
			for _, m := range ms {
				r.checkModel(m)
			}
		}
	}
	for _, m := range ms {
		r.checkModel(m)
	}
}

// modelAppend appends a few batches at once.
func (r *rig) modelAppend(rng *rand.Rand, m *modelShard) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	n := 1 + rng.IntN(8)
	for range n {
		values := make([]string, 1+rng.IntN(5))
		recs := make([]shard.Record, len(values))
		for i := range recs {
			values[i] = fmt.Sprintf("%x-%s", rng.Uint64(), make([]byte, rng.IntN(300)))
			recs[i] = shard.Record{Timestamp: int64(rng.IntN(1000)), Key: []byte{byte(rng.IntN(8))}, Value: []byte(values[i])}
		}
		wg.Add(1)
		r.Append(context.Background(), m.id, shard.BatchOf(recs...), shard.AppendOptions{}, shard.CompletionFunc(func(res shard.AppendResult) {
			defer wg.Done()
			if res.Err != nil {
				r.t.Error(res.Err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for i, v := range values {
				m.acked[res.Base+int64(i)] = v
				m.end = max(m.end, res.Base+int64(i)+1)
			}
		}))
	}
	wg.Wait()
}

func (r *rig) checkModel(m *modelShard) {
	r.t.Helper()
	b, err := r.Bounds(context.Background(), m.id)
	if err != nil {
		r.t.Fatal(err)
	}
	if b.Start != m.start || b.End != m.end {
		r.t.Fatalf("shard %s: bounds [%d,%d), want [%d,%d)", m.id, b.Start, b.End, m.start, m.end)
	}
	next := b.Start
	for from := b.Start; from < b.End; {
		res, err := r.Read(context.Background(), m.id, from, shard.ReadOptions{MaxBytes: 2000})
		if err != nil || len(res.Batches) == 0 {
			r.t.Fatalf("shard %s: read at %d of %v: %d batches, %v", m.id, from, b, len(res.Batches), err)
		}
		for _, batch := range res.Batches {
			recs, err := batch.Records()
			if err != nil {
				r.t.Fatal(err)
			}
			for _, rec := range recs {
				if rec.Offset < next {
					continue
				}
				if rec.Offset != next || m.acked[rec.Offset] != string(rec.Value) {
					r.t.Fatalf("shard %s: offset %d (expected %d) holds the wrong value", m.id, rec.Offset, next)
				}
				next++
			}
			from = batch.LastOffset() + 1
		}
	}
}
