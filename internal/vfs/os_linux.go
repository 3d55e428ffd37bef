package vfs

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// control runs fn on the descriptor of f, again for as long as it is
// interrupted by a signal (EINTR says that nothing was done).
func control(f *os.File, fn func(fd int) error) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	err = rc.Control(func(fd uintptr) {
		for {
			ferr = fn(int(fd))
			if !errors.Is(ferr, syscall.EINTR) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return ferr
}

func fdatasync(f *os.File) error {
	if err := control(f, syscall.Fdatasync); err != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}

// writeSync writes p at off, durable when it returns without an error
// (RWF_DSYNC). Kernels before 4.7 answer errors.ErrUnsupported.
func writeSync(f *os.File, p []byte, off int64) (n int, err error) {
	bufs := [][]byte{p}
	err = control(f, func(fd int) (err error) {
		n, err = unix.Pwritev2(fd, bufs, off, unix.RWF_DSYNC)
		return err
	})
	if err != nil {
		return max(n, 0), &os.PathError{Op: "pwritev2", Path: f.Name(), Err: err}
	}
	return n, nil
}

// openDirect opens an existing file for writes past the page cache, or returns
// nil where the file system has no such thing.
func openDirect(name string) *os.File {
	f, err := os.OpenFile(name, os.O_WRONLY|syscall.O_DIRECT, filePerm)
	if err != nil {
		return nil
	}
	return f
}

func syncDir(f *os.File) error { return f.Sync() }

func free(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(st.Bavail) * st.Bsize, nil
}

func preallocate(f *os.File, size int64) error {
	err := control(f, func(fd int) error { return syscall.Fallocate(fd, 0, 0, size) })
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		return errors.ErrUnsupported
	}
	if err != nil {
		return &os.PathError{Op: "fallocate", Path: f.Name(), Err: err}
	}
	return nil
}

func lockFile(f *os.File) error {
	err := control(f, func(fd int) error { return syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB) })
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}
