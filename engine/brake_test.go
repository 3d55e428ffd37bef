package engine

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/catalog/catalogtest"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// TestCatalogBrake: as etcd fills up the engine tells, then flushes less often, then
// refuses records, while what frees something is still done; and all is well again by
// itself.
func TestCatalogBrake(t *testing.T) {
	o := quiet()
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), mem.New(nil))
	ctx := context.Background()
	id := r.topic("a", shard.TopicConfig{}).Shard(0)
	r.append(id, "x", "y")
	for _, x := range []struct {
		used     int64
		factor   int64
		degraded string
		refused  bool
	}{
		{10, 1, "", false}, {59, 1, "", false}, {60, 1, "etcd is 60 % full", false}, {80, 2, "slowed down", false},
		{86, 4, "slowed down", false}, {94, 8, "slowed down", false}, {95, 16, "", true}, {100, 16, "", true}, {61, 1, "etcd is 61 % full", false}, {1, 1, "", false},
	} {
		r.hooks.usage = func(context.Context) (catalog.Usage, error) {
			return catalog.Usage{DB: 99, InUse: x.used, Quota: 100}, nil
		}
		r.lookAtCatalog(ctx)
		r.hooks.usage = func(context.Context) (catalog.Usage, error) { return catalog.Usage{}, errors.New("no answer") }
		r.lookAtCatalog(ctx) // changes nothing
		if got := r.braked(); got != x.factor {
			t.Errorf("%d %%: flushes wait %d times as long, want %d", x.used, got, x.factor)
		}
		down, degraded := r.Health()
		if (degraded != nil) != (x.degraded != "") || degraded != nil && !strings.Contains(degraded.Error(), x.degraded) || (down != nil) != x.refused {
			t.Errorf("%d %%: down %v, degraded %v", x.used, down, degraded)
		}
		if _, err := r.try(id, "z"); (err != nil) != x.refused || err != nil && shard.KindOf(err) != shard.KindUnavailable {
			t.Errorf("%d %%: append: %v", x.used, err)
		}
		r.put("o", "k", []byte("v"))
		if err := r.Flush(ctx); err != nil {
			t.Errorf("%d %%: flush: %v", x.used, err)
		}
		if s := r.Stats(); s.EtcdUsedBytes != x.used || s.EtcdQuotaBytes != 100 {
			t.Errorf("figures %+v", s)
		}
	}
	if err := r.TrimBefore(ctx, id, 1); err != nil {
		t.Error(err)
	}
}

// TestFiguresOfMerging: what flushes made is counted until it is merged.
func TestFiguresOfMerging(t *testing.T) {
	o := quiet()
	o.MergeSegments = 4
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), mem.New(nil))
	id := r.topic("a", shard.TopicConfig{}).Shard(0)
	for range 3 {
		r.segmentOf(id, 1, "", []byte("x"))
	}
	r.mergeAll()
	if s := r.Stats(); s.UnmergedSegments != 3 || s.UnmergedBytes == 0 {
		t.Errorf("%d segments of %d bytes are not merged", s.UnmergedSegments, s.UnmergedBytes)
	}
	r.segmentOf(id, 1, "", []byte("x"))
	r.mergeAll()
	if s := r.Stats(); s.UnmergedSegments != 0 || s.UnmergedBytes != 0 || s.UnmergedAge != 0 {
		t.Errorf("%d segments of %d bytes, %s old, are not merged", s.UnmergedSegments, s.UnmergedBytes, s.UnmergedAge)
	}
}
