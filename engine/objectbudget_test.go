package engine

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/catalog/catalogtest"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// TestObjectBudgetFull: where everything waits for the object store, and appends have
// all of the budget at any moment, the flusher's own notes of producers do not wait for
// what the flusher alone gives back.
func TestObjectBudgetFull(t *testing.T) {
	o := quiet()
	o.Durability, o.ObjectFlushInterval, o.AppendBytes = shard.DurabilityObject, time.Millisecond, 1<<20
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), mem.New(nil))
	id := r.topic("t", shard.TopicConfig{}).Shard(0)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for producer := range 16 {
		wg.Go(func() {
			for seq := range int32(12) {
				bl := shard.NewBuilder(200 << 10)
				bl.Add(&shard.Record{Timestamp: 1, Value: make([]byte, 200<<10)})
				b := bl.BuildProducer(int64(producer), 0, seq)
				if _, err := shard.AppendWait(ctx, r.Engine, id, b, shard.AppendOptions{}); err != nil {
					t.Errorf("producer %d: %v", producer, err)
					return
				}
			}
		})
	}
	wg.Wait()
}
