package group_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/engine/group"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// TestDeletedGroupsLeaveNoTimer: a group that is gone waits for no time, however far it was.
func TestDeletedGroupsLeaveNoTimer(t *testing.T) {
	mem := shardmem.New(shardmem.Options{})
	defer mem.Close()
	b := mem.Broker()
	for i := range 100 {
		name := fmt.Sprint("g", i)
		g := makeGroup(t, b, shard.GroupConfig{Name: name, ExpireAfter: 24 * time.Hour}, "q")
		if err := g.SetData(context.Background(), nil, time.Hour); err != nil { // an earlier one
			t.Fatal(err)
		}
		if n := mem.Groups().Wakes(); n > i+1 && i == 0 {
			t.Errorf("%d wake-ups of one group", n)
		}
		if err := b.Groups.Delete(context.Background(), name); err != nil {
			t.Fatal(err)
		}
	}
	if n := mem.Groups().Wakes(); n > 0 {
		t.Errorf("%d wake-ups of groups that are gone", n)
	}
}

// TestLagIsWhatReads: the cursors that catch up are known without a look at all others.
func TestLagIsWhatReads(t *testing.T) {
	mem := shardmem.New(shardmem.Options{})
	defer mem.Close()
	b := mem.Broker()
	const topics = 50
	g := makeGroup(t, b, shard.GroupConfig{Name: "g"}, "a.>")
	check := func(most int) {
		t.Helper()
		if n, right := group.Lag(g); !right || n > most {
			t.Fatalf("%d cursors read, %v", n, right)
		}
	}
	for i := range topics {
		publish(t, b, fmt.Sprint("a.", i), "v")
	}
	check(0)
	publish(t, b, "a.0", make([]string, 500)...) // more than an idle group keeps
	check(1)
	c := &receiver{}
	x := attach(t, g, shard.ConsumerConfig{NoAck: true}, c)
	defer x.Close()
	c.await(t, topics+500)
	check(1)
}

// BenchmarkCurveInterest: is a consumer bound to the subject, among so many groups with consumers.
func BenchmarkCurveInterest(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1_000, 10_000} {
		b.Run(fmt.Sprintf("groups=%d", n), func(b *testing.B) {
			mem := shardmem.New(shardmem.Options{})
			defer mem.Close()
			for i := range n {
				g := makeGroup(b, mem.Broker(), shard.GroupConfig{Name: fmt.Sprint(i)}, fmt.Sprint("rpc.", i))
				attach(b, g, shard.ConsumerConfig{}, &receiver{})
			}
			for i := 0; b.Loop(); i++ {
				mem.Groups().Interest(fmt.Sprint("rpc.", i%(2*n)))
			}
		})
	}
}

// BenchmarkCurveCursors: a message through a group that has read from so many topics.
func BenchmarkCurveCursors(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1_000, 10_000} {
		b.Run(fmt.Sprintf("cursors=%d", n), func(b *testing.B) {
			mem := shardmem.New(shardmem.Options{})
			defer mem.Close()
			g := makeGroup(b, mem.Broker(), shard.GroupConfig{Name: "g"}, "a.>")
			var got atomic.Int64
			c := &receiver{}
			c.each = func(shard.Delivery) { got.Add(1) }
			attach(b, g, shard.ConsumerConfig{NoAck: true}, c)
			for i := range n {
				publish(b, mem.Broker(), fmt.Sprint("a.", i), "v")
			}
			topic, _ := mem.Broker().Topics.Resolve(b.Context(), "a.0", true)
			done := shard.CompletionFunc(func(shard.AppendResult) {})
			batch := 0
			for b.Loop() {
				mem.Append(b.Context(), topic.Shard(0), shard.BatchOf(shard.Record{Value: []byte("v")}), shard.AppendOptions{}, done)
				for batch++; batch%100 == 0 && got.Load() < int64(n+batch-1000); {
					c.take()
					runtime.Gosched()
				}
			}
		})
	}
}
