package producer

import (
	"bytes"
	"errors"
	"math"
	"strconv"
	"testing"

	"github.com/robustmq/robustmq-go/shard"
)

// batch makes one of n records at offset base.
func batch(id int64, epoch int16, seq int32, n int, base int64) *shard.Batch {
	var b shard.Builder
	for i := range n {
		b.Add(&shard.Record{Timestamp: base + int64(i), Value: []byte("v")})
	}
	out := b.BuildProducer(id, epoch, seq)
	out.Assign(base, 0)
	return out
}

func TestRules(t *testing.T) {
	type step struct {
		epoch  int16
		seq    int32
		n      int
		err    error
		dup    bool
		dupOff int64
	}
	const top = math.MaxInt32
	for name, steps := range map[string][]step{
		"in order":                   {{0, 0, 2, nil, false, 0}, {0, 2, 1, nil, false, 0}, {0, 3, 4, nil, false, 0}},
		"gap":                        {{0, 0, 2, nil, false, 0}, {0, 3, 1, shard.ErrOutOfOrderSequence, false, 0}},
		"unknown starts anywhere":    {{0, 77, 1, nil, false, 0}, {0, 78, 1, nil, false, 0}},
		"duplicate of the last":      {{0, 0, 2, nil, false, 0}, {0, 0, 2, nil, true, 0}},
		"duplicate of another size":  {{0, 0, 2, nil, false, 0}, {0, 0, 1, shard.ErrOutOfOrderSequence, false, 0}},
		"old epoch":                  {{3, 0, 1, nil, false, 0}, {2, 1, 1, shard.ErrProducerFenced, false, 0}},
		"new epoch from 0":           {{3, 0, 1, nil, false, 0}, {4, 0, 1, nil, false, 0}, {4, 1, 1, nil, false, 0}},
		"new epoch not from 0":       {{3, 0, 1, nil, false, 0}, {4, 1, 1, shard.ErrOutOfOrderSequence, false, 0}},
		"new epoch forgets old ones": {{3, 0, 1, nil, false, 0}, {4, 0, 1, nil, false, 0}, {4, 0, 1, nil, true, 1}},
		"wrap between":               {{0, top, 1, nil, false, 0}, {0, 0, 1, nil, false, 0}},
		"wrap within":                {{0, top - 1, 3, nil, false, 0}, {0, 1, 1, nil, false, 0}, {0, top - 1, 3, nil, true, 0}},
		"five back is known": {{0, 0, 1, nil, false, 0}, {0, 1, 1, nil, false, 0}, {0, 2, 1, nil, false, 0},
			{0, 3, 1, nil, false, 0}, {0, 4, 1, nil, false, 0}, {0, 0, 1, nil, true, 0}},
		"six back is not": {{0, 0, 1, nil, false, 0}, {0, 1, 1, nil, false, 0}, {0, 2, 1, nil, false, 0}, {0, 3, 1, nil, false, 0},
			{0, 4, 1, nil, false, 0}, {0, 5, 1, nil, false, 0}, {0, 0, 1, shard.ErrOutOfOrderSequence, false, 0}, {0, 1, 1, nil, true, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			tab, next := New(Limits{}), int64(0)
			for i, s := range steps {
				b := batch(9, s.epoch, s.seq, s.n, next)
				v, err := tab.Check(b, 1000)
				if !errors.Is(err, s.err) || v.Duplicate != s.dup || s.dup && v.Base != s.dupOff {
					t.Fatalf("step %d: got %+v, %v", i, v, err)
				}
				if err == nil && !v.Duplicate {
					tab.Add(b, 1000)
					next += int64(s.n)
				}
				snap := tab.Snapshot()
				if tab, err = Restore(Limits{}, snap); err != nil || !bytes.Equal(tab.Snapshot(), snap) {
					t.Fatalf("step %d: restore: %v", i, err)
				}
			}
		})
	}
}

func TestNegativeSequenceIsRefused(t *testing.T) {
	if _, err := New(Limits{}).Check(batch(1, 0, -1, 1, 0), 0); shard.KindOf(err) != shard.KindInvalid {
		t.Fatal(err)
	}
	if _, err := New(Limits{}).Check(batch(1, -1, 0, 1, 0), 0); shard.KindOf(err) != shard.KindInvalid {
		t.Fatal(err)
	}
}

func TestBounds(t *testing.T) {
	tab := New(Limits{Producers: 3, IDs: 3, WindowMs: 100, ProducerExpiryMs: 1000})
	for id := range int64(5) {
		tab.Add(batch(id, 0, 0, 1, id), id)
		tab.AddID(strconv.Itoa(int(id)), batch(-1, -1, -1, 1, id), id)
	}
	if p, ids := tab.Len(); p != 3 || ids != 3 {
		t.Fatal(p, ids)
	}
	if v, _ := tab.CheckID("1", 5); v.Duplicate {
		t.Fatal("the oldest id is still known")
	}
	if v, _ := tab.CheckID("4", 104); !v.Duplicate || v.Base != 4 {
		t.Fatal("the newest id is not known", v)
	}
	if v, _ := tab.CheckID("4", 105); v.Duplicate {
		t.Fatal("known past the window")
	}
	if v, err := tab.Check(batch(4, 0, 7, 1, 9), 1005); v.Duplicate || err != nil {
		t.Fatal("producer known past its expiry", err)
	}
	tab.Expire(5000)
	if p, ids := tab.Len(); p != 0 || ids != 0 {
		t.Fatal(p, ids)
	}
	named := func(base, ms int64, ids ...string) *shard.Batch {
		var b shard.Builder
		for _, id := range ids {
			b.Add(&shard.Record{Timestamp: ms, Headers: []shard.Header{{Name: shard.HeaderDedupeID, Value: []byte(id)}}})
		}
		x := b.Build()
		x.Assign(base, 1)
		return x
	}
	tab = New(Limits{WindowMs: 100})
	tab.Replay(named(7, 50, "replayed"), 140)
	tab.Replay(named(8, 50, "two", "two"), 140)
	tab.Replay(named(9, 39, "old"), 140)
	tab.Replay(named(10, 60, "replayed"), 140)
	for id, at := range map[string]int64{"two": 140, "old": 140, "replayed": 151, "": 140} {
		if v, _ := tab.CheckID(id, at); v.Duplicate {
			t.Fatalf("%q is known at %d: %+v", id, at, v)
		}
	}
	if v, _ := tab.CheckID("replayed", 150); !v.Duplicate || v.Base != 7 || v.Last != 7 || v.Timestamp != 50 {
		t.Fatalf("replayed: %+v", v)
	}
	if _, err := tab.CheckID(string(make([]byte, MaxIDBytes+1)), 0); shard.KindOf(err) != shard.KindTooLarge {
		t.Fatal(err)
	}
}

func TestPrefixesAreErrors(t *testing.T) {
	tab := New(Limits{})
	tab.Add(batch(1, 2, 3, 4, 5), 6)
	tab.AddID("x", batch(-1, -1, -1, 1, 8), 9)
	snap := tab.Snapshot()
	for n := range snap {
		if _, err := Restore(Limits{}, snap[:n]); err == nil {
			t.Fatalf("prefix of %d bytes was taken", n)
		}
	}
	for v := range 256 {
		if _, err := Restore(Limits{}, append([]byte{byte(v)}, snap[1:]...)); (err == nil) != (v == snapshotV1) {
			t.Fatalf("version %d: %v", v, err)
		}
	}
}

func FuzzRestore(f *testing.F) {
	tab := New(Limits{})
	f.Add(tab.Snapshot())
	tab.Add(batch(1, 2, 3, 4, 5), 6)
	tab.Add(batch(1, 2, 7, 1, 9), 6)
	tab.AddID("x", batch(-1, -1, -1, 1, 8), 9)
	f.Add(tab.Snapshot())
	f.Fuzz(func(t *testing.T, p []byte) {
		got, err := Restore(Limits{}, p)
		if err == nil && !bytes.Equal(got.Snapshot(), p) {
			t.Fatalf("%x became %x", p, got.Snapshot())
		}
	})
}
