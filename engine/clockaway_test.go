package engine

import (
	"context"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/catalog/catalogtest"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// TestTimeIsNotedWhileALogIsAway: a gateway that has waited for a log for a week knows at
// its next start that the week has passed, and what became of the store is told meanwhile.
func TestTimeIsNotedWhileALogIsAway(t *testing.T) {
	h := newHands()
	r := newRigOn(t, h.options(), catalogtest.OpenEmbedded(t), mem.New(nil))
	ctx := context.Background()
	if err := r.Retain(ctx); err != nil {
		t.Fatal(err)
	}
	r.waiting.logs = []WaitingLog{{ID: "away"}}
	for range 7 * 24 {
		h.run(time.Hour)
		if err := r.Retain(ctx); err != nil {
			t.Fatal(err)
		}
	}
	r.waiting.logs = nil
	r.crash()
	if a := r.Stats().ClockAhead; a != 0 {
		t.Errorf("the clock is held: it is said to be ahead by %s", a)
	}
}
