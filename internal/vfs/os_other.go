//go:build !linux

package vfs

import (
	"errors"
	"os"
	"runtime"
)

func fdatasync(f *os.File) error { return f.Sync() }

func writeSync(*os.File, []byte, int64) (int, error) { return 0, errors.ErrUnsupported }

func openDirect(string) *os.File { return nil }

// syncDir does nothing where directories cannot be synced.
func syncDir(f *os.File) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	return f.Sync()
}

func free(string) (int64, error) { return 0, errors.ErrUnsupported }

func preallocate(*os.File, int64) error { return errors.ErrUnsupported }

// lockFile cannot lock here: one process a directory is the operator's to keep.
func lockFile(*os.File) error { return nil }
