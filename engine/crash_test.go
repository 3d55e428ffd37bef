package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/internal/vfs"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store/dir"
)

var errPowerCut = errors.New("power cut")

// machine is a gateway's disk that loses power at a chosen operation: the WAL and
// the directory store are on it, the catalog survives.
type machine struct {
	disk *vfs.Mem
	cut  int64 // the operation at which the power goes; 0: never
	ops  atomic.Int64
}

func (m *machine) fs() vfs.FS {
	return vfs.Inject(m.disk, func(vfs.Op) error {
		if n := m.ops.Add(1); m.cut > 0 && n >= m.cut {
			return errPowerCut
		}
		return nil
	})
}

// boot opens the engine on the machine's disk.
func (m *machine) boot(cat *catalog.Catalog) (*Engine, func(), error) {
	fs := m.fs()
	st, err := dir.Open("/store", dir.Options{FS: fs})
	if err != nil {
		return nil, nil, err
	}
	e, err := Open(context.Background(), cat, st, Options{WALDir: "/wal", FS: fs, WALFileBytes: 64 << 10,
		FlushInterval: time.Hour, RetentionInterval: time.Hour, MergeInterval: time.Hour, MergeSegments: 3, RetentionMs: -1,
		DeleteGrace: time.Nanosecond, Node: shard.Node{Name: "crash-1"}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		_ = st.Close()
		return nil, nil, err
	}
	return e, func() { e.abandon(); _ = st.Close() }, nil
}

// TestPowerCutAtEachOperation runs a script of appends, flushes and merges, cuts
// the power at an operation on the disk, lets the disk look as it could after
// that, and wants every acknowledged record back.
func TestPowerCutAtEachOperation(t *testing.T) {
	cat := crashCatalog(t)
	whole := &machine{disk: vfs.NewMem()}
	powerCutRun(t, cat, whole, "whole", 0)
	total := whole.ops.Load()
	if total < 100 {
		t.Fatalf("the script has only %d operations", total)
	}
	step := max(total/60, 1)
	for i, cut := 0, int64(1); cut < total; i, cut = i+1, cut+step {
		if i%20 == 19 { // each run leaves the log of a disk that never comes back
			cat = crashCatalog(t)
		}
		powerCutRun(t, cat, &machine{disk: vfs.NewMem(), cut: cut}, fmt.Sprintf("cut-%d", cut), uint64(i))
	}
	t.Logf("%d operations, cut at every %d", total, step)
}

func crashCatalog(t *testing.T) *catalog.Catalog {
	t.Helper()
	cat, err := catalog.Open(context.Background(), catalog.Config{Embedded: t.TempDir(), LeaseTTL: time.Minute,
		Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cat.Close() })
	return cat
}

func powerCutRun(t *testing.T, cat *catalog.Catalog, m *machine, name string, seed uint64) {
	t.Helper()
	// Each run has topics of its own, so the catalog may be shared.
	acked := powerCutScript(t, cat, m, name)
	rng := rand.New(rand.NewPCG(seed, 7))
	after := &machine{disk: m.disk.CrashClone(rng)}
	e, stop, err := after.boot(cat)
	if err != nil {
		t.Fatalf("%s: open after the crash: %v", name, err)
	}
	defer stop()
	topic, ok := e.topics.ByName(name)
	if !ok {
		if len(acked) > 0 {
			t.Fatalf("%s: topic is gone", name)
		}
		return
	}
	r := &rig{t: t, Engine: e}
	got := map[string]bool{}
	for _, v := range r.values(topic.Shard(0), 0) {
		got[v] = true
	}
	for _, v := range acked {
		if !got[v] {
			t.Fatalf("%s: acknowledged %.40q is lost; %d of %d are there", name, v, len(got), len(acked))
		}
	}
	r.append(topic.Shard(0), "after") // and it goes on
}

// powerCutScript gives the acknowledged records as "offset:value".
func powerCutScript(t *testing.T, cat *catalog.Catalog, m *machine, name string) (acked []string) {
	t.Helper()
	e, stop, err := m.boot(cat)
	if err != nil {
		if m.cut == 0 {
			t.Fatal(err)
		}
		return nil
	}
	defer stop()
	topic, err := e.topics.Create(context.Background(), shard.Topic{Name: name, Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for i := range 24 {
		v := fmt.Sprintf("%s-%d-%s", name, i, make([]byte, 3000))
		res, err := shard.AppendWait(ctx, e, topic.Shard(0), shard.BatchOf(shard.Record{Timestamp: 1, Value: []byte(v)}), shard.AppendOptions{})
		if err != nil {
			return acked
		}
		acked = append(acked, fmt.Sprintf("%d:%s", res.Base, v))
		if i%4 == 3 {
			if err := e.flusher.flush(ctx); err != nil {
				return acked
			}
			if _, err := e.Merge(ctx); err != nil {
				return acked
			}
			if err := e.deleteObjects(ctx); err != nil {
				return acked
			}
		}
	}
	return acked
}
