package catalog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/robustmq/robustmq-go/shard"
)

// sortedKV answers ranges from a sorted list of keys, and counts what etcd would visit for them.
type sortedKV struct {
	clientv3.KV
	keys           []string
	asked, visited int
	rev            int64
}

func (s *sortedKV) Get(_ context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	op := clientv3.OpGet(key, opts...)
	lo, _ := slices.BinarySearch(s.keys, key)
	hi, _ := slices.BinarySearch(s.keys, string(op.RangeBytes()))
	resp := &clientv3.GetResponse{Header: &pb.ResponseHeader{Revision: s.rev}, Count: int64(max(hi-lo, 0))}
	for i := lo; i < hi && i < lo+int(op.Limit()); i++ {
		resp.Kvs = append(resp.Kvs, &mvccpb.KeyValue{Key: []byte(s.keys[i])})
	}
	resp.More = int64(len(resp.Kvs)) < resp.Count
	s.asked, s.visited = s.asked+1, s.visited+int(resp.Count)
	return resp, nil
}

// TestScanCost: every key once, in order, in few pages, and without etcd visiting
// each key again for every page before it (but for names nobody gives).
func TestScanCost(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	kinds := map[string]func(i int) string{
		"ulids of a month": func(int) string {
			return "segments/" + ulid.MustNew(1_700_000_000_000+r.Uint64N(30*24*3_600_000), nil).String()
		},
		"ulids of a minute":  func(int) string { return "segments/" + ulid.MustNew(1_700_000_000_000+r.Uint64N(60_000), nil).String() },
		"numbers":            func(i int) string { return fmt.Sprintf("topics/%d", i) },
		"bytes":              func(int) string { return string([]byte{byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}) },
		"high bytes":         func(i int) string { return strings.Repeat("\xff", 1+r.IntN(40)) + fmt.Sprint(i) },
		"prefixes of others": func(i int) string { return strings.Repeat("a", i) },
	}
	for name, key := range kinds {
		for _, n := range []int{0, 1, listPage, listPage + 1, 3000, 60_000} {
			if name == "prefixes of others" && n > 3000 {
				continue // they would be long
			}
			kv := &sortedKV{rev: 5}
			for i := range n {
				kv.keys = append(kv.keys, "/p/"+key(i))
			}
			slices.Sort(kv.keys)
			kv.keys = slices.Compact(kv.keys)
			c := newCatalog(Config{LeaseTTL: time.Second, Prefix: "/p/"})
			c.kv = kv
			var got []string
			err := c.scan(context.Background(), "/p/", func(_ int64, kvs []*mvccpb.KeyValue) error {
				for _, e := range kvs {
					got = append(got, string(e.Key))
				}
				return nil
			})
			c.cancel()
			if err != nil || !slices.Equal(got, kv.keys) {
				t.Fatalf("%s: %d of %d keys: %v", name, len(got), len(kv.keys), err)
			}
			pages := len(kv.keys)/listPage + 1
			if kv.asked > 3*pages+10 {
				t.Errorf("%s: %d requests for %d keys", name, kv.asked, len(kv.keys))
			}
			if name != "high bytes" && kv.visited > 20*len(kv.keys)+150_000 {
				t.Errorf("%s: %d keys visited to list %d", name, kv.visited, len(kv.keys))
			}
			t.Logf("%s: %d keys, %d requests, %d visited", name, len(kv.keys), kv.asked, kv.visited)
		}
	}
}

// TestLoadEqualsApply: a first listing, cut into pages anywhere, gives the index that
// events give, whatever the order of offsets; a segment that cannot be read is left out.
func TestLoadEqualsApply(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 9))
	const prefix = "/p/segments/"
	live := map[ULID]Segment{}
	var kvs []*mvccpb.KeyValue
	var next [5]int64
	var ids []ULID
	for i := range 300 {
		ids = append(ids, ulid.MustNew(uint64(i+1), nil))
	}
	for i, at := range r.Perm(300) { // not in the order of their names: merged ones are younger
		s := Segment{ULID: ids[at], Key: "k", Created: int64(i)}
		for n := range next {
			for range r.IntN(3) {
				s.Extents = append(s.Extents, Extent{Shard: shard.ID{Topic: 1, Index: uint32(n)}, Base: next[n], Last: next[n] + 4})
				next[n] += 5
			}
		}
		live[s.ULID] = s
	}
	big := Segment{ULID: ulid.MustNew(1000, nil), Key: "k"}
	for i := range 60_000 {
		big.Extents = append(big.Extents, Extent{Shard: shard.ID{Topic: 2, Index: uint32(i)}, Last: 1})
	}
	damaged := segmentOf(3, 0, 9)
	for _, s := range append([]Segment{big, damaged}, slices.Collect(maps.Values(live))...) {
		values, err := encodeSegment(&s)
		if err != nil {
			t.Fatal(err)
		}
		for p, v := range values {
			if s.ULID == damaged.ULID {
				v = v[:len(v)-1]
			}
			kvs = append(kvs, &mvccpb.KeyValue{Key: []byte(prefix + partName(s.ULID, p)), Value: v})
		}
	}
	slices.SortFunc(kvs, func(a, b *mvccpb.KeyValue) int { return strings.Compare(string(a.Key), string(b.Key)) })
	x := newIndex()
	l := x.newLoader(len(prefix))
	for rest := kvs; len(rest) > 0; {
		n := min(1+r.IntN(40), len(rest))
		l.pages <- rest[:n]
		rest = rest[n:]
	}
	if err := l.close(); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("load: %v", err)
	}
	if e, ok := x.lookup(big.ULID); !ok || e.parts == 0 || e.count != 60_000 {
		t.Fatalf("the big segment: %v %v", e, ok)
	}
	if _, ok := x.lookup(damaged.ULID); ok {
		t.Fatal("the damaged segment is there")
	}
	want := 60_000
	for _, s := range live {
		want += len(s.Extents)
	}
	if got := x.extents.Load(); got != int64(want) {
		t.Fatalf("%d extents, want %d", got, want)
	}
	checkIndex(t, x, live, next[:], r)
	// And it goes on from there.
	if err := x.apply(deleteEvents(2, ids[:100]...)); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids[:100] {
		delete(live, id)
	}
	checkIndex(t, x, live, next[:], r)
}
