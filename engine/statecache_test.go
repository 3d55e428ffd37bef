package engine

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store/dir"
)

// Large values of State are in the log, and only what was used last is in memory:
// while they are written, after a restart, and once merges have compacted the log.
func TestLargeState(t *testing.T) {
	o := Options{FlushInterval: time.Hour, FlushBytes: 1 << 40, MergeInterval: time.Hour, StateBytes: 1 << 20, TailBytes: 1 << 20, CacheBytes: 8 << 20, WALFileBytes: 16 << 20}
	cat, err := catalog.Open(context.Background(), catalog.Config{Embedded: t.TempDir(), LeaseTTL: 5 * time.Second, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cat.Close() })
	objects, err := dir.Open(t.TempDir(), dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := newRigOn(t, o, cat, objects)
	const n, size = 160, 1 << 20
	value := func(i, turn int) []byte { return bytes.Repeat([]byte{byte(i), byte(turn)}, size/2) }
	ctx := context.Background()
	heap := func() int64 {
		runtime.GC()
		runtime.GC() // pools keep what they have over one
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	for turn := range 2 {
		for i := range n {
			op := shard.StateOp{Key: fmt.Sprint("k", i), Value: value(i, turn)}
			if err := shard.ApplyWait(ctx, r.state, "mqtt/retained/00", op); err != nil {
				t.Fatal(err)
			}
			if i%16 == 15 {
				if err := r.Flush(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	check := func(when string) {
		t.Helper()
		for i := range n {
			v, ok, err := r.state.Get(ctx, "mqtt/retained/00", fmt.Sprint("k", i))
			if err != nil || !ok || !bytes.Equal(v.Data, value(i, 1)) {
				t.Fatalf("%s: value %d: %v, %v, %d bytes", when, i, err, ok, len(v.Data))
			}
		}
		seen := 0
		if err := r.state.Range(ctx, "mqtt/retained/00", "k", func(_ string, v shard.StateValue) bool {
			seen++
			return len(v.Data) == size
		}); err != nil || seen != n {
			t.Fatalf("%s: ranged over %d: %v", when, seen, err)
		}
		if got := heap() - before; got > 80<<20 {
			t.Errorf("%s: %d values of %d bytes take %d MiB", when, n, size, got>>20)
		}
	}
	check("written")
	if err := r.Close(ctx); err != nil {
		t.Fatal(err)
	}
	r.open()
	check("after a restart")
	names := 0
	if err := shard.RangeNames(ctx, r.state, "mqtt/retained/00", "", func(string) bool { names++; return true }); err != nil || names != n {
		t.Errorf("%d names, %v", names, err)
	}
	if err := shard.ApplyWait(ctx, r.state, "mqtt/retained/00", shard.StateOp{Key: "k0"}); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := r.state.Get(ctx, "mqtt/retained/00", "k0"); ok || err != nil {
		t.Errorf("a deleted value: %v, %v", ok, err)
	}
}
