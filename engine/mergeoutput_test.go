package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/robustmq/robustmq-go/catalog/catalogtest"
	"github.com/robustmq/robustmq-go/internal/vfs"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// forgetful is a file system that gives back other bytes of a merge's file than were
// written to it, while it is on.
type forgetful struct {
	vfs.FS
	on *atomic.Bool
}

func (f forgetful) Open(name string, flag int) (vfs.File, error) {
	file, err := f.FS.Open(name, flag)
	if err == nil && strings.HasSuffix(name, "merge.tmp") {
		file = forgetfulFile{file, f.on}
	}
	return file, err
}

type forgetfulFile struct {
	vfs.File
	on *atomic.Bool
}

func (f forgetfulFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	if f.on.Load() && n > 0 {
		p[n/2] ^= 1
	}
	return n, err
}

// TestMergeOnForgetfulDisk: what the disk does not give back as it was written is not
// stored in the place of the segments that it was made of.
func TestMergeOnForgetfulDisk(t *testing.T) {
	var on atomic.Bool
	o := quiet()
	o.MergeSegments = 4
	o.FS = forgetful{vfs.NewMem(), &on}
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), mem.New(nil))
	ctx := context.Background()
	id := r.topic("m", shard.TopicConfig{}).Shard(0)
	for i := range 4 {
		r.segmentOf(id, 0, "", fmt.Append(nil, "value ", i))
	}
	before := r.Stats().Segments
	on.Store(true)
	if did, err := r.Merge(ctx); !errors.Is(err, store.ErrBodySum) {
		t.Fatalf("merge: %t, error %v", did, err)
	}
	if n := r.Stats().Segments; n != before {
		t.Fatalf("%d segments after a merge that failed, %d before", n, before)
	}
	on.Store(false)
	if did, err := r.Merge(ctx); err != nil || !did {
		t.Fatalf("merge afterwards: %t, error %v", did, err)
	}
	r.crash()
	if got := r.values(id, 0); len(got) != 4 || got[0] != "0:value 0" || got[3] != "3:value 3" {
		t.Fatalf("read %q", got)
	}
}

// TestMergeOnFullDisk: a merge for which the disk has no room leaves everything as
// it was and is made later, past the file that a crash left in its place.
func TestMergeOnFullDisk(t *testing.T) {
	var full atomic.Bool
	disk := vfs.NewMem()
	o := quiet()
	o.MergeSegments = 4
	o.FS = vfs.Inject(disk, func(op vfs.Op) error {
		if full.Load() && op.Kind == vfs.OpWrite && strings.HasSuffix(op.Name, "merge.tmp") {
			return &vfs.ShortWrite{N: op.Len / 2, Err: syscall.ENOSPC}
		}
		return nil
	})
	st := mem.New(nil)
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), st)
	ctx := context.Background()
	id := r.topic("m", shard.TopicConfig{}).Shard(0)
	for i := range 4 {
		r.segmentOf(id, 0, "", fmt.Append(nil, "value ", i))
	}
	before := r.Stats().Segments
	full.Store(true)
	if did, err := r.Merge(ctx); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("merge on a full disk: %t, error %v", did, err)
	}
	if n := r.Stats().Segments; n != before {
		t.Fatalf("%d segments after a merge that failed, %d before", n, before)
	}
	full.Store(false)
	left, err := disk.Open(filepath.Join(r.dir, "merge.tmp"), vfs.ReadWrite|vfs.Create)
	if err != nil {
		t.Fatal(err)
	}
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	if did, err := r.Merge(ctx); err != nil || !did {
		t.Fatalf("merge after the disk had room: %t, error %v", did, err)
	}
	if n := r.Stats().Segments; n >= before {
		t.Fatalf("%d segments after the merge, %d before", n, before)
	}
	if _, err := disk.Open(filepath.Join(r.dir, "merge.tmp"), vfs.ReadOnly); err == nil {
		t.Fatal("the merge's file still has a name")
	}
	r.crash()
	if got := r.values(id, 0); len(got) != 4 || got[0] != "0:value 0" || got[3] != "3:value 3" {
		t.Fatalf("read %q", got)
	}
}
