package catalog

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/oklog/ulid/v2"

	"github.com/robustmq/robustmq-go/shard"
)

func putEvents(t testing.TB, rev int64, segs ...Segment) []event {
	t.Helper()
	var evs []event
	for i := range segs {
		values, err := encodeSegment(&segs[i])
		if err != nil {
			t.Fatal(err)
		}
		for p, v := range values {
			evs = append(evs, event{name: partName(segs[i].ULID, p), value: v, mod: rev, create: rev, version: 1})
		}
	}
	return evs
}

func deleteEvents(rev int64, ids ...ULID) []event {
	var evs []event
	for _, id := range ids {
		evs = append(evs, event{name: partName(id, 0), mod: rev, deleted: true})
	}
	return evs
}

// TestIndexModel runs random commits, swaps and removals against a plain list.
func TestIndexModel(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { indexModel(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func indexModel(t *testing.T, r *rand.Rand) {
	const shards = 5
	x := newIndex()
	live := map[ULID]Segment{}
	var next [shards]int64
	for step := range 200 {
		rev := int64(step + 1)
		var evs []event
		if r.IntN(4) > 0 || len(live) == 0 { // a flush
			s := Segment{ULID: ulid.Make(), Key: "k", Created: rev}
			for i := range shards {
				if r.IntN(2) == 0 {
					continue
				}
				base := next[i] + int64(r.IntN(3)) // holes
				last := base + int64(r.IntN(10))
				s.Extents = append(s.Extents, Extent{Shard: shard.ID{Topic: 1, Index: uint32(i)}, Base: base, Last: last, Pos: rev, Len: rev, MinTime: rev, MaxTime: rev + 1})
				next[i] = last + 1
			}
			live[s.ULID] = s
			evs = putEvents(t, rev, s)
		} else { // retention or compaction of some
			var ids []ULID
			merged := map[shard.ID][]Extent{}
			for id, s := range live {
				if r.IntN(3) == 0 {
					ids = append(ids, id)
					for _, e := range s.Extents {
						merged[e.Shard] = append(merged[e.Shard], e)
					}
				}
			}
			evs = deleteEvents(rev, ids...)
			for _, id := range ids {
				delete(live, id)
			}
			if r.IntN(2) == 0 {
				for _, list := range merged {
					slices.SortFunc(list, func(a, b Extent) int { return int(a.Base - b.Base) })
					s := Segment{ULID: ulid.Make(), Key: "k", Level: 1, Extents: list}
					live[s.ULID] = s
					evs = append(evs, putEvents(t, rev, s)...)
				}
			}
		}
		if err := x.apply(evs); err != nil {
			t.Fatal(err)
		}
		checkIndex(t, x, live, next[:], r)
	}
}

func checkIndex(t *testing.T, x *index, live map[ULID]Segment, next []int64, r *rand.Rand) {
	t.Helper()
	for i, end := range next {
		id := shard.ID{Topic: 1, Index: uint32(i)}
		var want []Extent
		for _, s := range live {
			for _, e := range s.Extents {
				if e.Shard == id {
					want = append(want, e)
				}
			}
		}
		slices.SortFunc(want, func(a, b Extent) int { return int(a.Base - b.Base) })
		var got []Extent
		for _, e := range x.list(id) {
			got = append(got, e.Extent)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("shard %s: %v, want %v", id, got, want)
		}
		var all ShardExtents
		x.eachShard(func(of shard.ID, s ShardExtents) {
			if of == id {
				all = s
			}
		})
		for _, e := range want {
			all.Bytes -= e.Len
		}
		if all.Bytes != 0 || len(want) > 0 && all.First != want[0] {
			t.Fatalf("shard %s begins with %v and has %d bytes too many, want %v", id, all.First, all.Bytes, want)
		}
		base, last, ok := x.bounds(id)
		if ok != (len(want) > 0) || ok && (base != want[0].Base || last != want[len(want)-1].Last) {
			t.Fatalf("bounds %d %d %v", base, last, ok)
		}
		offset := r.Int64N(end + 3)
		j := slices.IndexFunc(want, func(e Extent) bool { return e.Last >= offset })
		_, e, ok := x.find(id, offset)
		if ok != (j >= 0) || ok && e != want[j] {
			t.Fatalf("find %d: %v %v of %v", offset, e, ok, want)
		}
		lo := r.Int64N(end + 3)
		hi := lo + r.Int64N(5)
		_, over := x.overlap(id, lo, hi, nil)
		if over != slices.ContainsFunc(want, func(e Extent) bool { return e.Base <= hi && e.Last >= lo }) {
			t.Fatalf("overlap %d..%d: %v of %v", lo, hi, over, want)
		}
	}
}

// TestSwapShowsNoHole: while a shard's extents are merged and split over and
// over, a reader always finds every offset.
func TestSwapShowsNoHole(t *testing.T) {
	x := newIndex()
	id := shard.ID{Topic: 9}
	small := func() []Segment {
		out := make([]Segment, 10)
		for i := range out {
			out[i] = segmentOf(9, int64(i)*10, int64(i)*10+9)
		}
		return out
	}
	cur := small()
	if err := x.apply(putEvents(t, 1, cur...)); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for g := range 2 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for off := int64(g); ; off = (off + 7) % 100 {
				select {
				case <-stop:
					return
				default:
				}
				if _, e, ok := x.find(id, off); !ok || e.Base > off || e.Last < off {
					t.Errorf("offset %d: found %+v %v", off, e, ok)
					return
				}
			}
		}()
	}
	for rev := int64(2); rev < 500; rev++ {
		next := []Segment{segmentOf(9, 0, 99)}
		if len(cur) == 1 {
			next = small()
		}
		ids := make([]ULID, len(cur))
		for i := range cur {
			ids[i] = cur[i].ULID
		}
		if err := x.apply(append(putEvents(t, rev, next...), deleteEvents(rev, ids...)...)); err != nil {
			t.Fatal(err)
		}
		cur = next
	}
	close(stop)
	wg.Wait()
}

func TestIndexRefusesDamage(t *testing.T) {
	x := newIndex()
	good := segmentOf(1, 0, 9)
	evs := putEvents(t, 1, good, segmentOf(2, 0, 9))
	evs[1].value = evs[1].value[:len(evs[1].value)-1]
	if err := x.apply(evs); err == nil {
		t.Fatal("a short value was taken")
	}
	if _, _, ok := x.find(shard.ID{Topic: 1}, 0); !ok {
		t.Fatal("the good one beside it was not taken")
	}
}

// TestTopicSetModel runs random changes against plain maps and checks that old
// versions stay as they were.
func TestTopicSetModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	s := newTopicStore()
	want := map[string]*shard.Topic{}
	var old *TopicSet
	var oldWant map[string]*shard.Topic
	for rev := int64(1); rev < 3000; rev++ {
		name := fmt.Sprintf("t.%d.x", r.IntN(300))
		if r.IntN(3) == 0 {
			delete(want, name)
			if err := s.apply([]event{{name: name, mod: rev, deleted: true}}); err != nil {
				t.Fatal(err)
			}
		} else {
			topic := &shard.Topic{Name: name, Num: shard.TopicNum(rev), Shards: 1, Auto: r.IntN(2) == 0}
			if r.IntN(5) == 0 {
				topic.Captures = []string{strings.TrimSuffix(name, ".x") + ".>"}
			}
			want[name] = topic
			if err := s.apply([]event{{name: name, mod: rev, create: rev, version: 1, value: encodeTopic(topic, "m")}}); err != nil {
				t.Fatal(err)
			}
		}
		if rev == 1500 {
			old, oldWant = s.set.Load(), map[string]*shard.Topic{}
			for k, v := range want {
				oldWant[k] = v
			}
		}
	}
	checkTopics(t, s.set.Load(), want)
	checkTopics(t, old, oldWant)
}

func checkTopics(t *testing.T, s *TopicSet, want map[string]*shard.Topic) {
	t.Helper()
	autos := 0
	for name, w := range want {
		got, ok := s.ByName(name)
		if !ok || got.Num != w.Num {
			t.Fatalf("%s: %+v", name, got)
		}
		if n, ok := s.ByNum(w.Num); !ok || n != got {
			t.Fatalf("%d: %+v", w.Num, n)
		}
		if w.Auto {
			autos++
		}
		sub := name
		if len(w.Captures) > 0 {
			sub = strings.TrimSuffix(name, ".x") + ".y.z"
		}
		if c, ok := s.Resolve(sub); !ok || c != got {
			t.Fatalf("resolve %s: %+v", sub, c)
		}
	}
	n := 0
	for topic := range s.All() {
		if want[topic.Name] == nil {
			t.Fatalf("%s is there", topic.Name)
		}
		n++
	}
	if n != len(want) || s.Len() != n || s.AutoLen() != autos {
		t.Fatalf("%d topics, len %d auto %d, want %d and %d", n, s.Len(), s.AutoLen(), len(want), autos)
	}
}

func TestResolve(t *testing.T) {
	s := newTopicStore()
	for i, c := range [][]string{{"a.>"}, {"a.*.c"}, {"a.b.>"}, {"*.z"}, {">"}, {"a.b.c.d"}, {"*.*.q"}} {
		topic := &shard.Topic{Name: fmt.Sprintf("n%d", i), Num: shard.TopicNum(i + 1), Shards: 1, Captures: c}
		if o, ok := s.set.Load().conflict(topic); ok {
			t.Fatalf("%v conflicts with %v", c, o.Captures)
		}
		if err := s.apply([]event{{name: topic.Name, mod: 1, value: encodeTopic(topic, "")}}); err != nil {
			t.Fatal(err)
		}
	}
	set := s.set.Load()
	for subject, want := range map[string]string{
		"a.x": "n0", "a.x.c": "n1", "a.b.c": "n2", "a.b.c.d": "n5", "k.z": "n3", "a.z": "n0", "x": "n4", "p.r.q": "n6", "a.b": "n0", "a.b.q": "n2", "a": "n4",
	} {
		if got, ok := set.Resolve(subject); !ok || got.Name != want {
			t.Errorf("%s: %+v, want %s", subject, got, want)
		}
	}
	for _, c := range []string{"a.*.c", "a.>", "a.b.c.d", ">", "*.z", "*.*.q"} {
		if _, ok := set.conflict(&shard.Topic{Name: "new", Shards: 1, Captures: []string{c}}); !ok {
			t.Errorf("%s does not conflict", c)
		}
	}
	for _, c := range []string{"a.*.d", "b.>", "*.y", "a.b.*", "*"} {
		if o, ok := set.conflict(&shard.Topic{Name: "new", Shards: 1, Captures: []string{c}}); ok {
			t.Errorf("%s conflicts with %v", c, o.Captures)
		}
	}
}

// BenchmarkTopicPut measures one creation among 100,000 topics.
func BenchmarkTopicPut(b *testing.B) {
	s := newTopicStore()
	var evs []event
	for i := range 100_000 {
		topic := &shard.Topic{Name: fmt.Sprintf("device.%d", i), Num: shard.TopicNum(i + 1), Shards: 1}
		evs = append(evs, event{name: topic.Name, mod: 1, value: encodeTopic(topic, "12345678")})
	}
	if err := s.apply(evs); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		topic := &shard.Topic{Name: fmt.Sprintf("more.%d", i), Num: shard.TopicNum(i + 1_000_000), Shards: 1}
		if err := s.apply([]event{{name: topic.Name, mod: 1, value: encodeTopic(topic, "12345678")}}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIndexScale loads 100,000 segments of 50 extents over a million
// shards and looks extents up.
func BenchmarkIndexScale(b *testing.B) {
	const segs, per, shards = 100_000, 50, 1_000_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	x := newIndex()
	next := make([]int64, shards)
	for i := range segs {
		s := Segment{ULID: ulid.Make(), Key: fmt.Sprintf("segments/%026d", i), Created: 1_700_000_000_000 + int64(i)}
		for j := range per {
			n := (i*per+j*7919)%(shards/per)*per + j
			s.Extents = append(s.Extents, Extent{
				Shard: shard.ID{Topic: shard.TopicNum(n)}, Base: next[n], Last: next[n] + 99, Pos: int64(j) * 160_000,
				Len: 160_000, Records: 100, MinTime: s.Created - 9000, MaxTime: s.Created,
			})
			next[n] += 100
		}
		slices.SortFunc(s.Extents, func(a, b Extent) int { return a.Shard.Compare(b.Shard) })
		if err := x.apply(putEvents(b, int64(i), s)); err != nil {
			b.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ResetTimer()
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(segs*per), "B/extent")
	for i := range b.N {
		n := i * 7919 % shards
		if _, _, ok := x.find(shard.ID{Topic: shard.TopicNum(n)}, next[n]/2); !ok && next[n] > 0 {
			b.Fatal("not found")
		}
	}
}
