package kafka

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/robustmq/robustmq-go/shard"
)

// A topic may capture subjects that the client may not subscribe to. Their records
// are left out of its view of a batch, as compaction leaves records out: offsets and
// bounds stay, and a batch of which nothing is left is empty, so that the client's
// position passes it.

// seen gives the bytes of a batch as a client of partial rights gets them; nil: as
// they are.
func (p *fetchPart) seen(b *shard.Batch) []byte {
	if b.Control() {
		return nil
	}
	out, err := b.Rewrite(func(r *shard.Record) bool { return p.sight.Record(p.topic, r) })
	switch {
	case err != nil || out == nil: // what cannot be read is not shown
		return emptyBatch(b)
	case out.Count() == b.Count():
		return shownToKafka(b)
	}
	if raw := shownToKafka(out); raw != nil {
		return raw
	}
	return out.Raw()
}

const (
	batchCountAt   = 57
	batchAttrCodec = 7
)

// emptyBatch gives a batch's header with no records.
func emptyBatch(b *shard.Batch) []byte {
	out := append([]byte(nil), b.Raw()[:shard.BatchHeaderBytes]...)
	attrs := binary.BigEndian.Uint16(out[batchAttrsAt:])
	binary.BigEndian.PutUint16(out[batchAttrsAt:], attrs&^batchAttrCodec)
	binary.BigEndian.PutUint32(out[batchCountAt:], 0)
	binary.BigEndian.PutUint32(out[batchLengthAt:], uint32(len(out)-batchLengthAt-4))
	binary.BigEndian.PutUint32(out[batchCRCAt:], crc32.Checksum(out[batchAttrsAt:], castagnoli))
	return out
}
