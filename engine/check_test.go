package engine

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/robustmq/robustmq-go/catalog/catalogtest"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
	"github.com/robustmq/robustmq-go/tier/store/fault"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// check stops the engine without a flush and checks what it left.
func (r *rig) check() CheckReport {
	r.t.Helper()
	r.abandon()
	rep, err := Check(context.Background(), r.cat, r.store, CheckOptions{WALDir: r.dir})
	if err != nil {
		r.t.Fatal(err)
	}
	return rep
}

func wantFinding(t *testing.T, rep CheckReport, part string, id shard.ID, from, to int64, problem string) {
	t.Helper()
	for _, f := range rep.Findings {
		if f.Part == part && f.Shard != nil && *f.Shard == id && f.From == from && f.To == to && strings.Contains(f.Problem, problem) {
			return
		}
	}
	t.Errorf("no finding of %s, shard %s, offsets %d to %d, %q; found %v", part, id, from, to, problem, rep.Findings)
}

func TestCheckOfSoundData(t *testing.T) {
	r := newRig(t, Options{})
	x := r.topic("a", shard.TopicConfig{})
	r.append(x.Shard(0), "1", "2")
	if err := r.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.append(x.Shard(0), "3")
	rep := r.check()
	if len(rep.Findings) != 0 {
		t.Errorf("findings %v", rep.Findings)
	}
	if rep.Records != 2 || rep.Objects != 1 || rep.WALEntries < 1 {
		t.Errorf("report %+v", rep)
	}
}

// flip changes one byte of the file below dir that holds needle.
func flip(t *testing.T, dir, needle string) {
	t.Helper()
	done := false
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || done {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if i := bytes.Index(b, []byte(needle)); i >= 0 {
			b[i] ^= 1
			done = true
			return os.WriteFile(path, b, 0o644)
		}
		return nil
	})
	if err != nil || !done {
		t.Fatalf("flip a byte of %q below %s: done %v, %v", needle, dir, done, err)
	}
}

func TestCheckNamesDamageInWAL(t *testing.T) {
	r := newRig(t, Options{})
	x := r.topic("a", shard.TopicConfig{})
	id := x.Shard(0)
	r.append(id, "one")
	r.append(id, "needle", "second")
	r.append(id, "third")
	r.append(id, "fourth")
	r.abandon()
	flip(t, r.dir, "needle")
	rep, err := Check(context.Background(), r.cat, r.store, CheckOptions{WALDir: r.dir})
	if err != nil {
		t.Fatal(err)
	}
	wantFinding(t, rep, "wal", id, 1, 2, "checksum")
	if len(rep.Findings) != 1 || !strings.Contains(rep.Findings[0].String(), "(a[0]) offsets 1 to 2") {
		t.Errorf("findings %v", rep.Findings)
	}
}

func TestCheckNamesDamageInObject(t *testing.T) {
	r := newRig(t, Options{})
	a, b := r.topic("a", shard.TopicConfig{}), r.topic("b", shard.TopicConfig{})
	r.append(a.Shard(0), "first")
	r.append(a.Shard(0), "needle")
	r.append(b.Shard(0), "other")
	if err := r.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.abandon()
	r.rewrite(func(o []byte) []byte {
		i := bytes.Index(o, []byte("needle"))
		o[i] ^= 1
		return o
	})
	rep, err := Check(context.Background(), r.cat, r.store, CheckOptions{WALDir: r.dir})
	if err != nil {
		t.Fatal(err)
	}
	wantFinding(t, rep, "store", a.Shard(0), 1, 1, "corrupt")
	for _, f := range rep.Findings {
		if *f.Shard == b.Shard(0) {
			t.Errorf("finding about the sound shard: %v", f)
		}
	}
}

// rewrite replaces every object by what fn makes of it, nil leaves it out.
func (r *rig) rewrite(fn func([]byte) []byte) {
	r.t.Helper()
	ctx := context.Background()
	old := r.store
	r.store = mem.New(nil)
	page, err := old.List(ctx, tier.KeyPrefix, "", 0)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, o := range page {
		b, err := old.Get(ctx, o.Key, 0, -1)
		if err != nil {
			r.t.Fatal(err)
		}
		if b = fn(b); b != nil {
			if err := r.store.Put(ctx, o.Key, b); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

func TestCheckMissingAndShortObjects(t *testing.T) {
	for name, c := range map[string]struct {
		fn      func([]byte) []byte
		problem string
	}{
		"missing":   {func([]byte) []byte { return nil }, "missing"},
		"cut short": {func(b []byte) []byte { return b[:len(b)-10] }, "the catalog says"},
		"index":     {func(b []byte) []byte { b[len(b)-60] ^= 1; return b }, "corrupt"},
		"version":   {func(b []byte) []byte { b[len(b)-9] = 9; b[11] = 9; return b }, "version"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Options{})
			id := r.topic("a", shard.TopicConfig{}).Shard(0)
			r.append(id, "1", "2", "3")
			if err := r.Flush(context.Background()); err != nil {
				t.Fatal(err)
			}
			r.abandon()
			r.rewrite(c.fn)
			rep, err := Check(context.Background(), r.cat, r.store, CheckOptions{WALDir: r.dir})
			if err != nil {
				t.Fatal(err)
			}
			wantFinding(t, rep, "store", id, 0, 2, c.problem)
		})
	}
}

// TestCheckHoleInWAL: an entry is gone from the log's middle, with no trace.
func TestCheckHoleInWAL(t *testing.T) {
	r := newRig(t, Options{})
	id := r.topic("a", shard.TopicConfig{}).Shard(0)
	r.append(id, "1")
	if err := r.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	s, _, err := r.shardFor(id)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.next, s.synced, s.end = 5, 5, 5 // offsets 1 to 4 are given out and never written
	s.mu.Unlock()
	r.append(id, "6")
	rep := r.check()
	wantFinding(t, rep, "wal", id, 1, 4, "neither the log nor a segment")
}

// TestCheckAfterRetention: where retention freed a whole segment, and an older one
// stays because another shard lives in it, nothing is damaged: the start offset is
// in the state log, flushed or not.
func TestCheckAfterRetention(t *testing.T) {
	for _, flushed := range []bool{true, false} {
		o := quiet()
		o.MergeSegments = 100
		r := newRig(t, o)
		ctx := context.Background()
		a, b := r.topic("a", shard.TopicConfig{}).Shard(0), r.topic("b", shard.TopicConfig{}).Shard(0)
		r.append(b, "stays")
		r.segmentOf(a, 1, "", []byte("0"))
		r.segmentOf(a, 1, "", []byte("1"))
		r.segmentOf(a, 1, "", []byte("2"))
		if err := r.TrimBefore(ctx, a, 2); err != nil {
			t.Fatal(err)
		}
		if err := r.Retain(ctx); err != nil {
			t.Fatal(err)
		}
		if flushed {
			if err := r.Flush(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(r.cat.Extents(a)); n != 2 {
			t.Fatalf("%d extents: the one between is to be gone", n)
		}
		if rep := r.check(); len(rep.Findings) != 0 {
			t.Errorf("flushed %v: findings %v", flushed, rep.Findings)
		}
	}
}

// TestCheckGoesOn: objects that the store does not give are each told of, and all
// else is looked at.
func TestCheckGoesOn(t *testing.T) {
	away := map[string]bool{}
	st := fault.New(mem.New(nil), fault.Options{Choose: func(c fault.Call) fault.Fault {
		if away[c.Key] && c.Op == "get" {
			return fault.Unavailable
		}
		return fault.None
	}})
	r := newRigOn(t, quiet(), catalogtest.OpenEmbedded(t), st)
	id := r.topic("a", shard.TopicConfig{}).Shard(0)
	for range 5 {
		r.segmentOf(id, 1, "", []byte("x"))
	}
	r.abandon()
	exts := r.cat.Extents(id)
	for _, i := range []int{0, 1, 3} {
		away[exts[i].Segment.Key] = true
	}
	rep := r.check()
	if rep.Objects != 2 {
		t.Errorf("%d objects were looked at", rep.Objects)
	}
	for _, at := range []int64{0, 1, 3} {
		wantFinding(t, rep, "store", id, at, at, "could not be read")
	}
}
