package engine

import (
	"context"
	"fmt"
	"testing"

	"github.com/oklog/ulid/v2"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
)

// Curves are how cost grows with scale; `make bench-scale-curves` runs and draws them.

// curveShards are the points of the curves over shards.
var curveShards = []int{1, 10, 100, 1_000, 10_000, 100_000, 1_000_000}

// shardsOfTopic is how many shards one topic of a curve has at most.
const shardsOfTopic = 100_000

// curveEngine is an engine with so many shards, each with one record.
func curveEngine(b *testing.B, n int) (*Engine, []shard.ID, *limiter) {
	b.Helper()
	e, _ := benchEngine(b, 1)
	l := &limiter{slots: make(chan struct{}, 1000), tb: b}
	ids := make([]shard.ID, 0, n)
	for len(ids) < n {
		t, err := e.topics.Create(context.Background(), shard.Topic{Name: fmt.Sprint("curve.", len(ids)), Shards: uint32(min(shardsOfTopic, n-len(ids)))})
		if err != nil {
			b.Fatal(err)
		}
		for i := range t.Shards {
			ids = append(ids, t.Shard(i))
		}
	}
	for _, id := range ids {
		l.append(e, id, []byte("x"), 1)
	}
	l.wg.Wait()
	return e, ids, l
}

func (l *limiter) append(e *Engine, id shard.ID, value []byte, records int) {
	bl := shard.NewBuilder(records * (len(value) + 40))
	for range records {
		bl.Add(&shard.Record{Timestamp: 1, Value: value})
	}
	l.slots <- struct{}{}
	l.wg.Add(1)
	e.Append(context.Background(), id, bl.Build(), shard.AppendOptions{}, l)
}

// BenchmarkCurveAppend: one batch of ten records of 100 bytes, 1,000 in flight, round robin over
// shards that all hold something already.
func BenchmarkCurveAppend(b *testing.B) {
	for _, n := range curveShards {
		b.Run(fmt.Sprintf("shards=%d", n), func(b *testing.B) {
			e, ids, l := curveEngine(b, n)
			if err := e.Flush(context.Background()); err != nil {
				b.Fatal(err)
			}
			value := make([]byte, 100)
			for i := 0; b.Loop(); i++ {
				l.append(e, ids[i*7919%n], value, 10)
			}
			l.wg.Wait()
		})
	}
}

// BenchmarkCurveFlush: a flush of 8 MiB, or of one record a shard where that is more, spread over
// so many shards.
func BenchmarkCurveFlush(b *testing.B) {
	for _, n := range curveShards {
		b.Run(fmt.Sprintf("shards=%d", n), func(b *testing.B) {
			e, ids, l := curveEngine(b, n)
			if err := e.Flush(context.Background()); err != nil {
				b.Fatal(err)
			}
			const batches = 100
			value := make([]byte, 8<<20/max(n, batches))
			for b.Loop() {
				b.StopTimer()
				for i := range max(n, batches) {
					l.append(e, ids[i%n], value, 1)
				}
				l.wg.Wait()
				b.StartTimer()
				if err := e.Flush(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/shard")
		})
	}
}

// BenchmarkCurveRetain: a retention pass that frees nothing, and a look for merges that
// finds none, over so many segments of 20 shards each.
func BenchmarkCurveRetain(b *testing.B) {
	const per = 20
	for _, n := range []int{10, 100, 1_000, 10_000} {
		b.Run(fmt.Sprintf("segments=%d", n), func(b *testing.B) {
			e, ids, _ := curveEngine(b, per)
			ctx := context.Background()
			if err := e.Flush(ctx); err != nil {
				b.Fatal(err)
			}
			for i := range n {
				seg := catalog.Segment{ULID: ulid.Make(), Key: fmt.Sprintf("curve/%d", i), Level: maxLevel, Size: 64 << 20, Created: e.opts.Now().UnixMilli()}
				for _, id := range ids {
					base := int64(1+i) * 100
					seg.Extents = append(seg.Extents, catalog.Extent{Shard: id, Base: base, Last: base + 99, Len: 3 << 20, Records: 100,
						MinTime: seg.Created, MaxTime: seg.Created})
				}
				if err := e.session.CommitSegment(ctx, seg); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				if err := e.Retain(ctx); err != nil {
					b.Fatal(err)
				}
				if did, err := e.Merge(ctx); did || err != nil {
					b.Fatalf("merge %t, %v", did, err)
				}
			}
		})
	}
}
