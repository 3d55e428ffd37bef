package vfs

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync/atomic"
	"syscall"
)

// Freer is the optional power of an FS to tell how much room there is.
type Freer interface {
	// Free returns the bytes that may still be written to the disk that dir is on.
	Free(dir string) (int64, error)
}

// Free asks fsys if it can tell, or returns errors.ErrUnsupported.
func Free(fsys FS, dir string) (int64, error) {
	if f, ok := fsys.(Freer); ok {
		return f.Free(dir)
	}
	return 0, errors.ErrUnsupported
}

// smallFile is the size in bytes up to which a file may grow whatever is free: locks
// and marks, without which nothing starts.
const smallFile = 64 << 10

// KeepFree decorates fsys so that it leaves keep bytes of the disk free for others: a
// write or reservation that makes a file longer and would leave less fails with
// syscall.ENOSPC, before anything is written. Concurrent writers may together leave
// less by what they write at that moment. Where fsys cannot tell what is free, or
// keep is 0, nothing is refused. Optional powers are passed on where fsys has them.
func KeepFree(fsys FS, keep int64) FS {
	if _, ok := fsys.(Freer); !ok || keep <= 0 {
		return fsys
	}
	return &keepFS{FS: fsys, keep: keep}
}

type keepFS struct {
	FS
	keep int64
}

var (
	_ Linker       = (*keepFS)(nil)
	_ Locker       = (*keepFS)(nil)
	_ Freer        = (*keepFS)(nil)
	_ Preallocator = (*keepFile)(nil)
	_ SyncWriter   = (*keepFile)(nil)
)

func (k *keepFS) Link(o, n string) error              { return Link(k.FS, o, n) }
func (k *keepFS) Lock(name string) (io.Closer, error) { return Lock(k.FS, name) }
func (k *keepFS) Free(dir string) (int64, error)      { return Free(k.FS, dir) }

func (k *keepFS) Open(name string, flag int) (File, error) {
	f, err := k.FS.Open(name, flag)
	if err != nil || flag&ReadWrite == 0 {
		return f, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	kf := &keepFile{File: f, fs: k, dir: filepath.Dir(name)}
	kf.has.Store(size)
	return kf, nil
}

// keepFile is a file that is written.
type keepFile struct {
	File
	fs  *keepFS
	dir string
	has atomic.Int64 // bytes that it may have without asking
}

// grow asks whether the file may get as long as end.
func (f *keepFile) grow(end int64) error {
	has := f.has.Load()
	if end <= max(has, smallFile) {
		return nil
	}
	free, err := f.fs.Free(f.dir)
	if err == nil && free-(end-has) < f.fs.keep { // what cannot be told is not refused
		return fmt.Errorf("%w: %d MiB are kept free for others and %d MiB are free", syscall.ENOSPC, f.fs.keep>>20, free>>20)
	}
	return nil
}

// grown notes that it did.
func (f *keepFile) grown(end int64) {
	for has := f.has.Load(); end > has && !f.has.CompareAndSwap(has, end); has = f.has.Load() {
	}
}

func (f *keepFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.grow(off + int64(len(p))); err != nil {
		return 0, err
	}
	n, err := f.File.WriteAt(p, off)
	f.grown(off + int64(n))
	return n, err
}

func (f *keepFile) WriteSyncAt(p []byte, off int64) (int, error) {
	if err := f.grow(off + int64(len(p))); err != nil {
		return 0, err
	}
	n, err := WriteSync(f.File, p, off)
	f.grown(off + int64(n))
	return n, err
}

func (f *keepFile) Preallocate(size int64) error {
	if err := f.grow(size); err != nil {
		return err
	}
	err := Preallocate(f.File, size)
	if err == nil {
		f.grown(size)
	}
	return err
}

func (f *keepFile) Truncate(size int64) error {
	err := f.File.Truncate(size)
	if err == nil && size < f.has.Load() {
		f.has.Store(size)
	}
	return err
}
