package engine

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/tier/store/limit"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// TestColdReadsAreToldApart: a cursor is kept for the reader who comes next at
// its offset, given once, and forgotten after coldIdle.
func TestColdReadsAreToldApart(t *testing.T) {
	r, err := tier.NewReader(mem.New(nil), tier.ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c, id, now := newColdReads(), shard.ID{Topic: 7}, time.Unix(1000, 0)
	first, second := r.Cursor(nil), r.Cursor(nil)
	c.put(id, 10, first, now)
	c.put(id, 20, second, now)
	if c.take(id, 11, now) != nil || c.take(shard.ID{Topic: 8}, 10, now) != nil {
		t.Fatal("a cursor for who comes elsewhere")
	}
	if c.take(id, 10, now) != first || c.take(id, 10, now) != nil || c.take(id, 20, now) != second {
		t.Fatal("not the reader's own cursor, once")
	}
	c.put(id, 10, first, now)
	if c.take(id, 10, now.Add(coldIdle)) != nil {
		t.Fatal("a cursor of a reader who does not come any more")
	}
	for i := range int64(2 * maxCold) {
		c.put(id, i, r.Cursor(nil), now)
	}
	if n := c.lru.Len(); n != maxCold {
		t.Fatalf("%d readers are kept, want %d", n, maxCold)
	}
}

// TestCatchUpReadsAhead: whoever reads flushed records one read after the other
// waits for few GETs; the others were sent before he asked, across segments.
func TestCatchUpReadsAhead(t *testing.T) {
	r := newRig(t, Options{FlushInterval: time.Hour, FlushBytes: 1 << 40, MergeInterval: time.Hour, CacheBytes: 32 << 20, TailBytes: 1})
	topic := r.topic("cold", shard.TopicConfig{})
	value := strings.Repeat("x", 256<<10)
	total := int64(0)
	for range 8 {
		for range 16 {
			r.append(topic.Shard(0), value)
			total++
		}
		if err := r.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	before, from := r.Stats().Reader, int64(0)
	for from < total {
		res, err := r.Read(context.Background(), topic.Shard(0), from, shard.ReadOptions{MaxBytes: 1 << 20})
		if err != nil || len(res.Batches) == 0 {
			t.Fatal(from, len(res.Batches), err)
		}
		for _, b := range res.Batches {
			if b.BaseOffset() != from {
				t.Fatalf("offset %d, want %d", b.BaseOffset(), from)
			}
			from = b.LastOffset() + 1
		}
	}
	after := r.Stats().Reader
	if ahead, missed := after.Ahead-before.Ahead, after.Misses-before.Misses; ahead < 3*missed {
		t.Fatalf("%d blocks were read ahead, %d were waited for", ahead, missed)
	}
}

// TestCatchUpLeavesRoom: many readers of old records on a store whose GETs hang hold up
// neither a flush nor who reads at the end or what was flushed a moment ago; once they go on, who asks for one old
// record gets it in turn.
func TestCatchUpLeavesRoom(t *testing.T) {
	const readers, objects, rounds = 48, 6, 10
	g := &gate{Store: mem.New(nil)}
	st := limit.New(g, limit.Options{Concurrency: 128})
	cat, err := catalog.Open(context.Background(), catalog.Config{Embedded: t.TempDir(), LeaseTTL: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cat.Close() })
	r := newRigOn(t, Options{FlushInterval: time.Hour, FlushBytes: 1 << 40, MergeInterval: time.Hour, CacheBytes: 32 << 20}, cat, st)
	old, err := r.topics.Create(context.Background(), shard.Topic{Name: "old", Shards: readers})
	if err != nil {
		t.Fatal(err)
	}
	value := strings.Repeat("x", 256<<10)
	for range objects {
		for i := range uint32(readers) {
			r.append(old.Shard(i), value, value)
		}
		if err := r.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	fresh, rare := r.topic("fresh", shard.TopicConfig{}).Shard(0), r.topic("rare", shard.TopicConfig{}).Shard(0)
	for range rounds {
		r.append(rare, value+value)
	}
	if err := r.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.crash() // the caches are empty
	g.shut()
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i := range uint32(readers) {
		wg.Go(func() {
			for from := int64(0); ctx.Err() == nil; from = (from + 1) % (2 * objects) {
				_, _ = r.Read(ctx, old.Shard(i), from, shard.ReadOptions{MaxBytes: coldScan})
			}
		})
	}
	defer func() { stop(); g.open(); wg.Wait() }()
	for g.waiting.Load() < 16 { // all that the reader sends at a time
		time.Sleep(time.Millisecond)
	}
	read := func(id shard.ID, from int64) {
		if res, err := r.Read(context.Background(), id, from, shard.ReadOptions{}); err != nil || len(res.Batches) == 0 {
			t.Errorf("read %d: %d batches, %v", from, len(res.Batches), err)
		}
	}
	// While every GET that may be sent hangs, who needs none is served. A GET is given up after 30 s: that is
	// when a test that hangs goes on.
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range int64(rounds) {
			r.append(fresh, "x")
			read(fresh, i)
			if err := r.Flush(context.Background()); err != nil {
				t.Error(err)
			}
			read(fresh, i)
		}
	}()
	select {
	case <-done:
	case <-time.After(25 * time.Second):
		t.Fatal("an append, a flush or a read of what is new waits for who catches up")
	}
	g.open()
	for i := range int64(rounds) {
		before := g.gets.Load()
		read(rare, i)
		// It waits its turn, behind those who came before: two GETs, among 48 readers.
		n := g.gets.Load() - before
		if t.Logf("an old record was read after %d other GETs", n); n > 40*readers {
			t.Error("it did not get its turn")
		}
	}
}

// gate is a Store whose GETs hang while it is shut, and take some time when it
// was opened again.
type gate struct {
	*mem.Store
	at            atomic.Pointer[chan struct{}]
	waiting, gets atomic.Int64
}

func (g *gate) shut() { c := make(chan struct{}); g.at.Store(&c) }

func (g *gate) open() {
	select {
	case <-*g.at.Load():
	default:
		close(*g.at.Load())
	}
}

func (g *gate) wait(ctx context.Context) error {
	c := g.at.Load()
	if c == nil {
		return nil
	}
	g.waiting.Add(1)
	defer g.waiting.Add(-1)
	select {
	case <-*c:
	case <-ctx.Done():
		return store.ContextError(ctx, "get", "")
	}
	g.gets.Add(1)
	time.Sleep(5 * time.Millisecond)
	return nil
}

func (g *gate) Get(ctx context.Context, key string, off, n int64) ([]byte, error) {
	if err := g.wait(ctx); err != nil {
		return nil, err
	}
	return g.Store.Get(ctx, key, off, n)
}
