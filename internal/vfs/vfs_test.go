package vfs_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/robustmq/robustmq-go/internal/vfs"
)

func rng(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, fsys vfs.FS, name string, data []byte) vfs.File {
	t.Helper()
	f, err := fsys.Open(name, vfs.ReadWrite|vfs.Create)
	must(t, err)
	_, err = f.WriteAt(data, 0)
	must(t, err)
	return f
}

func content(t *testing.T, fsys vfs.FS, name string) ([]byte, bool) {
	t.Helper()
	f, err := fsys.Open(name, vfs.ReadOnly)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false
	}
	must(t, err)
	defer f.Close()
	n, err := f.Size()
	must(t, err)
	b := make([]byte, n)
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return b, true
}

func names(t *testing.T, fsys vfs.FS, dir string) (out []string) {
	t.Helper()
	ls, err := fsys.List(dir)
	must(t, err)
	for _, e := range ls {
		out = append(out, e.Name)
	}
	return out
}

// TestConformance runs the same steps over the disk, the memory and the decorator.
func TestConformance(t *testing.T) {
	for name, fsys := range map[string]vfs.FS{
		"os": vfs.OS{}, "mem": vfs.NewMem(),
		"inject": vfs.Inject(vfs.NewMem(), func(vfs.Op) error { return nil }),
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a", "b")
			must(t, fsys.MkdirAll(dir))
			must(t, fsys.MkdirAll(dir))
			p := func(s string) string { return filepath.Join(dir, s) }
			if _, err := fsys.Open(p("x"), vfs.ReadWrite); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("open of nothing: %v", err)
			}
			f := create(t, fsys, p("x"), []byte("hello"))
			if _, err := fsys.Open(p("x"), vfs.ReadWrite|vfs.Create|vfs.Exclusive); !errors.Is(err, fs.ErrExist) {
				t.Fatalf("exclusive: %v", err)
			}
			must(t, vfs.Preallocate(f, 4096))
			if n, err := f.Size(); err != nil || n != 4096 {
				t.Fatalf("size %d, %v", n, err)
			}
			must(t, f.Truncate(7))
			must(t, f.Sync())
			must(t, fsys.SyncDir(dir))
			b := make([]byte, 10)
			if n, err := f.ReadAt(b, 3); n != 4 || err != io.EOF || !bytes.Equal(b[:4], []byte{'l', 'o', 0, 0}) {
				t.Fatalf("read %d %q %v", n, b[:n], err)
			}
			must(t, vfs.Link(fsys, p("x"), p("y")))
			if err := vfs.Link(fsys, p("x"), p("y")); !errors.Is(err, fs.ErrExist) {
				t.Fatalf("link twice: %v", err)
			}
			must(t, fsys.Rename(p("x"), p("z")))
			if got := names(t, fsys, dir); !slices.Equal(got, []string{"y", "z"}) {
				t.Fatalf("names %v", got)
			}
			if _, err := f.WriteAt([]byte("J"), 0); err != nil { // the handle follows the bytes
				t.Fatal(err)
			}
			if b, _ := content(t, fsys, p("y")); string(b) != "Jello\x00\x00" {
				t.Fatalf("content %q", b)
			}
			must(t, fsys.Remove(p("y")))
			if err := fsys.Remove(p("y")); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("remove twice: %v", err)
			}
			must(t, f.Close())
			l, err := vfs.Lock(fsys, p("lock"))
			must(t, err)
			if _, err := vfs.Lock(fsys, p("lock")); !errors.Is(err, vfs.ErrLocked) {
				t.Fatalf("second lock: %v", err)
			}
			must(t, l.Close())
			l, err = vfs.Lock(fsys, p("lock"))
			must(t, err)
			must(t, l.Close())
			if ls, err := fsys.List(filepath.Dir(dir)); err != nil || len(ls) != 1 || !ls[0].Dir {
				t.Fatalf("parent %v %v", ls, err)
			}
		})
	}
}

// TestCrashKeepsWhatWasSynced: over many seeds synced bytes and names are always
// there, unsynced ones are seen present, absent and torn.
func TestCrashKeepsWhatWasSynced(t *testing.T) {
	m := vfs.NewMem()
	must(t, m.MkdirAll("/d"))
	f := create(t, m, "/d/a", bytes.Repeat([]byte{1}, 2048))
	must(t, f.Sync())
	must(t, m.SyncDir("/d"))
	_, err := f.WriteAt(bytes.Repeat([]byte{2}, 1536), 100)
	must(t, err)
	create(t, m, "/d/b", []byte("b"))
	must(t, m.Rename("/d/b", "/d/c"))

	seen := map[string]int{}
	for seed := range uint64(300) {
		c := m.CrashClone(rng(seed))
		b, ok := content(t, c, "/d/a")
		if !ok || len(b) != 2048 || !bytes.Equal(b[:100], bytes.Repeat([]byte{1}, 100)) || b[2047] != 1 {
			t.Fatalf("seed %d: synced bytes changed", seed)
		}
		switch n := bytes.Count(b, []byte{2}); n {
		case 0:
			seen["lost"]++
		case 1536:
			seen["whole"]++
		default:
			seen["torn"]++
		}
		for _, n := range []string{"/d/b", "/d/c"} {
			if _, ok := content(t, c, n); ok {
				seen[n]++
			}
		}
	}
	for _, k := range []string{"lost", "whole", "torn", "/d/b", "/d/c"} {
		if seen[k] == 0 {
			t.Errorf("%s never seen: %v", k, seen)
		}
	}
	k := m.KillClone()
	if b, ok := content(t, k, "/d/c"); !ok || string(b) != "b" {
		t.Fatalf("kill lost a write: %q", b)
	}
	lost := false
	for seed := range uint64(50) {
		_, ok := content(t, k.CrashClone(rng(seed)), "/d/c")
		lost = lost || !ok
	}
	if !lost {
		t.Fatal("a kill made an unsynced name durable")
	}
}

func TestCrashCloneIsDeterministic(t *testing.T) {
	m := vfs.NewMem()
	must(t, m.MkdirAll("/d"))
	for _, n := range []string{"/d/a", "/d/b", "/d/c"} {
		create(t, m, n, bytes.Repeat([]byte(n), 2000))
	}
	for seed := range uint64(20) {
		x, y := m.CrashClone(rng(seed)), m.CrashClone(rng(seed))
		for _, n := range []string{"/d/a", "/d/b", "/d/c"} {
			a, aok := content(t, x, n)
			b, bok := content(t, y, n)
			if aok != bok || !bytes.Equal(a, b) {
				t.Fatalf("seed %d: %s differs", seed, n)
			}
		}
	}
}

func TestInject(t *testing.T) {
	m := vfs.NewMem()
	f := create(t, vfs.Inject(m, vfs.FailNth(vfs.OpSync, 2, syscall.EIO)), "x", nil)
	must(t, f.Sync())
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("second sync: %v", err)
	}
	must(t, f.Sync())
	f = create(t, vfs.Inject(m, vfs.FailNth(vfs.OpWrite, 2, &vfs.ShortWrite{N: 3, Err: syscall.ENOSPC})), "y", nil)
	n, err := f.WriteAt([]byte("hello"), 0)
	if n != 3 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("short write %d %v", n, err)
	}
	if b, _ := content(t, m, "y"); string(b) != "hel" {
		t.Fatalf("content %q", b)
	}
}

// TestDirect: a file opened with Direct holds the same bytes, whichever writes
// went past the page cache.
func TestDirect(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	f, err := vfs.OS{}.Open(name, vfs.ReadWrite|vfs.Create|vfs.Direct)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := make([]byte, 10*vfs.DirectAlign)
	page := vfs.Aligned(2 * vfs.DirectAlign)
	r := rng(2)
	for i := range 200 {
		for j := range page {
			page[j] = byte(r.Uint32())
		}
		off, p := int64(r.IntN(9))*vfs.DirectAlign, page[:vfs.DirectAlign*(1+r.IntN(2))]
		if i%3 == 2 { // neither aligned nor whole
			off, p = int64(r.IntN(8*vfs.DirectAlign)), page[1:1+r.IntN(vfs.DirectAlign)]
		}
		write := f.WriteAt
		if i%4 == 1 {
			write = func(p []byte, off int64) (int, error) { return vfs.WriteSync(f, p, off) }
		}
		n, err := write(p, off)
		if err != nil || n != len(p) {
			t.Fatalf("write %d bytes at %d: %d, %v", len(p), off, n, err)
		}
		if end := off + int64(len(p)); end > int64(len(want)) {
			t.Fatalf("internal error: %d", end)
		}
		copy(want[off:], p)
		if i%5 == 0 {
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		got := make([]byte, len(want))
		if n, err := f.ReadAt(got, 0); err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(got[:n], want[:n]) {
			t.Fatalf("after write %d: %d bytes differ, %v", i, n, err)
		}
	}
}
