package group_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/engine/group"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// acker acknowledges from a goroutine of its own, as a connection does.
type acker struct {
	c    shard.Consumer
	tags chan []shard.DeliveryTag
}

func (a *acker) Deliver(ds []shard.Delivery) {
	ts := make([]shard.DeliveryTag, len(ds))
	for i := range ds {
		ts[i] = ds[i].Tag
	}
	a.tags <- ts
}

func (a *acker) Closed(error) {}

// BenchmarkQueue publishes batches of 100 through a group with one consumer.
func BenchmarkQueue(b *testing.B) {
	for _, durable := range []bool{false, true} {
		b.Run(fmt.Sprintf("durable=%v", durable), func(b *testing.B) {
			mem := shardmem.New(shardmem.Options{})
			defer mem.Close()
			g := makeGroup(b, mem.Broker(), shard.GroupConfig{Name: "g", Durable: durable}, "q")
			a := &acker{tags: make(chan []shard.DeliveryTag, 1<<16)}
			a.c = attach(b, g, shard.ConsumerConfig{Windows: []*shard.Window{shard.NewWindow(1000)}}, a)
			rs := make([]shard.Record, 100)
			for i := range rs {
				rs[i] = shard.Record{Value: make([]byte, 100)}
			}
			topic, _ := mem.Broker().Topics.Resolve(b.Context(), "q", true)
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				mem.Append(b.Context(), topic.Shard(0), shard.BatchOf(rs...), shard.AppendOptions{}, shard.CompletionFunc(func(shard.AppendResult) {}))
				for n += 100; n > 2000; {
					ts := <-a.tags
					n -= a.c.Ack(ts...)
				}
			}
			for n > 0 {
				n -= a.c.Ack(<-a.tags...)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*100), "ns/message")
		})
	}
}

// BenchmarkFanOut feeds one message to many groups without consumers.
func BenchmarkFanOut(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			mem := shardmem.New(shardmem.Options{Groups: group.Options{IdleMessages: 1 << 30, TotalBytes: 1 << 50, ReadyBytes: 1 << 50}})
			defer mem.Close()
			for i := range n {
				makeGroup(b, mem.Broker(), shard.GroupConfig{Name: fmt.Sprint(i)}, "q")
			}
			topic, _ := mem.Broker().Topics.Resolve(b.Context(), "q", true)
			offset := int64(0)
			b.ReportAllocs()
			for b.Loop() {
				batch := shard.BatchOf(shard.Record{Value: make([]byte, 100)})
				batch.Assign(offset, 0)
				offset++
				mem.Groups().Durable(topic, 0, batch, 0)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/push")
		})
	}
}

// TestIdleGroupsAreCheap has 10,000 durable groups on one broker.
func TestIdleGroupsAreCheap(t *testing.T) {
	mem := shardmem.New(shardmem.Options{})
	defer mem.Close()
	publish(t, mem.Broker(), "q", "x")
	goroutines := runtime.NumGoroutine()
	heap := heapBytes()
	const n = 10_000
	gs := make([]shard.Group, n)
	for i := range gs {
		gs[i] = makeGroup(t, mem.Broker(), shard.GroupConfig{Name: fmt.Sprint("g", i), Durable: true, ExpireAfter: time.Hour}, "q")
	}
	deadline := time.Now().Add(30 * time.Second)
	for runtime.NumGoroutine() > goroutines && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if g := runtime.NumGoroutine(); g > goroutines {
		t.Errorf("%d goroutines more", g-goroutines)
	}
	each := (heapBytes() - heap) / n
	t.Logf("%d bytes for an idle group", each)
	if each > 8<<10 {
		t.Errorf("%d bytes for an idle group", each)
	}
	start := time.Now()
	publish(t, mem.Broker(), "q", "y")
	t.Logf("one message to %d groups in %v", n, time.Since(start))
	for _, g := range gs {
		if s := g.Stats(); s.Ready != 1 {
			t.Fatalf("%+v", s)
		}
	}
}

func heapBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
