package engine

import (
	"fmt"
	"sync"
	"testing"

	"github.com/robustmq/robustmq-go/shard"
)

// TestTopicsAreMadeTogether: those who use subjects for the first time at once wait
// for few transactions, and no more topics are made than may be.
func TestTopicsAreMadeTogether(t *testing.T) {
	r := newRig(t, Options{AutoTopics: 400, CatchAllShards: 1})
	topics := r.topics
	before := topics.set().Revision()
	const n, twice = 500, 2
	var wg sync.WaitGroup
	got := make([]*shard.Topic, n*twice)
	for i := range n * twice {
		wg.Go(func() {
			x, err := topics.Resolve(t.Context(), fmt.Sprint("first.use.", i%n), true)
			if err != nil {
				t.Error(err)
				return
			}
			got[i] = x
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	shared := 0
	for i, x := range got[:n] {
		switch x.Name {
		case catchAllTopic:
			shared++
		case fmt.Sprint("first.use.", i):
		default:
			t.Errorf("subject %d is in %s", i, x.Name)
		}
	}
	set := topics.set()
	if auto := set.AutoLen(); auto > 401 || auto < 400 || shared != n-(auto-1) { // the shared one makes itself too
		t.Errorf("%d topics made themselves, %d subjects share one", auto, shared)
	}
	if steps := set.Revision() - before; steps > n/2 {
		t.Errorf("%d transactions for %d topics", steps, n)
	}
}
