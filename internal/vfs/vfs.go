package vfs

import (
	"context"
	"errors"
	"io"
	"os"
	"time"
	"unsafe"
)

// Flags for FS.Open: the os package's, repeated here so that callers need not
// import os.
const (
	ReadOnly  = os.O_RDONLY
	ReadWrite = os.O_RDWR
	Create    = os.O_CREATE
	Exclusive = os.O_EXCL
	// Direct asks that writes go to the disk without a copy in the page cache,
	// which takes a third of the processor time and does not push out what is
	// read. Only writes whose offset, length and memory (see Aligned) are
	// multiples of DirectAlign do, and only where the file system can; all others,
	// and all reads, are as without it. Sync (or WriteSync) is needed all the same.
	Direct = 1 << 30
)

// DirectAlign is the multiple that Direct asks for: no disk's sector is larger.
const DirectAlign = 4096

// Aligned returns n bytes of memory that begin at a multiple of DirectAlign.
func Aligned(n int64) []byte {
	b := make([]byte, n+DirectAlign)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(b))) & (DirectAlign - 1)
	return b[skip:][:n:n]
}

func aligned(p []byte, off int64) bool {
	return (uintptr(unsafe.Pointer(unsafe.SliceData(p)))|uintptr(len(p))|uintptr(off))&(DirectAlign-1) == 0
}

// ErrLocked is returned by Lock when another holder has the lock.
var ErrLocked = errors.New("vfs: locked by another process")

// FS is a file system. Errors wrap fs.ErrNotExist and fs.ErrExist as the os
// package's do.
type FS interface {
	// Open opens a file. flag is a combination of the flags above; a created
	// file is durable under its name only after SyncDir of its directory.
	Open(name string, flag int) (File, error)
	// Rename moves a file, replacing the target, atomically. Durable after
	// SyncDir of both directories.
	Rename(oldname, newname string) error
	// Remove deletes a file or an empty directory. Durable after SyncDir.
	Remove(name string) error
	// List returns what is directly in dir, sorted by name.
	List(dir string) ([]Info, error)
	// MkdirAll makes a directory and its missing parents, durably.
	MkdirAll(dir string) error
	// SyncDir makes the entries of dir durable.
	SyncDir(dir string) error
}

// Info describes one directory entry.
type Info struct {
	Name    string // last element only
	Size    int64  // bytes; 0 for a directory
	Dir     bool
	ModTime time.Time
}

// File is an open file. All methods may be called concurrently.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes the file's bytes and size durable (fdatasync where possible).
	// After an error nothing is known about what is on disk, and a second Sync
	// that succeeds proves nothing: never retry it.
	Sync() error
	// Truncate sets the size; new bytes read as zero.
	Truncate(size int64) error
	// Size returns the size in bytes.
	Size() (int64, error)
}

// Preallocator is the optional power of a File to reserve disk space.
type Preallocator interface {
	// Preallocate reserves space for the first size bytes and extends the file
	// to at least that size, so that writing there cannot run out of space.
	Preallocate(size int64) error
}

// Linker is the optional power of an FS to give a file a second name, failing
// with fs.ErrExist if the name is taken: create-if-absent of a whole file.
type Linker interface {
	Link(oldname, newname string) error
}

// Locker is the optional power of an FS to keep two processes apart.
type Locker interface {
	// Lock takes an exclusive lock on the file name, creating it, or fails at
	// once with ErrLocked. The lock ends with Close or with the process.
	Lock(name string) (io.Closer, error)
}

// SyncWriter is the optional power of a File to write and sync in one step.
type SyncWriter interface {
	// WriteSyncAt is WriteAt and, when that has no error, a Sync of what it
	// wrote; other bytes of the file need not be durable after it. Errors are
	// those of WriteAt and Sync.
	WriteSyncAt(p []byte, off int64) (int, error)
}

// WriteSync writes and syncs, in one step if f can.
func WriteSync(f File, p []byte, off int64) (int, error) {
	if w, ok := f.(SyncWriter); ok {
		return w.WriteSyncAt(p, off)
	}
	n, err := f.WriteAt(p, off)
	if err != nil {
		return n, err
	}
	return n, f.Sync()
}

// Preallocate reserves space if f can, or returns errors.ErrUnsupported.
func Preallocate(f File, size int64) error {
	if p, ok := f.(Preallocator); ok {
		return p.Preallocate(size)
	}
	return errors.ErrUnsupported
}

// Link links if fsys can, or returns errors.ErrUnsupported.
func Link(fsys FS, oldname, newname string) error {
	if l, ok := fsys.(Linker); ok {
		return l.Link(oldname, newname)
	}
	return errors.ErrUnsupported
}

// Lock locks if fsys can, or returns errors.ErrUnsupported.
func Lock(fsys FS, name string) (io.Closer, error) {
	if l, ok := fsys.(Locker); ok {
		return l.Lock(name)
	}
	return nil, errors.ErrUnsupported
}

// lockPatience is how long Soon tries: the files of a process that was killed are
// locked until the kernel has taken it apart.
const lockPatience = time.Second

// Soon calls open, which locks something, and again for a second while another
// process has the lock.
func Soon(ctx context.Context, open func() error) error {
	for end := time.Now().Add(lockPatience); ; {
		err := open()
		if err == nil || !errors.Is(err, ErrLocked) || time.Now().After(end) {
			return err
		}
		select {
		case <-time.After(lockPatience / 50):
		case <-ctx.Done():
			return err
		}
	}
}
