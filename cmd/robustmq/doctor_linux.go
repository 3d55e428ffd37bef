package main

import (
	"os"

	"golang.org/x/sys/unix"
)

func fdatasync(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }

// statfs tells the free and total bytes below path, and whether it is memory.
func statfs(path string) (free, total int64, memory bool, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, 0, false, err
	}
	memory = st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, memory, nil
}

// clockSynced tells whether the kernel believes the clock to be synchronised.
func clockSynced() (synced, known bool) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return state != unix.TIME_ERROR, err == nil
}
