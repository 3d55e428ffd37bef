package catalog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/catalog/catalogtest"
	"github.com/robustmq/robustmq-go/shard"
)

var background = context.Background()

// TestLostAnswers: each kind of transaction happens, its answer is lost, and the
// caller is told the truth.
func TestLostAnswers(t *testing.T) {
	var f catalogtest.Faults
	cfg := catalogtest.Config(t)
	other := catalogtest.Open(t, cfg)
	cfg.WrapKV = f.Wrap
	c := catalogtest.Open(t, cfg)
	f.LoseAnswers(2)
	s := catalogtest.Join(t, c, "a")
	if g := c.Gateways(); len(g) != 1 || g[0].Incarnation != s.Incarnation() {
		t.Fatalf("gateways %+v, incarnation %d", g, s.Incarnation())
	}
	f.LoseAnswers(1)
	if got, err := s.ClaimSlots(background, []int{1, 2}); err != nil || len(got) != 2 || got[1] != 1 {
		t.Fatalf("claim: %v %v", got, err)
	}
	id := shard.ID{Topic: 1}
	seg := catalogtest.Segment(0, 9, id)
	f.LoseAnswers(2)
	if err := s.CommitSegment(background, seg); err != nil {
		t.Fatalf("commit: %v", err)
	}
	if _, x, ok := c.FindExtent(id, 9); !ok || x != seg.Extents[0] {
		t.Fatal("a commit whose answer was lost is not in the view")
	}
	f.Fail(3)
	if err := s.CommitSegment(background, catalogtest.Segment(10, 19, id)); err != nil {
		t.Fatalf("commit that failed three times: %v", err)
	}
	merged := catalogtest.Segment(0, 9, id)
	f.LoseAnswers(1)
	if err := s.SwapSegments(background, []catalog.Segment{merged}, []catalog.ULID{seg.ULID}); err != nil {
		t.Fatalf("swap: %v", err)
	}
	f.LoseAnswers(1)
	if err := s.SwapSegments(background, nil, []catalog.ULID{merged.ULID}); err != nil || len(c.Deletions()) != 2 {
		t.Fatalf("removal: %v, %d deletions", err, len(c.Deletions()))
	}
	lostTopics(t, c, &f)
	f.LoseAnswers(1)
	first, err := c.NextIDs(background, "n", 5)
	if err != nil || first != 6 {
		t.Fatalf("numbers: %d %v", first, err)
	}
	f.LoseAnswers(1)
	if err := s.ReleaseSlots(background, []int{1, 2}); err != nil || !c.Slots()[2].Released {
		t.Fatalf("release: %v", err)
	}
	catalogtest.Eventually(t, "the other sees the same", func() bool {
		_, extents := other.SegmentStats()
		return extents == 1 && other.Topics().Len() == 0 && other.Slots()[1].Released
	})
}

func lostTopics(t *testing.T, c *catalog.Catalog, f *catalogtest.Faults) {
	t.Helper()
	f.LoseAnswers(1)
	made, err := c.CreateTopic(background, shard.Topic{Name: "orders", Shards: 1})
	if err != nil || made.Num != 1 {
		t.Fatalf("create: %+v %v", made, err)
	}
	f.LoseAnswers(1)
	up, err := c.UpdateTopic(background, "orders", func(tp *shard.Topic) error { tp.Shards++; return nil })
	if err != nil || up.Shards != 2 {
		t.Fatalf("update: %+v %v", up, err)
	}
	f.LoseAnswers(1)
	if err := c.DeleteTopic(background, "orders"); err != nil {
		t.Fatalf("delete: %v", err)
	}
	if err := c.DeleteTopic(background, "orders"); !errors.Is(err, shard.ErrTopicNotFound) {
		t.Fatalf("delete again: %v", err)
	}
}

// TestLostAnswerThenSwapped: a commit's answer is lost and the segment is
// compacted away before the commit is repeated; it must not come back.
func TestLostAnswerThenSwapped(t *testing.T) {
	var f catalogtest.Faults
	cfg := catalogtest.Config(t)
	other := catalogtest.Open(t, cfg)
	so := catalogtest.Join(t, other, "o")
	cfg.WrapKV = f.Wrap
	c := catalogtest.Open(t, cfg)
	s := catalogtest.Join(t, c, "a")
	id := shard.ID{Topic: 1}
	seg, merged := catalogtest.Segment(0, 9, id), catalogtest.Segment(0, 9, id)
	f.LoseAnswerThen(func() {
		catalogtest.Eventually(t, "the other sees it", func() bool { _, _, ok := other.FindExtent(id, 0); return ok })
		if err := so.SwapSegments(background, []catalog.Segment{merged}, []catalog.ULID{seg.ULID}); err != nil {
			t.Error(err)
		}
	})
	for range 2 {
		if err := s.CommitSegment(background, seg); err != nil {
			t.Fatal(err)
		}
	}
	if x := c.Extents(id); len(x) != 1 || x[0].Segment.ULID != merged.ULID {
		t.Fatalf("extents %+v", x)
	}
}

// TestUnavailable: with etcd silent, calls end by their deadlines, and a repeat
// after it is back does the thing once.
func TestUnavailable(t *testing.T) {
	etcd := catalogtest.StartEtcd(t)
	proxy := catalogtest.StartProxy(t, etcd.Direct())
	c := catalogtest.Open(t, catalog.Config{Endpoints: []string{proxy.Addr()}, LeaseTTL: 20 * time.Second})
	s := catalogtest.Join(t, c, "a")
	proxy.Stall(true)
	ctx, cancel := context.WithTimeout(background, 300*time.Millisecond)
	defer cancel()
	id := shard.ID{Topic: 1}
	seg := catalogtest.Segment(0, 9, id)
	started := time.Now()
	if err := s.CommitSegment(ctx, seg); !errors.Is(err, catalog.ErrUnavailable) {
		t.Fatalf("commit: %v", err)
	}
	if _, err := c.CreateTopic(ctx, shard.Topic{Name: "x", Shards: 1}); !errors.Is(err, catalog.ErrUnavailable) {
		t.Fatalf("create: %v", err)
	}
	if d := time.Since(started); d > 2*time.Second {
		t.Fatalf("took %s", d)
	}
	if _, _, ok := c.FindExtent(id, 0); ok {
		t.Fatal("a commit without answer is in the view")
	}
	proxy.Stall(false)
	if err := s.CommitSegment(background, seg); err != nil {
		t.Fatal(err)
	}
	if len(c.Extents(id)) != 1 {
		t.Fatal("not exactly one extent")
	}
	select {
	case <-s.Lost():
		t.Fatal("session was lost within its lease")
	default:
	}
}

// TestEtcdRestart: sessions and watches go on after a restart of etcd.
func TestEtcdRestart(t *testing.T) {
	etcd := catalogtest.StartEtcd(t)
	cfg := catalog.Config{Endpoints: []string{etcd.Endpoint()}, LeaseTTL: 10 * time.Second}
	a, b := catalogtest.Open(t, cfg), catalogtest.Open(t, cfg)
	s := catalogtest.Join(t, a, "a")
	id := shard.ID{Topic: 1}
	for i := range int64(3) {
		if err := s.CommitSegment(background, catalogtest.Segment(i*10, i*10+9, id)); err != nil {
			t.Fatal(err)
		}
		etcd.Stop()
		etcd.Start()
	}
	if err := s.CommitSegment(background, catalogtest.Segment(30, 39, id)); err != nil {
		t.Fatal(err)
	}
	catalogtest.Eventually(t, "b has all four", func() bool { return len(b.Extents(id)) == 4 })
	select {
	case <-s.Lost():
		t.Fatal("session was lost by restarts within its lease")
	default:
	}
}

// TestCompactionRelist: a gateway that was cut off while etcd forgot the history
// has the same view as one that starts now.
func TestCompactionRelist(t *testing.T) {
	etcd := catalogtest.StartEtcd(t)
	proxy := catalogtest.StartProxy(t, etcd.Direct())
	cfg := catalog.Config{Endpoints: []string{etcd.Direct()}, LeaseTTL: 10 * time.Second}
	a := catalogtest.Open(t, cfg)
	s := catalogtest.Join(t, a, "a")
	var log syncBuffer
	cut := cfg
	cut.Endpoints = []string{proxy.Addr()}
	cut.Logger = slog.New(slog.NewTextHandler(&log, nil))
	b := catalogtest.Open(t, cut)

	var segs []catalog.Segment
	step := func(n int) {
		for i := range n {
			base := int64(len(segs)) * 10
			seg := catalogtest.Segment(base, base+9, shard.ID{Topic: 1}, shard.ID{Topic: 2})
			if err := s.CommitSegment(background, seg); err != nil {
				t.Fatal(err)
			}
			segs = append(segs, seg)
			if _, err := a.CreateTopic(background, shard.Topic{Name: fmt.Sprintf("t.%d", len(segs)), Shards: 1}); err != nil {
				t.Fatal(err)
			}
			_ = i
		}
	}
	step(10)
	catalogtest.Eventually(t, "b has the first", func() bool { n, _ := b.SegmentStats(); return n == 10 && b.Topics().Len() == 10 })
	proxy.Stall(true)
	step(5)
	if err := s.SwapSegments(background, []catalog.Segment{catalogtest.Segment(0, 49, shard.ID{Topic: 1}, shard.ID{Topic: 2})},
		[]catalog.ULID{segs[0].ULID, segs[1].ULID, segs[2].ULID, segs[3].ULID, segs[4].ULID}); err != nil {
		t.Fatal(err)
	}
	if err := a.DeleteTopic(background, "t.3"); err != nil {
		t.Fatal(err)
	}
	if err := etcd.Compact(background); err != nil {
		t.Fatal(err)
	}
	proxy.Cut()
	proxy.Stall(false)
	same := func(x, y *catalog.Catalog) bool {
		return fmt.Sprint(x.Extents(shard.ID{Topic: 2})) != "[]" && extentsOf(x) == extentsOf(y) &&
			x.Topics().Len() == y.Topics().Len() && len(x.Deletions()) == len(y.Deletions())
	}
	catalogtest.Eventually(t, "b has caught up", func() bool { return same(a, b) })
	if _, ok := b.Topics().ByName("t.3"); ok {
		t.Fatal("a topic that was deleted meanwhile is still there")
	}
	if !bytes.Contains(log.Bytes(), []byte("fell behind compaction")) {
		t.Fatalf("b did not list again:\n%s", log.Bytes())
	}
	step(3)
	catalogtest.Eventually(t, "b follows on", func() bool { return same(a, b) })
	if !same(b, catalogtest.Open(t, cfg)) {
		t.Fatal("a fresh view differs")
	}
}

func extentsOf(c *catalog.Catalog) string {
	var b bytes.Buffer
	for n := range shard.TopicNum(3) {
		for _, x := range c.Extents(shard.ID{Topic: n}) {
			fmt.Fprintln(&b, x.Segment.ULID, x.Extent)
		}
	}
	return b.String()
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) Bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.b.Bytes())
}

// TestExactlyOnce: commits of two gateways on each other's heels, each seen by
// its own transaction first and by the watch later, leave equal views.
func TestExactlyOnce(t *testing.T) {
	cfg := catalogtest.Config(t)
	cfg.LeaseTTL = 30 * time.Second // leases are not what is looked at, and the machine may be busy
	var cats [2]*catalog.Catalog
	var wg sync.WaitGroup
	for i := range cats {
		cats[i] = catalogtest.Open(t, cfg)
		s := catalogtest.Join(t, cats[i], fmt.Sprint("g", i))
		wg.Add(1)
		go func() {
			defer wg.Done()
			id := shard.ID{Topic: shard.TopicNum(i)}
			var last *catalog.Segment
			for n := range int64(100) {
				seg := catalogtest.Segment(n*10, n*10+9, id, shard.ID{Topic: 2, Index: uint32(i)*1000 + uint32(n)})
				if err := s.CommitSegment(background, seg); err != nil {
					t.Error(err)
					return
				}
				if _, x, ok := cats[i].FindExtent(id, n*10); !ok || x.Last != n*10+9 {
					t.Errorf("own commit of %d is not seen", n*10)
				}
				if last != nil && n%3 == 0 {
					if err := s.SwapSegments(background, nil, []catalog.ULID{last.ULID}); err != nil {
						t.Error(err)
						return
					}
					if _, ok := cats[i].Segment(last.ULID); ok {
						t.Error("own removal is not seen")
					}
				}
				last = &seg
			}
		}()
	}
	wg.Wait()
	catalogtest.Eventually(t, "views are equal", func() bool { return extentsOf(cats[0]) == extentsOf(cats[1]) })
	if n, x := cats[0].SegmentStats(); n != 200-66 || x != 2*n {
		t.Fatalf("%d segments, %d extents", n, x)
	}
	if extentsOf(catalogtest.Open(t, cfg)) != extentsOf(cats[0]) {
		t.Fatal("a fresh view differs")
	}
}
