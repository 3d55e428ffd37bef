package engine

import (
	"slices"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// TestTailsLetGo: what is flushed goes after tailAge, from a quarter of the limit
// on; what is not stays until there is too much: then the oldest, which is flushed
// next, and the newest half, which is read next, stay.
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
	want := func(what string, bases ...int64) {
		t.Helper()
		ts.committed()
		var kept []int64
		for i := range s.tail {
			if e := &s.tail[i]; e.batch != nil {
				kept = append(kept, e.base)
			}
		}
		if !slices.Equal(kept, bases) || ts.bytes != int64(100*len(bases)) {
			t.Errorf("%s: %v of %d bytes are kept, want %v", what, kept, ts.bytes, bases)
		}
	}
	push(8)
	want("as much as there may be", 0, 1, 2, 3, 4, 5, 6, 7)
	now = now.Add(2 * tailAge)
	want("old, not flushed", 0, 1, 2, 3, 4, 5, 6, 7)
	s.flushed = 3
	want("three flushed", 3, 4, 5, 6, 7)
	push(3)
	s.flushed = 11
	want("flushed, three of them young", 8, 9, 10)
	now = now.Add(tailAge)
	want("from a quarter on", 9, 10)
	push(20)
	want("too much, not flushed", 11, 12, 13, 14, 15, 26, 27, 28, 29, 30)
	if len(s.tail) != 20 { // the WAL has the others
		t.Errorf("%d entries, want 20", len(s.tail))
	}
	s.flushed = 14
	push(4)
	want("flushed on", 14, 15, 26, 27, 28, 30, 31, 32, 33, 34)
	push(2)
	want("the newest again", 14, 15, 26, 27, 28, 32, 33, 34, 35, 36)
	s.flushed = 37
	now = now.Add(2 * tailAge)
	want("all flushed", 35, 36)
	push(9)
	s.gone, now = true, now.Add(tailAge)
	want("deleted", 44, 45)
}

// TestTailsForget: however much waits to be flushed, what was let go takes no
// memory, and the order in which batches go stays.
func TestTailsForget(t *testing.T) {
	ts := tails{now: time.Now, limit: 1000}
	shards := []*shardLog{{}, {}, {}}
	n := int64(0)
	push := func(count int) {
		for range count {
			s := shards[n%3]
			s.tail = append(s.tail, tailEntry{base: n, last: n, size: 10, batch: &shard.Batch{}, synced: true})
			ts.push(s, n, 10)
			ts.evict()
			n++
		}
	}
	kept := func() (out []int64) {
		for _, s := range shards {
			for i := range s.tail {
				if s.tail[i].batch != nil {
					out = append(out, s.tail[i].base)
				}
			}
		}
		slices.Sort(out)
		return out
	}
	push(20_000)
	got := kept()
	if len(got) != 100 || got[49] != 49 || got[50] != 19_950 || ts.bytes != 1000 {
		t.Fatalf("%d batches of %d bytes: %v", len(got), ts.bytes, got)
	}
	if len(ts.fifo) > 2*(1024+100) {
		t.Fatalf("%d places for %d batches", len(ts.fifo), len(got))
	}
	for _, s := range shards {
		s.flushed = 19_960
	}
	ts.committed()
	push(3000)
	got = kept()
	if len(got) != 100 || got[0] != 19_960 || got[99] != 22_999 || ts.bytes != 1000 {
		t.Fatalf("%d batches of %d bytes: %v", len(got), ts.bytes, got)
	}
}
