package engine

import (
	"sync"
	"time"
)

// tailAge is how long the tails keep what is flushed: who reads at the end has
// read it by then, and everybody else finds it in its segment.
const tailAge = time.Second / 2

// tails bounds the memory of all tails together: the oldest batches go first,
// whichever shard they belong to. What is not flushed stays while there is room,
// and is read back from the WAL after that; what is flushed goes after tailAge
// from a quarter of the limit on.
type tails struct {
	now func() time.Time

	mu    sync.Mutex
	limit int64
	bytes int64
	fifo  []tailRef
	head  int
	gone  uint64 // batches that were let go
}

type tailRef struct {
	s    *shardLog
	last int64
	size int64
	at   int64 // nanoseconds, by now
}

func (t *tails) push(s *shardLog, last, size int64) {
	at := t.now().UnixNano()
	t.mu.Lock()
	t.bytes += size
	t.fifo = append(t.fifo, tailRef{s, last, size, at})
	t.mu.Unlock()
}

// evict brings the tails under their limit. It is called with no shard locked.
func (t *tails) evict() {
	for {
		r, n, over := t.oldest()
		if r.s == nil {
			return
		}
		r.s.mu.Lock()
		if !over && r.last >= r.s.flushed || !t.pop(n) {
			r.s.mu.Unlock()
			return // it has to stay, or another goroutine is at it
		}
		r.s.drop(r.last)
		r.s.mu.Unlock()
	}
}

// oldest gives the batch to let go next and its number: because there is too much,
// or because of its age, if it is flushed. None: there is no such batch.
func (t *tails) oldest() (r tailRef, n uint64, over bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bytes <= t.limit/4 || t.head == len(t.fifo) {
		return tailRef{}, 0, false
	}
	r, over = t.fifo[t.head], t.bytes > t.limit
	if !over && t.now().UnixNano()-r.at < int64(tailAge) {
		return tailRef{}, 0, false
	}
	return r, t.gone, over
}

// pop lets go of batch n, unless it has gone.
func (t *tails) pop(n uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone != n {
		return false
	}
	t.gone++
	t.bytes -= t.fifo[t.head].size
	t.fifo[t.head] = tailRef{}
	t.head++
	if t.head > 1024 && t.head > len(t.fifo)/2 {
		t.fifo = append(t.fifo[:0], t.fifo[t.head:]...)
		t.head = 0
	}
	return true
}

// drop lets go of the batch that ends at last: the whole entry when it is
// flushed, its bytes when the WAL has them.
func (s *shardLog) drop(last int64) {
	i := s.find(last)
	if i == len(s.tail) || s.tail[i].last != last {
		return
	}
	if s.tail[i].synced {
		s.tail[i].batch = nil
	} else {
		s.tail[i].evicted = true
	}
	n := 0
	for n < len(s.tail) && s.tail[n].batch == nil && s.tail[n].last < s.flushed {
		n++
	}
	if n > 0 {
		s.tail = s.tail[n:]
	}
}
