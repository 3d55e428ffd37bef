package group_test

import (
	"fmt"
	"testing"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// tagged is what a consumer of many was given.
type tagged struct {
	c    shard.Consumer
	tags []shard.DeliveryTag
}

// oneOfMany hands its deliveries to the one goroutine that acknowledges for all.
type oneOfMany struct {
	c  shard.Consumer
	to chan tagged
}

func (o *oneOfMany) Deliver(ds []shard.Delivery) {
	ts := make([]shard.DeliveryTag, len(ds))
	for i := range ds {
		ts[i] = ds[i].Tag
	}
	o.to <- tagged{o.c, ts}
}

func (o *oneOfMany) Closed(error) {}

// BenchmarkCurveGroup: one message published, delivered and acknowledged in a group of so many
// consumers, in batches of 100.
func BenchmarkCurveGroup(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1_000, 10_000} {
		b.Run(fmt.Sprintf("consumers=%d", n), func(b *testing.B) {
			mem := shardmem.New(shardmem.Options{})
			defer mem.Close()
			g := makeGroup(b, mem.Broker(), shard.GroupConfig{Name: "g"}, "q")
			to := make(chan tagged, 1<<16)
			for range n {
				o := &oneOfMany{to: to}
				o.c = attach(b, g, shard.ConsumerConfig{Windows: []*shard.Window{shard.NewWindow(100)}}, o)
			}
			rs := make([]shard.Record, 100)
			for i := range rs {
				rs[i] = shard.Record{Value: make([]byte, 100)}
			}
			topic, _ := mem.Broker().Topics.Resolve(b.Context(), "q", true)
			under, sent := 0, 0
			ack := func() {
				t := <-to
				under -= t.c.Ack(t.tags...)
			}
			for b.Loop() {
				sent++
				if under++; sent%len(rs) != 0 { // a batch is published with its last message
					continue
				}
				mem.Append(b.Context(), topic.Shard(0), shard.BatchOf(rs...), shard.AppendOptions{}, shard.CompletionFunc(func(shard.AppendResult) {}))
				for under > 1_000 {
					ack()
				}
			}
			for under > sent%len(rs) { // those never published are not waited for
				ack()
			}
		})
	}
}
