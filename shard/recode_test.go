package shard

import (
	"bytes"
	"testing"
)

func TestRecode(t *testing.T) {
	rs := sample(50)
	plain := BatchOf(rs...)
	for from := CodecNone; from <= CodecZstd; from++ {
		src := compressed(t, from, rs)
		b, err := ParseBatch(src)
		if err != nil {
			t.Fatal(err)
		}
		records, err := Decompress(from, src[BatchHeaderBytes:], MaxDecompressedBytes)
		if err != nil {
			t.Fatal(err)
		}
		for to := CodecNone; to <= CodecZstd; to++ {
			out, err := b.Recode(to, records)
			if err != nil {
				t.Fatal(err)
			}
			again, err := ParseBatch(out.Raw())
			if err != nil || again.Codec() != to || again.Count() != b.Count() || again.MaxTimestamp() != b.MaxTimestamp() {
				t.Fatalf("%d to %d: codec %d, %d records, %v", from, to, again.Codec(), again.Count(), err)
			}
			got, err := Decompress(to, again.Raw()[BatchHeaderBytes:], MaxDecompressedBytes)
			if err != nil || !bytes.Equal(got, plain.Raw()[BatchHeaderBytes:]) {
				t.Errorf("%d to %d: other records came out: %v", from, to, err)
			}
		}
		if b.Codec() != from {
			t.Errorf("codec %d became %d", from, b.Codec())
		}
	}
	if _, err := plain.Recode(7, nil); KindOf(err) != KindInvalid {
		t.Errorf("an unknown codec: %v", err)
	}
	if _, err := plain.Recode(CodecNone, make([]byte, MaxBatchBytes)); KindOf(err) != KindTooLarge {
		t.Errorf("more than a batch may have: %v", err)
	}
}
