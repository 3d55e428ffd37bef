package amqp

import (
	"sync"

	"github.com/robustmq/robustmq-go/shard"
)

// Queues with x-overflow reject-publish. A message is stored once for everybody,
// so the queue says that it stays out only when its batch is visible already;
// the batch's completion follows, and finds here which of its messages to nack.

// rejections are what queues did not take of a connection's publishes that are
// under way.
type rejections struct {
	mu sync.Mutex
	by map[shard.ID][]int64
}

// rejected hears of a message that a queue did not take. Those of other
// protocols' connections are nobody's here: their publishers are told nothing.
func (s *server) rejected(id shard.ID, offset int64, origin shard.Origin) {
	c, ok := s.origins.Load(origin)
	if !ok {
		return
	}
	r := &c.(*conn).rejections
	r.mu.Lock()
	if r.by == nil {
		r.by = make(map[shard.ID][]int64)
	}
	r.by[id] = append(r.by[id], offset)
	r.mu.Unlock()
}

// take gives which of a batch's records some queue did not take, nil for none.
// Completions come in offset order, so nothing is left of what lies before.
func (r *rejections) take(id shard.ID, base int64, n int) map[int]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.by[id]
	if len(all) == 0 {
		return nil
	}
	var out map[int]bool
	rest := all[:0]
	for _, at := range all {
		switch i := at - base; {
		case i >= int64(n):
			rest = append(rest, at)
		case i >= 0:
			if out == nil {
				out = make(map[int]bool)
			}
			out[int(i)] = true
		}
	}
	if r.by[id] = rest; len(rest) == 0 {
		delete(r.by, id)
	}
	return out
}
