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
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

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
