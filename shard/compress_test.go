package shard

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"slices"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

func compress(t testing.TB, c Codec, p []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	switch c {
	case CodecGzip:
		w := gzip.NewWriter(&out)
		_, err := w.Write(p)
		check(err)
		check(w.Close())
	case CodecSnappy:
		return s2.EncodeSnappy(nil, p)
	case CodecLZ4:
		w := lz4.NewWriter(&out)
		_, err := w.Write(p)
		check(err)
		check(w.Close())
	case CodecZstd:
		w, err := zstd.NewWriter(&out)
		check(err)
		_, err = w.Write(p)
		check(err)
		check(w.Close())
	default:
		return p
	}
	return out.Bytes()
}

// compressed makes a batch of compressed records.
func compressed(t testing.TB, c Codec, rs []Record) []byte {
	raw := BatchOf(rs...).Raw()
	out := append(slices.Clone(raw[:BatchHeaderBytes]), compress(t, c, raw[BatchHeaderBytes:])...)
	out[posAttrs+1] |= byte(c)
	binary.BigEndian.PutUint32(out[posLength:], uint32(len(out)-posLength-4))
	fixCRC(out)
	return out
}

func TestCodecs(t *testing.T) {
	rs := sample(50)
	for c := CodecNone; c <= CodecZstd; c++ {
		b, err := ParseBatch(compressed(t, c, rs))
		if err != nil {
			t.Fatal(c, err)
		}
		if b.Codec() != c {
			t.Fatal(b.Codec())
		}
		checkRecords(t, b, rs, 0)
	}
}

func xerial(p []byte, block int) []byte {
	out := append(slices.Clone(xerialMagic), 0, 0, 0, 1, 0, 0, 0, 1)
	for len(p) > 0 {
		n := min(block, len(p))
		z := s2.EncodeSnappy(nil, p[:n])
		out = binary.BigEndian.AppendUint32(out, uint32(len(z)))
		out, p = append(out, z...), p[n:]
	}
	return out
}

func TestXerialFraming(t *testing.T) {
	p := bytes.Repeat([]byte("hello snappy "), 1000)
	z := xerial(p, 700)
	got, err := Decompress(CodecSnappy, z, len(p))
	if err != nil || !bytes.Equal(got, p) {
		t.Fatal(len(got), err)
	}
	if _, err := Decompress(CodecSnappy, z, len(p)-1); KindOf(err) != KindTooLarge {
		t.Fatal(err)
	}
	for _, n := range []int{17, 19, 25, len(z) - 1} {
		if _, err := Decompress(CodecSnappy, z[:n], len(p)); KindOf(err) != KindCorrupt {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// TestBombs: what decompresses to more than the limit is refused, and not
// before the limit.
func TestBombs(t *testing.T) {
	const limit = 1 << 20
	for c := CodecGzip; c <= CodecZstd; c++ {
		if got, err := Decompress(c, compress(t, c, make([]byte, limit)), limit); err != nil || len(got) != limit {
			t.Errorf("codec %d at the limit: %d, %v", c, len(got), err)
		}
		bomb := compress(t, c, make([]byte, 32*limit))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := Decompress(c, bomb, limit); KindOf(err) != KindTooLarge {
			t.Error(c, err)
		}
		runtime.ReadMemStats(&after)
		allocated := after.TotalAlloc - before.TotalAlloc
		if allocated > 16*limit {
			t.Errorf("codec %d takes %d bytes for a bomb", c, allocated)
		}
	}
	if _, err := Decompress(9, nil, limit); KindOf(err) != KindInvalid {
		t.Fatal(err)
	}
}

func FuzzDecompress(f *testing.F) {
	p := bytes.Repeat([]byte("some text "), 100)
	for c := CodecGzip; c <= CodecZstd; c++ {
		f.Add(uint8(c), compress(f, c, p))
	}
	f.Add(uint8(CodecSnappy), xerial(p, 100))
	f.Fuzz(func(t *testing.T, c uint8, src []byte) {
		const limit = 1 << 16
		out, err := Decompress(Codec(c), src, limit)
		if err == nil && Codec(c) != CodecNone && len(out) > limit {
			t.Fatalf("codec %d gave %d bytes", c, len(out))
		}
		if k := KindOf(err); err != nil && k != KindCorrupt && k != KindTooLarge && k != KindInvalid {
			t.Fatal(err)
		}
	})
}
