package engine

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
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
	r := newRig(t, Options{FlushInterval: time.Hour, FlushBytes: 1 << 40, MergeInterval: time.Hour, CacheBytes: 64 << 20, TailBytes: 1})
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
