package engine

import (
	"sync"

	"github.com/robustmq/robustmq-go/shard"
)

const (
	// feedWorkers is the number of goroutines that fan out; a shard has one of them
	// at a time, which keeps its order.
	feedWorkers = 2
	// feedTurn is how many batches of one shard are handed on before others have
	// their turn: a shard with many followers holds nobody else up.
	feedTurn = 32
)

// feed hands visible batches to groups, tells their publishers, and hands them to
// live subscribers, off the WAL's sync goroutine. Groups come first, so that a
// publisher that was told finds its message in the queue. What waits is bounded by
// the budgets of appends.
type feed struct {
	groups func(t *shard.Topic, index uint32, b *shard.Batch, origin shard.Origin)
	live   func(t *shard.Topic, index uint32, b *shard.Batch, origin shard.Origin)
	wg     sync.WaitGroup

	mu     sync.Mutex
	cond   sync.Cond
	turns  ring[*shardLog] // those with something to hand on and no worker
	closed bool
}

// fed is a shard's queue in the feed, under the feed's lock.
type fed struct {
	queue ring[*pending]
	turn  bool // it is in turns, or a worker has it
}

func (f *feed) start() {
	f.cond.L = &f.mu
	for range feedWorkers {
		f.wg.Go(f.run)
	}
}

func (f *feed) push(p *pending) {
	f.mu.Lock()
	q := &p.s.fed
	q.queue.push(p)
	wake := !q.turn
	if wake {
		q.turn = true
		f.turns.push(p.s)
	}
	f.mu.Unlock()
	if wake {
		f.cond.Signal()
	}
}

func (f *feed) run() {
	var items [feedTurn]*pending
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		for f.turns.len() == 0 && !f.closed {
			f.cond.Wait()
		}
		if f.turns.len() == 0 {
			return
		}
		s := f.turns.pop()
		n := 0
		for ; n < feedTurn && s.fed.queue.len() > 0; n++ {
			items[n] = s.fed.queue.pop()
		}
		f.mu.Unlock()
		for i, p := range items[:n] {
			f.hand(p)
			items[i] = nil
		}
		f.mu.Lock()
		if s.fed.turn = s.fed.queue.len() > 0; s.fed.turn {
			f.turns.push(s)
		}
	}
}

func (f *feed) hand(p *pending) {
	index := p.s.id.Index
	f.groups(p.topic, index, p.batch, p.origin)
	if p.done != nil {
		p.done.Appended(p.result)
	}
	f.live(p.topic, index, p.batch, p.origin)
	p.batch.Forget()
	p.release()
}

func (f *feed) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.cond.Broadcast()
	f.wg.Wait()
}

// ring is a queue that uses its memory again, and keeps little when it is empty.
type ring[T any] struct {
	at   []T
	head int
}

func (r *ring[T]) len() int { return len(r.at) - r.head }

func (r *ring[T]) push(v T) {
	if r.head > 0 && len(r.at) == cap(r.at) && r.head >= len(r.at)/2 {
		n := copy(r.at, r.at[r.head:])
		clear(r.at[n:])
		r.at, r.head = r.at[:n], 0
	}
	r.at = append(r.at, v)
}

func (r *ring[T]) pop() T {
	var none T
	v := r.at[r.head]
	r.at[r.head] = none
	if r.head++; r.head == len(r.at) {
		if r.at, r.head = r.at[:0], 0; cap(r.at) > 1024 {
			r.at = nil
		}
	}
	return v
}
