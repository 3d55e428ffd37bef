package engine

import (
	"sync"

	"github.com/robustmq/robustmq-go/shard"
)

// feedWorkers is the number of goroutines that fan out; a shard always has the
// same one, which keeps its order.
const feedWorkers = 2

// feed hands visible batches to live subscribers and groups, off the WAL's sync
// goroutine.
type feed struct {
	sink    func(t *shard.Topic, index uint32, b *shard.Batch, origin shard.Origin)
	wanted  func(t *shard.Topic) bool
	workers [feedWorkers]feedWorker
	wg      sync.WaitGroup
}

type feedItem struct {
	topic  *shard.Topic
	index  uint32
	batch  *shard.Batch
	origin shard.Origin
}

type feedWorker struct {
	mu     sync.Mutex
	cond   sync.Cond
	queue  []feedItem
	closed bool
	busy   bool
}

func (f *feed) start() {
	for i := range f.workers {
		w := &f.workers[i]
		w.cond.L = &w.mu
		f.wg.Go(func() { w.run(f.sink) })
	}
}

func (f *feed) push(id shard.ID, t *shard.Topic, b *shard.Batch, origin shard.Origin) {
	if t.Internal {
		return
	}
	w := &f.workers[hashID(id)%feedWorkers]
	w.mu.Lock()
	w.queue = append(w.queue, feedItem{t, id.Index, b, origin})
	w.mu.Unlock()
	w.cond.Signal()
}

func (w *feedWorker) run(sink func(*shard.Topic, uint32, *shard.Batch, shard.Origin)) {
	var items []feedItem
	for {
		w.mu.Lock()
		for len(w.queue) == 0 && !w.closed {
			w.cond.Wait()
		}
		if len(w.queue) == 0 {
			w.mu.Unlock()
			return
		}
		items, w.queue = w.queue, items[:0]
		w.mu.Unlock()
		for i := range items {
			it := &items[i]
			sink(it.topic, it.index, it.batch, it.origin)
			it.batch.Forget()
			*it = feedItem{}
		}
	}
}

func (f *feed) close() {
	for i := range f.workers {
		w := &f.workers[i]
		w.mu.Lock()
		w.closed = true
		w.mu.Unlock()
		w.cond.Broadcast()
	}
	f.wg.Wait()
}
