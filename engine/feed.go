package engine

import (
	"sync"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

const (
	// feedWorkers is the number of goroutines that fan out; a shard has one of them
	// at a time, which keeps its order.
	feedWorkers = 2
	// feedTurn and feedTime are how many batches of one shard are handed on, and for
	// how long, before others have their turn: a shard with many followers holds
	// nobody else up.
	feedTurn = 32
	feedTime = time.Millisecond
	// freshInARow is how many shards that had nothing waiting go before one that had.
	freshInARow = 8
)

// feed hands visible batches to groups, tells their publishers, and hands them to
// live subscribers, off the WAL's sync goroutine. Groups come first, so that a
// publisher that was told finds its message in the queue. What waits is bounded by
// the budgets of appends.
type feed struct {
	groups func(t *shard.Topic, index uint32, b *shard.Batch, origin shard.Origin)
	live   func(t *shard.Topic, index uint32, b *shard.Batch, origin shard.Origin)
	wg     sync.WaitGroup

	mu   sync.Mutex
	cond sync.Cond
	// Shards with something to hand on and no worker: those that had nothing before
	// it came, and those that had a turn and did not get through.
	fresh, behind ring[*shardLog]
	row           int // of fresh ones
	closed        bool
}

// fed is a shard's queue in the feed, under the feed's lock.
type fed struct {
	queue ring[*pending]
	turn  bool // it waits for its turn, or has it
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
		f.fresh.push(p.s)
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
		s := f.next()
		if s == nil {
			return
		}
		n := 0
		for ; n < feedTurn && s.fed.queue.len() > n; n++ {
			items[n] = s.fed.queue.get(n)
		}
		f.mu.Unlock()
		done := f.handSome(items[:n])
		clear(items[:n])
		f.mu.Lock()
		for range done {
			s.fed.queue.pop()
		}
		if s.fed.turn = s.fed.queue.len() > 0; s.fed.turn {
			f.behind.push(s)
		}
	}
}

// next gives the shard whose turn it is; nil when the feed is closed and through.
func (f *feed) next() *shardLog {
	for f.fresh.len()+f.behind.len() == 0 {
		if f.closed {
			return nil
		}
		f.cond.Wait()
	}
	if f.fresh.len() > 0 && (f.row < freshInARow || f.behind.len() == 0) {
		f.row++
		return f.fresh.pop()
	}
	f.row = 0
	return f.behind.pop()
}

// handSome hands on the first of ps, as many as there is time for, and tells how many.
func (f *feed) handSome(ps []*pending) int {
	begun := time.Now()
	for i, p := range ps {
		f.hand(p)
		if time.Since(begun) > feedTime {
			return i + 1
		}
	}
	return len(ps)
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

func (r *ring[T]) get(i int) T { return r.at[r.head+i] }

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
