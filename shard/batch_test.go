package shard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"reflect"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

func drawBytes(t *rapid.T, name string) []byte {
	switch rapid.IntRange(0, 3).Draw(t, name+" kind") {
	case 0:
		return nil
	case 1:
		return []byte{}
	}
	return rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, name)
}

func drawRecord(t *rapid.T) Record {
	r := Record{Timestamp: rapid.Int64Range(0, 1<<42).Draw(t, "time"), Key: drawBytes(t, "key"), Value: drawBytes(t, "value")}
	for range rapid.IntRange(0, 3).Draw(t, "headers") {
		r.Headers = append(r.Headers, Header{Name: rapid.StringN(0, 8, 20).Draw(t, "name"), Value: drawBytes(t, "header")})
	}
	return r
}

// TestBatchAgainstKmsg has another implementation of the format read what Builder
// writes, and the other way round.
func TestBatchAgainstKmsg(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rs := rapid.SliceOfN(rapid.Custom(drawRecord), 1, 8).Draw(t, "records")
		var bld Builder
		for i := range rs {
			bld.Add(&rs[i])
		}
		if bld.Count() != len(rs) {
			t.Fatal(bld.Count())
		}
		b := bld.BuildProducer(77, 3, 9)
		b.Assign(1000, 5)

		var k kmsg.RecordBatch
		if err := k.ReadFrom(b.Raw()); err != nil {
			t.Fatal(err)
		}
		if k.FirstOffset != 1000 || k.PartitionLeaderEpoch != 5 || k.Magic != 2 || int(k.NumRecords) != len(rs) || k.ProducerID != 77 ||
			k.ProducerEpoch != 3 || k.FirstSequence != 9 || k.Attributes != 0 || int(k.LastOffsetDelta) != len(rs)-1 ||
			k.FirstTimestamp != rs[0].Timestamp || uint32(k.CRC) != crc32.Checksum(b.Raw()[21:], castagnoli) {
			t.Fatalf("%+v", k)
		}
		if !slices.Equal(k.AppendTo(nil), b.Raw()) {
			t.Fatal("kmsg writes another batch")
		}
		body := k.Records
		for i := range rs {
			_, n := binary.Varint(body)
			var r kmsg.Record
			size, _ := binary.Varint(body)
			if err := r.ReadFrom(body[:n+int(size)]); err != nil {
				t.Fatal(err)
			}
			body = body[n+int(size):]
			if r.TimestampDelta64 != rs[i].Timestamp-rs[0].Timestamp || int(r.OffsetDelta) != i || !sameBytes(r.Key, rs[i].Key) || !sameBytes(r.Value, rs[i].Value) || len(r.Headers) != len(rs[i].Headers) {
				t.Fatalf("record %d: %+v", i, r)
			}
			for j := range r.Headers {
				if r.Headers[j].Key != rs[i].Headers[j].Name || !sameBytes(r.Headers[j].Value, rs[i].Headers[j].Value) {
					t.Fatalf("record %d header %d: %+v", i, j, r.Headers[j])
				}
			}
		}
		parsed, err := ParseBatch(k.AppendTo(nil))
		if err != nil {
			t.Fatal(err)
		}
		checkRecords(t, parsed, rs, 1000)
	})
}

func sameBytes(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

func checkRecords(t fataler, b *Batch, want []Record, base int64) {
	t.Helper()
	got, err := b.Records()
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d records, %v", len(got), err)
	}
	for i := range want {
		w := want[i]
		w.Offset = base + int64(i)
		if !reflect.DeepEqual(got[i], w) {
			t.Fatalf("record %d is %+v, want %+v", i, got[i], w)
		}
	}
}

func sample(n int) []Record {
	rs := make([]Record, n)
	for i := range rs {
		rs[i] = Record{Timestamp: 1000 + int64(i), Key: []byte{byte(i)}, Value: bytes.Repeat([]byte("v"), i),
			Headers: []Header{{Name: "h", Value: []byte("x")}, {Name: HeaderSubject, Value: nil}}}
	}
	return rs
}

func TestBatchInPlace(t *testing.T) {
	rs := sample(5)
	b := BatchOf(rs...)
	if id, epoch, seq := b.Producer(); id != -1 || epoch != -1 || seq != -1 {
		t.Fatal(id, epoch, seq)
	}
	checkRecords(t, b, rs, 0)
	b.Assign(100, 7)
	checkRecords(t, b, rs, 100)
	if b.BaseOffset() != 100 || b.LastOffset() != 104 || b.Epoch() != 7 || b.Count() != 5 || b.MaxTimestamp() != 1004 || b.BaseTimestamp() != 1000 {
		t.Fatal(b.BaseOffset(), b.LastOffset(), b.Epoch(), b.Count(), b.MaxTimestamp())
	}
	b.SetAppendTime(5555)
	for i := range rs {
		rs[i].Timestamp = 5555
	}
	checkRecords(t, b, rs, 100)
	again, err := ParseBatch(slices.Clone(b.Raw()))
	if err != nil || !again.AppendTime() {
		t.Fatal(err)
	}
	checkRecords(t, again, rs, 100)
	b.Forget()
	checkRecords(t, b, rs, 100)
	if b.Transactional() || b.Control() || b.Codec() != CodecNone || b.Size() != len(b.Raw()) {
		t.Fatal("attributes are wrong")
	}
}

func TestControlBatchHasNoRecords(t *testing.T) {
	raw := slices.Clone(BatchOf(sample(1)...).Raw())
	raw[posAttrs+1] |= attrControl | attrTransactional
	fixCRC(raw)
	b, err := ParseBatch(raw)
	if err != nil || !b.Control() || !b.Transactional() {
		t.Fatal(err)
	}
	if recs, err := b.Records(); err != nil || recs != nil {
		t.Fatal(recs, err)
	}
}

func fixCRC(raw []byte) {
	if len(raw) >= BatchHeaderBytes {
		binary.BigEndian.PutUint32(raw[posCRC:], crc32.Checksum(raw[posAttrs:], castagnoli))
	}
}

func TestSplitBatches(t *testing.T) {
	var raw []byte
	for i := range 4 {
		b := BatchOf(sample(i + 1)...)
		b.Assign(int64(i*10), 0)
		raw = append(raw, b.Raw()...)
	}
	bs, err := SplitBatches(raw)
	if err != nil || len(bs) != 4 || bs[3].BaseOffset() != 30 {
		t.Fatal(len(bs), err)
	}
	last := len(raw) - bs[3].Size()
	for n := last + 1; n < len(raw); n++ {
		if bs, err := SplitBatches(raw[:n]); !errors.Is(err, ErrBatchCorrupt) || len(bs) != 3 {
			t.Fatalf("%d bytes: %d batches, %v", n, len(bs), err)
		}
	}
}

// TestBatchCorruption: what is wrong -> the kind of the error.
func TestBatchCorruption(t *testing.T) {
	good := BatchOf(sample(3)...).Raw()
	set32 := func(p int, v uint32) func([]byte) { return func(b []byte) { binary.BigEndian.PutUint32(b[p:], v) } }
	for name, c := range map[string]struct {
		change func([]byte)
		fix    bool
		kind   Kind
		late   bool // found when the records are decoded
	}{
		"magic 1":               {func(b []byte) { b[posMagic] = 1 }, false, KindInvalid, false},
		"length negative":       {set32(posLength, 1<<31), false, KindCorrupt, false},
		"length too small":      {set32(posLength, 48), false, KindCorrupt, false},
		"length over the cap":   {set32(posLength, MaxBatchBytes), false, KindTooLarge, false},
		"length one more":       {set32(posLength, uint32(len(good)-11)), false, KindCorrupt, false},
		"crc":                   {func(b []byte) { b[posCRC]++ }, false, KindCorrupt, false},
		"a bit of the body":     {func(b []byte) { b[len(b)-1] ^= 4 }, false, KindCorrupt, false},
		"count negative":        {set32(posCount, 1<<31), true, KindInvalid, false},
		"count huge":            {set32(posCount, 1<<30), true, KindInvalid, false},
		"last delta negative":   {set32(posLastDelta, 1<<31), true, KindInvalid, false},
		"one record too few":    {set32(posCount, 2), true, KindCorrupt, true},
		"one record too many":   {set32(posCount, 4), true, KindCorrupt, true},
		"delta over the last":   {set32(posLastDelta, 1), true, KindCorrupt, true},
		"record length":         {func(b []byte) { b[BatchHeaderBytes] = 0x7e }, true, KindCorrupt, true},
		"codec 7":               {func(b []byte) { b[posAttrs+1] |= 7 }, true, KindInvalid, true},
		"not compressed at all": {func(b []byte) { b[posAttrs+1] |= 4 }, true, KindCorrupt, true},
	} {
		t.Run(name, func(t *testing.T) {
			raw := slices.Clone(good)
			c.change(raw)
			if c.fix {
				fixCRC(raw)
			}
			b, err := ParseBatch(raw)
			if c.late != (err == nil) {
				t.Fatalf("parse: %v", err)
			}
			if c.late {
				_, err = b.Records()
			}
			if err == nil || KindOf(err) != c.kind {
				t.Fatalf("%v, want %v", err, c.kind)
			}
		})
	}
	for n := range good {
		if _, err := ParseBatch(good[:n]); err == nil {
			t.Fatalf("a prefix of %d bytes was taken", n)
		}
	}
}

func FuzzParseBatch(f *testing.F) {
	f.Add(BatchOf(sample(3)...).Raw())
	var nulls Builder
	nulls.Add(&Record{})
	f.Add(nulls.BuildProducer(1, 2, 3).Raw())
	for _, c := range []Codec{CodecGzip, CodecSnappy, CodecLZ4, CodecZstd} {
		f.Add(compressed(f, c, sample(4)))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		raw = slices.Clone(raw)
		fixCRC(raw)
		b, err := ParseBatch(raw)
		if err != nil {
			return
		}
		recs, err := b.Records()
		if err != nil || len(recs) == 0 || b.Control() || b.AppendTime() {
			return
		}
		for i := range recs {
			if recs[i].Offset < b.BaseOffset() || recs[i].Offset > b.LastOffset() {
				t.Fatalf("record %d has offset %d", i, recs[i].Offset)
			}
		}
		again, err := BatchOf(recs...).Records()
		if err != nil || len(again) != len(recs) {
			t.Fatalf("%d records became %d: %v", len(recs), len(again), err)
		}
		for i := range again {
			again[i].Offset = recs[i].Offset
			if !reflect.DeepEqual(again[i], recs[i]) {
				t.Fatalf("%+v became %+v", recs[i], again[i])
			}
		}
	})
}

// TestVerifiedPieces: a batch in pieces reads as the same batch in one.
func TestVerifiedPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		whole := BatchOf(rapid.SliceOfN(rapid.Custom(drawRecord), 1, 8).Draw(t, "records")...)
		whole.Assign(500, 2)
		all := whole.Raw()
		var pieces [][]byte
		for rest := all; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			pieces, rest = append(pieces, rest[:n:n]), rest[n:]
		}
		b, err := VerifiedPieces(pieces)
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Concat(b.AppendPieces(nil)...); !slices.Equal(got, all) || b.Size() != len(all) {
			t.Fatalf("%d pieces of %d bytes, want %d", len(pieces), len(got), len(all))
		}
		if b.LastOffset() != whole.LastOffset() || b.Count() != whole.Count() || b.MaxTimestamp() != whole.MaxTimestamp() {
			t.Fatal("another header")
		}
		got, err := b.Records()
		want, _ := whole.Records()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("records %+v, error %v", got, err)
		}
		if !slices.Equal(b.Raw(), all) {
			t.Fatal("another batch")
		}
		if _, err := VerifiedPieces(append(pieces, []byte{0})); err == nil {
			t.Fatal("a byte too many is taken")
		}
		if _, err := VerifiedPieces(pieces[:len(pieces)-1]); err == nil {
			t.Fatal("a piece too few is taken")
		}
	})
}
