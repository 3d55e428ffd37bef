package engine

import "sync"

// tails bounds the memory of all tails together: the oldest batches go first,
// whichever shard they belong to. Bytes that are not flushed are read back from
// the WAL from then on.
type tails struct {
	mu    sync.Mutex
	limit int64
	bytes int64
	fifo  []tailRef
	head  int
}

type tailRef struct {
	s    *shardLog
	last int64
	size int64
}

func (t *tails) push(s *shardLog, last, size int64) {
	t.mu.Lock()
	t.bytes += size
	t.fifo = append(t.fifo, tailRef{s, last, size})
	t.mu.Unlock()
}

// evict brings the tails under their limit. It is called with no shard locked.
func (t *tails) evict() {
	for {
		r, ok := t.pop()
		if !ok {
			return
		}
		r.s.mu.Lock()
		r.s.drop(r.last)
		r.s.mu.Unlock()
	}
}

func (t *tails) pop() (tailRef, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bytes <= t.limit || t.head == len(t.fifo) {
		return tailRef{}, false
	}
	r := t.fifo[t.head]
	t.fifo[t.head] = tailRef{}
	t.head++
	t.bytes -= r.size
	if t.head > 1024 && t.head > len(t.fifo)/2 {
		t.fifo = append(t.fifo[:0], t.fifo[t.head:]...)
		t.head = 0
	}
	return r, true
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
