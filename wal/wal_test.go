package wal

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/robustmq/robustmq-go/internal/vfs"
	"github.com/robustmq/robustmq-go/shard"
)

func shardOf(i int) shard.ID {
	return shard.ID{Topic: shard.TopicNum(i%3 + 1), Index: uint32(i % 2)}
}

func TestAppendReplay(t *testing.T) {
	for name, mk := range map[string]func() Options{
		"mem": func() Options { return testOptions(vfs.NewMem()) },
		"os":  func() Options { o := testOptions(vfs.OS{}); o.Dir = t.TempDir() + "/a/b"; return o },
	} {
		t.Run(name, func(t *testing.T) {
			opt, l := mk(), newLedger()
			w, got, rec := openReplay(t, opt)
			if len(got) != 0 || rec.MarkLost || rec.Err() != nil {
				t.Fatalf("new log: %d entries, %+v", len(got), rec)
			}
			for i := range 200 {
				must(t, l.append(w, shardOf(i), 8+i*13))
			}
			l.wait()
			for _, tk := range l.tickets {
				e, err := w.ReadAt(tk.pos)
				if err != nil || e.Shard != tk.e.Shard || e.Epoch != 3 || !bytes.Equal(e.Data, tk.e.Data) {
					t.Fatalf("read at %s: %v", tk.pos, err)
				}
			}
			if s := w.Stats(); s.Entries != 200 || s.Files < 3 || s.LiveBytes < s.DataBytes {
				t.Fatalf("stats %+v", s)
			}
			if _, err := Open(opt); !errors.Is(err, vfs.ErrLocked) {
				t.Fatalf("second open: %v", err)
			}
			must(t, l.trim(w, l.tickets[90].pos))
			if _, err := w.ReadAt(l.tickets[89].pos); !errors.Is(err, ErrTrimmed) {
				t.Fatalf("read of trimmed: %v", err)
			}
			if _, err := w.ReadAt(settled(w)); !errors.Is(err, ErrBadPos) {
				t.Fatalf("read past end: %v", err)
			}
			must(t, w.Close())
			must(t, w.Close())
			if err := w.Append(Entry{}, nil); !errors.Is(err, ErrClosed) {
				t.Fatalf("append after close: %v", err)
			}
			if rec, err := Verify(Source{Dir: opt.Dir, FS: opt.FS}); err != nil || rec.Entries != 110 {
				t.Fatalf("verify: %+v, %v", rec, err)
			}
			w, got, rec = openReplay(t, opt)
			defer w.Close()
			if bad := l.check(got, rec); len(bad) > 0 || len(got) != 110 {
				t.Fatalf("%d entries, wrong: %s", len(got), strings.Join(bad, "\n"))
			}
			if _, err := w.Replay(nil); !errors.Is(err, ErrNotReplayed) {
				t.Fatalf("second replay: %v", err)
			}
			for _, r := range got { // old files stay readable
				if e, err := w.ReadAt(r.pos); err != nil || !bytes.Equal(e.Data, r.e.Data) {
					t.Fatalf("read at %s: %v", r.pos, err)
				}
			}
		})
	}
}

func TestErrors(t *testing.T) {
	opt := testOptions(vfs.NewMem())
	opt.MaxEntryBytes, opt.MaxBytes = 1000, 5000
	w, err := Open(opt)
	must(t, err)
	if err := w.Append(Entry{}, nil); !errors.Is(err, ErrNotReplayed) {
		t.Fatalf("append before replay: %v", err)
	}
	_, _, err = collect(w)
	must(t, err)
	l := newLedger()
	if err := l.append(w, shardOf(0), 1001); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("too large: %v", err)
	}
	n := 0
	for err = nil; err == nil; n++ {
		err = l.append(w, shardOf(0), 1000)
	}
	if !errors.Is(err, ErrFull) || n != 5 {
		t.Fatalf("append %d: %v", n, err)
	}
	l.wait()
	cut := settled(w)
	if err := w.Trim(Pos{cut.File, cut.Off + 1}); !errors.Is(err, ErrBadPos) {
		t.Fatalf("trim past the end: %v", err)
	}
	must(t, w.Trim(cut))
	must(t, l.append(w, shardOf(0), 1000))
	l.wait()
	must(t, w.Close())
	for _, o := range []Options{{}, {Dir: "x", FileBytes: 100}, {Dir: "x", FileBytes: 2 << 30}, {Dir: "x", FileBytes: 64 << 10, MaxEntryBytes: 64 << 10}} {
		if _, err := Open(o); err == nil {
			t.Errorf("options %+v taken", o)
		}
	}
}

// TestFailedSync: a sync that failed is never tried again, everyone is told, and
// it stays so.
func TestFailedSync(t *testing.T) {
	for _, c := range []struct {
		name string
		kind vfs.OpKind
		err  error
	}{{"EIO on sync", vfs.OpSync, syscall.EIO}, {"EIO on write", vfs.OpWrite, syscall.EIO},
		{"ENOSPC on write", vfs.OpWrite, syscall.ENOSPC}, {"short write", vfs.OpWrite, &vfs.ShortWrite{N: 700, Err: syscall.ENOSPC}}} {
		t.Run(c.name, func(t *testing.T) {
			mem := vfs.NewMem()
			var armed atomic.Bool
			var after atomic.Int64
			cur := fileName(testDir, 1)
			opt := testOptions(vfs.Inject(mem, func(op vfs.Op) error {
				if op.Name != cur || op.Kind != vfs.OpSync && op.Kind != vfs.OpWrite || !armed.Load() {
					return nil
				}
				if op.Kind == c.kind && after.Load() == 0 {
					after.Add(1)
					return c.err
				}
				if after.Load() > 0 {
					after.Add(1)
				}
				return nil
			}))
			l := newLedger()
			w, _, _ := openReplay(t, opt)
			must(t, l.append(w, shardOf(0), 2000))
			l.wait()
			for { // until the writer sleeps, its sync mark written
				if w.Stats().SyncMarks > 0 {
					break
				}
			}
			armed.Store(true)
			for i := range 20 {
				if err := l.append(w, shardOf(i), 2000); err != nil && !errors.Is(err, ErrFailed) {
					t.Fatal(err)
				}
			}
			l.wait()
			for i, tk := range l.tickets {
				if (i == 0) != (tk.err == nil) || i > 0 && (!errors.Is(tk.err, ErrFailed) || !tk.pos.IsZero()) {
					t.Fatalf("entry %d: %v", i, tk.err)
				}
			}
			if err := w.Append(l.tickets[0].e, nil); !errors.Is(err, ErrFailed) {
				t.Fatalf("append after failure: %v", err)
			}
			if err := w.Trim(w.Position()); !errors.Is(err, ErrFailed) {
				t.Fatalf("trim after failure: %v", err)
			}
			if err := w.Close(); !errors.Is(err, ErrFailed) {
				t.Fatalf("close after failure: %v", err)
			}
			if n := after.Load(); n != 1 {
				t.Fatalf("%d writes and syncs after the failure", n-1)
			}
			if bad := l.checkDisk(mem.CrashClone(newRand(1))); len(bad) > 0 {
				t.Fatal(bad)
			}
		})
	}
}

// TestFailedMark: a failed sync of the trim mark fails the WAL too.
func TestFailedMark(t *testing.T) {
	var armed atomic.Bool
	opt := testOptions(vfs.Inject(vfs.NewMem(), func(op vfs.Op) error {
		if armed.Load() && op.Kind == vfs.OpSync && strings.HasPrefix(op.Name, markName(testDir)) {
			return syscall.EIO
		}
		return nil
	}))
	l := newLedger()
	w, _, _ := openReplay(t, opt)
	must(t, l.append(w, shardOf(0), 2000))
	l.wait()
	armed.Store(true)
	if err := w.Trim(w.Position()); !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.EIO) {
		t.Fatalf("trim: %v", err)
	}
	if err := l.append(w, shardOf(0), 10); !errors.Is(err, ErrFailed) {
		t.Fatalf("append: %v", err)
	}
	if err := w.Close(); !errors.Is(err, ErrFailed) {
		t.Fatalf("close: %v", err)
	}
}

// TestDiskFull: no room for another file means ErrFull and waiting, not failure;
// a trim, or room, puts it right.
func TestDiskFull(t *testing.T) {
	var full atomic.Bool
	opt := testOptions(vfs.Inject(vfs.NewMem(), func(op vfs.Op) error {
		if full.Load() && op.Kind == vfs.OpPreallocate {
			return syscall.ENOSPC
		}
		return nil
	}))
	l := newLedger()
	full.Store(true)
	w, _, _ := openReplay(t, opt) // a full disk must not keep the log from opening
	for {
		w.mu.Lock()
		stuck := w.prepErr != nil
		w.mu.Unlock()
		if stuck {
			break
		}
	}
	if err := l.append(w, shardOf(0), 100); !errors.Is(err, ErrFull) {
		t.Fatalf("append on a full disk: %v", err)
	}
	full.Store(false)
	for l.append(w, shardOf(0), 100) != nil { // being refused makes it try again
	}
	l.wait()
	full.Store(true)
	n := 0
	for err := error(nil); err == nil; n++ {
		if err = l.append(w, shardOf(n), 8000); err != nil && !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
		if n > 10_000 { // a file may have been made while there was room
			t.Fatal("never full")
		}
	}
	if s := w.Stats(); !s.DiskFull || !s.Full || s.Failed != nil || s.Refused == 0 {
		t.Fatalf("stats %+v", s)
	}
	full.Store(false)
	for l.append(w, shardOf(0), 8000) != nil {
	}
	l.wait()
	if s := w.Stats(); s.Full {
		t.Fatalf("with room again: %+v", s)
	}
	must(t, w.Close())
	w, got, rec := openReplay(t, opt)
	defer w.Close()
	if bad := l.check(got, rec); len(bad) > 0 || len(got) != len(l.tickets) {
		t.Fatalf("%d of %d entries: %v", len(got), len(l.tickets), bad)
	}
}

// TestCloseOnFullDisk: what cannot be written for lack of room is reported.
func TestCloseOnFullDisk(t *testing.T) {
	opt := testOptions(vfs.Inject(vfs.NewMem(), vfs.FailNth(vfs.OpPreallocate, 2, syscall.ENOSPC)))
	l := newLedger()
	w, _, _ := openReplay(t, opt)
	for range 12 {
		if l.append(w, shardOf(0), 8000) != nil {
			break
		}
	}
	err := w.Close()
	l.wait()
	for i, tk := range l.tickets {
		if tk.err != nil && !errors.Is(tk.err, ErrClosed) {
			t.Fatalf("entry %d: %v", i, tk.err)
		}
		if tk.err != nil && !errors.Is(err, ErrClosed) {
			t.Fatalf("close said %v", err)
		}
	}
}

// TestTrimReuses: files go round, the directory stays small, readers of a file
// that is being trimmed are not given the new content.
func TestTrimReuses(t *testing.T) {
	opt := testOptions(vfs.NewMem())
	l := newLedger()
	w, _, _ := openReplay(t, opt)
	var stop atomic.Bool
	var wg sync.WaitGroup
	var at atomic.Pointer[ticket]
	wg.Go(func() {
		var buf []byte
		for !stop.Load() {
			tk := at.Load()
			if tk == nil {
				continue
			}
			e, b, err := w.ReadBuf(tk.pos, buf)
			buf = b
			if err == nil && !bytes.Equal(e.Data, tk.e.Data) || err != nil && !errors.Is(err, ErrTrimmed) {
				t.Errorf("read at %s: %v", tk.pos, err)
				return
			}
		}
	})
	for i := range 400 {
		must(t, l.append(w, shardOf(i), 3000))
		if i%7 == 0 {
			l.wait()
			at.Store(l.tickets[len(l.tickets)-1])
			if i%14 == 0 {
				must(t, l.trim(w, w.Position()))
			}
		}
	}
	l.wait()
	stop.Store(true)
	wg.Wait()
	ls, err := opt.FS.List(testDir)
	must(t, err)
	if len(ls) > 10 {
		t.Fatalf("%d files left", len(ls))
	}
	must(t, w.Close())
	w, got, rec := openReplay(t, opt)
	if bad := l.check(got, rec); len(bad) > 0 {
		t.Fatal(bad)
	}
	must(t, w.Trim(w.Position()))
	must(t, w.Close())
	w, got, rec = openReplay(t, opt)
	if len(got) != 0 || rec.Err() != nil {
		t.Fatalf("%d entries after trimming all: %+v", len(got), rec)
	}
	must(t, w.Close())
}

// TestRestartLoop: starting and dying over and over does not fill the disk.
func TestRestartLoop(t *testing.T) {
	opt := testOptions(vfs.NewMem())
	l := newLedger()
	for range 30 {
		w, got, rec := openReplay(t, opt)
		if bad := l.check(got, rec); len(bad) > 0 {
			t.Fatal(bad)
		}
		l.resume(got)
		must(t, l.append(w, shardOf(1), 500))
		l.wait()
		must(t, w.Close())
	}
	ls, err := opt.FS.List(testDir)
	must(t, err)
	var sum int64
	for _, e := range ls {
		sum += e.Size
	}
	if sum > 30*3*pageLen+4*minFileBytes {
		t.Fatalf("%d bytes on disk for 15000 of data", sum)
	}
}

// dirty counts what a sync of each file has to write.
type dirty struct {
	vfs.FS
	mu      sync.Mutex
	pending map[string]int
}

func (d *dirty) inject(op vfs.Op) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch op.Kind {
	case vfs.OpWrite:
		d.pending[op.Name] += op.Len
	case vfs.OpSync:
		d.pending[op.Name] = 0
	}
	return nil
}

// TestZeroSync: the zeros of a prepared file are synced before the writer gets
// it, or its first group would wait for all of them.
func TestZeroSync(t *testing.T) {
	run := func(drop string) int {
		d := &dirty{pending: map[string]int{}}
		opt := testOptions(nil)
		opt.FS = vfs.Inject(vfs.NewMem(), d.inject)
		opt.dropSync = func(name string) bool { return name == drop }
		w, _, _ := openReplay(t, opt)
		defer w.Close()
		l := newLedger()
		must(t, l.append(w, shardOf(0), 100))
		l.wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		for w.next == nil {
			w.work.Wait()
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.pending[w.next.name]
	}
	if n := run(""); n != 0 {
		t.Errorf("%d bytes wait for the first group", n)
	}
	if n := run("zero"); n == 0 {
		t.Error("the test would not notice a missing sync")
	}
}

// TestFew: one write and one sync a group, and what is queued meanwhile goes
// out together.
func TestFew(t *testing.T) {
	var writes, syncs atomic.Int64
	gate := make(chan struct{})
	cur := fileName(testDir, 1)
	opt := testOptions(vfs.Inject(vfs.NewMem(), func(op vfs.Op) error {
		if op.Name == cur && op.Kind == vfs.OpWrite {
			writes.Add(1)
		}
		if op.Name == cur && op.Kind == vfs.OpSync {
			syncs.Add(1)
			<-gate
		}
		return nil
	}))
	l := newLedger()
	w, _, _ := openReplay(t, opt)
	must(t, l.append(w, shardOf(0), 100))
	for syncs.Load() == 0 {
	}
	for i := range 99 {
		must(t, l.append(w, shardOf(i), 100))
	}
	close(gate)
	l.wait()
	if syncs.Load() != 2 {
		t.Fatalf("%d syncs for 1 + 99 entries", syncs.Load())
	}
	must(t, w.Close())
	s := w.Stats()
	if n := writes.Load() - s.SyncMarks; n != 2 {
		t.Fatalf("%d writes for 1 + 99 entries", n)
	}
	if s.LastGroup != 99 || s.Groups != 2 {
		t.Fatalf("stats %+v", s)
	}
}

// TestAmplification: log bytes per byte of data stay within 1.1 for 1 KiB
// batches even when each is a group of its own.
func TestAmplification(t *testing.T) {
	opt := testOptions(vfs.NewMem())
	opt.FileBytes = 1 << 20
	l := newLedger()
	w, _, _ := openReplay(t, opt)
	defer w.Close()
	for i := range 2000 {
		must(t, l.append(w, shardOf(i), 1085))
		l.wait()
	}
	s := w.Stats()
	if r := float64(s.LogBytes) / float64(s.DataBytes); r > 1.1 || r < 1 {
		t.Fatalf("%d bytes for %d: %.3f", s.LogBytes, s.DataBytes, r)
	}
}

func TestConcurrentAppends(t *testing.T) {
	opt := testOptions(vfs.NewMem())
	opt.FileBytes = 256 << 10
	w, _, _ := openReplay(t, opt)
	var wg sync.WaitGroup
	ledgers := make([]*ledger, 8)
	for g := range ledgers {
		ledgers[g] = newLedger()
		wg.Go(func() {
			for i := range 300 {
				if err := ledgers[g].append(w, shard.ID{Topic: shard.TopicNum(g + 1)}, 50+i); err != nil {
					t.Error(err)
					return
				}
				if i%16 == 0 {
					ledgers[g].wait()
				}
			}
			ledgers[g].wait()
		})
	}
	wg.Wait()
	must(t, w.Close())
	w, got, rec := openReplay(t, opt)
	defer w.Close()
	if rec.Err() != nil || len(got) != 8*300 {
		t.Fatalf("%d entries, %v", len(got), rec)
	}
	for g, l := range ledgers {
		var mine []replayed
		for _, r := range got {
			if r.e.Shard.Topic == shard.TopicNum(g+1) {
				mine = append(mine, r)
			}
		}
		if bad := l.check(mine, rec); len(bad) > 0 {
			t.Fatal(bad)
		}
	}
}

// cutter is a Waiter that takes the cut for a flush while it is being told.
type cutter struct {
	w    *WAL
	t    *testing.T
	left *sync.WaitGroup
}

func (c cutter) WALDone(pos Pos, err error) {
	if cut := c.w.Position(); err != nil || pos.Less(cut) {
		c.t.Errorf("entry %s was not yet reported and lies before the cut %s: %v", pos, cut, err)
	}
	c.left.Done()
}

// TestPositionIsACut: nothing before Position is still to be reported, even
// within a group.
func TestPositionIsACut(t *testing.T) {
	w, _, _ := openReplay(t, testOptions(vfs.NewMem()))
	defer w.Close()
	var left sync.WaitGroup
	for i := range 500 {
		left.Add(1)
		must(t, w.Append(Entry{Shard: shardOf(i), Data: batch(shardOf(i), 1, 100+i)}, cutter{w, t, &left}))
	}
	left.Wait()
}
