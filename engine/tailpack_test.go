package engine

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/wal"
)

// TestPackedRuns: what is packed comes out as it was, and a part of it, too.
func TestPackedRuns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var es []tailEntry
		next, pos := rapid.Int64Range(0, 1<<60).Draw(t, "base"), wal.Pos{File: rapid.Uint64Range(0, 1<<62).Draw(t, "file")}
		for range rapid.IntRange(1, 40).Draw(t, "batches") {
			e := tailEntry{base: next + rapid.Int64Range(0, 3).Draw(t, "gap"), synced: true,
				maxTime: rapid.Int64().Draw(t, "time"), arrived: rapid.Int64().Draw(t, "arrival"), size: rapid.IntRange(61, 1<<24).Draw(t, "size")}
			e.last = e.base + rapid.Int64Range(0, 1<<25).Draw(t, "records")
			if rapid.Bool().Draw(t, "next file") {
				pos = wal.Pos{File: pos.File + 1}
			}
			pos.Off += int64(e.size)
			e.pos = pos
			next, es = e.last+1, append(es, e)
		}
		unpack := func(x tailEntry) (out []tailEntry) {
			x.each(func(e *tailEntry) bool {
				out = append(out, *e)
				return true
			})
			return out
		}
		run := pack(es)
		if !slices.Equal(unpack(run), es) {
			t.Fatalf("packed %+v, got %+v", es, unpack(run))
		}
		at := rapid.IntRange(0, len(es)-1).Draw(t, "at")
		if got := unpack(run.after(es[at].last)); !slices.Equal(got, es[at:]) {
			t.Fatalf("after %d: %+v, want %+v", es[at].last, got, es[at:])
		}
	})
}

// TestPackedTail: a tail that the WAL alone has is read, flushed in parts and replayed
// as any other.
func TestPackedTail(t *testing.T) {
	o := quiet()
	o.TailBytes = 4 << 10
	o.WALFileBytes = 64 << 10
	r := newRig(t, o)
	ids := []shard.ID{r.topic("a", shard.TopicConfig{}).Shard(0), r.topic("b", shard.TopicConfig{}).Shard(0)}
	next := make(map[shard.ID]int)
	put := func(n int) {
		t.Helper()
		for i := range n {
			id := ids[i%2]
			r.append(id, fmt.Sprint(next[id]))
			next[id]++
		}
	}
	check := func(what string) {
		t.Helper()
		for _, id := range ids {
			for _, from := range []int{0, 1, next[id] / 2, next[id] - 300, next[id] - 1} {
				got := r.values(id, int64(max(from, 0)))
				if len(got) != next[id]-max(from, 0) || got[0] != fmt.Sprintf("%d:%d", max(from, 0), max(from, 0)) {
					t.Fatalf("%s: shard %s from %d: %d values, begins %v", what, id, from, len(got), got[:min(3, len(got))])
				}
			}
		}
	}
	runs := func() (n int) {
		for _, id := range ids {
			s, _, _ := r.owned(id)
			s.mu.Lock()
			for i := range s.tail {
				if s.tail[i].run != nil {
					n++
				}
			}
			s.mu.Unlock()
		}
		return n
	}
	put(2000)
	if runs() == 0 {
		t.Fatal("nothing is packed")
	}
	check("packed")
	r.crash()
	if runs() == 0 {
		t.Fatal("nothing is packed after a replay")
	}
	check("replayed")
	put(700)
	check("more")
	if err := r.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	check("flushed")
	put(600)
	for _, id := range ids { // a part, as a flush that is behind does
		s, _, _ := r.owned(id)
		s.mu.Lock()
		n := s.flushed + 101
		s.mu.Unlock()
		r.flushPart(s, n)
	}
	check("in part")
	r.crash()
	check("and replayed")
}

// flushPart commits the batches of one shard before an offset, and no other.
func (r *rig) flushPart(s *shardLog, to int64) {
	r.t.Helper()
	run := flushRun{s: s}
	size := int64(0)
	for p := range s.unflushed(r.wal.Position(), 0) {
		if p.base < to {
			run.pieces, size = append(run.pieces, p.piece), size+int64(p.size)
		}
	}
	f := &r.flusher
	f.busy.Lock()
	defer f.busy.Unlock()
	if err := f.land(context.Background(), f.start(context.Background(), []flushRun{run}, size)); err != nil {
		r.t.Fatal(err)
	}
}

// unflushedHeap is the heap that a batch takes which is in the WAL alone, in a tail of n.
func unflushedHeap(n int) float64 {
	s := &shardLog{}
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	for i := range n {
		s.tail = append(s.tail, tailEntry{base: int64(i), last: int64(i), maxTime: 1_700_000_000_000 + int64(i/10), size: 90,
			pos: wal.Pos{File: uint64(i / 300_000), Off: int64(i % 300_000 * 130)}, synced: true})
		s.loosened()
	}
	used := heap() - before
	runtime.KeepAlive(s)
	return float64(used) / float64(n)
}

// TestUnflushedBatchesAreSmall: 8 GiB of log of the smallest batches are 65 million of
// them. What OPERATIONS.md says of their heap is of 16 bytes each.
func TestUnflushedBatchesAreSmall(t *testing.T) {
	if each := unflushedHeap(500_000); each > 16 {
		t.Errorf("%.1f bytes of heap for each batch that is not flushed", each)
	} else {
		t.Logf("%.1f bytes", each)
	}
}
