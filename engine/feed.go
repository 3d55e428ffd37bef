package engine

import (
	"sync"

	"github.com/robustmq/robustmq-go/shard"
)

// feedWorkers is the number of goroutines that fan out; a shard always has the
// same one, which keeps its order.
const feedWorkers = 2

// feed hands visible batches to groups, tells their publishers, and hands them to
// live subscribers, off the WAL's sync goroutine. Groups come first, so that a
// publisher that was told finds its message in the queue.
type feed struct {
	groups  func(t *shard.Topic, index uint32, b *shard.Batch, origin shard.Origin)
	live    func(t *shard.Topic, index uint32, b *shard.Batch, origin shard.Origin)
	workers [feedWorkers]feedWorker
	wg      sync.WaitGroup
}

type feedWorker struct {
	mu     sync.Mutex
	cond   sync.Cond
	queue  []*pending
	closed bool
}

func (f *feed) start() {
	for i := range f.workers {
		w := &f.workers[i]
		w.cond.L = &w.mu
		f.wg.Go(func() { w.run(f) })
	}
}

func (f *feed) push(p *pending) {
	w := &f.workers[hashID(p.s.id)%feedWorkers]
	w.mu.Lock()
	w.queue = append(w.queue, p)
	w.mu.Unlock()
	w.cond.Signal()
}

func (w *feedWorker) run(f *feed) {
	var items []*pending
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
		for i, p := range items {
			index := p.s.id.Index
			f.groups(p.topic, index, p.batch, p.origin)
			if p.done != nil {
				p.done.Appended(p.result)
			}
			f.live(p.topic, index, p.batch, p.origin)
			p.batch.Forget()
			items[i] = nil
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
