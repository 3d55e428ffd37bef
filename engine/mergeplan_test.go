package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/oklog/ulid/v2"

	"github.com/robustmq/robustmq-go/shard"
)

// mergeSim is a store under a steady load, as the policy sees it.
type mergeSim struct {
	p             mergePolicy
	now           int64 // ms
	segs          []mergeSeg
	shards        int
	wrote, merged int64
	most          int // segments
}

func (m *mergeSim) add(s mergeSeg) {
	s.id = ulid.ULID{byte(m.wrote >> 40), byte(m.wrote >> 32), byte(m.wrote >> 24), byte(m.wrote >> 16), byte(m.wrote >> 8), byte(m.wrote)}
	m.segs = append(m.segs, s)
}

// flush adds what a flush makes, merges what there is to merge, and frees what is
// older than keep.
func (m *mergeSim) flush(size, keep int64) {
	m.wrote += size
	m.add(mergeSeg{created: m.now, size: size, live: size, extents: m.shards})
	for m.merge() {
		slices.SortFunc(m.segs, inTime)
	}
	if len(m.segs)%64 == 0 {
		m.segs = slices.DeleteFunc(m.segs, func(s mergeSeg) bool { return s.created < m.now-keep })
	}
	m.most = max(m.most, len(m.segs))
}

func (m *mergeSim) merge() bool {
	run := m.p.tier(m.segs, func(run []mergeSeg) bool {
		extents := 0
		for _, s := range run {
			extents += s.extents
		}
		return m.p.worth(run, min(extents, m.shards))
	})
	if run == nil {
		return false
	}
	var live int64
	in := map[ulid.ULID]bool{}
	for _, s := range run {
		live += s.live
		in[s.id] = true
	}
	m.segs = slices.DeleteFunc(m.segs, func(s mergeSeg) bool { return in[s.id] })
	parts := (live + m.p.segment - 1) / m.p.segment
	for i := range parts {
		m.merged += live / parts
		m.add(mergeSeg{id: ulid.ULID{byte(i)}, level: run[0].level + 1, class: classPlain, created: run[0].created, size: live / parts, live: live / parts,
			extents: max(1, m.shards/int(parts))})
	}
	return true
}

// TestMergePolicyDay: a day under a steady load, with the default sizes: merging
// keeps up, each byte is written again a bounded number of times, and the number of
// segments follows from the bytes that are kept.
func TestMergePolicyDay(t *testing.T) {
	o := DefaultOptions()
	const hour = 3600_000
	for _, x := range []struct {
		name      string
		perSecond int64
		shards    int
		hours     int64
		amp       float64
	}{
		{"1 KB/s", 1 << 10, 1, 24, 4},
		{"100 KB/s", 100 << 10, 10, 24, 3},
		{"0.8 MB/s", 800_000, 10, 24, 1.1},
		{"0.8 MB/s of 1,000 shards", 800_000, 1000, 24, 2.1},
		{"2 MB/s", 2_000_000, 100, 24, 2.1},
		{"20 MB/s", 20_000_000, 10, 6, 1.1},
		{"20 MB/s of 1,000 shards", 20_000_000, 1000, 3, 2.1},
	} {
		m := mergeSim{p: mergePolicy{o.MergeSegments, o.SegmentBytes}, shards: x.shards}
		every := o.FlushInterval.Milliseconds()
		if perFlush := x.perSecond * every / 1000; perFlush > o.FlushBytes {
			every = o.FlushBytes * 1000 / x.perSecond
		}
		size := max(x.perSecond*every/1000, 1) + 100<<10 // just over the bound, as batches are not cut
		keep := x.hours * hour / 2
		for ; m.now < x.hours*hour; m.now += every {
			m.flush(size, keep)
		}
		amp := float64(m.merged) / float64(m.wrote)
		kept := size * keep / every
		most := 2*int(kept/o.SegmentBytes) + 4*o.MergeSegments
		t.Logf("%-26s %7d flushes, %5.1f GB: written again %.2f times, %d segments at most", x.name, x.hours*hour/every, float64(m.wrote)/1e9, amp, m.most)
		if amp > x.amp {
			t.Errorf("%s: each byte is written again %.2f times, over %.1f", x.name, amp, x.amp)
		}
		if m.most > most {
			t.Errorf("%s: %d segments for %d bytes that are kept, over %d", x.name, m.most, kept, most)
		}
	}
}

// TestMergePolicyProgress: whatever the sizes of flushes, up to that of a segment, and
// however large a part of one they are, they do not pile up.
func TestMergePolicyProgress(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		p := mergePolicy{2 + rng.IntN(31), 64 << 20}
		m := mergeSim{p: p, shards: 1 + rng.IntN(2000)}
		most := int64(1 + rng.IntN(16<<20))
		for range 300 {
			m.now += 1000
			m.flush(1+rng.Int64N(most), 1<<60)
		}
		fresh := 0
		for _, s := range m.segs {
			if s.level == 0 {
				fresh++
			}
		}
		if bound := 2*int(m.wrote/p.segment) + p.n*maxLevel; fresh >= p.n || len(m.segs) > bound {
			t.Fatalf("n %d, flushes of up to %d bytes, %d shards: %d segments, over %d, %d of them fresh", p.n, most, m.shards, len(m.segs), bound, fresh)
		}
	}
}

// TestMergePolicyStray: a segment that was left behind among higher ones is taken in.
func TestMergePolicyStray(t *testing.T) {
	p := mergePolicy{4, 64 << 20}
	var segs []mergeSeg
	for i := range 5 {
		s := mergeSeg{level: 1, class: classPlain, created: int64(i), size: 1000, live: 1000, extents: 1}
		if i == 2 {
			s.level, s.class = 0, classMixed
		}
		segs = append(segs, s)
	}
	if run := p.tier(segs, func([]mergeSeg) bool { return true }); len(run) != 5 {
		t.Fatalf("%d segments are merged, want 5", len(run))
	}
}

func TestMergePolicySparse(t *testing.T) {
	p := mergePolicy{16, 64 << 20}
	for _, x := range []struct {
		level      int
		size, live int64
		want       bool
	}{
		{1, 64 << 20, 47 << 20, true}, {1, 64 << 20, 50 << 20, false}, {1, 64 << 20, 0, false}, // that one goes as a whole
		{0, 16 << 20, 11 << 20, false}, {0, 16 << 20, 7 << 20, true}, {1, 1 << 20, 1 << 19, false},
	} {
		s := []mergeSeg{{level: x.level, size: x.size, live: x.live, extents: 1}}
		if got := p.sparse(s) != nil; got != x.want {
			t.Errorf("%+v: sparse %t", x, got)
		}
		s[0].bad = true
		if p.sparse(s) != nil {
			t.Errorf("%+v: what cannot be read is to be rewritten", x)
		}
	}
	index := mergeSeg{level: 1, size: 8 << 20, live: 8<<20 - 1000*90, extents: 1000}
	if n := index.dead(); n != 0 {
		t.Errorf("%d bytes of an index count as dead", n)
	}
}

// TestMergePolicyDue: shards that doubled are compacted, once there is enough of them.
func TestMergePolicyDue(t *testing.T) {
	p := mergePolicy{16, 64 << 20}
	shards := func(n int, clean, dirty int64) (out []compactShard) {
		for i := range n {
			out = append(out, compactShard{shard.ID{Topic: 9, Index: uint32(i)}, clean, dirty})
		}
		return out
	}
	for name, x := range map[string]struct {
		in   []compactShard
		want int
	}{
		"small":          {shards(1, 0, 1<<20), 0},
		"many small":     {shards(16, 0, 1<<20), 16},
		"doubled":        {shards(2, 32<<20, 32<<20), 2},
		"half":           {shards(2, 64<<20, 32<<20), 0},
		"nothing is new": {shards(9, 64<<20, 0), 0},
	} {
		if got := p.due(x.in); len(got) != x.want {
			t.Errorf("%s: %d shards are due, want %d", name, len(got), x.want)
		}
	}
	if got := fmt.Sprint(p.due(append(shards(1, 1, 16<<20), compactShard{shard.ID{Topic: 5}, 1, 99 << 20}))[0].id.Topic); got != "5" {
		t.Errorf("topic %s is first, want the one with most to free", got)
	}
}
