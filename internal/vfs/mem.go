package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sort"
	"sync"
	"time"
)

const sector = 512 // what a disk writes whole or not at all

// Mem is an in-memory file system that remembers what has been synced. Make one
// with NewMem; methods may be called concurrently.
type Mem struct {
	mu    sync.Mutex
	dirs  map[string]*memDir
	locks map[string]bool
	now   func() time.Time
}

type memDir struct {
	cur, durable map[string]*memNode // a nil node is a directory
	pending      []dirOp
}

// dirOp is one atomic change of a directory: remove a name, add a name, or both.
type dirOp struct {
	remove, add string
	node        *memNode
}

func (op dirOp) apply(m map[string]*memNode) {
	if op.remove != "" {
		delete(m, op.remove)
	}
	if op.add != "" {
		m[op.add] = op.node
	}
}

type memNode struct {
	cur, durable []byte
	pending      []fileOp
	mod          time.Time
}

// fileOp is a write (data at off) or, with data nil, a truncation to off.
type fileOp struct {
	off  int64
	data []byte
}

func resize(b []byte, size int64) []byte {
	if int64(len(b)) >= size {
		return b[:size]
	}
	n := int64(len(b))
	b = slices.Grow(b, int(size-n))[:size]
	clear(b[n:])
	return b
}

func (op fileOp) apply(b []byte) []byte {
	if op.data == nil {
		return resize(b, op.off)
	}
	if end := op.off + int64(len(op.data)); end > int64(len(b)) {
		b = resize(b, end)
	}
	copy(b[op.off:], op.data)
	return b
}

// applyTorn applies the sectors of the write that the coin chooses.
func (op fileOp) applyTorn(b []byte, rng *rand.Rand) []byte {
	for lo := op.off; lo < op.off+int64(len(op.data)); {
		hi := min((lo/sector+1)*sector, op.off+int64(len(op.data)))
		if rng.IntN(2) == 0 {
			b = fileOp{off: lo, data: op.data[lo-op.off : hi-op.off]}.apply(b)
		}
		lo = hi
	}
	return b
}

// NewMem returns an empty file system holding the root directories "/" and ".".
func NewMem() *Mem {
	m := &Mem{dirs: map[string]*memDir{}, locks: map[string]bool{}, now: time.Now}
	m.dirs["/"], m.dirs["."] = newMemDir(), newMemDir()
	return m
}

var (
	_ FS     = (*Mem)(nil)
	_ Linker = (*Mem)(nil)
	_ Locker = (*Mem)(nil)
)

func newMemDir() *memDir {
	return &memDir{cur: map[string]*memNode{}, durable: map[string]*memNode{}}
}

func (d *memDir) do(op dirOp) {
	op.apply(d.cur)
	d.pending = append(d.pending, op)
}

func pathErr(op, name string, err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }

// look finds the directory of name and, where it exists, the file.
func (m *Mem) look(op, name string) (d *memDir, base string, n *memNode, err error) {
	name = filepath.Clean(name)
	if m.dirs[name] != nil {
		return nil, "", nil, pathErr(op, name, fmt.Errorf("is a directory"))
	}
	d = m.dirs[filepath.Dir(name)]
	if d == nil {
		return nil, "", nil, pathErr(op, name, fs.ErrNotExist)
	}
	base = filepath.Base(name)
	return d, base, d.cur[base], nil
}

// Open implements FS.
func (m *Mem) Open(name string, flag int) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, base, n, err := m.look("open", name)
	if err != nil {
		return nil, err
	}
	switch {
	case n == nil && flag&Create == 0:
		return nil, pathErr("open", name, fs.ErrNotExist)
	case n != nil && flag&Create != 0 && flag&Exclusive != 0:
		return nil, pathErr("open", name, fs.ErrExist)
	case n == nil:
		n = &memNode{mod: m.now()}
		d.do(dirOp{add: base, node: n})
	}
	return &memFile{m: m, n: n, name: name, write: flag&ReadWrite != 0}, nil
}

// Rename implements FS.
func (m *Mem) Rename(oldname, newname string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	od, ob, n, err := m.look("rename", oldname)
	if err != nil {
		return err
	}
	nd, nb, _, err := m.look("rename", newname)
	if err != nil {
		return err
	}
	if n == nil {
		return pathErr("rename", oldname, fs.ErrNotExist)
	}
	if od == nd {
		if ob != nb {
			od.do(dirOp{remove: ob, add: nb, node: n})
		}
		return nil
	}
	nd.do(dirOp{add: nb, node: n})
	od.do(dirOp{remove: ob})
	return nil
}

// Link implements Linker.
func (m *Mem) Link(oldname, newname string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, _, n, err := m.look("link", oldname)
	if err != nil {
		return err
	}
	d, base, old, err := m.look("link", newname)
	switch {
	case err != nil:
		return err
	case n == nil:
		return pathErr("link", oldname, fs.ErrNotExist)
	case old != nil:
		return pathErr("link", newname, fs.ErrExist)
	}
	d.do(dirOp{add: base, node: n})
	return nil
}

// Remove implements FS. Removing a directory is durable at once.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = filepath.Clean(name)
	if d := m.dirs[name]; d != nil {
		if len(d.cur) > 0 {
			return pathErr("remove", name, fmt.Errorf("directory not empty"))
		}
		delete(m.dirs, name)
		if p := m.dirs[filepath.Dir(name)]; p != nil {
			delete(p.cur, filepath.Base(name))
			delete(p.durable, filepath.Base(name))
		}
		return nil
	}
	d, base, n, err := m.look("remove", name)
	if err != nil {
		return err
	}
	if n == nil {
		return pathErr("remove", name, fs.ErrNotExist)
	}
	d.do(dirOp{remove: base})
	return nil
}

// List implements FS.
func (m *Mem) List(dir string) ([]Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.dirs[filepath.Clean(dir)]
	if d == nil {
		return nil, pathErr("list", dir, fs.ErrNotExist)
	}
	out := make([]Info, 0, len(d.cur))
	for name, n := range d.cur {
		if n == nil {
			out = append(out, Info{Name: name, Dir: true})
			continue
		}
		out = append(out, Info{Name: name, Size: int64(len(n.cur)), ModTime: n.mod})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for p := filepath.Clean(dir); m.dirs[p] == nil; p = filepath.Dir(p) {
		if parent := m.dirs[filepath.Dir(p)]; parent != nil && parent.cur[filepath.Base(p)] != nil {
			return pathErr("mkdir", p, fs.ErrExist)
		}
		m.dirs[p] = newMemDir()
	}
	for p := filepath.Clean(dir); p != filepath.Dir(p); p = filepath.Dir(p) {
		d := m.dirs[filepath.Dir(p)]
		d.cur[filepath.Base(p)], d.durable[filepath.Base(p)] = nil, nil
	}
	return nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.dirs[filepath.Clean(dir)]
	if d == nil {
		return pathErr("syncdir", dir, fs.ErrNotExist)
	}
	for _, op := range d.pending {
		op.apply(d.durable)
	}
	d.pending = nil
	return nil
}

// Lock implements Locker. Locks are not carried over by the clones.
func (m *Mem) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = filepath.Clean(name)
	if m.locks[name] {
		return nil, fmt.Errorf("lock %s: %w", name, ErrLocked)
	}
	m.locks[name] = true
	return memLock{m, name}, nil
}

type memLock struct {
	m    *Mem
	name string
}

func (l memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	delete(l.m.locks, l.name)
	return nil
}

// CrashClone returns the disk as it could look after a power cut at this
// moment, rng choosing among the possibilities: everything synced is there;
// each write since is there wholly, in some of its sectors, or not at all; the
// directory changes since are there up to some point, or in any subset.
// The clone's content counts as synced. Equal seeds give equal clones.
func (m *Mem) CrashClone(rng *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := NewMem()
	nodes := map[*memNode]*memNode{}
	for _, name := range slices.Sorted(maps.Keys(m.dirs)) {
		d := m.dirs[name]
		ents := maps.Clone(d.durable)
		prefix, cut := rng.IntN(2) == 0, rng.IntN(len(d.pending)+1)
		for i, op := range d.pending {
			if prefix && i < cut || !prefix && rng.IntN(2) == 0 {
				op.apply(ents)
			}
		}
		nd := newMemDir()
		for _, base := range slices.Sorted(maps.Keys(ents)) {
			n := ents[base]
			if n != nil && nodes[n] == nil {
				nodes[n] = n.crash(rng)
			}
			nd.cur[base], nd.durable[base] = nodes[n], nodes[n]
		}
		out.dirs[name] = nd
	}
	return out
}

func (n *memNode) crash(rng *rand.Rand) *memNode {
	b := slices.Clone(n.durable)
	for _, op := range n.pending {
		switch rng.IntN(3) {
		case 0: // lost
		case 1:
			b = op.apply(b)
		case 2:
			if op.data == nil {
				b = op.apply(b)
			} else {
				b = op.applyTorn(b, rng)
			}
		}
	}
	return &memNode{cur: b, durable: slices.Clone(b), mod: n.mod}
}

// KillClone returns the disk as it looks after the process was killed and
// started again: every write is there, and what was not synced still is not.
func (m *Mem) KillClone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := NewMem()
	nodes := map[*memNode]*memNode{nil: nil}
	clone := func(n *memNode) *memNode {
		c, ok := nodes[n]
		if !ok {
			c = &memNode{cur: slices.Clone(n.cur), durable: slices.Clone(n.durable), pending: slices.Clone(n.pending), mod: n.mod}
			nodes[n] = c
		}
		return c
	}
	for name, d := range m.dirs {
		nd := newMemDir()
		for base, n := range d.cur {
			nd.cur[base] = clone(n)
		}
		for base, n := range d.durable {
			nd.durable[base] = clone(n)
		}
		for _, op := range d.pending {
			op.node = clone(op.node)
			nd.pending = append(nd.pending, op)
		}
		out.dirs[name] = nd
	}
	return out
}

type memFile struct {
	m      *Mem
	n      *memNode
	name   string
	write  bool
	closed bool
}

var _ Preallocator = (*memFile)(nil)

func (f *memFile) check(op string) error {
	if f.closed {
		return pathErr(op, f.name, fs.ErrClosed)
	}
	return nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("read"); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathErr("read", f.name, fs.ErrInvalid)
	}
	if off >= int64(len(f.n.cur)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.cur[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("write"); err != nil {
		return 0, err
	}
	if !f.write {
		return 0, pathErr("write", f.name, fs.ErrPermission)
	}
	if off < 0 {
		return 0, pathErr("write", f.name, fs.ErrInvalid)
	}
	if len(p) > 0 {
		f.do(fileOp{off: off, data: slices.Clone(p)})
	}
	return len(p), nil
}

func (f *memFile) do(op fileOp) {
	f.n.cur = op.apply(f.n.cur)
	f.n.pending = append(f.n.pending, op)
	f.n.mod = f.m.now()
}

func (f *memFile) Truncate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("truncate"); err != nil {
		return err
	}
	if !f.write || size < 0 {
		return pathErr("truncate", f.name, fs.ErrInvalid)
	}
	f.do(fileOp{off: size})
	return nil
}

func (f *memFile) Preallocate(size int64) error {
	n, err := f.Size()
	if err != nil || n >= size {
		return err
	}
	return f.Truncate(size)
}

func (f *memFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("sync"); err != nil {
		return err
	}
	for _, op := range f.n.pending {
		f.n.durable = op.apply(f.n.durable)
	}
	f.n.pending = nil
	return nil
}

func (f *memFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("stat"); err != nil {
		return 0, err
	}
	return int64(len(f.n.cur)), nil
}

func (f *memFile) Close() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("close"); err != nil {
		return err
	}
	f.closed = true
	return nil
}
