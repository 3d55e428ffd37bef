package kafka

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"github.com/robustmq/robustmq-go/shard"
)

// Headers of RobustMQ's own are not shown to Kafka's clients, but for the subject
// that a Kafka producer wrote. Only gateways write the others, in batches that are
// not compressed, so a batch is looked at only
// where the prefix occurs in its bytes; it is then written anew for this reader
// without them. Offsets, timestamps, producer and count stay; length and
// checksum change, in this view only.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Places in the batch header (see package shard).
const (
	batchLengthAt = 8
	batchCRCAt    = 17
	batchAttrsAt  = 21
)

// mentionsReserved tells whether the reserved prefix occurs anywhere. It looks
// for its rarest letter, which is several times faster on text than bytes.Index.
func mentionsReserved(b []byte) bool {
	const rare = len("robustm")
	for at := rare; at < len(b)-1; at++ {
		i := bytes.IndexByte(b[at:], 'q')
		if i < 0 {
			return false
		}
		at += i
		if at+1 < len(b) && b[at+1] == '-' && string(b[at-rare:at]) == "robustm" {
			return true
		}
	}
	return false
}

// shownToKafka gives the bytes of a batch as a Kafka client gets them; nil: as they
// are. Where there is a producer's id a Kafka client wrote the batch, and was
// refused if it used a reserved header.
func shownToKafka(b *shard.Batch) []byte {
	if id, _, _ := b.Producer(); id >= 0 || b.Codec() != shard.CodecNone || b.Control() {
		return nil
	}
	raw := b.Raw()
	if !mentionsReserved(raw[shard.BatchHeaderBytes:]) {
		return nil
	}
	out, ok := withoutReserved(raw, b.Count())
	if !ok {
		return nil
	}
	return out
}

func withoutReserved(raw []byte, count int) ([]byte, bool) {
	out := make([]byte, shard.BatchHeaderBytes, len(raw))
	copy(out, raw)
	w := walker{b: raw[shard.BatchHeaderBytes:]}
	var rec []byte
	for range count {
		n, ok := w.varint()
		if !ok || n < 1 || n > int64(len(w.b)) {
			return nil, false
		}
		if rec, ok = recordWithoutReserved(rec[:0], w.b[:n]); !ok {
			return nil, false
		}
		out = binary.AppendVarint(out, int64(len(rec)))
		out = append(out, rec...)
		w.b = w.b[n:]
	}
	if len(w.b) != 0 {
		return nil, false
	}
	binary.BigEndian.PutUint32(out[batchLengthAt:], uint32(len(out)-batchLengthAt-4))
	binary.BigEndian.PutUint32(out[batchCRCAt:], crc32.Checksum(out[batchAttrsAt:], castagnoli))
	return out, true
}

// recordWithoutReserved appends a record's body, less reserved headers, to dst.
func recordWithoutReserved(dst, body []byte) ([]byte, bool) {
	in := walker{b: body[1:]}
	_, ok1 := in.varint() // timestamp
	_, ok2 := in.varint() // offset
	_, _, ok3 := in.bytes(true)
	_, _, ok4 := in.bytes(true)
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return nil, false
	}
	dst = append(dst, body[:len(body)-len(in.b)]...)
	n, ok := in.varint()
	if !ok || n < 0 || n > int64(len(in.b)/2) {
		return nil, false
	}
	headers, kept := in.b, int64(0)
	type span struct{ from, to int }
	spans := make([]span, 0, 8)
	for range n {
		from := len(headers) - len(in.b)
		name, _, ok := in.bytes(false)
		if !ok {
			return nil, false
		}
		if _, _, ok = in.bytes(true); !ok {
			return nil, false
		}
		if !bytes.HasPrefix(name, reservedBytes) {
			spans = append(spans, span{from, len(headers) - len(in.b)})
			kept++
		}
	}
	if len(in.b) != 0 {
		return nil, false
	}
	dst = binary.AppendVarint(dst, kept)
	for _, s := range spans {
		dst = append(dst, headers[s.from:s.to]...)
	}
	return dst, true
}
