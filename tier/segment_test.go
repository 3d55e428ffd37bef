package tier

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/oklog/ulid/v2"

	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

var update = flag.Bool("update", false, "write the golden files anew")

// smallSpecs is the object of the golden file and of the corruption tables: two
// shards of one topic, one of another, a gap.
var smallSpecs = []shardSpec{
	{id(1, 0), []batchSpec{{0, 3, 10, 1000}, {3, 1, 0, 900}, {10, 5, 20, 2000}}},
	{id(1, 7), []batchSpec{{100, 1, 5, 500}}},
	{id(9, 0), []batchSpec{{5, 2, 1, 700}, {7, 2, 40, 800}}},
}

func TestGoldenV1(t *testing.T) {
	object, extents := build(t, smallSpecs)
	const file = "testdata/v1/small.seg"
	if *update {
		if err := os.WriteFile(file, object, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(golden, object) {
		t.Fatalf("the builder no longer writes what version 1 is")
	}
	ix, err := Decode("golden", golden)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range ix.Extents {
		if e.Extent != extents[i] {
			t.Fatalf("extent %d: %+v, want %+v", i, e.Extent, extents[i])
		}
	}
	want := Extent{Shard: id(1, 0), Base: 0, Last: 14, Pos: 16, Len: 3*65 + 30, Records: 9, MinTime: 895, MaxTime: 2000}
	if extents[0] != want {
		t.Fatalf("extent: %+v, want %+v", extents[0], want)
	}
	s := mem.New(nil)
	key := Key(0, 42, ulid.MustParse("01JCX0V5S9D8R7K2M4N6P8Q0ST"))
	put(t, s, key, golden)
	var out strings.Builder
	if err := Dump(context.Background(), s, key, true, &out); err != nil {
		t.Fatal(err)
	}
	const wantDump = `segment segments/0/bf/000000000000002a-01JCX0V5S9D8R7K2M4N6P8Q0ST version 1 size 742 extents 3
level 0 epoch 42 named 2024-11-17T12:16:29.481Z
shard 1/0 offsets 0-14 at 16+225 records 9 time 895-2000 entries 0
  batch 0-2 at 16 bytes 71 records 3 time 995-1000
  batch 3-3 at 91 bytes 61 records 1 time 895-900
  batch 10-14 at 156 bytes 81 records 5 time 1995-2000
shard 1/7 offsets 100-100 at 241+70 records 1 time 495-500 entries 0
  batch 100-100 at 241 bytes 66 records 1 time 495-500
shard 9/0 offsets 5-8 at 311+171 records 4 time 695-800 entries 0
  batch 5-6 at 311 bytes 62 records 2 time 695-700
  batch 7-8 at 377 bytes 101 records 2 time 795-800
`
	if out.String() != wantDump {
		t.Fatalf("dump:\n%s\nwant:\n%s", out.String(), wantDump)
	}
}

func TestBuilderRejects(t *testing.T) {
	good := batchSpec{10, 2, 8, 100}.make()
	change := func(f func(b []byte)) []byte {
		b := bytes.Clone(good)
		f(b)
		binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
		return b
	}
	for _, c := range []struct {
		name  string
		id    uint32
		batch []byte
		err   error
	}{
		{"empty", 5, nil, ErrBatch},
		{"head only", 5, good[:60], ErrBatch},
		{"cut off", 5, good[:len(good)-1], ErrBatch},
		{"two batches", 5, append(bytes.Clone(good), good...), ErrBatch},
		{"flipped bit", 5, func() []byte { b := bytes.Clone(good); b[65] ^= 1; return b }(), ErrBatch},
		{"magic 1", 5, change(func(b []byte) { b[16] = 1 }), ErrBatch},
		{"negative base", 5, change(func(b []byte) { b[0] = 0x80 }), ErrBatch},
		{"negative delta", 5, change(func(b []byte) { b[23] = 0xff }), ErrBatch},
		{"last offset overflows", 5, change(func(b []byte) { copy(b, "\x7f\xff\xff\xff\xff\xff\xff\xff") }), ErrBatch},
		{"more records than offsets", 5, change(func(b []byte) { b[60] = 3 }), ErrBatch},
		{"negative records", 5, change(func(b []byte) { b[57] = 0x80 }), ErrBatch},
		{"shard before", 4, good, ErrOrder},
		{"same offset", 5, batchSpec{1, 1, 0, 0}.make(), ErrOrder},
		{"offset before", 5, batchSpec{0, 1, 0, 0}.make(), ErrOrder},
		{"fits", 5, good, nil},
		{"overlaps", 5, batchSpec{11, 1, 0, 0}.make(), ErrOrder},
		{"next shard", 6, good, nil},
		{"shard comes back", 5, batchSpec{50, 1, 0, 0}.make(), ErrOrder},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := NewBuilder(0)
			if err := b.Add(id(1, 5), batchSpec{1, 1, 0, 0}.make()); err != nil {
				t.Fatal(err)
			}
			switch c.name {
			case "overlaps":
				if err := b.Add(id(1, 5), good); err != nil {
					t.Fatal(err)
				}
			case "shard comes back":
				if err := b.Add(id(1, 6), good); err != nil {
					t.Fatal(err)
				}
			}
			size := b.Size()
			if err := b.Add(id(1, c.id), c.batch); !errors.Is(err, c.err) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if c.err != nil && b.Size() != size {
				t.Fatalf("refused batch changed the size from %d to %d", size, b.Size())
			}
			if object, _, err := b.Finish(); err != nil {
				t.Fatal(err)
			} else if _, err := Decode("k", object); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestEmptyObject(t *testing.T) {
	b := NewBuilder(0)
	if !b.Empty() {
		t.Fatal("a new builder is not empty")
	}
	object, extents, err := b.Finish()
	if err != nil || len(extents) != 0 || len(object) != v1MinObject {
		t.Fatalf("%d bytes, %d extents, error %v", len(object), len(extents), err)
	}
	if ix, err := Decode("k", object); err != nil || len(ix.Extents) != 0 {
		t.Fatalf("%+v, error %v", ix, err)
	}
}

// region says what the byte at pos of the small object belongs to, by the format
// table alone.
func region(object []byte, extents []Extent, pos int64) (what string, ext Extent, batch, frameAt int) {
	indexAt := int64(binary.BigEndian.Uint64(object[len(object)-40:]))
	switch {
	case pos >= 8 && pos < 12:
		return "version", Extent{}, 0, 0
	case pos < 16:
		return "header", Extent{}, 0, 0
	case pos >= int64(len(object))-12 && pos < int64(len(object))-8:
		return "version", Extent{}, 0, 0
	case pos >= int64(len(object))-40:
		return "trailer", Extent{}, 0, 0
	case pos >= indexAt:
		return "index", Extent{}, 0, 0
	}
	for i, e := range extents {
		if pos >= e.Pos+e.Len {
			continue
		}
		at := e.Pos
		for j, b := range smallSpecs[i].batches {
			n := int64(4 + 61 + b.bytes)
			if pos < at+25 {
				return "head", e, j, int(at)
			}
			if pos < at+n {
				return "body", e, j, int(at)
			}
			at += n
		}
	}
	return "nowhere", Extent{}, 0, 0
}

// TestFlippedBits flips a bit of each byte of an object and compares exactly
// what Verify reports and what Read serves.
func TestFlippedBits(t *testing.T) {
	object, extents := build(t, smallSpecs)
	ctx := context.Background()
	for pos := range object {
		bad := bytes.Clone(object)
		bad[pos] ^= 1 << (pos % 8)
		s := mem.New(nil)
		put(t, s, "k", bad)
		what, ext, batch, frameAt := region(object, extents, int64(pos))
		rep, err := Verify(ctx, s, "k")
		var version *VersionError
		if what == "version" {
			if !errors.As(err, &version) || version.Version == Version1 {
				t.Fatalf("byte %d: error %v, want VersionError", pos, err)
			}
		} else if err != nil || len(rep.Problems) != 1 {
			t.Fatalf("byte %d (%s): problems %v, error %v; want one problem", pos, what, rep.Problems, err)
		}
		wantFrom, wantTo := int64(0), int64(-1)
		if what == "head" || what == "body" {
			specs := specOf(ext).batches
			wantFrom, wantTo = specs[batch].base, ext.Last
			if what == "head" && batch > 0 { // its own base offset cannot be known
				wantFrom = specs[batch-1].base + int64(specs[batch-1].offsets)
			}
			if what == "body" && batch+1 < len(specs) {
				wantTo = specs[batch+1].base - 1
			}
			p := rep.Problems[0]
			if p.Key != "k" || p.Shard != ext.Shard || p.From != wantFrom || p.To != wantTo || p.Pos != int64(frameAt) {
				t.Fatalf("byte %d (%s): %+v, want shard %s offsets %d to %d at %d", pos, what, p, ext.Shard, wantFrom, wantTo, frameAt)
			}
		}
		r := newReader(t, s, ReaderOptions{CacheBytes: 1 << 20})
		for i, e := range extents {
			damaged := e.Shard == ext.Shard && wantFrom <= wantTo
			readAll(t, r, "k", int64(len(object)), e, smallSpecs[i].batches, damaged, wantFrom, wantTo)
		}
		r.Close()
	}
}

func specOf(ext Extent) shardSpec {
	for _, s := range smallSpecs {
		if s.id == ext.Shard {
			return s
		}
	}
	return shardSpec{}
}

// readAll reads an extent from each batch on, one batch at a time, and checks
// that exactly the batches from wantFrom to wantTo cannot be had.
func readAll(t *testing.T, r *Reader, key string, size int64, e Extent, specs []batchSpec, damaged bool, wantFrom, wantTo int64) {
	t.Helper()
	for _, b := range specs {
		got, err := r.Read(context.Background(), key, size, e, b.base, 1)
		if damaged && b.base >= wantFrom && b.base <= wantTo {
			var bad *CorruptError
			if !errors.As(err, &bad) || bad.Shard != e.Shard || bad.From != wantFrom || bad.To != wantTo {
				t.Fatalf("read of shard %s offset %d: %d bytes, error %v; want damage from %d to %d", e.Shard, b.base, len(got), err, wantFrom, wantTo)
			}
			continue
		}
		if err != nil || !bytes.Equal(got, b.make()) {
			t.Fatalf("read of shard %s offset %d: %d bytes, error %v", e.Shard, b.base, len(got), err)
		}
	}
}

// TestPrefixes cuts an object off at each length: Verify reports it, and Read,
// which has the extents from the catalog, serves no wrong byte.
func TestPrefixes(t *testing.T) {
	object, extents := build(t, smallSpecs)
	ctx := context.Background()
	for n := range object {
		s := mem.New(nil)
		put(t, s, "k", object[:n])
		rep, err := Verify(ctx, s, "k")
		if err != nil || len(rep.Problems) != 1 || rep.Problems[0].From <= rep.Problems[0].To {
			t.Fatalf("prefix %d: problems %v, error %v", n, rep.Problems, err)
		}
		if _, err := Decode("k", object[:n]); err == nil {
			t.Fatalf("prefix %d decodes", n)
		}
		r := newReader(t, s, ReaderOptions{CacheBytes: 1 << 20})
		for _, e := range extents {
			_, err := r.Read(ctx, "k", int64(len(object)), e, e.Base, 1<<20)
			var bad *CorruptError
			if !errors.As(err, &bad) || bad.Shard != e.Shard || bad.From != e.Base || bad.To != e.Last {
				t.Fatalf("prefix %d: read of shard %s: error %v", n, e.Shard, err)
			}
		}
		r.Close()
	}
}

// TestDamageTable holds damage larger than a bit, made with right checksums
// where that is possible.
func TestDamageTable(t *testing.T) {
	object, extents := build(t, smallSpecs)
	e := extents[0]
	fix := func(b []byte, at int64) { // the head checksum of the frame at at
		binary.BigEndian.PutUint32(b[at:], headSum(e.Shard, b[at+4:]))
	}
	second := e.Pos + 75 // frame of the batch at offset 3
	for _, c := range []struct {
		name     string
		change   func(b []byte) []byte
		from, to int64
		reason   string
		served   []int // batches of the first shard
	}{
		{"bad length", func(b []byte) []byte { b[second+4+11]++; fix(b, second); return b }, 3, 14, "says|checksum", []int{0}},
		{"length past the extent", func(b []byte) []byte { b[second+4+9] = 1; fix(b, second); return b }, 3, 14, "runs past its extent", []int{0}},
		{"length out of bounds", func(b []byte) []byte { b[second+4+8] = 0x7f; fix(b, second); return b }, 3, 14, "out of bounds", []int{0}},
		{"negative length", func(b []byte) []byte { b[second+4+8] = 0xff; fix(b, second); return b }, 3, 14, "out of bounds", []int{0}},
		{"bad batch checksum", func(b []byte) []byte { b[second+4+17]++; fix(b, second); return b }, 3, 9, "batch checksum", []int{0, 2}},
		{"bad head checksum", func(b []byte) []byte { b[second]++; return b }, 3, 14, "head checksum", []int{0}},
		{"bad batch version", func(b []byte) []byte { b[second+4+16] = 3; fix(b, second); return b }, 3, 14, "magic", []int{0}},
		{"offset goes back", func(b []byte) []byte { b[second+4+7] = 1; fix(b, second); return b }, 3, 14, "does not belong", []int{0, 2}},
		{"another shard's frame", func(b []byte) []byte {
			binary.BigEndian.PutUint32(b[second:], headSum(id(1, 7), b[second+4:]))
			return b
		}, 3, 14, "head checksum", []int{0}},
		{"missing middle", func(b []byte) []byte { return append(b[:second:second], b[second+65:]...) }, 0, -1, "bytes, was written with", nil},
		{"swapped frames", func(b []byte) []byte {
			return slices.Concat(b[:16], b[second:second+65], b[16:second], b[second+65:])
		}, 0, 14, "does not belong", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad := c.change(bytes.Clone(object))
			s := mem.New(nil)
			put(t, s, "k", bad)
			rep, err := Verify(context.Background(), s, "k")
			if err != nil || len(rep.Problems) == 0 {
				t.Fatalf("verify: %v, error %v", rep.Problems, err)
			}
			p := rep.Problems[0]
			ok := false
			for _, r := range strings.Split(c.reason, "|") {
				ok = ok || strings.Contains(p.Reason, r)
			}
			if p.From != c.from || p.To != c.to || !ok {
				t.Fatalf("verify: %+v, want offsets %d to %d, %s", p, c.from, c.to, c.reason)
			}
			r := newReader(t, s, ReaderOptions{CacheBytes: 1 << 20})
			var served []int
			for i, b := range smallSpecs[0].batches {
				got, err := r.Read(context.Background(), "k", int64(len(object)), e, b.base, 1)
				if err == nil && bytes.Equal(got, b.make()) {
					served = append(served, i)
				} else if err == nil && c.name != "offset goes back" { // a writer's lie, right in its checksums: Verify alone sees it
					t.Fatalf("read at %d: wrong bytes without an error", b.base)
				}
			}
			if !slices.Equal(served, c.served) {
				t.Fatalf("served batches %v, want %v", served, c.served)
			}
		})
	}
}

func TestVersionIsNotCorruption(t *testing.T) {
	object, extents := build(t, smallSpecs)
	// Version 2 of some later day: its frames do not verify as version 1's.
	binary.BigEndian.PutUint32(object[8:], 2)
	object[16] ^= 0xff
	s := mem.New(nil)
	put(t, s, "k", object)
	r := newReader(t, s, ReaderOptions{})
	_, err := r.Read(context.Background(), "k", int64(len(object)), extents[0], 0, 100)
	var version *VersionError
	if !errors.As(err, &version) || version.Version != 2 || version.Key != "k" {
		t.Fatalf("error %v, want VersionError 2", err)
	}
}

func TestKey(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var u ulid.ULID
		for i := range u {
			u[i] = byte(rng.Uint32())
		}
		u[0] &= 0x1f
		level, epoch := rng.IntN(MaxLevel+1), rng.Int64()
		key := Key(level, epoch, u)
		if err := store.CheckKey(key); err != nil {
			t.Fatal(err)
		}
		n, err := ParseKey(key)
		if err != nil || n != (Name{level, epoch, u}) {
			t.Fatalf("%s: %+v, error %v", key, n, err)
		}
		for i := range key { // each other spelling is refused
			bad := []byte(key)
			bad[i] ^= 0x20
			if n, err := ParseKey(string(bad)); !errors.Is(err, ErrName) {
				t.Fatalf("%s: %+v, error %v", bad, n, err)
			}
			if _, err := ParseKey(key[:i]); !errors.Is(err, ErrName) {
				t.Fatalf("%s parses", key[:i])
			}
		}
	}
	if _, err := ParseKey(Key(-1, 5, ulid.ULID{})); !errors.Is(err, ErrName) {
		t.Fatal("negative level parses")
	}
	if _, err := ParseKey(Key(0, -5, ulid.ULID{})); !errors.Is(err, ErrName) {
		t.Fatal("negative epoch parses")
	}
}

func TestSparseEntries(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	specs := run(rng, 0, 300, 9000)
	object, _ := build(t, []shardSpec{{id(1, 1), specs}})
	ix, err := Decode("k", object)
	if err != nil {
		t.Fatal(err)
	}
	// By the definition in doc.go.
	var want []Entry
	pos, mark, before := int64(0), int64(0), int64(0)
	for _, b := range specs {
		if pos-mark >= 64<<10 {
			want = append(want, Entry{b.base, pos, before})
			mark = pos
		}
		pos += int64(65 + b.bytes)
		before = max(before, b.time)
	}
	if len(want) < 10 || !reflect.DeepEqual(ix.Extents[0].Entries, want) {
		t.Fatalf("%d entries, want %d", len(ix.Extents[0].Entries), len(want))
	}
	s := mem.New(nil)
	put(t, s, "k", object)
	rep, err := Verify(context.Background(), s, "k")
	if err != nil || rep.Err() != nil || rep.Batches != 300 {
		t.Fatalf("%+v, error %v", rep, err)
	}
	// An entry that lies is found by Verify.
	for i, lie := range []func(*Entry){func(e *Entry) { e.Offset++ }, func(e *Entry) { e.Pos++ }, func(e *Entry) { e.Before-- }} {
		bad, _ := Decode("k", object)
		lie(&bad.Extents[0].Entries[3])
		at := int64(binary.BigEndian.Uint64(object[len(object)-40:]))
		b := v1AppendIndex(bytes.Clone(object[:at]), bad.Extents)
		b = v1AppendTrailer(b, at, b[at:])
		key := fmt.Sprintf("lie%d", i)
		put(t, s, key, b)
		if rep, err := Verify(context.Background(), s, key); err != nil || len(rep.Problems) != 1 {
			t.Fatalf("lie %d: %v, error %v", i, rep.Problems, err)
		}
	}
}
