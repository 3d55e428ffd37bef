package dir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/robustmq/robustmq-go/internal/vfs"
	"github.com/robustmq/robustmq-go/tier/store"
)

// script is what the crash tests do: puts, a second put of a key, deletes, in
// folders old and new.
var script = []struct {
	op   string
	keys []string
}{
	{"put", []string{"a/1"}},
	{"put", []string{"a/2"}},
	{"put", []string{"a/1"}}, // ErrExists: as durable as one's own
	{"put", []string{"b/c/3"}},
	{"delete", []string{"a/1"}},
	{"put", []string{"top"}},
	{"delete", []string{"a/2", "b/c/3", "b/none"}},
	{"put", []string{"a/1"}},
	{"put", []string{"b/c/4"}},
	{"put", []string{"large"}}, // in pieces, past the page cache
}

func content(key string) []byte {
	if key == "large" {
		return bytes.Repeat([]byte(key+"."), chunk/5)
	}
	return bytes.Repeat([]byte(key+"."), 700)
}

// model is what the script was told: what must be there, what may be, and what
// must not.
type model struct {
	must, may map[string]bool
}

// lying makes the syncs that skip chooses do nothing and say nothing.
type lying struct {
	vfs.FS
	skip func(vfs.OpKind, string) bool
}

func (l lying) Link(o, n string) error { return vfs.Link(l.FS, o, n) }

func (l lying) SyncDir(name string) error {
	if l.skip(vfs.OpSyncDir, name) {
		return nil
	}
	return l.FS.SyncDir(name)
}

func (l lying) Open(name string, flag int) (vfs.File, error) {
	f, err := l.FS.Open(name, flag)
	if err != nil {
		return nil, err
	}
	return lyingFile{f, l, name}, nil
}

type lyingFile struct {
	vfs.File
	l    lying
	name string
}

func (f lyingFile) Sync() error {
	if f.l.skip(vfs.OpSync, f.name) {
		return nil
	}
	return f.File.Sync()
}

// crashes runs the script on a disk that is cloned, as a power cut would leave
// it, before each operation and at the end; it opens each clone and returns the
// violations, and the number of clones.
func crashes(t *testing.T, skip func(vfs.OpKind, string) bool) (bad []string, clones int) {
	t.Helper()
	disk := vfs.NewMem()
	m := model{map[string]bool{}, map[string]bool{}}
	rng := rand.New(rand.NewPCG(7, 7))
	look := func(when string) {
		for range 6 {
			clones++
			bad = append(bad, check(disk.CrashClone(rng), m, when)...)
		}
	}
	fsys := vfs.Inject(disk, func(op vfs.Op) error {
		look(op.String())
		return nil
	})
	s, err := Open("/d/objects", Options{FS: lying{fsys, skip}})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	for _, step := range script {
		for _, k := range step.keys {
			if step.op == "delete" {
				delete(m.must, k)
			}
			m.may[k] = true
		}
		if step.op == "put" {
			key := step.keys[0]
			put := s.Put
			if key == "large" {
				put = func(ctx context.Context, key string, data []byte) error {
					return s.PutFrom(ctx, key, bytes.NewReader(data), int64(len(data)), crc32.Checksum(data, castagnoli))
				}
			}
			if err := put(ctx, key, content(key)); err != nil && !errors.Is(err, store.ErrExists) {
				t.Fatal(err)
			}
			m.must[key] = true
			continue
		}
		if err := s.Delete(ctx, step.keys...); err != nil {
			t.Fatal(err)
		}
		for _, k := range step.keys {
			delete(m.may, k)
		}
	}
	look("end")
	return bad, clones
}

// check opens a disk after a crash and compares it with the model.
func check(disk *vfs.Mem, m model, when string) (bad []string) {
	fail := func(format string, args ...any) {
		bad = append(bad, when+": "+fmt.Sprintf(format, args...))
	}
	s, err := Open("/d/objects", Options{FS: disk})
	if err != nil {
		fail("open: %v", err)
		return bad
	}
	ctx := context.Background()
	list, err := s.List(ctx, "", "", 0)
	if err != nil {
		fail("list: %v", err)
	}
	there := map[string]bool{}
	for _, i := range list {
		there[i.Key] = true
		if !m.may[i.Key] {
			fail("%s is there, and was deleted", i.Key)
		}
		got, err := s.Get(ctx, i.Key, 0, -1)
		if err != nil || !bytes.Equal(got, content(i.Key)) {
			fail("%s has %d bytes that are not its own, error %v", i.Key, len(got), err)
		}
	}
	for key := range m.must {
		if !there[key] {
			fail("%s was acknowledged and is gone", key)
		}
	}
	if left, err := disk.List("/d/objects/.tmp"); err != nil || len(left) > 0 {
		fail("%d unfinished objects left after open, error %v", len(left), err)
	}
	return bad
}

func TestCrashAtEachOperation(t *testing.T) {
	bad, clones := crashes(t, func(vfs.OpKind, string) bool { return false })
	if len(bad) > 0 {
		t.Fatalf("%d violations in %d crashes:\n%s", len(bad), clones, strings.Join(bad[:min(5, len(bad))], "\n"))
	}
	if clones < 300 {
		t.Fatalf("%d crashes only", clones)
	}
	t.Logf("%d crashes, no violation", clones)
}

// TestEachSyncIsNeeded leaves out each sync of the store: the crash test above
// has to notice.
func TestEachSyncIsNeeded(t *testing.T) {
	for _, c := range []struct {
		name, want string
		skip       func(vfs.OpKind, string) bool
	}{
		{"file", "not its own", func(k vfs.OpKind, _ string) bool { return k == vfs.OpSync }},
		{"folder after link", "acknowledged and is gone", func(k vfs.OpKind, n string) bool { return k == vfs.OpSyncDir && filepath.Base(n) == "c" }},
		{"folder after delete", "was deleted", func(k vfs.OpKind, n string) bool { return k == vfs.OpSyncDir && filepath.Base(n) == "a" }},
		{"root after link", "top was acknowledged and is gone", func(k vfs.OpKind, n string) bool { return k == vfs.OpSyncDir && filepath.Base(n) == "objects" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad, _ := crashes(t, c.skip)
			if !strings.Contains(strings.Join(bad, "\n"), c.want) {
				t.Fatalf("nobody noticed: %q", bad)
			}
		})
	}
}

// recorder notes the syncs of folders, in order with the links.
type recorder struct {
	mu  sync.Mutex
	log []string
}

func (r *recorder) note(op vfs.Op) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if op.Kind == vfs.OpSyncDir || op.Kind == vfs.OpLink {
		r.log = append(r.log, op.Kind.String()+" "+op.Name)
	}
	return nil
}

// TestFolderSyncs checks the syncs of folders that the memory file system cannot
// lose: of the parents of folders that this process did not make, before the
// first object below them is acknowledged, and of the root's parent at Open.
func TestFolderSyncs(t *testing.T) {
	disk := vfs.NewMem()
	if err := disk.MkdirAll("/d/objects/x/y"); err != nil { // by a process that was killed before it synced
		t.Fatal(err)
	}
	rec := &recorder{}
	s, err := Open("/d/objects", Options{FS: vfs.Inject(disk, rec.note)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if err := s.Put(context.Background(), fmt.Sprintf("x/y/%d", i), nil); err != nil {
			t.Fatal(err)
		}
	}
	got := strings.Join(rec.log, "\n")
	const want = `syncdir /d
syncdir /d/objects
syncdir /d/objects/x
link /d/objects/.tmp/1
syncdir /d/objects/x/y
link /d/objects/.tmp/2
syncdir /d/objects/x/y`
	if got != want {
		t.Fatalf("syncs and links:\n%s\nwant:\n%s", got, want)
	}
}

// TestFailures makes each operation fail once with EIO: the Put says so, what it
// acknowledged stays, and after a folder's sync failed nothing more is taken.
func TestFailures(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		kind   vfs.OpKind
		nth    int64
		err    error // of the first Put
		broken bool
		stored bool // the object may be there although the Put failed
	}{
		{vfs.OpOpen, 1, store.ErrTemporary, false, false},
		{vfs.OpWrite, 1, store.ErrTemporary, false, false},
		{vfs.OpSync, 1, store.ErrTemporary, false, false},
		{vfs.OpClose, 1, store.ErrTemporary, false, false},
		{vfs.OpMkdir, 2, store.ErrTemporary, false, false}, // the first is Open's
		{vfs.OpLink, 1, store.ErrTemporary, false, false},
		{vfs.OpSyncDir, 2, store.ErrBroken, true, false}, // of the parent of a new folder
		{vfs.OpSyncDir, 3, store.ErrBroken, true, true},
	} {
		t.Run(fmt.Sprintf("%s %d", c.kind, c.nth), func(t *testing.T) {
			disk := vfs.NewMem()
			s, err := Open("/d", Options{FS: vfs.Inject(disk, vfs.FailNth(c.kind, c.nth, syscall.EIO))})
			if err != nil {
				t.Fatal(err)
			}
			err = s.Put(ctx, "k/1", []byte("x"))
			if !errors.Is(err, c.err) || !errors.Is(err, syscall.EIO) {
				t.Fatalf("put: %v, want %v", err, c.err)
			}
			if _, err := s.Get(ctx, "k/1", 0, -1); (err == nil) != c.stored {
				t.Fatalf("get: %v", err)
			}
			err = s.Put(ctx, "k/2", []byte("y"))
			if c.broken != errors.Is(err, store.ErrBroken) || !c.broken && err != nil {
				t.Fatalf("next put: %v", err)
			}
			if err := s.Delete(ctx, "k/1"); c.broken != errors.Is(err, store.ErrBroken) {
				t.Fatalf("delete: %v", err)
			}
			if left, _ := disk.List("/d/.tmp"); len(left) != 0 {
				t.Fatalf("%d temporary files left", len(left))
			}
		})
	}
}

// TestDiskFull: a write that ends half way leaves nothing behind.
func TestDiskFull(t *testing.T) {
	disk := vfs.NewMem()
	full := true
	s, err := Open("/d", Options{FS: vfs.Inject(disk, func(op vfs.Op) error {
		if op.Kind == vfs.OpWrite && full {
			return &vfs.ShortWrite{N: op.Len / 2, Err: syscall.ENOSPC}
		}
		return nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if err := s.Put(ctx, "k", make([]byte, 1000)); !errors.Is(err, store.ErrTemporary) || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("put: %v", err)
	}
	if _, err := s.Head(ctx, "k"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("head: %v", err)
	}
	full = false
	if err := s.Put(ctx, "k", make([]byte, 1000)); err != nil {
		t.Fatalf("put with space: %v", err)
	}
}

func TestLockAndReadOnly(t *testing.T) {
	ctx := context.Background()
	root := t.TempDir() + "/objects"
	s, err := Open(root, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(ctx, "k", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(root, Options{}); !errors.Is(err, vfs.ErrLocked) {
		t.Fatalf("second open: %v", err)
	}
	r, err := Open(root, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := r.Get(ctx, "k", 0, -1); err != nil || string(b) != "x" {
		t.Fatalf("read-only get: %q, %v", b, err)
	}
	if err := r.Put(ctx, "k2", nil); !errors.Is(err, store.ErrDenied) {
		t.Fatalf("read-only put: %v", err)
	}
	if err := r.Delete(ctx, "k"); !errors.Is(err, store.ErrDenied) {
		t.Fatalf("read-only delete: %v", err)
	}
	if err := errors.Join(r.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(ctx, "k3", nil); !errors.Is(err, store.ErrBroken) || !errors.Is(err, ErrClosed) {
		t.Fatalf("put after close: %v", err)
	}
	s, err = Open(root, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestKeyThroughObject: an object cannot be a folder, nor a folder an object.
func TestKeyThroughObject(t *testing.T) {
	ctx := context.Background()
	mem, err := Open("/d", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	real, err := Open(t.TempDir()+"/d", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = real.Close() }()
	for name, s := range map[string]*Store{"mem": mem, "os": real} {
		if err := s.Put(ctx, "a/b", []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := s.Put(ctx, "a/b/c", nil); !errors.Is(err, store.ErrKey) {
			t.Errorf("%s: put below an object: %v", name, err)
		}
		if err := s.Put(ctx, "a", nil); !errors.Is(err, store.ErrKey) && !errors.Is(err, store.ErrExists) {
			t.Errorf("%s: put over a folder: %v", name, err)
		}
		if _, err := s.Get(ctx, "a", 0, -1); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: get of a folder: %v", name, err)
		}
		if _, err := s.Get(ctx, "a/b/c", 0, -1); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: get below an object: %v", name, err)
		}
		if err := s.Delete(ctx, "a", "a/b/c"); err != nil {
			t.Errorf("%s: delete: %v", name, err)
		}
		if b, err := s.Get(ctx, "a/b", 0, -1); err != nil || string(b) != "x" {
			t.Errorf("%s: get: %q, %v", name, b, err)
		}
	}
}
