package engine

import (
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// TestTailsLetGo: what is flushed goes after tailAge, from a quarter of the limit
// on; what is not stays until there is too much; the oldest goes first.
func TestTailsLetGo(t *testing.T) {
	now := time.Unix(1000, 0)
	ts := tails{now: func() time.Time { return now }, limit: 1000}
	s := &shardLog{}
	push := func(n int) {
		for range n {
			s.tail = append(s.tail, tailEntry{base: s.next, last: s.next, size: 100, batch: &shard.Batch{}, synced: true})
			ts.push(s, s.next, 100)
			s.next++
		}
	}
	want := func(what string, first int64, n int) {
		t.Helper()
		ts.evict()
		kept := 0
		for i := range s.tail {
			if e := &s.tail[i]; e.batch != nil {
				if kept++; e.base < first {
					t.Errorf("%s: batch %d is kept", what, e.base)
				}
			}
		}
		if kept != n || ts.bytes != int64(100*n) {
			t.Errorf("%s: %d batches of %d bytes are kept, want %d", what, kept, ts.bytes, n)
		}
	}
	push(8)
	want("as much as there may be", 0, 8)
	now = now.Add(2 * tailAge)
	want("old, not flushed", 0, 8)
	s.flushed = 3
	want("three flushed", 3, 5)
	push(3)
	s.flushed = 11
	want("flushed, three of them young", 8, 3)
	now = now.Add(tailAge)
	want("from a quarter on", 9, 2)
	push(20)
	want("too much, not flushed", 21, 10)
	if len(s.tail) != 20 { // the WAL has the others
		t.Errorf("%d entries, want 20", len(s.tail))
	}
}
