package vfs

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

// OpKind names an operation that Inject can make fail.
type OpKind uint8

// The operations.
const (
	OpOpen OpKind = iota + 1
	OpRead
	OpWrite
	OpSync
	OpTruncate
	OpPreallocate
	OpClose
	OpRename
	OpRemove
	OpLink
	OpList
	OpMkdir
	OpSyncDir
)

var opNames = [...]string{"none", "open", "read", "write", "sync", "truncate", "preallocate",
	"close", "rename", "remove", "link", "list", "mkdir", "syncdir"}

// String gives the operation's name: "write".
func (k OpKind) String() string {
	if int(k) < len(opNames) {
		return opNames[k]
	}
	return "unknown"
}

// Op is one operation about to happen.
type Op struct {
	Kind OpKind
	Name string // the file as it was opened, the directory, or the old name
	Off  int64  // OpRead, OpWrite; the size for OpTruncate and OpPreallocate
	Len  int    // OpRead, OpWrite
	N    int64  // rises by one with every operation on this FS, from 1
}

// String gives the form used in test output.
func (o Op) String() string {
	return fmt.Sprintf("#%d %s %s off %d len %d", o.N, o.Kind, o.Name, o.Off, o.Len)
}

// ShortWrite, returned by an Injector for an OpWrite, lets the first N bytes
// through and then fails with Err.
type ShortWrite struct {
	N   int
	Err error
}

// Error implements error.
func (s *ShortWrite) Error() string { return fmt.Sprintf("short write of %d bytes: %v", s.N, s.Err) }

// Unwrap returns the cause.
func (s *ShortWrite) Unwrap() error { return s.Err }

// Injector is asked before every operation. An error is returned in place of
// the operation, which is then not performed (except for ShortWrite). It is
// called concurrently if the file system is.
type Injector func(Op) error

// FailNth returns an Injector that fails the nth (from 1) operation of a kind
// with err, once.
func FailNth(kind OpKind, n int64, err error) Injector {
	var seen atomic.Int64
	return func(op Op) error {
		if op.Kind == kind && seen.Add(1) == n {
			return err
		}
		return nil
	}
}

// Inject decorates fsys. Optional powers are passed on where fsys has them.
func Inject(fsys FS, fn Injector) FS { return &injectFS{fs: fsys, fn: fn} }

type injectFS struct {
	fs FS
	fn Injector
	n  atomic.Int64
}

var (
	_ Linker       = (*injectFS)(nil)
	_ Locker       = (*injectFS)(nil)
	_ Preallocator = (*injectFile)(nil)
)

func (i *injectFS) ask(op Op) error {
	op.N = i.n.Add(1)
	return i.fn(op)
}

func (i *injectFS) Open(name string, flag int) (File, error) {
	if err := i.ask(Op{Kind: OpOpen, Name: name}); err != nil {
		return nil, err
	}
	f, err := i.fs.Open(name, flag)
	if err != nil {
		return nil, err
	}
	return &injectFile{f: f, i: i, name: name}, nil
}

func (i *injectFS) Rename(o, n string) error {
	if err := i.ask(Op{Kind: OpRename, Name: o}); err != nil {
		return err
	}
	return i.fs.Rename(o, n)
}

func (i *injectFS) Link(o, n string) error {
	if err := i.ask(Op{Kind: OpLink, Name: o}); err != nil {
		return err
	}
	return Link(i.fs, o, n)
}

func (i *injectFS) Remove(name string) error {
	if err := i.ask(Op{Kind: OpRemove, Name: name}); err != nil {
		return err
	}
	return i.fs.Remove(name)
}

func (i *injectFS) List(dir string) ([]Info, error) {
	if err := i.ask(Op{Kind: OpList, Name: dir}); err != nil {
		return nil, err
	}
	return i.fs.List(dir)
}

func (i *injectFS) MkdirAll(dir string) error {
	if err := i.ask(Op{Kind: OpMkdir, Name: dir}); err != nil {
		return err
	}
	return i.fs.MkdirAll(dir)
}

func (i *injectFS) SyncDir(dir string) error {
	if err := i.ask(Op{Kind: OpSyncDir, Name: dir}); err != nil {
		return err
	}
	return i.fs.SyncDir(dir)
}

func (i *injectFS) Lock(name string) (io.Closer, error) { return Lock(i.fs, name) }

type injectFile struct {
	f    File
	i    *injectFS
	name string
}

func (f *injectFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.i.ask(Op{Kind: OpRead, Name: f.name, Off: off, Len: len(p)}); err != nil {
		return 0, err
	}
	return f.f.ReadAt(p, off)
}

func (f *injectFile) WriteAt(p []byte, off int64) (int, error) {
	err := f.i.ask(Op{Kind: OpWrite, Name: f.name, Off: off, Len: len(p)})
	var short *ShortWrite
	if errors.As(err, &short) {
		n, werr := f.f.WriteAt(p[:min(max(short.N, 0), len(p))], off)
		return n, errors.Join(werr, err)
	}
	if err != nil {
		return 0, err
	}
	return f.f.WriteAt(p, off)
}

func (f *injectFile) Sync() error {
	if err := f.i.ask(Op{Kind: OpSync, Name: f.name}); err != nil {
		return err
	}
	return f.f.Sync()
}

func (f *injectFile) Truncate(size int64) error {
	if err := f.i.ask(Op{Kind: OpTruncate, Name: f.name, Off: size}); err != nil {
		return err
	}
	return f.f.Truncate(size)
}

func (f *injectFile) Preallocate(size int64) error {
	if err := f.i.ask(Op{Kind: OpPreallocate, Name: f.name, Off: size}); err != nil {
		return err
	}
	return Preallocate(f.f, size)
}

func (f *injectFile) Size() (int64, error) { return f.f.Size() }

// Close always closes, whatever is injected, so that tests leak nothing.
func (f *injectFile) Close() error {
	return errors.Join(f.i.ask(Op{Kind: OpClose, Name: f.name}), f.f.Close())
}
