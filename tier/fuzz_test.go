package tier

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/oklog/ulid/v2"

	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

func FuzzDecode(f *testing.F) {
	small, _ := build(f, smallSpecs)
	f.Add(small)
	rng := rand.New(rand.NewPCG(3, 4))
	large, _ := build(f, []shardSpec{{id(2, 2), run(rng, 10, 40, 20_000)}})
	f.Add(large)
	empty, _, _ := NewBuilder(0).Finish()
	f.Add(empty)
	f.Fuzz(func(t *testing.T, object []byte) {
		ix, err := Decode("k", object)
		if err != nil {
			return
		}
		checkReencodes(t, object, ix)
	})
}

// checkReencodes checks that an index that was accepted encodes to what it was.
func checkReencodes(t *testing.T, object []byte, ix *Index) {
	at := int64(binary.BigEndian.Uint64(object[len(object)-40:]))
	again := v1AppendIndex(nil, ix.Extents)
	if !bytes.Equal(again, object[at:len(object)-40]) {
		t.Fatalf("index does not encode to what it was decoded from")
	}
	if !bytes.Equal(v1AppendTrailer(nil, at, again)[:], object[len(object)-40:]) {
		t.Fatalf("trailer does not encode to what it was decoded from")
	}
}

// FuzzIndex fuzzes what is behind the checksums, which FuzzDecode seldom passes.
func FuzzIndex(f *testing.F) {
	for _, specs := range [][]shardSpec{smallSpecs, {{id(2, 2), run(rand.New(rand.NewPCG(3, 4)), 10, 40, 20_000)}}} {
		object, _ := build(f, specs)
		at := int64(binary.BigEndian.Uint64(object[len(object)-40:]))
		f.Add(object[at:len(object)-40], at)
	}
	f.Fuzz(func(t *testing.T, b []byte, end int64) {
		ix := &Index{}
		if end < 16 || v1ParseExtents(ix, b, end) != "" {
			return
		}
		if !bytes.Equal(v1AppendIndex(nil, ix.Extents), b) {
			t.Fatal("index does not encode to what it was decoded from")
		}
		for _, e := range ix.Extents {
			if err := checkExtent("k", min(end+int64(len(b))+40, store.MaxObject), e.Extent); err != nil && end < store.MaxObject/2 {
				t.Fatal(err)
			}
		}
	})
}

// FuzzTrailer fuzzes the trailer with its checksum put right.
func FuzzTrailer(f *testing.F) {
	object, _ := build(f, smallSpecs)
	f.Add(object[len(object)-40:], int64(len(object)))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		if len(b) == 40 {
			binary.BigEndian.PutUint32(b[24:], v1TrailerSum(b))
		}
		tr, err := v1DecodeTrailer("k", b, size)
		if err != nil {
			return
		}
		if tr.indexAt < 16 || tr.indexAt+int64(tr.indexLen)+40 != size {
			t.Fatalf("%+v of %d bytes", tr, size)
		}
	})
}

// FuzzExtent lets Read, FindTime and Merge loose on extents full of noise.
func FuzzExtent(f *testing.F) {
	object, extents := build(f, smallSpecs)
	for _, e := range extents {
		f.Add(object[e.Pos:e.Pos+e.Len], e.Base, e.Last, e.Base, true)
	}
	f.Fuzz(func(t *testing.T, body []byte, base, last, from int64, fixSums bool) {
		sid := id(1, 0)
		if fixSums {
			body = bytes.Clone(body)
			for at := 0; at+65 <= len(body); { // make the heads right, or nothing is reached
				n := int(binary.BigEndian.Uint32(body[at+12:])) + 16
				if n >= 65 && n <= len(body)-at {
					binary.BigEndian.PutUint32(body[at+21:], crc32.Checksum(body[at+25:at+n], castagnoli))
				}
				binary.BigEndian.PutUint32(body[at:], headSum(sid, body[at+4:]))
				if n < 65 || n > len(body)-at {
					break
				}
				at += n
			}
		}
		b := append(v1AppendHeader(nil), body...)
		e := Extent{Shard: sid, Base: base, Last: last, Pos: 16, Len: int64(len(body)), MaxTime: 1 << 62}
		at := int64(len(b))
		b = v1AppendIndex(b, []IndexExtent{{Extent: e}})
		b = v1AppendTrailer(b, at, b[at:])
		s := mem.New(nil)
		put(t, s, "k", b)
		r := newReader(t, s, ReaderOptions{CacheBytes: 1 << 16})
		size := int64(len(b))
		if out, err := r.Read(context.Background(), "k", size, e, from, 1000); err == nil {
			for _, x := range split(t, out) {
				if !bytes.Contains(body, x) {
					t.Fatal("read returned bytes that are not in the object")
				}
			}
		}
		_, _, _, _ = r.FindTime(context.Background(), "k", size, e, from)
		_, _ = Verify(context.Background(), s, "k")
		n := 0
		for _, err := range NewSweep(s, "k", size, 100).Batches(context.Background(), e) {
			if n++; n > len(body)+1 {
				t.Fatalf("sweep does not end: %v", err)
			}
		}
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add(Key(0, 42, ulid.MustParse("01JCX0V5S9D8R7K2M4N6P8Q0ST")))
	f.Add(Key(9, 0, ulid.ULID{}))
	f.Add("segments/0/00/0000000000000000-")
	f.Fuzz(func(t *testing.T, key string) {
		n, err := ParseKey(key)
		if err != nil {
			return
		}
		if Key(n.Level, n.Epoch, n.ID) != key || store.CheckKey(key) != nil {
			t.Fatalf("%q parses as %+v", key, n)
		}
	})
}
