package engine

import (
	"context"
	"errors"
	"testing"

	"github.com/robustmq/robustmq-go/catalog/catalogtest"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// TestStoreMadeAnewWhileRunning: a bucket that is deleted and made anew under a
// gateway that runs takes nothing, and the gateway says so; what was there put
// back, it goes on. A marker that alone is gone is put again.
func TestStoreMadeAnewWhileRunning(t *testing.T) {
	ctx := context.Background()
	st := mem.New(nil)
	r := newRigOn(t, quiet(), catalogtest.OpenEmbedded(t), st)
	id := r.topic("a", shard.TopicConfig{}).Shard(0)
	r.append(id, "x")
	if err := r.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	kept := map[string][]byte{}
	for _, k := range keys(t, st, "") {
		b, err := st.Get(ctx, k, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		kept[k] = b
	}
	if err := st.Delete(ctx, keys(t, st, "")...); err != nil {
		t.Fatal(err)
	}
	r.claimed.seen.Store(0) // later
	if err := r.Retain(ctx); !errors.Is(err, ErrObjectsGone) {
		t.Errorf("a pass without anything to put says %v", err)
	}
	if _, degraded := r.Health(); !errors.Is(degraded, ErrObjectsGone) {
		t.Errorf("health says %v", degraded)
	}
	r.append(id, "y")
	if err := r.Flush(ctx); !errors.Is(err, ErrObjectsGone) {
		t.Errorf("the flush says %v", err)
	}
	if ks := keys(t, st, ""); len(ks) != 0 {
		t.Errorf("the new bucket was used: %v", ks)
	}
	for k, b := range kept {
		if k == tier.MarkerKey(r.cat.ClusterID()) {
			continue // it is put again
		}
		if err := st.Put(ctx, k, b); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if err := r.Retain(ctx); err != nil {
		t.Fatal(err)
	}
	if _, degraded := r.Health(); degraded != nil {
		t.Errorf("still degraded: %v", degraded)
	}
	if ks := keys(t, st, tier.MarkerPrefix); len(ks) != 1 {
		t.Errorf("markers %v", ks)
	}
	want(t, r.values(id, 0), "0:x", "1:y")
}
