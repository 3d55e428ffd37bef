package wal

import (
	"math"
	"strings"
	"testing"

	"github.com/robustmq/robustmq-go/internal/vfs"
)

// crashRun runs the script until the power is cut after n operations, and
// checks the disks that may be left. With kill the process dies first (its
// writes stay), is started again for a while, and then the power is cut.
func crashRun(n int64, kill bool, clones int, drop string) (bad []string, ops int64) {
	mem, l := vfs.NewMem(), newLedger()
	inj, seen := crashAfter(n)
	opt := testOptions(vfs.Inject(mem, inj))
	opt.markAtOnce = true
	if drop != "" {
		opt.dropSync = func(name string) bool { return name == drop }
	}
	r := newRand(5)
	err := script(opt, l, 14, r)
	if err == nil {
		_ = script(opt, l, 6, r) // and once more after a clean stop; its error is the fault's
	}
	l.wait()
	if kill {
		mem = mem.KillClone()
		opt.FS = mem
		w, err := Open(opt)
		if err != nil {
			return append(bad, "open after kill: "+err.Error()), 0
		}
		got, rec, err := collect(w)
		if err != nil {
			return append(bad, "replay after kill: "+err.Error()), 0
		}
		if l.trimmed.Less(rec.Start) {
			l.trimmed = rec.Start
		}
		bad = append(bad, l.check(got, rec)...)
		l.resume(got)
		w.mu.Lock()
		for w.next == nil && w.err == nil { // so that a file has been reused
			w.work.Wait()
		}
		w.mu.Unlock()
		defer w.Close()
	}
	for seed := range clones {
		bad = append(bad, l.checkDisk(mem.CrashClone(newRand(uint64(seed))))...)
	}
	return bad, seen()
}

// checkDisk opens a disk twice: as it is, and after more was written to it.
func (l *ledger) checkDisk(disk *vfs.Mem) (bad []string) {
	opt := testOptions(disk)
	opt.markAtOnce = true
	opt.Rand = seeded{newRand(99)}
	w, err := Open(opt)
	if err != nil {
		return []string{"open: " + err.Error()}
	}
	if l.opened && w.ID() != l.id {
		bad = append(bad, "id changed")
	}
	got, rec, err := collect(w)
	if err != nil {
		return append(bad, "replay: "+err.Error())
	}
	if !l.opened {
		rec.MarkLost = false
	}
	bad = append(bad, l.check(got, rec)...)
	l2 := newLedger()
	l2.trimmed, l2.asked = l.trimmed, l.asked
	l2.resume(got)
	for _, t := range l2.tickets {
		if e, err := w.ReadAt(t.pos); err != nil || string(e.Data) != string(t.e.Data) {
			bad = append(bad, "ReadAt "+t.pos.String())
		}
	}
	for i := range 3 {
		if err := l2.append(w, shardOf(i), 100); err != nil {
			bad = append(bad, "append: "+err.Error())
		}
	}
	l2.wait()
	if err := w.Close(); err != nil {
		bad = append(bad, "close: "+err.Error())
	}
	w, err = Open(opt)
	if err != nil {
		return append(bad, "reopen: "+err.Error())
	}
	got, rec, err = collect(w)
	if err != nil {
		return append(bad, "replay again: "+err.Error())
	}
	if rec.TornBytes > 0 {
		bad = append(bad, "torn after a clean stop")
	}
	bad = append(bad, l2.check(got, rec)...)
	if err := w.Close(); err != nil {
		bad = append(bad, "close again: "+err.Error())
	}
	return bad
}

// TestCrashEverywhere cuts the power at every operation of a run with rolls,
// trims, reuse of files and a reopening, with and without a kill before.
func TestCrashEverywhere(t *testing.T) {
	_, ops := crashRun(math.MaxInt64, false, 1, "")
	if ops < 80 {
		t.Fatalf("the script does %d operations only", ops)
	}
	for _, kill := range []bool{false, true} {
		for n := range ops + 1 {
			if bad, _ := crashRun(n, kill, 4, ""); len(bad) > 0 {
				t.Fatalf("kill %v, power cut after operation %d of %d:\n%s", kill, n, ops, strings.Join(bad, "\n"))
			}
		}
	}
}

// TestEachSyncMatters leaves out one sync at a time and expects the same
// checker to notice. ("close" and "zero" have tests of their own.)
func TestEachSyncMatters(t *testing.T) {
	for _, c := range []struct {
		name string
		kill bool
	}{{"group", false}, {"dir", false}, {"mark", false}, {"mark-new", false}, {"mark-dir", false}, {"mark-read", true}, {"replay", true}} {
		t.Run(c.name, func(t *testing.T) {
			_, ops := crashRun(math.MaxInt64, false, 1, "")
			for n := range ops + 1 {
				if bad, _ := crashRun(n, c.kill, 4, c.name); len(bad) > 0 {
					t.Logf("after operation %d: %s", n, bad[0])
					return
				}
			}
			t.Errorf("nothing was lost without the sync %q", c.name)
		})
	}
}
