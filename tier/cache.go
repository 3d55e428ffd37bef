package tier

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/robustmq/robustmq-go/tier/store"
)

// blockKey names a fixed-size piece of an object.
type blockKey struct {
	object string
	n      int64
}

// flight is one block on its way from the store. data and err are set before
// done is closed.
type flight struct {
	done chan struct{}
	data []byte
	err  error
}

// blockCache reads objects in blocks of a fixed size and keeps them in a 2Q
// cache, so that a scan cannot push out what is read again and again.
type blockCache struct {
	st      store.Store
	block   int64 // bytes of a block
	run     int64 // blocks in one GET, at most
	timeout time.Duration
	blocks  *lru.TwoQueueCache[blockKey, []byte]
	size    int64         // bytes that blocks hold at most
	gets    chan struct{} // a slot per GET under way
	aheads  chan struct{} // a slot per GET of read-ahead under way
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	stats   cacheStats
	mu      struct {
		sync.Mutex
		flights map[blockKey]*flight
		closed  bool
	}
}

type cacheStats struct {
	hits, misses, shared, gets, aheads, bytes, errors atomic.Int64
}

func newBlockCache(st store.Store, o ReaderOptions) (*blockCache, error) {
	c := &blockCache{
		st: st, block: int64(o.BlockBytes), run: max(1, int64(o.FetchBytes/o.BlockBytes)), timeout: o.Timeout,
		gets: make(chan struct{}, o.Concurrency), aheads: make(chan struct{}, max(1, o.Concurrency/2)),
	}
	n := int(o.CacheBytes / c.block)
	var err error
	if c.blocks, err = lru.New2Q[blockKey, []byte](n); err != nil {
		return nil, fmt.Errorf("make block cache of %d blocks: %w", n, err)
	}
	c.size = int64(n) * c.block
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.mu.flights = make(map[blockKey]*flight)
	return c, nil
}

func (c *blockCache) close() {
	c.mu.Lock()
	c.mu.closed = true
	c.mu.Unlock()
	c.cancel()
	c.wg.Wait()
}

// lookup finds a block in memory. again says that the caller comes for it not
// merely as the next step of a scan: that counts as use for the 2Q cache.
func (c *blockCache) lookup(k blockKey, again bool) ([]byte, bool) {
	find := c.blocks.Peek
	if again {
		find = c.blocks.Get
	}
	b, ok := find(k)
	if ok {
		c.stats.hits.Add(1)
	}
	return b, ok
}

// get returns the blocks lo to hi (both included) of an object of size bytes.
// Blocks that another caller is reading are waited for, not read again.
func (c *blockCache) get(ctx context.Context, object string, size, lo, hi int64, again bool) ([][]byte, error) {
	if err := store.ContextError(ctx, "get", object); err != nil {
		return nil, err
	}
	out := make([][]byte, hi-lo+1)
	waits := make([]*flight, hi-lo+1)
	c.mu.Lock()
	if c.mu.closed {
		c.mu.Unlock()
		return nil, ErrClosed
	}
	first := int64(-1) // of the run of missing blocks before n
	for n := lo; n <= hi; n++ {
		k := blockKey{object, n}
		missing := false
		if b, ok := c.lookup(k, again); ok {
			out[n-lo] = b
		} else if f := c.mu.flights[k]; f != nil {
			c.stats.shared.Add(1)
			waits[n-lo] = f
		} else {
			c.stats.misses.Add(1)
			waits[n-lo] = c.takeOff(k)
			missing = true
		}
		if first >= 0 && (!missing || n-first == c.run) {
			c.start(object, size, first, n-1, nil)
			first = -1
		}
		if missing && first < 0 {
			first = n
		}
	}
	if first >= 0 {
		c.start(object, size, first, hi, nil)
	}
	c.mu.Unlock()
	for i, f := range waits {
		if f == nil {
			continue
		}
		select {
		case <-f.done:
			if f.err != nil {
				return nil, f.err
			}
			out[i] = f.data
		case <-ctx.Done():
			return nil, store.ContextError(ctx, "get", object)
		}
	}
	return out, nil
}

// ahead starts reading blocks lo to hi in the background, as far as there are
// slots for it, and returns the number of blocks, from lo on, that are in memory
// or on their way now.
func (c *blockCache) ahead(object string, size, lo, hi int64) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n := lo; n <= hi && !c.mu.closed; {
		last := n - 1 // of the run of missing blocks that begins at n
		for last < hi && last-n+1 < c.run && c.missing(blockKey{object, last + 1}) {
			last++
		}
		if last < n {
			n++
			continue
		}
		select {
		case c.aheads <- struct{}{}:
		default:
			return n - lo
		}
		for m := n; m <= last; m++ {
			c.takeOff(blockKey{object, m})
		}
		c.stats.aheads.Add(last - n + 1)
		c.start(object, size, n, last, c.aheads)
		n = last + 1
	}
	return hi - lo + 1
}

// missing reports whether a block is neither in memory nor on its way. The
// caller holds mu.
func (c *blockCache) missing(k blockKey) bool {
	return c.mu.flights[k] == nil && !c.blocks.Contains(k)
}

// takeOff notes that a block is on its way. The caller holds mu.
func (c *blockCache) takeOff(k blockKey) *flight {
	f := &flight{done: make(chan struct{})}
	c.mu.flights[k] = f
	return f
}

// start reads the blocks lo to hi, for which there are flights, with one GET. It
// gives back a slot of the channel slot, if any. The caller holds mu, and has
// seen that the cache is not closed.
func (c *blockCache) start(object string, size, lo, hi int64, slot chan struct{}) {
	c.wg.Add(1)
	go func() {
		defer c.wg.Done()
		blocks, err := c.fetch(object, size, lo, hi)
		if slot != nil {
			<-slot
		}
		c.land(object, lo, hi, blocks, err)
	}()
}

func (c *blockCache) fetch(object string, size, lo, hi int64) ([][]byte, error) {
	select {
	case c.gets <- struct{}{}:
	case <-c.ctx.Done():
		return nil, ErrClosed
	}
	defer func() { <-c.gets }()
	ctx, cancel := context.WithTimeout(c.ctx, c.timeout)
	defer cancel()
	off := lo * c.block
	want := min((hi+1)*c.block, size) - off
	c.stats.gets.Add(1)
	blocks, err := store.GetParts(ctx, c.st, object, off, want, c.block)
	got := int64(0)
	for _, b := range blocks {
		got += int64(len(b))
	}
	c.stats.bytes.Add(got)
	switch {
	case c.ctx.Err() != nil:
		err = ErrClosed
	case ctx.Err() != nil && err != nil:
		err = store.Wrap("get", object, store.ErrTemporary, fmt.Errorf("no answer in %v", c.timeout))
	case err == nil && got != want, errors.Is(err, store.ErrRange):
		err = corrupt(object, off, "object ends at byte %d, was written with %d", off+got, size)
	}
	if err != nil {
		c.stats.errors.Add(1)
	}
	return blocks, err
}

// land hands blocks to who waits for them and into the cache.
func (c *blockCache) land(object string, lo, hi int64, blocks [][]byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n := lo; n <= hi; n++ {
		k := blockKey{object, n}
		f := c.mu.flights[k]
		delete(c.mu.flights, k)
		if f.err = err; err == nil {
			f.data = blocks[n-lo]
			c.blocks.Add(k, f.data)
		}
		close(f.done)
	}
}

// drop forgets blocks.
func (c *blockCache) drop(object string, lo, hi int64) {
	for n := lo; n <= hi; n++ {
		c.blocks.Remove(blockKey{object, n})
	}
}

// byteLRU is an LRU cache whose budget is in bytes.
type byteLRU[K comparable, V any] struct {
	budget int64
	mu     struct {
		sync.Mutex
		used int64
		lru  *simplelru.LRU[K, sized[V]]
	}
}

type sized[V any] struct {
	value V
	bytes int64
}

func newByteLRU[K comparable, V any](budget int64) *byteLRU[K, V] {
	l := &byteLRU[K, V]{budget: budget}
	// The count is no limit; NewLRU refuses only counts below one.
	l.mu.lru, _ = simplelru.NewLRU(1<<31-1, func(_ K, v sized[V]) { l.mu.used -= v.bytes })
	return l
}

func (l *byteLRU[K, V]) add(k K, v V, n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.lru.Remove(k)
	if n > l.budget {
		return
	}
	l.mu.lru.Add(k, sized[V]{v, n})
	for l.mu.used += n; l.mu.used > l.budget; {
		l.mu.lru.RemoveOldest()
	}
}

func (l *byteLRU[K, V]) get(k K) (V, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, ok := l.mu.lru.Get(k)
	return v.value, ok
}

func (l *byteLRU[K, V]) remove(k K) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.lru.Remove(k)
}
