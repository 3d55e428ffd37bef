package engine

import (
	"context"
	"testing"

	"github.com/robustmq/robustmq-go/shard"
)

// TestSnapshotOfValueThatChanges: a large value that a former snapshot has, and that is
// replaced while the next one is made, neither keeps that from being made nor damages
// its slot.
func TestSnapshotOfValueThatChanges(t *testing.T) {
	r := newLargeRig(t)
	r.set("k", 700)
	r.set("gone", 800)
	r.snapshotNow()
	r.set("other", 900) // a snapshot is of what changed
	ctx := context.Background()
	slot := slotOfName(largeOwner)
	snaps, err := r.copyState(ctx, []int{slot})
	if err != nil || len(snaps) != 1 {
		t.Fatal(len(snaps), err)
	}
	r.set("k", 701)
	if err := shard.ApplyWait(ctx, r.state, largeOwner, shard.StateOp{Key: "gone"}); err != nil {
		t.Fatal(err)
	}
	delete(r.newest, "gone")
	for i := range snaps[0].values {
		v := &snaps[0].values[i]
		if data, err := r.state.dataOf(ctx, slot, v); err != nil || len(data) < 512 {
			t.Errorf("%s at revision %d: %d bytes, %v", v.key, v.Rev, len(data), err)
		}
	}
	if err := r.Engine.state.slots[slot].refused(); err != nil {
		t.Errorf("the slot is refused: %v", err)
	}
}
