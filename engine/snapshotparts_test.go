package engine

import (
	"fmt"
	"testing"

	"github.com/robustmq/robustmq-go/catalog/catalogtest"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// TestSnapshotOfMuchState: a store takes no object of more than a GiB, so a state that is
// larger is several.
func TestSnapshotOfMuchState(t *testing.T) {
	o := quiet()
	o.SegmentBytes = 16 << 10
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), mem.New(nil))
	const each = 15 << 10
	for round := range 3 {
		for i := range 40 {
			r.put(fmt.Sprint("owner", i), "k", make([]byte, each+round))
		}
		r.snapshotNow()
		n := 0
		for s := range r.cat.Segments() {
			if classOf(s) != classSnapshot {
				continue
			}
			if n++; s.Size > snapshotSegments*o.SegmentBytes+2*each {
				t.Errorf("a snapshot of %d bytes", s.Size)
			}
		}
		if n < 5 || n > 40 {
			t.Errorf("round %d: %d snapshots", round, n)
		}
		want := r.stateOf()
		r.crash()
		r.wantState("after a crash", want)
	}
}
