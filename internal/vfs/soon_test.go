package vfs_test

import (
	"context"
	"errors"
	"testing"

	"github.com/robustmq/robustmq-go/internal/vfs"
)

// TestSoon: a lock whose holder is going is had, and one that stays is refused as
// it is without patience.
func TestSoon(t *testing.T) {
	fs := vfs.NewMem()
	if err := fs.MkdirAll("/d"); err != nil {
		t.Fatal(err)
	}
	held, err := vfs.Lock(fs, "/d/lock")
	if err != nil {
		t.Fatal(err)
	}
	tries := 0
	lock := func() error {
		if tries++; tries == 3 { // the kernel is through with the former process
			_ = held.Close()
		}
		var err error
		if tries < 3 {
			_, err = vfs.Lock(fs, "/d/lock")
		} else {
			held, err = vfs.Lock(fs, "/d/lock")
		}
		return err
	}
	if err := vfs.Soon(context.Background(), lock); err != nil || tries != 3 {
		t.Fatalf("after %d tries: %v", tries, err)
	}
	tries = 10
	stays := func() error { _, err := vfs.Lock(fs, "/d/lock"); return err }
	if err := vfs.Soon(context.Background(), stays); !errors.Is(err, vfs.ErrLocked) {
		t.Fatalf("a lock that stays: %v", err)
	}
	_ = held.Close()
}
