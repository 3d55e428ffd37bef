package engine

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// benchEngine is an engine on a directory, and a topic of so many shards.
func benchEngine(b *testing.B, shards uint32) (*Engine, *shard.Topic) {
	b.Helper()
	log := slog.New(slog.DiscardHandler)
	cat, err := catalog.Open(context.Background(), catalog.Config{Embedded: b.TempDir(), LeaseTTL: 30 * time.Second, Logger: log})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cat.Close() })
	o := quiet()
	o.WALDir, o.Node, o.Logger, o.FlushBytes = b.TempDir(), shard.Node{Name: "bench-1"}, log, 1<<40
	e, err := Open(context.Background(), cat, mem.New(nil), o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(e.abandon)
	t, err := e.topics.Create(context.Background(), shard.Topic{Name: "bench", Shards: shards})
	if err != nil {
		b.Fatal(err)
	}
	return e, t
}

// limiter keeps a number of appends in flight.
type limiter struct {
	slots chan struct{}
	wg    sync.WaitGroup
	tb    testing.TB
}

// Appended implements shard.Completion.
func (l *limiter) Appended(r shard.AppendResult) {
	if r.Err != nil {
		l.tb.Error(r.Err)
	}
	<-l.slots
	l.wg.Done()
}

// BenchmarkAppendShards: batches of ten records of 100 bytes, 1000 in flight,
// round robin over the shards.
func BenchmarkAppendShards(b *testing.B) {
	for _, shards := range []uint32{1, 100, 10_000, 100_000} {
		b.Run(fmt.Sprint(shards), func(b *testing.B) {
			e, t := benchEngine(b, shards)
			l := &limiter{slots: make(chan struct{}, 1000), tb: b}
			value := make([]byte, 100)
			b.ReportAllocs()
			b.SetBytes(1000)
			for i := 0; b.Loop(); i++ {
				bl := shard.NewBuilder(1400)
				for range 10 {
					bl.Add(&shard.Record{Timestamp: 1, Value: value})
				}
				l.slots <- struct{}{}
				l.wg.Add(1)
				e.Append(context.Background(), t.Shard(uint32(i)%shards), bl.Build(), shard.AppendOptions{}, l)
			}
			l.wg.Wait()
			b.ReportMetric(float64(b.N)*10/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// BenchmarkFlushShards: a flush of 8 MiB spread over so many shards.
func BenchmarkFlushShards(b *testing.B) {
	for _, shards := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(shards), func(b *testing.B) {
			e, t := benchEngine(b, uint32(shards))
			l := &limiter{slots: make(chan struct{}, 1000), tb: b}
			value := make([]byte, 8<<20/max(shards, 100))
			b.SetBytes(8 << 20)
			for b.Loop() {
				b.StopTimer()
				for i := range max(shards, 100) {
					l.slots <- struct{}{}
					l.wg.Add(1)
					e.Append(context.Background(), t.Shard(uint32(i%shards)), shard.BatchOf(shard.Record{Timestamp: 1, Value: value}), shard.AppendOptions{}, l)
				}
				l.wg.Wait()
				b.StartTimer()
				if err := e.Flush(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
