package catalog

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/robustmq/robustmq-go/shard"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func put(t *testing.T, c *Catalog, kind, name string, value []byte) int64 {
	t.Helper()
	resp, err := c.client.Put(context.Background(), c.key(kind, name), string(value))
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.Revision
}

// TestOpenExisting: who only looks makes no cluster, and finds one that is there.
func TestOpenExisting(t *testing.T) {
	cfg := Config{Embedded: t.TempDir(), Existing: true}
	for range 2 {
		if c, err := Open(context.Background(), cfg); !errors.Is(err, ErrNotFound) || c != nil {
			t.Fatalf("open where there is none: %v", err)
		}
	}
	c := openEmbedded(t, cfg.Embedded)
	id := c.ClusterID()
	c.Close()
	c, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.ClusterID() != id {
		t.Fatalf("cluster %s, want %s", c.ClusterID(), id)
	}
}

// TestOpenRefuses: a cluster of a newer format, and a value that cannot be read,
// are refused in so many words.
func TestOpenRefuses(t *testing.T) {
	for _, tc := range []struct {
		name, kind, key string
		value           []byte
		want            error
	}{
		{"newer cluster", kindCluster, clusterName, encodeClusterRecord(Cluster{Format: FormatVersion + 1, ID: "x"}), ErrFormat},
		{"newer value", kindTopic, "t", []byte{version1 + 1, 1, 2, 3}, ErrFormat},
		{"damaged segment", kindSegment, testID.String(), []byte{version1, 0, 0x80}, ErrCorrupt},
		{"bad slot", kindSlot, "9", must(encodeSlot(Slot{Epoch: 1})), ErrCorrupt},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			c := openEmbedded(t, dir)
			put(t, c, tc.kind, tc.key, tc.value)
			c.Close()
			c, err := Open(context.Background(), Config{Embedded: dir})
			if !errors.Is(err, tc.want) {
				t.Fatalf("open: %v", err)
			}
			if c != nil {
				t.Fatal("a catalog came with the error")
			}
		})
	}
	if _, err := Open(context.Background(), Config{}); !errors.Is(err, ErrInvalid) {
		t.Fatalf("no etcd at all: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, Config{Endpoints: []string{"127.0.0.1:1"}}); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("etcd that is not there: %v", err)
	}
}

// TestHealth: a value that cannot be read and comes by the watch is told by
// Health, and everything else goes on.
func TestHealth(t *testing.T) {
	c := openEmbedded(t, t.TempDir())
	if err := c.Health(); err != nil {
		t.Fatal(err)
	}
	put(t, c, kindTopic, "bad", []byte{version1})
	rev := put(t, c, kindCounter, "n", encodeCounter(7))
	if err := c.waitApplied(context.Background(), rev); err != nil {
		t.Fatal(err)
	}
	if err := c.Health(); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("health: %v", err)
	}
	if n, err := c.NextIDs(context.Background(), "n", 1); err != nil || n != 7 {
		t.Fatalf("numbers: %d %v", n, err)
	}
}

// TestFeedOrder drives the feed by hand: our own change is applied before older
// news of the watch, which must then not undo it.
func TestFeedOrder(t *testing.T) {
	c := newCatalog(Config{LeaseTTL: time.Second, Prefix: "/p/", Logger: openEmbedded(t, t.TempDir()).log})
	defer c.cancel()
	at := func(rev, val int64) change {
		ch := own(kindCounter, "n", encodeCounter(val))
		ch.mod, ch.create = rev, 1
		return ch
	}
	value := func() int64 { return c.counters.rows()["n"].val }
	c.applyWatch([]change{at(5, 50)}, 5)
	c.applyOwn(9, ownUpdate(kindCounter, "n", encodeCounter(90), 5, 1))
	c.applyWatch([]change{at(7, 70)}, 7)
	if value() != 90 || len(c.feed.mu.ahead) != 1 {
		t.Fatalf("value %d, ahead %v", value(), c.feed.mu.ahead)
	}
	gone := ownDelete(kindCounter, "n")
	gone.mod = 8
	c.applyWatch([]change{gone, at(9, 90), at(10, 100)}, 10)
	if value() != 100 || len(c.feed.mu.ahead) != 0 {
		t.Fatalf("value %d, ahead %v", value(), c.feed.mu.ahead)
	}
	c.applyOwn(10, ownUpdate(kindCounter, "n", encodeCounter(1), 5, 1)) // the watch was faster
	if value() != 100 {
		t.Fatalf("value %d", value())
	}
	// A listing older than our own change leaves that alone.
	c.applyOwn(20, own(kindCounter, "m", encodeCounter(20)))
	c.feed.mu.Lock()
	c.dispatchRun(c.difference([]change{at(15, 150)}, 15))
	c.advance(15)
	c.feed.mu.Unlock()
	if _, ok := c.counters.rows()["m"]; !ok || value() != 150 {
		t.Fatalf("rows %v", c.counters.rows())
	}
	c.feed.mu.Lock()
	c.dispatchRun(c.difference(nil, 30))
	c.advance(30)
	c.feed.mu.Unlock()
	if len(c.counters.rows()) != 0 {
		t.Fatalf("rows %v after an empty listing", c.counters.rows())
	}
}

// TestLeaseExpiry: a lease that etcd ends closes Lost, and the fence holds.
func TestLeaseExpiry(t *testing.T) {
	c := openEmbedded(t, t.TempDir())
	ctx := context.Background()
	s, err := c.Join(ctx, Gateway{ID: "a"}, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CommitSegment(ctx, segmentOf(1, 0, 9)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1500 * time.Millisecond) // longer than the lease: it is being renewed
	if err := s.CommitSegment(ctx, segmentOf(1, 10, 19)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.client.Revoke(ctx, s.lease); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Lost():
	case <-time.After(30 * time.Second):
		t.Fatal("lost is not closed")
	}
	if err := s.CommitSegment(ctx, segmentOf(1, 20, 29)); !errors.Is(err, ErrFenced) {
		t.Fatalf("commit: %v", err)
	}
	if err := s.ReleaseSlots(ctx, []int{1}); err != nil {
		t.Fatalf("release of slots it does not own: %v", err)
	}
}

// TestFenceIsInTheTransaction: even a session that believes in its lease is
// refused by etcd itself.
func TestFenceIsInTheTransaction(t *testing.T) {
	c := openEmbedded(t, t.TempDir())
	ctx := context.Background()
	s, err := c.Join(ctx, Gateway{ID: "a"}, false)
	if err != nil {
		t.Fatal(err)
	}
	blind := func() *Session { // its clock and its watch stand still
		return &Session{c: c, gateway: s.gateway, incarnation: s.incarnation, key: s.key, lost: make(chan struct{}), ctx: ctx, stop: func() {}, ttl: time.Hour}
	}
	if err := s.Leave(); err != nil {
		t.Fatal(err)
	}
	seg := segmentOf(1, 0, 9)
	if err := blind().CommitSegment(ctx, seg); !errors.Is(err, ErrFenced) {
		t.Fatalf("commit: %v", err)
	}
	if _, _, ok := c.FindExtent(shard.ID{Topic: 1}, 0); ok {
		t.Fatal("the zombie's segment is there")
	}
	// A new incarnation of the same id does not let the old one commit either.
	if _, err := c.Join(ctx, Gateway{ID: "a"}, false); err != nil {
		t.Fatal(err)
	}
	if err := blind().CommitSegment(ctx, seg); !errors.Is(err, ErrFenced) {
		t.Fatalf("commit beside the next incarnation: %v", err)
	}
	resp, err := c.client.Get(ctx, c.key(kindSegment, ""), clientv3.WithPrefix())
	if err != nil || len(resp.Kvs) != 0 {
		t.Fatalf("%d segments in etcd: %v", len(resp.Kvs), err)
	}
}

func BenchmarkCommit100Shards(b *testing.B) {
	c := openEmbedded(b, b.TempDir())
	ctx := context.Background()
	s, err := c.Join(ctx, Gateway{ID: "a"}, false)
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for i := range b.N {
		seg := segmentOf(1, 0, 9)
		seg.Extents = seg.Extents[:0]
		for n := range 100 {
			seg.Extents = append(seg.Extents, Extent{Shard: shard.ID{Topic: shard.TopicNum(n)}, Base: int64(i) * 10, Last: int64(i)*10 + 9, Pos: int64(n) * 1000, Len: 1000, Records: 10})
		}
		if err := s.CommitSegment(ctx, seg); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCreateTopic(b *testing.B) {
	c := openEmbedded(b, b.TempDir())
	ctx := context.Background()
	b.ResetTimer()
	for range b.N {
		if _, err := c.CreateTopic(ctx, shard.Topic{Name: "t." + ulid.Make().String(), Shards: 1, Auto: true}); err != nil {
			b.Fatal(err)
		}
	}
}
