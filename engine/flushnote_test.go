package engine

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/catalog/catalogtest"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// gateStore holds each segment's PUT until it is let through.
type gateStore struct {
	store.Store
	on   atomic.Bool
	came chan struct{}
	gate chan struct{}
}

func (g *gateStore) Put(ctx context.Context, key string, b []byte) error {
	if g.on.Load() {
		select {
		case g.came <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-g.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return g.Store.Put(ctx, key, b)
}

// TestFlushNeverWaitsForWhatItFrees: where all is object-durable and as much waits for the
// store as may, a flush that notes producers goes on.
func TestFlushNeverWaitsForWhatItFrees(t *testing.T) {
	clock := newTestClock()
	st := &gateStore{Store: mem.New(nil), came: make(chan struct{}), gate: make(chan struct{})}
	o := quiet()
	o.Now = clock.now
	o.Durability, o.ObjectFlushInterval = shard.DurabilityObject, time.Millisecond
	o.AppendBytes = 64 << 10
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), st)
	ctx := context.Background()
	id := r.topic("t", shard.TopicConfig{}).Shard(0)
	other := r.topic("other", shard.TopicConfig{}).Shard(0)
	one := func(seq int32) *shard.Batch {
		b := shard.NewBuilder(100)
		b.Add(&shard.Record{Value: []byte("v")})
		return b.BuildProducer(7, 0, seq)
	}
	if _, err := shard.AppendWait(ctx, r.Engine, id, one(0), shard.AppendOptions{}); err != nil {
		t.Fatal(err)
	}
	st.on.Store(true)
	done := make(chan error, 1000)
	cb := shard.CompletionFunc(func(res shard.AppendResult) { done <- res.Err })
	r.Append(ctx, id, one(1), shard.AppendOptions{}, cb)
	<-st.came               // the flush has taken that, and what comes now waits for the next
	clock.move(time.Minute) // so that the producer is noted after it
	n := 1
	for _, size := range []int{4 << 10, 1} {
		for over := false; !over; n++ {
			c, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			r.Append(c, other, shard.BatchOf(shard.Record{Value: make([]byte, size)}), shard.AppendOptions{}, cb)
			over = c.Err() != nil
			cancel()
		}
	}
	st.on.Store(false)
	close(st.gate)
	for i := range n {
		select {
		case err := <-done:
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("append: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%d of %d appends are answered", i, n)
		}
	}
}
