package tier

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// batchSpec describes a batch of a test.
type batchSpec struct {
	base    int64
	offsets int // covered
	bytes   int // of records
	time    int64
}

// make encodes the batch; its records are noise made from the base offset.
func (s batchSpec) make() []byte {
	b := make([]byte, batchHeadLen+s.bytes)
	be := binary.BigEndian
	be.PutUint64(b, uint64(s.base))
	be.PutUint32(b[8:], uint32(len(b)-12))
	be.PutUint32(b[12:], 7)
	b[16] = 2
	be.PutUint32(b[23:], uint32(s.offsets-1))
	be.PutUint64(b[27:], uint64(s.time-5))
	be.PutUint64(b[35:], uint64(s.time))
	be.PutUint32(b[57:], uint32(s.offsets))
	x := uint32(s.base)*2654435761 + 1
	for i := batchHeadLen; i < len(b); i++ {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	be.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
	return b
}

type shardSpec struct {
	id      shard.ID
	batches []batchSpec
}

func id(topic shard.TopicNum, index uint32) shard.ID { return shard.ID{Topic: topic, Index: index} }

func build(t testing.TB, specs []shardSpec) ([]byte, []Extent) {
	t.Helper()
	b := NewBuilder(1000)
	for _, s := range specs {
		for _, batch := range s.batches {
			if err := b.Add(s.id, batch.make()); err != nil {
				t.Fatal(err)
			}
		}
	}
	size := b.Size()
	object, extents, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if size != len(object) {
		t.Fatalf("Size said %d, object has %d bytes", size, len(object))
	}
	return object, extents
}

// run makes n batches of one shard that rise in offset and time, with gaps now
// and then.
func run(rng *rand.Rand, base int64, n, maxBytes int) []batchSpec {
	out := make([]batchSpec, n)
	time := int64(1_700_000_000_000)
	for i := range out {
		if rng.IntN(5) == 0 {
			base += rng.Int64N(9)
		}
		time += rng.Int64N(100) - 20
		out[i] = batchSpec{base: base, offsets: 1 + rng.IntN(20), bytes: rng.IntN(maxBytes), time: time}
		base += int64(out[i].offsets)
	}
	return out
}

func newReader(t testing.TB, s *mem.Store, o ReaderOptions) *Reader {
	t.Helper()
	r, err := NewReader(s, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func put(t testing.TB, s *mem.Store, key string, object []byte) {
	t.Helper()
	if err := s.Put(context.Background(), key, object); err != nil {
		t.Fatal(err)
	}
}

func replace(t testing.TB, s *mem.Store, key string, object []byte) {
	t.Helper()
	if err := s.Delete(context.Background(), key); err != nil {
		t.Fatal(err)
	}
	put(t, s, key, object)
}

// split cuts whole batches apart.
func split(t testing.TB, b []byte) [][]byte {
	t.Helper()
	var out [][]byte
	for len(b) > 0 {
		if len(b) < batchHeadLen {
			t.Fatalf("%d bytes left after the last batch", len(b))
		}
		n := int(binary.BigEndian.Uint32(b[8:])) + 12
		if _, err := parseBatch(b[:n]); err != nil {
			t.Fatal(err)
		}
		out = append(out, b[:n])
		b = b[n:]
	}
	return out
}
