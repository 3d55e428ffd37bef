package wal

import (
	"encoding/hex"
	"errors"
	"math"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/robustmq/robustmq-go/internal/vfs"
)

func sampleJoined() Joined {
	return Joined{Cluster: "01HZZZZZZZZZZZZZZZZZZZZZZZ", Mark: [16]byte([]byte("0123456789abcdef")), Before: [16]byte([]byte("ABCDEFGHIJKLMNOP")), Revision: 1 << 40}
}

// TestJoinedFormat: what was written is read, as in the golden file, and nothing else is.
func TestJoinedFormat(t *testing.T) {
	j := sampleJoined()
	b, err := j.encode()
	if err != nil {
		t.Fatal(err)
	}
	golden, err := os.ReadFile("testdata/v1/joined.hex")
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(string(golden)) != hex.EncodeToString(b) {
		t.Errorf("the format has changed: wrote\n%x, golden\n%s", b, golden)
	}
	if got, err := decodeJoined(b); err != nil || got != j {
		t.Fatalf("read %+v: %v", got, err)
	}
	for n := range b {
		if _, err := decodeJoined(b[:n]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("the first %d bytes: %v", n, err)
		}
		hurt := append([]byte(nil), b...)
		hurt[n] ^= 1
		if _, err := decodeJoined(hurt); err == nil {
			t.Fatalf("byte %d is damaged and was taken", n)
		}
	}
	if _, err := decodeJoined(append(b, 0)); err == nil {
		t.Fatal("a byte too many was taken")
	}
	next := append([]byte(nil), b...)
	next[8] = 2
	if _, err := decodeJoined(next); !errors.Is(err, ErrVersion) {
		t.Fatalf("the next version: %v", err)
	}
	for _, bad := range []Joined{{Cluster: strings.Repeat("x", maxClusterName+1)}, {Revision: -1}} {
		if _, err := bad.encode(); err == nil {
			t.Fatalf("%+v was written", bad)
		}
	}
	for _, good := range []Joined{{}, {Cluster: strings.Repeat("x", maxClusterName), Revision: math.MaxInt64}} {
		b, err := good.encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeJoined(b); err != nil || got != good {
			t.Fatalf("read %+v: %v", got, err)
		}
	}
}

// TestJoinedSurvives: after each operation of the disk at which the power goes,
// there is the old note or the new one.
func TestJoinedSurvives(t *testing.T) {
	errCut := errors.New("power cut")
	for cut := 1; ; cut++ {
		disk := vfs.NewMem()
		opt := testOptions(disk)
		var armed atomic.Bool
		var n atomic.Int64
		opt.FS = vfs.Inject(disk, func(op vfs.Op) error { // the log prepares its files meanwhile
			if armed.Load() && (strings.Contains(op.Name, "joined") || op.Name == opt.Dir) && n.Add(1) >= int64(cut) {
				return errCut
			}
			return nil
		})
		w, _, _ := openReplay(t, opt)
		old := sampleJoined()
		if err := w.SetJoined(old); err != nil {
			t.Fatal(err)
		}
		next := old
		next.Before, next.Revision = old.Mark, old.Revision+1
		armed.Store(true)
		err := w.SetJoined(next)
		got, ok, rerr := ReadJoined(Source{Dir: opt.Dir, FS: disk.CrashClone(newRand(uint64(cut)))})
		if rerr != nil || !ok || got != old && got != next || err == nil && got != next {
			t.Fatalf("cut at %d (%v): %+v, %v, %v", cut, err, got, ok, rerr)
		}
		armed.Store(false)
		_ = w.Close()
		if err == nil {
			return
		}
	}
}

// TestIdentify: the id is told by the mark and, without it, by the files.
func TestIdentify(t *testing.T) {
	disk := vfs.NewMem()
	opt := testOptions(disk)
	if _, ok, err := Identify(Source{Dir: opt.Dir, FS: disk}); ok {
		t.Fatalf("there is no log, and it has an id: %v", err)
	}
	w, _, _ := openReplay(t, opt)
	l := newLedger()
	if err := l.append(w, shardOf(0), 100); err != nil {
		t.Fatal(err)
	}
	l.wait()
	id := w.ID()
	if _, err := Hold(disk, opt.Dir); !errors.Is(err, vfs.ErrLocked) {
		t.Fatalf("held beside its owner: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, ok, err := Identify(Source{Dir: opt.Dir, FS: disk}); err != nil || !ok || got != id {
			t.Fatalf("id %x %v: %v", got, ok, err)
		}
		_ = disk.Remove(markName(opt.Dir))
	}
}
