package engine

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// TestSlowFollowersHoldPublishers: who waits for no acknowledgement is held once his
// shard's followers are behind by the shard's share, and nobody else is; nothing is lost.
func TestSlowFollowersHoldPublishers(t *testing.T) {
	o := quiet()
	o.AppendBytes = 1 << 20
	r := newRig(t, o)
	slow, well := r.topic("slow", shard.TopicConfig{}).Shard(0), r.topic("well", shard.TopicConfig{}).Shard(0)
	hold := make(chan struct{})
	var handed atomic.Int64
	r.feed.mu.Lock()
	groups := r.feed.groups
	r.feed.groups = func(x *shard.Topic, index uint32, b *shard.Batch, origin shard.Origin) {
		if x.Num == slow.Topic {
			<-hold
			handed.Add(1)
		}
		groups(x, index, b, origin)
	}
	r.feed.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var taken atomic.Int64
	ended := make(chan struct{})
	const value = 1000
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			r.Append(ctx, slow, shard.BatchOf(shard.Record{Value: make([]byte, value)}), shard.AppendOptions{Durability: shard.DurabilityMemory},
				shard.CompletionFunc(func(res shard.AppendResult) {
					if res.Err == nil {
						taken.Add(1)
					}
				}))
		}
	}()
	s, _, err := r.owned(slow)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if !s.feeding.TryAcquire(value) {
			break
		}
		s.feeding.Release(value)
		if time.Now().After(deadline) {
			t.Fatal("the publisher is not held")
		}
	}
	for range 100 { // another shard's are acknowledged, and so is state
		r.append(well, "v")
	}
	if err := shard.ApplyWait(context.Background(), r.state, "owner", shard.StateOp{Key: "k", Value: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	if most := o.AppendBytes / shardShare / (value + batchOverhead); taken.Load() > most {
		t.Errorf("%d batches taken, more than %d", taken.Load(), most)
	}
	cancel()
	<-ended
	close(hold)
	_ = r.Close(context.Background())
	if handed.Load() != taken.Load() {
		t.Errorf("%d of %d handed on", handed.Load(), taken.Load())
	}
}

// TestFeedTakesTurns: a shard with much to hand on holds up another's few by a turn.
func TestFeedTakesTurns(t *testing.T) {
	var f feed
	f.cond.L = &f.mu
	e := &Engine{}
	e.opts.AppendBytes = 1 << 20
	internal := &shard.Topic{Internal: true} // needs no budget
	much, few := &shardLog{id: shard.ID{Topic: 1}}, &shardLog{id: shard.ID{Topic: 2}}
	var order []shard.TopicNum
	f.groups = func(_ *shard.Topic, _ uint32, b *shard.Batch, _ shard.Origin) {}
	f.live = f.groups
	push := func(s *shardLog) {
		f.push(&pending{e: e, s: s, topic: internal, batch: shard.BatchOf(shard.Record{}),
			done: shard.CompletionFunc(func(shard.AppendResult) { order = append(order, s.id.Topic) })})
	}
	for range 10 * feedTurn {
		push(much)
	}
	push(few)
	f.closed = true
	f.run()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, n := range order {
		if n == few.id.Topic && i > feedTurn {
			t.Errorf("it waited for %d batches of the other shard", i)
		}
	}
	if len(order) != 10*feedTurn+1 {
		t.Errorf("%d handed on", len(order))
	}
}
