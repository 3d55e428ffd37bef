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
	holes int       // of fifo: what was let go
	// Places in fifo: sweep is the batch to be looked at next, those before it were
	// not flushed at the last commit; from young on are the newest, of youngBytes.
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
	t.sweep = 0
	t.mu.Unlock()
	t.evict()
}

// evict brings the tails under their limit. It is called with no shard locked.
func (t *tails) evict() {
	for {
		r, i, always := t.candidate()
		if r.s == nil {
			return
		}
		r.s.mu.Lock()
		if t.take(r, i, always, always || r.last < r.s.flushed || r.s.gone) {
			r.s.drop(r.last)
		}
		r.s.mu.Unlock()
	}
}

// candidate gives the batch to let go next and its place: if it is flushed, or
// always. None: there is no such batch.
func (t *tails) candidate() (r tailRef, i int, always bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settle()
	if t.bytes <= t.limit/4 {
		return tailRef{}, 0, false
	}
	over := t.bytes > t.limit
	for ; t.sweep < len(t.fifo); t.sweep++ {
		if r = t.fifo[t.sweep]; r.s == nil {
			continue
		}
		if !over && t.now().UnixNano()-r.at < int64(tailAge) {
			return tailRef{}, 0, false // nor is any after it old enough
		}
		return r, t.sweep, false
	}
	if over && t.youngBytes > t.limit/2 {
		return t.fifo[t.young], t.young, true
	}
	return tailRef{}, 0, false
}

// settle finds where the newest begin. Those that leave them stay while there is
// room.
func (t *tails) settle() {
	if t.holes > 1024 && t.holes > len(t.fifo)/2 {
		t.compact()
	}
	for ; t.young < len(t.fifo); t.young++ {
		r := t.fifo[t.young]
		if r.s != nil && (t.youngBytes-r.size < t.limit/2 || t.bytes-t.youngBytes+r.size > t.limit-t.limit/2) {
			return
		}
		t.youngBytes -= r.size
	}
}

// compact forgets what was let go.
func (t *tails) compact() {
	kept, sweep, young := t.fifo[:0], 0, 0
	for i, r := range t.fifo {
		if r.s == nil {
			continue
		}
		if i < t.sweep {
			sweep++
		}
		if i < t.young {
			young++
		}
		kept = append(kept, r)
	}
	clear(t.fifo[len(kept):])
	t.fifo, t.holes, t.sweep, t.young = kept, 0, sweep, young
}

// take lets go of the candidate at i, if ok; not when another goroutine was at it.
func (t *tails) take(r tailRef, i int, always, ok bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := t.sweep
	if always {
		at = t.young
	}
	if i != at || i >= len(t.fifo) || t.fifo[i] != r {
		return false
	}
	if !always {
		t.sweep++
	}
	if !ok {
		return false
	}
	t.bytes -= r.size
	if i >= t.young {
		t.youngBytes -= r.size
	}
	t.fifo[i] = tailRef{}
	t.holes++
	return true
}

// drop lets go of the batch that ends at last: the whole entry when it is
// flushed, its bytes when the WAL has them.
func (s *shardLog) drop(last int64) {
	i := s.find(last)
	if i == len(s.tail) || s.tail[i].last != last {
		return
	}
	synced := s.tail[i].synced
	if synced {
		s.tail[i].batch = nil
	} else {
		s.tail[i].evicted = true
	}
	if last < s.flushed {
		s.cut(i + 1)
	} else if synced {
		s.loosened()
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
