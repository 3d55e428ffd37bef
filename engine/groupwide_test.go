package engine

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/robustmq/robustmq-go/shard"
)

// TestGroupOfVeryManyShards: what a group has to note is written, and deleted, however
// many shards it has messages of, and however long its name is.
func TestGroupOfVeryManyShards(t *testing.T) {
	o := quiet()
	o.WALFileBytes = 64 << 20
	r := newRig(t, o)
	ctx := context.Background()
	const topics = 700
	name := strings.Repeat("n", 50_000) // a client may name itself so
	g, err := r.groups.Create(ctx, shard.GroupConfig{Name: name, Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Bindings().Add(ctx, shard.Binding{ID: "all", Filter: must(shard.ParseSubjectFilter("wide.>"))}); err != nil {
		t.Fatal(err)
	}
	var ids []shard.ID
	for i := range topics {
		ids = append(ids, r.topic(fmt.Sprint("wide.t", i), shard.TopicConfig{}).Shard(0))
		r.append(ids[i], "v")
	}
	if n, err := g.Purge(ctx); err != nil || n != topics {
		t.Fatalf("purge of %d: %v", n, err)
	}
	r.crash()
	if g, err = r.groups.Get(name); err != nil {
		t.Fatal(err)
	}
	if n := g.Stats().Ready; n != 0 {
		t.Errorf("%d messages come again", n)
	}
	if err := r.groups.Delete(ctx, name); err != nil {
		t.Errorf("delete: %v", err)
	}
	r.crash()
	if _, err := r.groups.Get(name); err == nil {
		t.Error("the group comes back")
	}
	for k := range r.stateOf() {
		if strings.HasPrefix(k, "group/") {
			t.Fatalf("of the group is left %.20q %q", k, k[max(0, len(k)-20):])
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
