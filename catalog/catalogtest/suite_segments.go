package catalogtest

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
)

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
	huge := Segment(0, 9, slices.Concat(ids, ids)...)
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
