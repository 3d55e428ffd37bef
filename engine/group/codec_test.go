package group

import (
	"bytes"
	"math"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/robustmq/robustmq-go/shard"
)

func sampleBindings() []*binding {
	plain := newBinding(nil, 1, &shard.Binding{ID: "b", Filter: shard.LiteralFilter("a.b")})
	plain.starts[shard.ID{Topic: 3, Index: 1}] = 9
	rich := newBinding(nil, 2, &shard.Binding{
		ID: "", Filter: shard.Filter{Space: shard.SpaceMQTT, Tokens: []shard.Token{{Kind: shard.TokenOne}, {Text: "*"}}},
		Start: shard.StartEarliest, NotFrom: "me", Data: []byte("d"),
		Headers: &shard.HeaderMatch{Any: true, Conds: []shard.HeaderCond{{Name: "x"}, {Name: "y", Value: []byte{}}, {Name: "z", Value: []byte("1")}}},
	})
	rich.removed = true
	rich.ends = map[shard.ID]int64{{Topic: 1}: 5, {Topic: 1, Index: 2}: 0}
	return []*binding{plain, rich}
}

func TestBindingCodec(t *testing.T) {
	for _, b := range sampleBindings() {
		p := encodeBinding(b)
		got, err := decodeBinding(p)
		if err != nil || !reflect.DeepEqual(got.pub, b.pub) || !reflect.DeepEqual(got.starts, b.starts) ||
			!reflect.DeepEqual(got.ends, b.ends) || got.removed != b.removed || got.plain != b.plain {
			t.Fatalf("%+v became %+v, %v", b.pub, got, err)
		}
		prefixes(t, p, func(p []byte) error { _, err := decodeBinding(p); return err })
	}
}

func prefixes(t *testing.T, p []byte, decode func([]byte) error) {
	t.Helper()
	for n := range p {
		if decode(p[:n]) == nil {
			t.Fatalf("a prefix of %d of %d bytes was taken", n, len(p))
		}
	}
	if err := decode(append([]byte{valueV1 + 1}, p[1:]...)); shard.KindOf(err) != shard.KindInvalid {
		t.Fatalf("another version: %v", err)
	}
}

func TestConfigCodec(t *testing.T) {
	c := shard.GroupConfig{Durable: true, AckTimeout: time.Second, MaxDeliver: 7, ExpireAfter: time.Hour, Data: []byte("x")}
	p := encodeConfig(&c, time.UnixMilli(77))
	got, idle, err := decodeConfig(p)
	if err != nil || idle != 77 || !reflect.DeepEqual(got, c) {
		t.Fatalf("%+v, %d, %v", got, idle, err)
	}
	prefixes(t, p, func(p []byte) error { _, _, err := decodeConfig(p); return err })
}

func TestCursorCodec(t *testing.T) {
	rs := runs{{12, 12}, {14, 20}}
	decode := func(p []byte) error { _, err := decodeCursor(p); return err }
	for golden, c := range map[string]savedCursor{
		"\x01\x0a\x1e\x02\x02\x00\x01\x06":                                     {10, 30, rs, nil},
		"\x02\x0a\x1e\x02\x02\x00\x01\x06\x02\x00\x00\x0f\xfd\xff\xff\xff\x07": {10, 30, rs, []savedCount{{10, 2}, {26, math.MaxInt32}}},
	} {
		if p := encodeCursor(&c); string(p) != golden {
			t.Fatalf("%+v is written as %q", c, p)
		}
		got, err := decodeCursor([]byte(golden))
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Fatalf("%+v became %+v, %v", c, got, err)
		}
		for n := range golden {
			if decode([]byte(golden[:n])) == nil {
				t.Fatalf("a prefix of %d of %d bytes was taken", n, len(golden))
			}
		}
		if err := decode([]byte("\x03" + golden[1:])); shard.KindOf(err) != shard.KindInvalid {
			t.Fatalf("another version: %v", err)
		}
	}
	if err := decode([]byte("\x02\x0a\x1e\x00\x00")); shard.KindOf(err) != shard.KindCorrupt {
		t.Fatalf("version 2 without counts: %v", err)
	}
	var many runs
	for i := range int64(maxRuns + 10) {
		many = append(many, run{i * 2, i * 2})
	}
	var counts []savedCount
	for i := range int64(maxSavedCounts + 10) {
		counts = append(counts, savedCount{i, 3})
	}
	if got, err := decodeCursor(encodeCursor(&savedCursor{0, 0, many, counts})); err != nil || len(got.runs) != maxRuns || len(got.counts) != maxSavedCounts {
		t.Fatal(len(got.runs), len(got.counts), err)
	}
}

// TestRuns compares with a set of offsets.
func TestRuns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var rs runs
		set := make(map[int64]bool)
		for range rapid.IntRange(1, 12).Draw(t, "ops") {
			lo := rapid.Int64Range(0, 40).Draw(t, "lo")
			if rapid.IntRange(0, 4).Draw(t, "op") == 0 {
				rs = rs.from(lo)
				for o := range set {
					if o < lo {
						delete(set, o)
					}
				}
			} else {
				hi := lo + rapid.Int64Range(0, 6).Draw(t, "n")
				rs = rs.add(lo, hi)
				for o := lo; o <= hi; o++ {
					set[o] = true
				}
			}
			for o := range int64(50) {
				if rs.has(o) != set[o] {
					t.Fatalf("%v: %d", rs, o)
				}
			}
			for i := 1; i < len(rs); i++ {
				if rs[i].lo <= rs[i-1].hi+1 {
					t.Fatalf("%v touch", rs)
				}
			}
		}
	})
}

func FuzzValues(f *testing.F) {
	for _, b := range sampleBindings() {
		f.Add(byte(0), encodeBinding(b))
	}
	f.Add(byte(1), encodeConfig(&shard.GroupConfig{AckTimeout: 5, Data: []byte("x")}, time.UnixMilli(9)))
	f.Add(byte(2), encodeCursor(&savedCursor{10, 30, runs{{10, 12}, {14, 20}}, nil}))
	f.Add(byte(2), encodeCursor(&savedCursor{10, 30, runs{{10, 12}, {14, 20}}, []savedCount{{13, 2}, {21, 300}}}))
	f.Fuzz(func(t *testing.T, kind byte, p []byte) {
		var again []byte
		switch kind % 3 {
		case 0:
			b, err := decodeBinding(p)
			if err != nil {
				return
			}
			again = encodeBinding(b)
		case 1:
			c, idle, err := decodeConfig(p)
			if err != nil {
				return
			}
			at := time.Time{}
			if idle != 0 {
				at = time.UnixMilli(idle)
			}
			again = encodeConfig(&c, at)
		default:
			c, err := decodeCursor(p)
			if err != nil {
				return
			}
			again = encodeCursor(&c)
		}
		if !bytes.Equal(again, p) {
			t.Fatalf("%x became %x", p, again)
		}
	})
}
