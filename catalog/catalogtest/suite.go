package catalogtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
)

// Run is the conformance suite. config gives an empty cluster each time.
func Run(t *testing.T, config func(testing.TB) catalog.Config) {
	base := config(t)
	n := 0
	tests := []struct {
		name string
		run  func(*testing.T, catalog.Config)
	}{
		{"Join", testJoin}, {"Takeover", testTakeover}, {"ClaimRace", testClaimRace}, {"HandOver", testHandOver},
		{"Zombie", testZombie}, {"Pending", testPending}, {"Commit", testCommit}, {"BigCommit", testBigCommit},
		{"Swap", testSwap}, {"SwapRace", testSwapRace}, {"Topics", testTopics}, {"TopicRace", testTopicRace},
		{"Numbers", testNumbers}, {"Rare", testRare}, {"Dump", testDump},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			cfg := base
			n++
			cfg.Prefix = fmt.Sprintf("%s%d/", base.Prefix, n)
			tc.run(t, cfg)
		})
	}
}

var background = context.Background()

func testJoin(t *testing.T, cfg catalog.Config) {
	a, b := Open(t, cfg), Open(t, cfg)
	if a.ClusterID() == "" || a.ClusterID() != b.ClusterID() {
		t.Fatalf("cluster ids %q and %q", a.ClusterID(), b.ClusterID())
	}
	s := Join(t, a, "x")
	Eventually(t, "b sees x", func() bool { return len(b.Gateways()) == 1 })
	if g := b.Gateways()[0]; g.ID != "x" || g.Incarnation != s.Incarnation() || g.WALID != "wal-x" || g.Addresses["rpc"] == "" {
		t.Fatalf("gateway %+v", g)
	}
	if w, ok := b.WAL("wal-x"); !ok || w.State != catalog.WALOpen || w.Owner != "x" {
		t.Fatalf("wal %+v", w)
	}
	ctx, cancel := context.WithTimeout(background, 100*time.Millisecond)
	defer cancel()
	if _, err := b.Join(ctx, catalog.Gateway{ID: "x"}, false); !errors.Is(err, catalog.ErrExists) {
		t.Fatalf("second join of a living id: %v", err)
	}
	joined := make(chan error, 1)
	go func() {
		_, err := b.Join(background, catalog.Gateway{ID: "x"}, false)
		joined <- err
	}()
	if err := s.Leave(); err != nil {
		t.Fatal(err)
	}
	if err := <-joined; err != nil {
		t.Fatalf("join after the former has left: %v", err)
	}
	if err := s.CommitSegment(background, Segment(0, 1, shard.ID{Topic: 1})); !errors.Is(err, catalog.ErrFenced) {
		t.Fatalf("commit after leaving: %v", err)
	}
}

func testTakeover(t *testing.T, cfg catalog.Config) {
	a, b := Open(t, cfg), Open(t, cfg)
	old := Join(t, a, "x")
	if _, err := old.ClaimSlots(background, []int{1, 2}); err != nil {
		t.Fatal(err)
	}
	s, err := b.Join(background, catalog.Gateway{ID: "x", WALID: "wal-x"}, true)
	if err != nil {
		t.Fatal(err)
	}
	if s.Incarnation() <= old.Incarnation() {
		t.Fatalf("incarnation %d after %d", s.Incarnation(), old.Incarnation())
	}
	select {
	case <-old.Lost():
	case <-time.After(5 * time.Second):
		t.Fatal("the evicted session does not know it")
	}
	got, err := s.ClaimSlots(background, []int{1, 2, 3})
	if err != nil || got[1] != 2 || got[2] != 2 || got[3] != 1 {
		t.Fatalf("claimed %v: %v", got, err)
	}
	if sl := b.Slots()[1]; len(sl.Pending) != 0 || sl.WAL != "wal-x" || sl.Incarnation != s.Incarnation() {
		t.Fatalf("slot %+v", sl)
	}
}

func allSlots() []int {
	all := make([]int, catalog.NumSlots)
	for i := range all {
		all[i] = i
	}
	return all
}

func testClaimRace(t *testing.T, cfg catalog.Config) {
	const gateways = 3
	var wg sync.WaitGroup
	var got [gateways]map[int]int64
	var sessions [gateways]*catalog.Session
	for i := range gateways {
		sessions[i] = Join(t, Open(t, cfg), fmt.Sprint("g", i))
	}
	for i := range gateways {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var err error
			if got[i], err = sessions[i].ClaimSlots(background, allSlots()); err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	owners := map[int]int{}
	for i := range got {
		for n, epoch := range got[i] {
			owners[n]++
			if epoch != 1 {
				t.Errorf("slot %d has epoch %d", n, epoch)
			}
		}
	}
	for n := range catalog.NumSlots {
		if owners[n] != 1 {
			t.Errorf("slot %d has %d owners", n, owners[n])
		}
	}
}

func testHandOver(t *testing.T, cfg catalog.Config) {
	a, b := Open(t, cfg), Open(t, cfg)
	sa, sb := Join(t, a, "a"), Join(t, b, "b")
	if _, err := sa.ClaimSlots(background, allSlots()); err != nil {
		t.Fatal(err)
	}
	if got, err := sb.ClaimSlots(background, []int{5}); err != nil || len(got) != 0 {
		t.Fatalf("claimed a living owner's slot: %v %v", got, err)
	}
	seg := Segment(0, 9, shard.ID{Topic: 1})
	if err := sa.CommitSegment(background, seg); err != nil {
		t.Fatal(err)
	}
	if err := sa.ReleaseSlots(background, []int{5, 6}); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "b sees the release", func() bool { return b.SlotFree(b.Slots()[5]) && b.SlotFree(b.Slots()[6]) })
	got, err := sb.ClaimSlots(background, []int{5, 6, 7})
	if err != nil || len(got) != 2 || got[5] != 2 || got[6] != 2 {
		t.Fatalf("claimed %v: %v", got, err)
	}
	if _, _, ok := b.FindExtent(shard.ID{Topic: 1}, 9); !ok {
		t.Fatal("the new owner does not see what the former has committed")
	}
	if sl := b.Slots()[5]; len(sl.Pending) != 0 {
		t.Fatalf("a released slot waits for a log: %+v", sl)
	}
	if again, err := sb.ClaimSlots(background, []int{5}); err != nil || again[5] != 2 {
		t.Fatalf("claimed again: %v %v", again, err)
	}
	if err := sa.ReleaseSlots(background, []int{5}); err != nil || b.Slots()[5].Released {
		t.Fatalf("released another's slot: %v", err)
	}
}

func testZombie(t *testing.T, cfg catalog.Config) {
	proxy := StartProxy(t, strings.TrimPrefix(cfg.Endpoints[0], "http://"))
	cut := cfg
	cut.Endpoints = []string{proxy.Addr()}
	a, b := Open(t, cut), Open(t, cfg)
	zombie, heir := Join(t, a, "a"), Join(t, b, "b")
	if _, err := zombie.ClaimSlots(background, allSlots()); err != nil {
		t.Fatal(err)
	}
	id := shard.ID{Topic: 4}
	if err := zombie.CommitSegment(background, Segment(0, 9, id)); err != nil {
		t.Fatal(err)
	}
	proxy.Stall(true)
	late := Segment(10, 19, id)
	result := make(chan error, 1)
	go func() { result <- zombie.CommitSegment(background, late) }()
	select {
	case <-zombie.Lost():
	case <-time.After(cfg.LeaseTTL + 3*time.Second):
		t.Fatal("the session is not lost when the lease must be gone")
	}
	if err := <-result; !errors.Is(err, catalog.ErrFenced) {
		t.Fatalf("commit of a cut-off gateway: %v", err)
	}
	Eventually(t, "the lease runs out", func() bool { return b.SlotFree(b.Slots()[0]) })
	got, err := heir.ClaimSlots(background, allSlots())
	if err != nil || len(got) != catalog.NumSlots || got[9] != 2 {
		t.Fatalf("claimed %d: %v", len(got), err)
	}
	// What the zombie had under way reaches etcd only now.
	proxy.Stall(false)
	if err := heir.CommitSegment(background, Segment(10, 12, id)); err != nil {
		t.Fatal(err)
	}
	if err := zombie.CommitSegment(background, late); !errors.Is(err, catalog.ErrFenced) {
		t.Fatalf("zombie's commit: %v", err)
	}
	if _, err := zombie.ClaimSlots(background, []int{0}); !errors.Is(err, catalog.ErrFenced) {
		t.Fatalf("zombie's claim: %v", err)
	}
	Eventually(t, "a catches up", func() bool { _, last, _ := a.Bounds(id); return last == 12 })
	if x := b.Extents(id); len(x) != 2 || x[1].Extent.Last != 12 {
		t.Fatalf("extents %+v", x)
	}
	// The same process may come back as a new incarnation.
	if _, err := a.Join(background, catalog.Gateway{ID: "a"}, false); err != nil {
		t.Fatal(err)
	}
}

func testPending(t *testing.T, cfg catalog.Config) {
	a, b := Open(t, cfg), Open(t, cfg)
	sa, sb := Join(t, a, "a"), Join(t, b, "b")
	if _, err := sa.ClaimSlots(background, []int{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	if err := sa.Leave(); err != nil { // without releasing: as a crash
		t.Fatal(err)
	}
	Eventually(t, "a is gone", func() bool { return b.SlotFree(b.Slots()[1]) })
	if _, err := sb.ClaimSlots(background, []int{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	if p := b.Slots()[1].Pending; len(p) != 1 || p[0] != "wal-a" {
		t.Fatalf("pending %v", p)
	}
	if err := sb.SettleWAL(background, "wal-a", []int{1}); err != nil {
		t.Fatal(err)
	}
	if s := b.Slots(); len(s[1].Pending) != 0 || len(s[2].Pending) != 1 || s[1].Epoch != 2 {
		t.Fatalf("slots %+v %+v", s[1], s[2])
	}
	if err := b.AbandonWAL(background, "wal-b"); !errors.Is(err, catalog.ErrConflict) {
		t.Fatalf("abandoned a log that is being written: %v", err)
	}
	if err := b.AbandonWAL(background, "wal-a"); err != nil {
		t.Fatal(err)
	}
	if w, _ := b.WAL("wal-a"); w.State != catalog.WALAbandoned {
		t.Fatalf("wal %+v", w)
	}
	if err := sb.PutWAL(background, "wal-b", catalog.WALClean); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "a sees wal-b clean", func() bool { w, _ := a.WAL("wal-b"); return w.State == catalog.WALClean })
}

func testCommit(t *testing.T, cfg catalog.Config) {
	var f Faults
	cfg.WrapKV = f.Wrap
	a := Open(t, cfg)
	cfg.WrapKV = nil
	b := Open(t, cfg)
	s := Join(t, a, "a")
	ids := make([]shard.ID, 100)
	for i := range ids {
		ids[i] = shard.ID{Topic: shard.TopicNum(i / 10), Index: uint32(i % 10)}
	}
	before := f.Txns()
	for i := range int64(20) {
		seg := Segment(i*10, i*10+7, ids...) // holes of two
		if err := s.CommitSegment(background, seg); err != nil {
			t.Fatal(err)
		}
		if _, x, ok := a.FindExtent(ids[50], i*10+7); !ok || x != seg.Extents[50] {
			t.Fatalf("own commit %d is not in the view: %+v", i, x)
		}
		if err := s.CommitSegment(background, seg); err != nil {
			t.Fatalf("repeated commit: %v", err)
		}
	}
	if n := f.Txns() - before; n != 20 {
		t.Errorf("20 flushes cost %d transactions", n)
	}
	Eventually(t, "b sees all", func() bool { _, last, _ := b.Bounds(ids[99]); return last == 197 })
	if _, x, ok := b.FindExtent(ids[3], 8); !ok || x.Base != 10 {
		t.Fatalf("found %+v in the hole before 10", x)
	}
	if _, _, ok := b.FindExtent(ids[3], 198); ok {
		t.Fatal("found an offset past the end")
	}
	if err := s.CommitSegment(background, Segment(195, 205, ids[0])); !errors.Is(err, catalog.ErrOverlap) {
		t.Fatalf("overlapping commit: %v", err)
	}
	bad := Segment(300, 299, ids[0])
	if err := s.CommitSegment(background, bad); !errors.Is(err, catalog.ErrInvalid) {
		t.Fatalf("extent that ends before it begins: %v", err)
	}
	if segs, extents := b.SegmentStats(); segs != 20 || extents != 2000 {
		t.Fatalf("%d segments, %d extents", segs, extents)
	}
}

func testBigCommit(t *testing.T, cfg catalog.Config) {
	a := Open(t, cfg)
	s := Join(t, a, "a")
	ids := make([]shard.ID, 60_000)
	for i := range ids {
		ids[i] = shard.ID{Topic: 1, Index: uint32(i)}
	}
	seg := Segment(0, 9, ids...)
	for i := range seg.Extents {
		seg.Extents[i].Pos = int64(i) << 20
	}
	if err := s.CommitSegment(background, seg); err != nil {
		t.Fatal(err)
	}
	b := Open(t, cfg) // by listing
	for _, c := range []*catalog.Catalog{a, b} {
		if _, x, ok := c.FindExtent(ids[59_999], 5); !ok || x != seg.Extents[59_999] {
			t.Fatalf("found %+v", x)
		}
	}
	if err := s.SwapSegments(background, nil, []catalog.ULID{seg.ULID}); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "b sees it gone", func() bool { n, x := b.SegmentStats(); return n == 0 && x == 0 })
	if n := len(Open(t, cfg).Deletions()); n != 1 {
		t.Fatalf("%d deletions", n)
	}
	huge := Segment(0, 9, append(ids, ids...)...)
	for i := range huge.Extents {
		huge.Extents[i].Shard.Index = uint32(i)
	}
	if err := s.CommitSegment(background, huge); !errors.Is(err, catalog.ErrTooLarge) {
		t.Fatalf("120000 shards: %v", err)
	}
}

func testSwap(t *testing.T, cfg catalog.Config) {
	a, b := Open(t, cfg), Open(t, cfg)
	s := Join(t, a, "a")
	x, y := shard.ID{Topic: 1}, shard.ID{Topic: 2}
	var ids []catalog.ULID
	for i := range int64(100) {
		seg := Segment(i*10, i*10+9, x, y)
		if err := s.CommitSegment(background, seg); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, seg.ULID)
	}
	mx, my := Segment(0, 999, x), Segment(0, 999, y)
	mx.Level, my.Level = 1, 1
	if err := s.SwapSegments(background, []catalog.Segment{mx, my}, ids); err != nil {
		t.Fatal(err)
	}
	if err := s.SwapSegments(background, []catalog.Segment{mx, my}, ids); err != nil {
		t.Fatalf("repeated swap: %v", err)
	}
	if got := a.Extents(x); len(got) != 1 || got[0].Segment.ULID != mx.ULID || got[0].Segment.Level != 1 {
		t.Fatalf("extents %+v", got)
	}
	if err := s.SwapSegments(background, []catalog.Segment{Segment(0, 9, x)}, ids[:1]); !errors.Is(err, catalog.ErrConflict) {
		t.Fatalf("swap of a segment that is gone: %v", err)
	}
	if err := s.SwapSegments(background, nil, make([]catalog.ULID, catalog.MaxSwapCost+1)); !errors.Is(err, catalog.ErrTooLarge) {
		t.Fatalf("too large a swap: %v", err)
	}
	// A segment may be rewritten in the catalog alone: the same object with fewer extents.
	less := Segment(500, 999, x)
	less.Key = mx.Key
	if err := s.SwapSegments(background, []catalog.Segment{less}, []catalog.ULID{mx.ULID}); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "b sees the deletions", func() bool { return len(b.Deletions()) == 100 })
	for i, d := range b.Deletions() {
		if d.ULID != ids[i] || d.Key != "test/"+ids[i].String() || d.Size != 2000 || d.When == 0 {
			t.Fatalf("deletion %+v", d)
		}
	}
	if err := b.FinishDeletion(background, ids...); err != nil {
		t.Fatal(err)
	}
	if n := len(b.Deletions()); n != 0 {
		t.Fatalf("%d deletions after they were finished", n)
	}
	Eventually(t, "a sees them finished", func() bool { return len(a.Deletions()) == 0 })
	n := 0
	for seg := range b.Segments() {
		if full, ok := b.Segment(seg.ULID); !ok || len(full.Extents) != 1 {
			t.Fatalf("segment %+v", full)
		}
		n++
	}
	if n != 2 {
		t.Fatalf("%d segments", n)
	}
}

// testSwapRace: of two gateways that compact the same segments, one wins.
func testSwapRace(t *testing.T, cfg catalog.Config) {
	a, b := Open(t, cfg), Open(t, cfg)
	sa, sb := Join(t, a, "a"), Join(t, b, "b")
	for round := range int64(10) {
		id := shard.ID{Topic: 1, Index: uint32(round)}
		seg := Segment(0, 9, id)
		if err := sa.CommitSegment(background, seg); err != nil {
			t.Fatal(err)
		}
		Eventually(t, "b sees it", func() bool { _, _, ok := b.FindExtent(id, 0); return ok })
		var wg sync.WaitGroup
		errs := make([]error, 2)
		for i, s := range []*catalog.Session{sa, sb} {
			wg.Add(1)
			go func() {
				defer wg.Done()
				errs[i] = s.SwapSegments(background, []catalog.Segment{Segment(0, 9, id)}, []catalog.ULID{seg.ULID})
			}()
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else if !errors.Is(err, catalog.ErrConflict) && !errors.Is(err, catalog.ErrOverlap) {
				t.Fatal(err)
			}
		}
		if won != 1 {
			t.Fatalf("round %d: %d swaps won: %v", round, won, errs)
		}
		Eventually(t, "one extent is left", func() bool { return len(a.Extents(id)) == 1 && len(b.Extents(id)) == 1 })
	}
}

func testTopics(t *testing.T, cfg catalog.Config) {
	a, b := Open(t, cfg), Open(t, cfg)
	changed := b.Changed()
	made, err := a.CreateTopic(background, shard.Topic{Name: "telemetry", Shards: 16, Captures: []string{"sensors.>"}, Labels: map[string]string{"k": "v"}})
	if err != nil || made.Num != 1 {
		t.Fatalf("made %+v: %v", made, err)
	}
	<-changed
	Eventually(t, "b has it", func() bool {
		got, ok := b.Topics().Resolve("sensors.kitchen")
		return ok && got.Num == 1 && got.Labels["k"] == "v"
	})
	if _, err := b.CreateTopic(background, shard.Topic{Name: "telemetry", Shards: 1}); !errors.Is(err, shard.ErrTopicExists) {
		t.Fatalf("created twice: %v", err)
	}
	if _, err := b.CreateTopic(background, shard.Topic{Name: "other", Shards: 1, Captures: []string{"sensors.>"}}); !errors.Is(err, shard.ErrCaptureConflict) {
		t.Fatalf("overlap: %v", err)
	}
	if _, err := b.CreateTopic(background, shard.Topic{Name: "none", Shards: 0}); shard.KindOf(err) != shard.KindInvalid {
		t.Fatalf("no shards: %v", err)
	}
	if _, err := b.CreateTopic(background, shard.Topic{Name: "own", Shards: 1, Captures: []string{"sensors.*"}}); err != nil {
		t.Fatal(err)
	}
	up, err := b.UpdateTopic(background, "telemetry", func(tp *shard.Topic) error {
		tp.Shards, tp.Name, tp.Num = 32, "ignored", 99
		return nil
	})
	if err != nil || up.Shards != 32 || up.Num != 1 || up.Name != "telemetry" {
		t.Fatalf("updated %+v: %v", up, err)
	}
	if _, err := b.UpdateTopic(background, "own", func(tp *shard.Topic) error { tp.Captures = []string{"sensors.>"}; return nil }); !errors.Is(err, shard.ErrCaptureConflict) {
		t.Fatalf("update into a conflict: %v", err)
	}
	mine := errors.New("mine")
	if _, err := b.UpdateTopic(background, "own", func(*shard.Topic) error { return mine }); !errors.Is(err, mine) {
		t.Fatalf("update that fails: %v", err)
	}
	if err := b.DeleteTopic(background, "telemetry"); err != nil {
		t.Fatal(err)
	}
	if err := b.DeleteTopic(background, "telemetry"); !errors.Is(err, shard.ErrTopicNotFound) {
		t.Fatalf("deleted twice: %v", err)
	}
	if _, err := b.UpdateTopic(background, "telemetry", func(*shard.Topic) error { return nil }); !errors.Is(err, shard.ErrTopicNotFound) {
		t.Fatalf("update of none: %v", err)
	}
	Eventually(t, "a sees it gone", func() bool { _, ok := a.Topics().ByNum(1); return !ok })
	again, err := a.CreateTopic(background, shard.Topic{Name: "telemetry", Shards: 1})
	if err != nil || again.Num != 3 {
		t.Fatalf("made again %+v: %v", again, err)
	}
}

// testTopicRace: gateways that create the same subjects at once agree on one
// topic each, and no number is given twice.
func testTopicRace(t *testing.T, cfg catalog.Config) {
	cats := []*catalog.Catalog{Open(t, cfg), Open(t, cfg), Open(t, cfg)}
	var wg sync.WaitGroup
	for g, c := range cats {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 20 {
				for _, tp := range []shard.Topic{
					{Name: fmt.Sprintf("same.%d", i), Shards: 1, Auto: true},
					{Name: fmt.Sprintf("own.%d.%d", g, i), Shards: 1},
					{Name: fmt.Sprintf("wild.%d.%d", g, i), Shards: 1, Captures: []string{fmt.Sprintf("w.%d.*", i)}},
				} {
					_, err := c.CreateTopic(background, tp)
					if err != nil && !errors.Is(err, shard.ErrTopicExists) && !errors.Is(err, shard.ErrCaptureConflict) {
						t.Error(err)
					}
				}
				_, err := c.UpdateTopic(background, fmt.Sprintf("same.%d", i), func(tp *shard.Topic) error { tp.Shards++; return nil })
				if err != nil {
					t.Error(err)
				}
			}
		}()
	}
	wg.Wait()
	const want = 20 + 60 + 20
	for _, c := range cats {
		Eventually(t, "all are seen", func() bool { return c.Topics().Len() == want })
		nums := map[shard.TopicNum]bool{}
		for tp := range c.Topics().All() {
			nums[tp.Num] = true
			if tp.Auto {
				Eventually(t, tp.Name+" has 4 shards", func() bool { n, _ := c.Topics().ByName(tp.Name); return n.Shards == 4 })
			}
		}
		if len(nums) != want || c.Topics().AutoLen() != 20 {
			t.Fatalf("%d numbers, %d auto", len(nums), c.Topics().AutoLen())
		}
	}
}

func testNumbers(t *testing.T, cfg catalog.Config) {
	cats := []*catalog.Catalog{Open(t, cfg), Open(t, cfg)}
	var mu sync.Mutex
	seen := map[int64]bool{}
	var wg sync.WaitGroup
	for _, c := range cats {
		for range 2 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for range 25 {
					first, err := c.NextIDs(background, "producers", 10)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					for n := first; n < first+10; n++ {
						if seen[n] || n < 1 {
							t.Errorf("number %d was given twice", n)
						}
						seen[n] = true
					}
					mu.Unlock()
				}
			}()
		}
	}
	wg.Wait()
	if len(seen) != 1000 {
		t.Fatalf("%d numbers", len(seen))
	}
	if _, err := cats[0].NextIDs(background, "producers", 0); !errors.Is(err, catalog.ErrInvalid) {
		t.Fatalf("none taken: %v", err)
	}
}

func testRare(t *testing.T, cfg catalog.Config) {
	a, b := Open(t, cfg), Open(t, cfg)
	u := shard.User{Name: "admin", SCRAM256: &shard.Credential{Salt: []byte("salt"), Iterations: 4096, StoredKey: []byte("k"), ServerKey: []byte("s")}, Superuser: true}
	rule := shard.ACL{Principal: "bob", Resource: "subject", Filter: "a.>", Operation: shard.OpPublish}
	deny := rule
	deny.Deny = true
	steps := []error{
		a.PutUser(background, u), a.PutACLs(background, rule, deny, rule), a.PutACLs(background, rule),
		a.PutQuota(background, catalog.Quota{Name: "bob", Limits: map[string]int64{"bytes": 5}}),
		a.PutFeature(background, catalog.Feature{Name: "groups", Level: 2}),
	}
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "b sees all", func() bool { return len(b.Features()) == 1 })
	got, ok := b.User("admin")
	if !ok || !got.Superuser || string(got.SCRAM256.Salt) != "salt" || len(b.Users()) != 1 {
		t.Fatalf("user %+v", got)
	}
	if rules := b.ACLs(); len(rules) != 2 {
		t.Fatalf("rules %+v", rules)
	}
	if q := b.Quotas(); len(q) != 1 || q[0].Limits["bytes"] != 5 {
		t.Fatalf("quotas %+v", q)
	}
	if f, ok := b.Feature("groups"); !ok || f.Level != 2 {
		t.Fatalf("feature %+v", f)
	}
	steps = []error{
		b.DeleteUser(background, "admin"), b.DeleteACLs(background, rule), b.DeleteQuota(background, "bob"),
		b.DeleteQuota(background, "none"), b.DeleteFeature(background, "groups"),
	}
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
	if err := b.DeleteUser(background, "admin"); !errors.Is(err, catalog.ErrNotFound) {
		t.Fatalf("deleted twice: %v", err)
	}
	if rules := b.ACLs(); len(rules) != 1 || !rules[0].Deny || len(b.Users())+len(b.Quotas())+len(b.Features()) != 0 {
		t.Fatalf("left %+v", rules)
	}
}

func testDump(t *testing.T, cfg catalog.Config) {
	a := Open(t, cfg)
	s := Join(t, a, "gw-1")
	if _, err := s.ClaimSlots(background, []int{3}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.CreateTopic(background, shard.Topic{Name: "orders", Shards: 2}); err != nil {
		t.Fatal(err)
	}
	seg := Segment(100, 199, shard.ID{Topic: 1})
	if err := s.CommitSegment(background, seg); err != nil {
		t.Fatal(err)
	}
	if err := a.PutUser(background, shard.User{Name: "bob", SCRAM256: &shard.Credential{StoredKey: []byte("secret")}}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := a.Dump(background, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"gateways/gw-1", "slots/003", "topics/orders", `"Base":100`, seg.Key, "users/bob", "cluster/id", "wals/wal-gw-1", "counters/topics"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("dump lacks %s:\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "c2VjcmV0") || strings.Contains(out.String(), `"error"`) {
		t.Errorf("dump holds a credential or an error:\n%s", &out)
	}
}
