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
	"github.com/robustmq/robustmq-go/catalog/catalogtest"
	"github.com/robustmq/robustmq-go/internal/vfs"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store/dir"
	"github.com/robustmq/robustmq-go/wal"
)

// TestDedupeIDsSurviveCrashes: an append by name happens once, whether its name
// is in a snapshot, behind it, or only in the write-ahead log.
func TestDedupeIDsSurviveCrashes(t *testing.T) {
	r := newRig(t, quiet())
	id := r.topic("a", shard.TopicConfig{}).Shard(0)
	appendNamed := func(name string, base int64, dup bool) {
		t.Helper()
		b := shard.BatchOf(shard.Record{Timestamp: time.Now().UnixMilli(), Value: []byte(name),
			Headers: []shard.Header{{Name: shard.HeaderDedupeID, Value: []byte(name)}}})
		res, err := shard.AppendWait(context.Background(), r.Engine, id, b, shard.AppendOptions{DedupeID: name})
		if err != nil || res.Base != base || res.Duplicate != dup {
			t.Fatalf("%s: %+v, %v", name, res, err)
		}
	}
	appendNamed("one", 0, false)
	r.crash()
	appendNamed("one", 0, true)
	if err := r.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	appendNamed("two", 1, false)
	r.crash()
	appendNamed("two", 1, true)
	appendNamed("three", 2, false)
	if err := r.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	appendNamed("four", 3, false)
	r.crash()
	for i, name := range []string{"one", "two", "three", "four"} {
		appendNamed(name, int64(i), true)
	}
	want(t, r.values(id, 0), "0:one", "1:two", "2:three", "3:four")
}

var errPowerCut = errors.New("power cut")

// machine is a gateway's disk that loses power at a chosen operation: the WAL and
// the directory store are on it, the catalog survives.
type machine struct {
	disk *vfs.Mem
	cut  int64 // the operation at which the power goes; 0: never
	ops  atomic.Int64
	// broken, if not nil, breaks the engine on purpose.
	broken func(*Engine)
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
	if m.broken != nil {
		m.broken(e)
	}
	return e, func() { e.abandon(); _ = st.Close() }, nil
}

// TestPowerCutAtEachOperation runs a script of appends, flushes and merges, cuts
// the power at an operation on the disk, lets the disk look as it could after
// that, and wants every acknowledged record and state value back.
func TestPowerCutAtEachOperation(t *testing.T) {
	whole := &machine{disk: vfs.NewMem()}
	if err := powerCutRun(t, crashCatalog(t, catalogtest.StartEtcd(t)), whole, "whole", 0); err != nil {
		t.Fatal(err)
	}
	total := whole.ops.Load()
	if total < 100 {
		t.Fatalf("the script has only %d operations", total)
	}
	if err := powerCuts(t, total, 60, nil); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d operations", total)
}

// TestBrokenEnginesAreCaught: the power cuts find an engine that acknowledges
// before the sync, and one that trims the WAL before the commit.
func TestBrokenEnginesAreCaught(t *testing.T) {
	for name, broken := range map[string]func(*Engine){
		"acknowledged before the sync": func(e *Engine) { e.hooks.ackEarly = true },
		"trimmed before the commit":    func(e *Engine) { e.hooks.trimFirst = func(p wal.Pos) { _ = e.wal.Trim(p) } },
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			for range 5 { // on a busy machine a cut may miss the moment
				if err = powerCuts(t, 450, 40, broken); err != nil {
					break
				}
			}
			if err == nil {
				t.Fatal("not caught")
			}
			t.Log(err)
		})
	}
}

// powerCuts cuts the power at some of the script's operations, and gives the
// first loss.
func powerCuts(t *testing.T, total, cuts int64, broken func(*Engine)) error {
	t.Helper()
	etcd := catalogtest.StartEtcd(t)
	step := max(total/cuts, 1)
	for i, cut := 0, int64(1); cut < total; i, cut = i+1, cut+step {
		cat := crashCatalog(t, etcd)
		err := powerCutRun(t, cat, &machine{disk: vfs.NewMem(), cut: cut, broken: broken}, fmt.Sprintf("cut-%d", cut), uint64(i))
		if cerr := cat.Close(); err != nil || cerr != nil {
			return errors.Join(err, cerr)
		}
	}
	return nil
}

// crashCatalog opens an empty catalog: what a run leaves in it speaks of a disk
// that no other run has.
func crashCatalog(t *testing.T, etcd *catalogtest.Etcd) *catalog.Catalog {
	t.Helper()
	return catalogtest.Open(t, catalog.Config{Endpoints: []string{etcd.Endpoint()}, LeaseTTL: time.Minute,
		Prefix: fmt.Sprintf("/run-%d/", runs.Add(1)), Logger: slog.New(slog.DiscardHandler)})
}

var runs atomic.Int64

// powerCutRun runs the script until the power goes, and gives what is lost then.
// Each run has topics of its own, so that runs may share a catalog.
func powerCutRun(t *testing.T, cat *catalog.Catalog, m *machine, name string, seed uint64) error {
	t.Helper()
	acked := powerCutScript(t, cat, m, name)
	rng := rand.New(rand.NewPCG(seed, 7))
	after := &machine{disk: m.disk.CrashClone(rng)}
	e, stop, err := after.boot(cat)
	if err != nil {
		return fmt.Errorf("%s: open after the crash: %w", name, err)
	}
	defer stop()
	topic, ok := e.topics.ByName(name)
	if !ok && len(acked) > 0 {
		return fmt.Errorf("%s: topic is gone", name)
	}
	if !ok {
		return nil
	}
	ctx := context.Background()
	for i, v := range acked {
		r, err := e.Read(ctx, topic.Shard(0), int64(i), shard.ReadOptions{MaxBytes: 1})
		if err != nil || len(r.Batches) == 0 {
			return fmt.Errorf("%s: acknowledged offset %d of %d: %d batches, error %w", name, i, len(acked), len(r.Batches), err)
		}
		recs, err := r.Batches[0].Records()
		if err != nil || len(recs) != 1 || recs[0].Offset != int64(i) || string(recs[0].Value) != v {
			return fmt.Errorf("%s: acknowledged offset %d of %d holds something else (%w)", name, i, len(acked), err)
		}
	}
	if n := len(acked); n > 1 && !m.whole() { // of the first the state may not be told
		v, _, err := e.state.Get(ctx, name, "n")
		var got int
		if _, serr := fmt.Sscan(string(v.Data), &got); err != nil || serr != nil || got < n-1 {
			return fmt.Errorf("%s: state says %q after %d appends: %w", name, v.Data, n, errors.Join(err, serr))
		}
	}
	if _, err := shard.AppendWait(ctx, e, topic.Shard(0), shard.BatchOf(shard.Record{Value: []byte("after")}), shard.AppendOptions{}); err != nil {
		return fmt.Errorf("%s: append after the crash: %w", name, err)
	}
	return nil
}

func (m *machine) whole() bool { return m.cut == 0 }

// powerCutScript gives the acknowledged values, of the offsets from 0 on. After
// each append the state log is told of it.
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
		_, err := shard.AppendWait(ctx, e, topic.Shard(0), shard.BatchOf(shard.Record{Timestamp: 1, Value: []byte(v)}), shard.AppendOptions{})
		if err != nil {
			return acked
		}
		acked = append(acked, v)
		if err := shard.ApplyWait(ctx, e.state, name, shard.StateOp{Key: "n", Value: fmt.Append(nil, i+1)}); err != nil {
			return acked
		}
		if i%4 == 3 {
			if err := e.flusher.flush(ctx); err != nil {
				return acked
			}
			e.snapshotAt = 0
			if _, err := e.Snapshot(ctx); err != nil {
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
