package engine

import (
	"context"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// TestRetentionOfDamagedSlot: a slot of state that is refused keeps no shard from being
// freed: where it begins is known, and only rises.
func TestRetentionOfDamagedSlot(t *testing.T) {
	o := quiet()
	o.RetentionMs = time.Hour.Milliseconds()
	r := newRig(t, o)
	id := r.topic("t", shard.TopicConfig{}).Shard(0)
	r.segmentOf(id, time.Now().Add(-2*time.Hour).UnixMilli(), "", []byte("x"))
	hurt := &r.state.slots[slotOfName(shardStateOwner(id))]
	hurt.mu.Lock()
	hurt.damaged = errSnapshot
	hurt.mu.Unlock()
	if err := r.Retain(context.Background()); err != nil {
		t.Errorf("retention: %v", err)
	}
	r.wantStart(id, 1)
	r.crash()
	r.wantStart(id, 1)
}
