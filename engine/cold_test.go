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
	"github.com/robustmq/robustmq-go/tier/store/fault"
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

// TestCatchUpLeavesRoom: many readers of old records on a store whose every GET takes 100 ms hold up
// neither a flush nor who reads at the end or what was flushed a moment ago; who asks for one old
// record gets it in turn.
func TestCatchUpLeavesRoom(t *testing.T) {
	const slow, readers, objects, rounds = 100 * time.Millisecond, 48, 6, 10
	var catchingUp atomic.Bool
	var gets atomic.Int64
	st := limit.New(fault.New(mem.New(nil), fault.Options{Slowness: slow, Choose: func(c fault.Call) fault.Fault {
		if c.Op != "get" || !catchingUp.Load() {
			return fault.None
		}
		gets.Add(1)
		return fault.Slow
	}}), limit.Options{Concurrency: 128})
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
	catchingUp.Store(true)
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i := range uint32(readers) {
		wg.Go(func() {
			for from := int64(0); ctx.Err() == nil; from = (from + 1) % (2 * objects) {
				_, _ = r.Read(ctx, old.Shard(i), from, shard.ReadOptions{MaxBytes: coldScan})
			}
		})
	}
	defer func() { stop(); wg.Wait() }()
	for gets.Load() < readers {
		time.Sleep(time.Millisecond)
	}
	read := func(id shard.ID, from int64) {
		if res, err := r.Read(context.Background(), id, from, shard.ReadOptions{}); err != nil || len(res.Batches) == 0 {
			t.Errorf("read %d: %d batches, %v", from, len(res.Batches), err)
		}
	}
	took := map[string]time.Duration{}
	timed := func(what string, fn func()) {
		began := time.Now()
		fn()
		took[what] = max(took[what], time.Since(began))
	}
	for i := range int64(rounds) {
		timed("append", func() { r.append(fresh, "x") })
		timed("read at the end", func() { read(fresh, i) })
		timed("flush", func() {
			if err := r.Flush(context.Background()); err != nil {
				t.Error(err)
			}
		})
		timed("read of what was flushed", func() { read(fresh, i) })
		timed("one old record", func() { read(rare, i) })
	}
	t.Logf("%v beside %d GETs", took, gets.Load())
	for what, d := range took {
		// The old record waits its turn: with 16 GETs at a time, for three of each.
		if most := 5 * slow; d > most && what != "one old record" || d > 4*most {
			t.Errorf("%s took %v while others catch up", what, d)
		}
	}
}
