package vfs

import (
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
)

// disk is a file system of which the test says how much is free.
type disk struct {
	*Mem
	free atomic.Int64
}

func (d *disk) Free(string) (int64, error) {
	if n := d.free.Load(); n >= 0 {
		return n, nil
	}
	return 0, errors.New("cannot be told")
}

func TestKeepFree(t *testing.T) {
	const mib = 1 << 20
	d := &disk{Mem: NewMem()}
	d.free.Store(10 * mib)
	fsys := KeepFree(d, 4*mib)
	f, err := fsys.Open("/a", ReadWrite|Create)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, mib)
	write := func(off int64) error { _, err := f.WriteAt(block, off); return err }
	sync := func(off int64) error { _, err := WriteSync(f, block, off); return err }
	full := func(err error) bool { return errors.Is(err, syscall.ENOSPC) }
	for _, c := range []struct {
		what string
		free int64
		do   func() error
		full bool
	}{
		{"room", 10 * mib, func() error { return write(0) }, false},
		{"to the last byte", 5 * mib, func() error { return sync(mib) }, false},
		{"a byte too many", 5*mib - 1, func() error { return write(2 * mib) }, true},
		{"the same, synced", 5*mib - 1, func() error { return sync(2 * mib) }, true},
		{"what it has", 0, func() error { return write(mib) }, false},
		{"partly what it has", 0, func() error { return write(mib + 1) }, true},
		{"given back", 0, func() error { return f.Truncate(mib) }, false},
		{"what it had", 0, func() error { return write(mib) }, true},
		{"not told", -1, func() error { return write(mib) }, false},
	} {
		d.free.Store(c.free)
		if err := c.do(); full(err) != c.full || !c.full && err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	if n, err := f.Size(); n != 2*mib || err != nil {
		t.Errorf("size %d, %v: what was refused was written", n, err)
	}
	d.free.Store(0)
	if err := Preallocate(f, 3*mib); !full(err) {
		t.Errorf("reserved: %v", err)
	}
	small, err := fsys.Open("/mark", ReadWrite|Create)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := small.WriteAt(block[:smallFile], 0); err != nil {
		t.Errorf("a mark: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if f, err = fsys.Open("/a", ReadWrite); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(write(0), write(mib)); err != nil {
		t.Errorf("opened again: %v", err)
	}
}

// TestKeepFreeReserved: what was reserved may be written whatever is free.
func TestKeepFreeReserved(t *testing.T) {
	dir := t.TempDir()
	free, err := Free(OS{}, dir)
	if errors.Is(err, errors.ErrUnsupported) {
		return // nothing is refused there
	}
	if err != nil || free <= 0 {
		t.Fatalf("%d free, %v", free, err)
	}
	k := KeepFree(OS{}, 1)
	f, err := k.Open(dir+"/a", ReadWrite|Create|Direct)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	reserved := Preallocate(f, 1<<20)
	k.(*keepFS).keep = 1 << 62
	_, err = WriteSync(f, Aligned(1<<20), 0)
	if (err == nil) != (reserved == nil) {
		t.Errorf("reserved %v, written %v", reserved, err)
	}
	if _, err := f.WriteAt([]byte("x"), 1<<20); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("behind it: %v", err)
	}
}
