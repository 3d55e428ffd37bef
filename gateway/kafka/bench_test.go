package kafka

import (
	"fmt"
	"slices"
	"testing"

	"github.com/robustmq/robustmq-go/shard"
)

// jsonBatch is a batch of n records of some 200 bytes each.
func jsonBatch(n int) *shard.Batch {
	var rs []shard.Record
	for i := range n {
		rs = append(rs, rec(fmt.Sprintf("device-%d", i%50), fmt.Sprintf(`{"id":%d,"temperature":%d.%d,"humidity":%d,"state":"running","note":"the quick brown fox jumps over the lazy dog and over the fence","at":"2026-01-01T00:00:%02d"}`, i, i%40, i%10, i%100, i%60)))
	}
	return shard.BatchOf(rs...)
}

func BenchmarkCheckBatch(b *testing.B) {
	s := newStand(b)
	c := &conn{srv: s.srv}
	top := s.topic("t", 1, nil)
	batch := jsonBatch(1000)
	for name, raw := range map[string][]byte{
		"none": slices.Clone(batch.Raw()), "snappy": packed(b, batch, shard.CodecSnappy), "zstd": packed(b, batch, shard.CodecZstd),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(batch.Raw())))
			b.ReportAllocs()
			for b.Loop() {
				if _, no := c.checkBatch(raw, top, 9); no != nil {
					b.Fatal(no.text)
				}
			}
		})
	}
	b.Run("only the checksum", func(b *testing.B) {
		b.SetBytes(int64(len(batch.Raw())))
		for b.Loop() {
			if _, err := shard.ParseBatch(batch.Raw()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkShownToKafka(b *testing.B) {
	plain := jsonBatch(1000)
	var rs []shard.Record
	recs, _ := plain.Records()
	for _, r := range recs {
		r.Headers = []shard.Header{{Name: shard.HeaderMQTT, Value: []byte("1")}}
		rs = append(rs, r)
	}
	for name, x := range map[string]*shard.Batch{"nothing reserved": plain, "reserved headers": shard.BatchOf(rs...)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(x.Size()))
			for b.Loop() {
				shownToKafka(x)
			}
		})
	}
}
