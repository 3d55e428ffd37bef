package tier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// Idle connections of the benchmarks against a server are no leak.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// counting is a Store that counts and remembers ranges, and can hold Gets back.
type counting struct {
	store.Store
	gets   atomic.Int64
	flying atomic.Int64
	most   atomic.Int64
	gate   chan struct{} // nil, or closed to let Gets through
	mu     sync.Mutex
	ranges []string
	fail   func() error
}

func (c *counting) Get(ctx context.Context, key string, off, n int64) ([]byte, error) {
	c.gets.Add(1)
	now := c.flying.Add(1)
	defer c.flying.Add(-1)
	for m := c.most.Load(); now > m && !c.most.CompareAndSwap(m, now); m = c.most.Load() {
	}
	c.mu.Lock()
	c.ranges = append(c.ranges, fmt.Sprintf("%s %d+%d", key, off, n))
	fail := c.fail
	c.mu.Unlock()
	if c.gate != nil {
		select {
		case <-c.gate:
		case <-ctx.Done():
			return nil, store.ContextError(ctx, "get", key)
		}
	}
	if fail != nil {
		if err := fail(); err != nil {
			return nil, err
		}
	}
	return c.Store.Get(ctx, key, off, n)
}

func readerOver(t testing.TB, s store.Store, o ReaderOptions) *Reader {
	t.Helper()
	r, err := NewReader(s, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// wantRead is what Read has to return, by its documentation.
func wantRead(specs []batchSpec, from int64, maxBytes int) []byte {
	var out []byte
	for _, b := range specs {
		if b.base+int64(b.offsets) <= from {
			continue
		}
		raw := b.make()
		if len(out) > 0 && len(out)+len(raw) > maxBytes {
			break
		}
		out = append(out, raw...)
	}
	return out
}

// TestReadModel compares Read and FindTime with a model, over extents small and
// large, blocks small and large, with hints and indexes in all states.
func TestReadModel(t *testing.T) {
	ctx := context.Background()
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 1))
		specs := []shardSpec{
			{id(1, 0), run(rng, rng.Int64N(1000), 1+rng.IntN(5), 300)},
			{id(1, 1), run(rng, rng.Int64N(1000), 200, 8000)},
			{id(2, 0), run(rng, 0, 3, 100_000)},
			{id(7, 3), run(rng, 5, 60, 40_000)},
		}
		object, extents := build(t, specs)
		s := mem.New(nil)
		put(t, s, "k", object)
		size := int64(len(object))
		r := readerOver(t, s, ReaderOptions{CacheBytes: []int64{64 << 10, 4 << 20, 64 << 20}[seed%3], BlockBytes: []int{1 << 12, 1 << 16, 1 << 20}[seed%3], FetchBytes: 1 << 17})
		for range 300 {
			i := rng.IntN(len(specs))
			e, batches := extents[i], specs[i].batches
			from := e.Base - 3 + rng.Int64N(e.Last-e.Base+4)
			maxBytes := rng.IntN(300_000)
			got, err := r.Read(ctx, "k", size, e, from, maxBytes)
			if want := wantRead(batches, from, maxBytes); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("seed %d shard %s from %d max %d: %d bytes, want %d, error %v", seed, e.Shard, from, maxBytes, len(got), len(want), err)
			}
			ts := batches[0].time - 100 + rng.Int64N(10_000)
			off, stamp, found, err := r.FindTime(ctx, "k", size, e, ts)
			at := slices.IndexFunc(batches, func(b batchSpec) bool { return b.time >= ts })
			if err != nil || found != (at >= 0) || found && (off != batches[at].base || stamp != batches[at].time) {
				t.Fatalf("seed %d shard %s time %d: offset %d time %d found %v, error %v; want batch %d", seed, e.Shard, ts, off, stamp, found, err, at)
			}
		}
		for i, e := range extents { // from front to back, as consumers do
			var got []byte
			for from := e.Base; from <= e.Last; {
				b, err := r.Read(ctx, "k", size, e, from, 20_000)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, b...)
				all := split(t, b)
				h, _ := parseBatch(all[len(all)-1])
				from = h.last + 1
			}
			if want := wantRead(specs[i].batches, 0, 1<<30); !bytes.Equal(got, want) {
				t.Fatalf("seed %d shard %s: sequential read differs", seed, e.Shard)
			}
			if _, err := r.Read(ctx, "k", size, e, e.Last+1, 10); !errors.Is(err, ErrOffset) {
				t.Fatalf("read past the end: %v", err)
			}
		}
		r.Close()
	}
}

func TestReadOwnsItsResult(t *testing.T) {
	object, extents := build(t, smallSpecs)
	s := mem.New(nil)
	put(t, s, "k", object)
	r := newReader(t, s, ReaderOptions{})
	for range 2 {
		got, err := r.Read(context.Background(), "k", int64(len(object)), extents[0], 0, 1000)
		if err != nil || !bytes.Equal(got, wantRead(smallSpecs[0].batches, 0, 1000)) {
			t.Fatalf("%d bytes, error %v", len(got), err)
		}
		clear(got) // a gateway may write offsets and epochs into it
	}
}

func TestExtentThatDoesNotFit(t *testing.T) {
	object, extents := build(t, smallSpecs)
	s := mem.New(nil)
	put(t, s, "k", object)
	r := newReader(t, s, ReaderOptions{})
	for _, change := range []func(*Extent){
		func(e *Extent) { e.Pos = 0 }, func(e *Extent) { e.Pos = -5 }, func(e *Extent) { e.Len = 0 }, func(e *Extent) { e.Len = 1 << 40 },
		func(e *Extent) { e.Len = -1 }, func(e *Extent) { e.Pos = 1 << 62 }, func(e *Extent) { e.Base = -1 }, func(e *Extent) { e.Last = e.Base - 1 },
	} {
		e := extents[0]
		change(&e)
		if _, err := r.Read(context.Background(), "k", int64(len(object)), e, 0, 100); !errors.Is(err, ErrExtent) && !errors.Is(err, ErrOffset) {
			t.Errorf("%+v: %v", e, err)
		}
	}
	if _, err := r.Read(context.Background(), "gone", int64(len(object)), extents[0], 0, 100); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("read of a missing object: %v", err)
	}
}

// TestDamageInLargeExtent: with an index, only what is damaged is lost, before
// and after it is served, and reading on at To+1 works.
func TestDamageInLargeExtent(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	specs := run(rng, 100, 400, 6000)
	object, extents := build(t, []shardSpec{{id(3, 3), specs}})
	e, size := extents[0], int64(len(object))
	frames := make([]int64, len(specs)) // places
	pos := e.Pos
	for i, b := range specs {
		frames[i] = pos
		pos += int64(65 + b.bytes)
	}
	ix, err := Decode("k", object)
	if err != nil {
		t.Fatal(err)
	}
	entries := ix.Extents[0].Entries
	for range 60 {
		n := rng.IntN(len(specs))
		at := frames[n] + rng.Int64N(int64(65+specs[n].bytes))
		head := at < frames[n]+25
		bad := bytes.Clone(object)
		bad[at] ^= 1 << rng.IntN(8)
		wantFrom, wantTo := specs[n].base, e.Last
		if !head && n+1 < len(specs) {
			wantTo = specs[n+1].base - 1
		}
		if head {
			for _, x := range entries {
				if e.Pos+x.Pos > frames[n] {
					wantTo = x.Offset - 1
					break
				}
			}
		}
		s := mem.New(nil)
		put(t, s, "k", bad)
		r := newReader(t, s, ReaderOptions{CacheBytes: 1 << 20, BlockBytes: 1 << 14})
		var got, want []byte
		for _, b := range specs {
			if b.base < wantFrom || b.base > wantTo {
				want = append(want, b.make()...)
			}
		}
		seen := 0
		for from := e.Base; from <= e.Last; {
			b, err := r.Read(context.Background(), "k", size, e, from, 50_000)
			var c *CorruptError
			if errors.As(err, &c) {
				prev := e.Base // the offset from which on damage may be: it cannot be known where a damaged head begins
				if n > 0 {
					prev = specs[n-1].base + int64(specs[n-1].offsets)
				}
				if seen++; c.To != wantTo || c.From > wantFrom || c.From < prev {
					t.Fatalf("byte %d of batch %d (%d-): damage %d to %d, want %d to %d", at-frames[n], n, specs[n].base, c.From, c.To, wantFrom, wantTo)
				}
				from = c.To + 1
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, b...)
			all := split(t, b)
			h, _ := parseBatch(all[len(all)-1])
			from = h.last + 1
		}
		if seen != 1 || !bytes.Equal(got, want) {
			t.Fatalf("byte %d of batch %d: %d errors, %d bytes served, want %d", at-frames[n], n, seen, len(got), len(want))
		}
		// From a cold start at an offset behind the damage, too.
		if wantTo < e.Last {
			r2 := newReader(t, s, ReaderOptions{CacheBytes: 1 << 20, BlockBytes: 1 << 14})
			if b, err := r2.Read(context.Background(), "k", size, e, wantTo+1, 1); err != nil || !bytes.Equal(b, wantRead(specs, wantTo+1, 1)) {
				t.Fatalf("read after the damage: %v", err)
			}
		}
		rep, err := Verify(context.Background(), s, "k")
		if err != nil || len(rep.Problems) != 1 || rep.Problems[0].To != wantTo {
			t.Fatalf("verify: %v, error %v; want damage to %d", rep.Problems, err, wantTo)
		}
	}
}

// TestDamageOnTheWay: what is damaged in the cache or in transit is read again.
func TestDamageOnTheWay(t *testing.T) {
	object, extents := build(t, smallSpecs)
	s := mem.New(nil)
	bad := bytes.Clone(object)
	bad[80] ^= 4
	put(t, s, "k", bad)
	c := &counting{Store: s}
	c.fail = func() error { // the second Get gets what was written
		if c.gets.Load() == 2 {
			replace(t, s, "k", object)
		}
		return nil
	}
	r := readerOver(t, c, ReaderOptions{})
	got, err := r.Read(context.Background(), "k", int64(len(object)), extents[0], 0, 1000)
	if err != nil || !bytes.Equal(got, wantRead(smallSpecs[0].batches, 0, 1000)) || c.gets.Load() != 2 {
		t.Fatalf("%d bytes after %d gets, error %v", len(got), c.gets.Load(), err)
	}
}

// TestDamagedIndex: batches are served without the index.
func TestDamagedIndex(t *testing.T) {
	specs := run(rand.New(rand.NewPCG(2, 2)), 0, 100, 9000)
	object, extents := build(t, []shardSpec{{id(1, 1), specs}})
	object[len(object)-60] ^= 1
	s := mem.New(nil)
	put(t, s, "k", object)
	r := newReader(t, s, ReaderOptions{})
	for _, b := range specs {
		got, err := r.Read(context.Background(), "k", int64(len(object)), extents[0], b.base, 1)
		if err != nil || !bytes.Equal(got, b.make()) {
			t.Fatalf("offset %d: %v", b.base, err)
		}
	}
}

// TestSingleFlight: many readers of one block send one GET.
func TestSingleFlight(t *testing.T) {
	object, extents := build(t, smallSpecs)
	s := mem.New(nil)
	put(t, s, "k", object)
	c := &counting{Store: s, gate: make(chan struct{})}
	r := readerOver(t, c, ReaderOptions{})
	const readers = 50
	var wg sync.WaitGroup
	for i := range readers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			e := extents[i%len(extents)]
			if _, err := r.Read(context.Background(), "k", int64(len(object)), e, e.Base, 100); err != nil {
				t.Error(err)
			}
		}()
	}
	for r.Stats().Misses+r.Stats().Shared < readers {
		time.Sleep(time.Millisecond)
	}
	close(c.gate)
	wg.Wait()
	st := r.Stats()
	if c.gets.Load() != 1 || st.Gets != 1 || st.Misses != 1 || st.Shared != readers-1 {
		t.Fatalf("%d gets, %+v", c.gets.Load(), st)
	}
}

// TestCancelledReader: a reader that gives up takes nothing from one that waits
// for the same block.
func TestCancelledReader(t *testing.T) {
	object, extents := build(t, smallSpecs)
	s := mem.New(nil)
	put(t, s, "k", object)
	c := &counting{Store: s, gate: make(chan struct{})}
	r := readerOver(t, c, ReaderOptions{})
	ctx, cancel := context.WithCancel(context.Background())
	errs := make(chan error, 2)
	read := func(ctx context.Context) {
		_, err := r.Read(ctx, "k", int64(len(object)), extents[0], 0, 100)
		errs <- err
	}
	go read(ctx)
	for r.Stats().Misses < 1 {
		time.Sleep(time.Millisecond)
	}
	go read(context.Background())
	for r.Stats().Shared < 1 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled read: %v", err)
	}
	close(c.gate)
	if err := <-errs; err != nil {
		t.Fatalf("the other read: %v", err)
	}
}

func TestStoreErrorsAreNotCached(t *testing.T) {
	object, extents := build(t, smallSpecs)
	s := mem.New(nil)
	put(t, s, "k", object)
	c := &counting{Store: s}
	c.fail = func() error {
		if c.gets.Load() == 1 {
			return store.Wrap("get", "k", store.ErrTemporary, nil)
		}
		return nil
	}
	r := readerOver(t, c, ReaderOptions{})
	if _, err := r.Read(context.Background(), "k", int64(len(object)), extents[0], 0, 100); !errors.Is(err, store.ErrTemporary) {
		t.Fatalf("first read: %v", err)
	}
	if _, err := r.Read(context.Background(), "k", int64(len(object)), extents[0], 0, 100); err != nil {
		t.Fatalf("second read: %v", err)
	}
}

func TestTimeoutAndClose(t *testing.T) {
	object, extents := build(t, smallSpecs)
	s := mem.New(nil)
	put(t, s, "k", object)
	c := &counting{Store: s, gate: make(chan struct{})}
	r := readerOver(t, c, ReaderOptions{Timeout: 20 * time.Millisecond})
	if _, err := r.Read(context.Background(), "k", int64(len(object)), extents[0], 0, 100); !errors.Is(err, store.ErrTemporary) {
		t.Fatalf("read of a store that hangs: %v", err)
	}
	r = readerOver(t, c, ReaderOptions{})
	errs := make(chan error)
	go func() {
		_, err := r.Read(context.Background(), "k", int64(len(object)), extents[0], 0, 100)
		errs <- err
	}()
	for r.Stats().Gets < 1 {
		time.Sleep(time.Millisecond)
	}
	r.Close()
	if err := <-errs; !errors.Is(err, ErrClosed) {
		t.Fatalf("read while closing: %v", err)
	}
	if _, err := r.Read(context.Background(), "k", int64(len(object)), extents[0], 0, 100); !errors.Is(err, ErrClosed) {
		t.Fatalf("read after close: %v", err)
	}
}

// TestSmallExtentReadsItsBlocksOnly: one block of a large object.
func TestSmallExtentReadsItsBlocksOnly(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	var specs []shardSpec
	for i := range uint32(200) {
		specs = append(specs, shardSpec{id(1, i), run(rng, 0, 5, 9000)})
	}
	object, extents := build(t, specs)
	s := mem.New(nil)
	put(t, s, "k", object)
	c := &counting{Store: s}
	r := readerOver(t, c, ReaderOptions{})
	for _, e := range extents {
		if e.Pos/(1<<20) == 2 && (e.Pos+e.Len-1)/(1<<20) == 2 {
			if _, err := r.Read(context.Background(), "k", int64(len(object)), e, e.Base, 1<<20); err != nil {
				t.Fatal(err)
			}
		}
	}
	if want := fmt.Sprintf("k %d+%d", 2<<20, 1<<20); len(c.ranges) != 1 || c.ranges[0] != want {
		t.Fatalf("gets %v, want one of %s", c.ranges, want)
	}
}
