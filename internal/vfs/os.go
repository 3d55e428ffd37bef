package vfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
)

const (
	filePerm = 0o640
	dirPerm  = 0o750
)

// OS is the real file system.
type OS struct{}

var (
	_ FS     = OS{}
	_ Linker = OS{}
	_ Locker = OS{}
	_ Freer  = OS{}
)

// Open implements FS.
func (OS) Open(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag&^Direct, filePerm)
	if err != nil {
		return nil, err
	}
	o := &osFile{f: f}
	if flag&Direct != 0 {
		o.direct.Store(openDirect(name))
	}
	return o, nil
}

// Rename implements FS.
func (OS) Rename(oldname, newname string) error { return os.Rename(oldname, newname) }

// Remove implements FS.
func (OS) Remove(name string) error { return os.Remove(name) }

// Link implements Linker.
func (OS) Link(oldname, newname string) error { return os.Link(oldname, newname) }

// Free implements Freer: what is free for others than root.
func (OS) Free(dir string) (int64, error) { return free(dir) }

// List implements FS. Entries that vanish while it runs are left out.
func (OS) List(dir string) ([]Info, error) {
	ents, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	out := make([]Info, 0, len(ents))
	for _, e := range ents {
		fi, err := e.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		in := Info{Name: e.Name(), Dir: e.IsDir(), ModTime: fi.ModTime()}
		if !in.Dir {
			in.Size = fi.Size()
		}
		out = append(out, in)
	}
	return out, nil
}

// MkdirAll implements FS: each directory it makes is synced into its parent.
func (o OS) MkdirAll(dir string) error {
	dir = filepath.Clean(dir)
	if fi, err := os.Stat(dir); err == nil {
		if !fi.IsDir() {
			return fmt.Errorf("make directory %s: a file is in the way", dir)
		}
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := o.MkdirAll(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, dirPerm); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return o.SyncDir(parent)
}

// SyncDir implements FS.
func (OS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = syncDir(d)
	return errors.Join(err, d.Close())
}

// Lock implements Locker with flock, so it ends with the process.
func (OS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, filePerm)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return f, nil
}

type osFile struct {
	f *os.File
	// direct writes past the page cache; nil where that was not asked for or is
	// not possible. It is the same file, so f's Sync is for both.
	direct atomic.Pointer[os.File]
}

var (
	_ Preallocator = (*osFile)(nil)
	_ SyncWriter   = (*osFile)(nil)
)

func (o *osFile) ReadAt(p []byte, off int64) (int, error) { return o.f.ReadAt(p, off) }
func (o *osFile) Sync() error                             { return fdatasync(o.f) }
func (o *osFile) Truncate(size int64) error               { return o.f.Truncate(size) }
func (o *osFile) Preallocate(size int64) error            { return preallocate(o.f, size) }

func (o *osFile) WriteAt(p []byte, off int64) (int, error) {
	d := o.direct.Load()
	if d == nil || !aligned(p, off) {
		return o.f.WriteAt(p, off)
	}
	n, err := d.WriteAt(p, off)
	if n == 0 && errors.Is(err, syscall.EINVAL) { // the file system opens so, and then cannot
		if o.direct.CompareAndSwap(d, nil) {
			_ = d.Close() // nothing was written through it
		}
		return o.f.WriteAt(p, off)
	}
	return n, err
}

// WriteSyncAt implements SyncWriter: one system call where the write goes past
// the page cache, which spares a small group a third of its context switches.
func (o *osFile) WriteSyncAt(p []byte, off int64) (int, error) {
	if d := o.direct.Load(); d != nil && aligned(p, off) {
		n, err := writeSync(d, p, off)
		if n > 0 || !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.EPERM) {
			return n, err
		} // the file system or a sandbox does not know the call: nothing was written
	}
	n, err := o.WriteAt(p, off)
	if err != nil {
		return n, err
	}
	return n, o.Sync()
}

func (o *osFile) Close() error {
	if d := o.direct.Swap(nil); d != nil {
		return errors.Join(d.Close(), o.f.Close())
	}
	return o.f.Close()
}

func (o *osFile) Size() (int64, error) {
	fi, err := o.f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}
