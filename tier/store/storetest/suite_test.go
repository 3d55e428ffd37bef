package storetest_test

import (
	"testing"

	"github.com/robustmq/robustmq-go/internal/vfs"
	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/tier/store/dir"
	"github.com/robustmq/robustmq-go/tier/store/mem"
	"github.com/robustmq/robustmq-go/tier/store/storetest"
)

func TestMem(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return mem.New(nil) })
}

func TestDir(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		s, err := dir.Open(t.TempDir()+"/objects", dir.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	})
}

// TestDirInMemory is TestDir on the file system that the crash tests use.
func TestDirInMemory(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		s, err := dir.Open("/data/objects", dir.Options{FS: vfs.NewMem()})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
