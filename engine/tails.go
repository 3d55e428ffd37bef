package engine

import (
	"sync"
	"time"
)

// tailAge is how long the tails keep what is flushed: who reads at the end has
// read it by then, and everybody else finds it in its segment.
const tailAge = time.Second / 2

// tails bounds the memory of all tails together. What is flushed goes tailAge
// later from a quarter of the limit on, and at once past the limit. When what is
// not flushed is alone too much, the log keeps it: it is read back from there. The
// oldest is flushed next and stays, and so does the newest half, which readers
// at the end want; what lies between is let go. Were it the oldest, a flush that
// is behind would find nothing of what it needs.
type tails struct {
	now func() time.Time

	mu    sync.Mutex
	limit int64
	bytes int64
	fifo  []tailRef // oldest first; what was let go has no shard
	head  int       // of fifo: all before it were let go
	gone  int       // batches before fifo: their numbers begin at 0
	// sweep is the batch to be looked at next: those before it were not flushed
	// at the last commit. From young on are the newest, of youngBytes.
	sweep, young int
	youngBytes   int64
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
	t.youngBytes += size
	t.fifo = append(t.fifo, tailRef{s, last, size, at})
	t.mu.Unlock()
}

// committed is evict after batches were flushed.
func (t *tails) committed() {
	t.mu.Lock()
	t.sweep = t.gone
	t.mu.Unlock()
	t.evict()
}

// evict brings the tails under their limit. It is called with no shard locked.
func (t *tails) evict() {
	for {
		r, n, always := t.candidate()
		if r.s == nil {
			return
		}
		r.s.mu.Lock()
		if t.take(n, always, always || r.last < r.s.flushed || r.s.gone) {
			r.s.drop(r.last)
		}
		r.s.mu.Unlock()
	}
}

// candidate gives the batch to let go next and its number: if it is flushed, or
// always. None: there is no such batch.
func (t *tails) candidate() (r tailRef, n int, always bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settle()
	if t.bytes <= t.limit/4 {
		return tailRef{}, 0, false
	}
	over := t.bytes > t.limit
	for ; t.sweep < t.gone+len(t.fifo); t.sweep++ {
		if r = t.fifo[t.sweep-t.gone]; r.s == nil {
			continue
		}
		if !over && t.now().UnixNano()-r.at < int64(tailAge) {
			return tailRef{}, 0, false // nor is any after it old enough
		}
		return r, t.sweep, false
	}
	if over && t.youngBytes > t.limit/2 {
		return t.fifo[t.young-t.gone], t.young, true
	}
	return tailRef{}, 0, false
}

// settle forgets what was let go, and finds where the newest begin. Those that
// leave them stay while there is room.
func (t *tails) settle() {
	for t.head < len(t.fifo) && t.fifo[t.head].s == nil {
		t.head++
	}
	t.sweep, t.young = max(t.sweep, t.gone+t.head), max(t.young, t.gone+t.head)
	if t.head > 1024 && t.head > len(t.fifo)/2 {
		t.fifo = append(t.fifo[:0], t.fifo[t.head:]...)
		t.gone += t.head
		t.head = 0
	}
	for ; t.young < t.gone+len(t.fifo); t.young++ {
		r := t.fifo[t.young-t.gone]
		if r.s != nil && (t.youngBytes-r.size < t.limit/2 || t.bytes-t.youngBytes+r.size > t.limit-t.limit/2) {
			return
		}
		t.youngBytes -= r.size
	}
}

// take lets go of batch n, the candidate, if ok; not when another goroutine was at
// it.
func (t *tails) take(n int, always, ok bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if always && n != t.young || !always && n != t.sweep {
		return false
	}
	if !always {
		t.sweep++
	}
	if !ok {
		return false
	}
	r := &t.fifo[n-t.gone]
	t.bytes -= r.size
	if n >= t.young {
		t.youngBytes -= r.size
	}
	*r = tailRef{}
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
	if last < s.flushed {
		s.cut(i + 1)
	}
}

// cut drops the first n entries, all flushed, up to the last whose bytes are gone:
// the WAL need not have these any longer, and the tail has no gaps.
func (s *shardLog) cut(n int) {
	for n > 0 && s.tail[n-1].batch != nil {
		n--
	}
	clear(s.tail[:n])
	s.tail = s.tail[n:]
}
