package catalog

import (
	"context"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/robustmq/robustmq-go/shard"
)

// openEmbedded opens a catalog on an etcd of its own inside the process.
func openEmbedded(t testing.TB, dir string, change ...func(*Config)) *Catalog {
	t.Helper()
	cfg := Config{Embedded: dir, LeaseTTL: time.Second}
	for _, f := range change {
		f(&cfg)
	}
	c, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func segmentOf(t shard.TopicNum, base, last int64) Segment {
	id := ulid.Make()
	return Segment{ULID: id, Key: "seg/" + id.String(), Size: 100, Created: 1_700_000_000_000, Extents: []Extent{{
		Shard: shard.ID{Topic: t}, Base: base, Last: last, Len: 100, Records: last - base + 1,
		MinTime: 1_699_999_999_000, MaxTime: 1_699_999_999_500,
	}}}
}

func TestRestart(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	started := time.Now()
	c := openEmbedded(t, dir)
	t.Logf("open in %s", time.Since(started))
	s, err := c.Join(ctx, Gateway{ID: "a", WALID: "w1"}, false)
	if err != nil {
		t.Fatal(err)
	}
	all := make([]int, NumSlots)
	for i := range all {
		all[i] = i
	}
	started = time.Now()
	if got, err := s.ClaimSlots(ctx, all); err != nil || len(got) != NumSlots || got[255] != 1 {
		t.Fatalf("claimed %d: %v", len(got), err)
	}
	t.Logf("claimed in %s", time.Since(started))
	topic, err := c.CreateTopic(ctx, shard.Topic{Name: "orders", Shards: 3})
	if err != nil {
		t.Fatal(err)
	}
	seg := segmentOf(topic.Num, 0, 9)
	if err := s.CommitSegment(ctx, seg); err != nil {
		t.Fatal(err)
	}
	id := c.ClusterID()
	c.Close()

	started = time.Now()
	c = openEmbedded(t, dir)
	t.Logf("open again in %s", time.Since(started))
	if c.ClusterID() != id || id == "" {
		t.Fatalf("cluster id %q, was %q", c.ClusterID(), id)
	}
	started = time.Now()
	s2, err := c.Join(ctx, Gateway{ID: "a", WALID: "w1"}, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("joined again in %s", time.Since(started))
	if s2.Incarnation() <= s.Incarnation() {
		t.Fatalf("incarnation %d after %d", s2.Incarnation(), s.Incarnation())
	}
	got, err := s2.ClaimSlots(ctx, all)
	if err != nil || len(got) != NumSlots || got[0] != 2 {
		t.Fatalf("claimed %d: %v", len(got), err)
	}
	if p := c.Slots()[7]; len(p.Pending) != 0 || p.WAL != "w1" {
		t.Fatalf("slot %+v", p)
	}
	if tp, ok := c.Topics().Resolve("orders"); !ok || tp.Num != topic.Num {
		t.Fatalf("topic %+v", tp)
	}
	found, x, ok := c.FindExtent(shard.ID{Topic: topic.Num}, 5)
	if !ok || found.ULID != seg.ULID || x != seg.Extents[0] {
		t.Fatalf("found %+v %+v", found, x)
	}
}
