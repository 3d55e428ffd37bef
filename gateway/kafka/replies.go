package kafka

import (
	"context"
	"sync"
)

// replies are the requests of a connection whose responses are due, in order.
// The writer is woken when the first of them has its response, not for each
// request: with one wake-up instead of two, a small produce request costs less.
type replies struct {
	mu struct {
		sync.Mutex
		queue []*request
		ended bool
	}
	ready chan struct{} // capacity 1: take has something to return
	room  chan struct{} // capacity 1: the queue is shorter than maxQueued
}

func (q *replies) init() {
	q.ready, q.room = make(chan struct{}, 1), make(chan struct{}, 1)
}

// push puts r at the end, after waiting for room. One goroutine at a time may
// call it. It gives the error of ctx.
func (q *replies) push(ctx context.Context, r *request) error {
	for {
		q.mu.Lock()
		if len(q.mu.queue) < maxQueued {
			q.mu.queue = append(q.mu.queue, r)
			q.mu.Unlock()
			return nil
		}
		q.mu.Unlock()
		select {
		case <-q.room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// done notes that r, which was pushed, has its response. Any goroutine may call
// it, once.
func (q *replies) done(r *request) {
	q.mu.Lock()
	r.done = true
	first := len(q.mu.queue) > 0 && q.mu.queue[0] == r
	q.mu.Unlock()
	if first {
		wake(q.ready)
	}
}

// empty tells whether nothing is due.
func (q *replies) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.mu.queue) == 0
}

// end says that nothing is pushed any more.
func (q *replies) end() {
	q.mu.Lock()
	q.mu.ended = true
	q.mu.Unlock()
	wake(q.ready)
}

// take appends to dst the requests that have their response and have none before
// them that has not; with wait it waits for at least one, and returns none when
// there will be none, or ctx is done. The writer alone calls it.
func (q *replies) take(ctx context.Context, dst []*request, wait bool) []*request {
	for {
		q.mu.Lock()
		n := 0
		for n < len(q.mu.queue) && q.mu.queue[n].done {
			n++
		}
		dst = append(dst, q.mu.queue[:n]...)
		left := copy(q.mu.queue, q.mu.queue[n:])
		clear(q.mu.queue[left:])
		q.mu.queue = q.mu.queue[:left]
		ended := q.mu.ended && left == 0
		q.mu.Unlock()
		if n > 0 {
			wake(q.room)
		}
		if n > 0 || ended || !wait {
			return dst
		}
		select {
		case <-q.ready:
		case <-ctx.Done():
			return dst
		}
	}
}

// wake leaves a token in c, if there is none.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
