package gateway

import (
	"sync"
	"sync/atomic"
)

// Queue is the account of what is queued for one client, in the second half of a
// Memory. Nothing waits for it: who queues asks Over afterwards, and then stops
// or drops, by the rules of its protocol. It is safe for concurrent use.
//
// The bound of a queue is a share of what all queues leave free (a dynamic
// threshold, as switches have for their shared buffers). So few slow clients may
// queue much, many little, the total stays below the budget, and a client that
// comes later finds some.
type Queue struct {
	m     *Memory
	limit int64
	bytes atomic.Int64 // changed under mu
	mu    struct {
		sync.Mutex
		ended bool
	}
}

// Queue makes an account, with a bound of its own. It ends with the connection.
func (c *Conn) Queue(limit int) *Queue {
	q := &Queue{m: c.mem.m, limit: int64(limit)}
	if q.m != nil {
		q.m.mu.Lock()
		c.mem.queues = append(c.mem.queues, q)
		q.m.mu.Unlock()
	}
	return q
}

// Add counts n bytes more, or fewer.
func (q *Queue) Add(n int) {
	if n == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mu.ended {
		return
	}
	q.bytes.Add(int64(n))
	if q.m != nil {
		q.m.queued.Add(int64(n))
	}
}

// Bytes is what is queued.
func (q *Queue) Bytes() int { return int(q.bytes.Load()) }

// Limit is the bound of now.
func (q *Queue) Limit() int {
	if q.m == nil {
		return int(q.limit)
	}
	share := (q.m.limit - q.m.queued.Load()) / 4
	return int(min(q.limit, max(share, queueFloor)))
}

// Over tells whether the queue is over its bound.
func (q *Queue) Over() bool { return q.OverBy(q.Bytes()) }

// OverBy is Over for who knows better how much is queued.
func (q *Queue) OverBy(bytes int) bool {
	n := int64(bytes)
	if n <= min(queueFloor, q.limit) || n <= int64(q.Limit()) {
		return false
	}
	if q.m != nil && n <= q.limit {
		q.m.cut.Add(1)
		q.m.say("the memory for what is queued for clients runs out: the slow ones get less")
	}
	return true
}

// Room is what may be queued before it is over its bound.
func (q *Queue) Room() int { return max(q.Limit()-q.Bytes(), 0) }

// end counts what is queued as gone: the connection is over.
func (q *Queue) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.ended = true
	q.m.queued.Add(-q.bytes.Swap(0))
}
