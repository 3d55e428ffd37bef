package tier

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// fleet is one shard's run of objects.
type fleet struct {
	st   *mem.Store
	segs []Segment
	want []byte // all batches
	data [][]byte
}

func newFleet(t testing.TB, objects, batches, bytes int) *fleet {
	f := &fleet{st: mem.New(nil)}
	rng := rand.New(rand.NewPCG(11, 12))
	base := int64(0)
	for i := range objects {
		specs := run(rng, base, batches, bytes)
		object, extents := build(t, []shardSpec{{id(5, 5), specs}})
		key := fmt.Sprintf("o/%d", i)
		put(t, f.st, key, object)
		f.segs = append(f.segs, Segment{key, int64(len(object)), extents[0]})
		f.data = append(f.data, object)
		for _, b := range specs {
			f.want = append(f.want, b.make()...)
		}
		base = extents[0].Last + 1
	}
	return f
}

func (f *fleet) next(s Segment) (Segment, bool) {
	for i, x := range f.segs {
		if x.Key == s.Key && i+1 < len(f.segs) {
			return f.segs[i+1], true
		}
	}
	return Segment{}, false
}

// readThrough reads the whole shard with a cursor.
func (f *fleet) readThrough(t testing.TB, c *Cursor, maxBytes int) []byte {
	t.Helper()
	var out []byte
	for _, s := range f.segs {
		for from := s.Extent.Base; from <= s.Extent.Last; {
			all, err := c.Batches(context.Background(), s, from, maxBytes)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range all {
				out = append(out, bytes.Join(p, nil)...)
			}
			h, _ := parseBatch(bytes.Join(all[len(all)-1], nil))
			from = h.last + 1
		}
	}
	return out
}

// TestCursorAcrossObjects: the right bytes, and most blocks are there before they
// are asked for, across the borders of objects, each read once.
func TestCursorAcrossObjects(t *testing.T) {
	f := newFleet(t, 12, 60, 20_000)
	c := &counting{Store: f.st}
	r := readerOver(t, c, ReaderOptions{CacheBytes: 32 << 20, BlockBytes: 64 << 10, FetchBytes: 512 << 10, AheadBytes: 4 << 20})
	cur := r.Cursor(f.next)
	defer cur.Close()
	if got := f.readThrough(t, cur, 100_000); !bytes.Equal(got, f.want) {
		t.Fatalf("%d bytes, want %d", len(got), len(f.want))
	}
	st := r.Stats()
	var total int64
	for _, s := range f.segs {
		total += s.Size
	}
	if st.Misses > 10 || st.Bytes > total+total/50 {
		t.Fatalf("%d bytes in all, %+v", total, st)
	}
	if st.Gets > total/(100<<10) {
		t.Fatalf("%d GETs for %d bytes: read-ahead sends small ones", st.Gets, total)
	}
}

// TestCursorWindow: 512 KiB at first, doubled while sequential, reset by a seek,
// no more than the cursor's share of the cache.
func TestCursorWindow(t *testing.T) {
	f := newFleet(t, 1, 300, 60_000)
	r := newReader(t, f.st, ReaderOptions{CacheBytes: 32 << 20, BlockBytes: 64 << 10, AheadBytes: 3 << 20})
	cur := r.Cursor(nil)
	s := f.segs[0]
	from := s.Extent.Base
	step := func() {
		t.Helper()
		all, err := cur.Batches(context.Background(), s, from, 60_000)
		if err != nil {
			t.Fatal(err)
		}
		h, _ := parseBatch(bytes.Join(all[len(all)-1], nil))
		from = h.last + 1
	}
	for i, want := range []int64{512 << 10, 1 << 20, 2 << 20, 3 << 20, 3 << 20} {
		if step(); cur.window != want {
			t.Fatalf("read %d: window %d, want %d", i, cur.window, want)
		}
	}
	if cur.ahead < 1<<20 || cur.ahead > 3<<20+64<<10 {
		t.Fatalf("%d bytes ahead", cur.ahead)
	}
	from = s.Extent.Base
	if step(); cur.window != 512<<10 {
		t.Fatalf("window %d after a seek", cur.window)
	}
	cur.window = 32 << 20
	if cur.share() != 8<<20 {
		t.Fatalf("share of one %d", cur.share())
	}
	other := r.Cursor(nil)
	if _, err := other.Batches(context.Background(), s, s.Extent.Base, 1); err != nil {
		t.Fatal(err)
	}
	if cur.share() != 4<<20 {
		t.Fatalf("share of two %d", cur.share())
	}
	other.Close()
	other.Close()
	if cur.share() != 8<<20 {
		t.Fatalf("share after close %d", cur.share())
	}
}

// TestReadAheadIsBounded: GETs under way never exceed the limit, and read-ahead
// leaves half of it to reads.
func TestReadAheadIsBounded(t *testing.T) {
	f := newFleet(t, 6, 100, 20_000)
	c := &counting{Store: f.st}
	c.fail = func() error { time.Sleep(2 * time.Millisecond); return nil }
	r := readerOver(t, c, ReaderOptions{CacheBytes: 64 << 20, BlockBytes: 64 << 10, FetchBytes: 128 << 10, Concurrency: 4})
	var wg sync.WaitGroup
	for range 6 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			cur := r.Cursor(f.next)
			defer cur.Close()
			if !bytes.Equal(f.readThrough(t, cur, 200_000), f.want) {
				t.Error("wrong bytes")
			}
		}()
	}
	wg.Wait()
	if c.most.Load() > 4 || c.most.Load() < 2 {
		t.Fatalf("%d GETs at once", c.most.Load())
	}
}

// TestCacheBudget: any amount of reading keeps no more blocks than the budget has
// room for, and what is forgotten is read from the store again.
func TestCacheBudget(t *testing.T) {
	f := newFleet(t, 20, 60, 20_000) // about 12 MiB
	c := &counting{Store: f.st}
	r := readerOver(t, c, ReaderOptions{CacheBytes: 2 << 20, BlockBytes: 64 << 10})
	for range 2 {
		cur := r.Cursor(f.next)
		f.readThrough(t, cur, 1<<20)
		cur.Close()
		if n := r.Stats().Blocks; n > 32 || n < 16 {
			t.Fatalf("%d blocks of 64 KiB in 2 MiB", n)
		}
	}
	s := f.segs[0]
	read := func() int64 {
		before := c.gets.Load()
		if _, err := r.Read(context.Background(), s.Key, s.Size, s.Extent, s.Extent.Base, 1000); err != nil {
			t.Fatal(err)
		}
		return c.gets.Load() - before
	}
	read()
	if n := read(); n != 0 {
		t.Fatalf("%d GETs for a block just read", n)
	}
	r.Forget(s.Key, s.Size)
	if n := read(); n == 0 {
		t.Fatal("a forgotten block was found")
	}
}

// TestOtherSize: a block that was cached when somebody took the object for
// shorter is not read past its end, but read again.
func TestOtherSize(t *testing.T) {
	f := newFleet(t, 1, 100, 10_000)
	r := newReader(t, f.st, ReaderOptions{CacheBytes: 4 << 20, BlockBytes: 1 << 20})
	s := f.segs[0]
	short := s.Extent.Pos + s.Extent.Len + v1TrailerLen
	if short >= s.Size {
		t.Fatalf("an index of nothing: %d of %d bytes", short, s.Size)
	}
	want, err := r.Read(context.Background(), s.Key, short, s.Extent, s.Extent.Base, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	ix, err := r.Index(context.Background(), s.Key, s.Size)
	if err != nil || len(ix.Extents) == 0 {
		t.Fatalf("%+v, error %v", ix, err)
	}
	got, err := r.Read(context.Background(), s.Key, s.Size, s.Extent, s.Extent.Base, 1<<20)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, want %d, error %v", len(got), len(want), err)
	}
}

// TestScanResistance: blocks that are read again and again stay through a scan of
// more than the cache holds. An LRU of the same size keeps none of them.
func TestScanResistance(t *testing.T) {
	f := newFleet(t, 20, 60, 20_000)
	c := &counting{Store: f.st}
	r := readerOver(t, c, ReaderOptions{CacheBytes: 4 << 20, BlockBytes: 64 << 10}) // 64 blocks
	hot := f.segs[0]
	readHot := func() {
		t.Helper()
		for off := hot.Extent.Base; off <= hot.Extent.Last; off += 11 {
			if _, err := r.Read(context.Background(), hot.Key, hot.Size, hot.Extent, off, 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	readHot()
	readHot()
	f.segs = f.segs[1:]
	cur := r.Cursor(f.next)
	f.readThrough(t, cur, 30_000)
	cur.Close()
	before := c.gets.Load()
	readHot()
	if n := c.gets.Load() - before; n != 0 {
		t.Fatalf("%d GETs for blocks in use after a scan", n)
	}
}

func TestConcurrentReaders(t *testing.T) {
	f := newFleet(t, 4, 80, 10_000)
	r := newReader(t, f.st, ReaderOptions{CacheBytes: 256 << 10, BlockBytes: 16 << 10, FetchBytes: 64 << 10, Concurrency: 3})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if i%2 == 0 {
				cur := r.Cursor(f.next)
				defer cur.Close()
				if !bytes.Equal(f.readThrough(t, cur, 40_000), f.want) {
					t.Error("wrong bytes")
				}
				return
			}
			rng := rand.New(rand.NewPCG(uint64(i), 0))
			for range 100 {
				s := f.segs[rng.IntN(len(f.segs))]
				off := s.Extent.Base + rng.Int64N(s.Extent.Last-s.Extent.Base+1)
				if _, err := r.Read(context.Background(), s.Key, s.Size, s.Extent, off, 5000); err != nil {
					t.Error(err)
				}
				r.Forget(s.Key, s.Size)
			}
		}()
	}
	wg.Wait()
}

func BenchmarkReadCached(b *testing.B) {
	f := newFleet(b, 1, 1000, 20_000)
	r := newReader(b, f.st, ReaderOptions{CacheBytes: 64 << 20})
	s := f.segs[0]
	b.SetBytes(1 << 20)
	for i := range b.N {
		off := s.Extent.Base + int64(i*37)%(s.Extent.Last-s.Extent.Base-200)
		if _, err := r.Read(context.Background(), s.Key, s.Size, s.Extent, off, 1<<20); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBuilder(b *testing.B) {
	batch := batchSpec{0, 10, 1000, 5}.make()
	b.SetBytes(int64(len(batch)) * 8000)
	for b.Loop() {
		bl := NewBuilder(9 << 20)
		for i := range uint32(8000) {
			if err := bl.Add(id(1, i), batch); err != nil {
				b.Fatal(err)
			}
		}
		if _, _, err := bl.Finish(); err != nil {
			b.Fatal(err)
		}
	}
}
