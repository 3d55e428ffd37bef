package shard

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"sync/atomic"

	"github.com/robustmq/robustmq-go/internal/raw"
)

// The RecordBatch v2 header: part of the format, never change. Integers are
// big-endian; the checksum is CRC-32C over everything from the attributes on,
// so offset, length and epoch lie outside it.
//
//	 0 base offset int64       8 length int32 (bytes after it)   12 leader epoch int32
//	16 magic int8 (2)         17 crc uint32                      21 attributes int16
//	23 last offset delta int32                                   27 base timestamp int64
//	35 max timestamp int64    43 producer id int64               51 producer epoch int16
//	53 base sequence int32    57 record count int32              61 records
const (
	BatchHeaderBytes = 61

	posLength    = 8
	posEpoch     = 12
	posMagic     = 16
	posCRC       = 17
	posAttrs     = 21
	posLastDelta = 23
	posBaseTime  = 27
	posMaxTime   = 35
	posProducer  = 43
	posPEpoch    = 51
	posSequence  = 53
	posCount     = 57

	attrCodec         = 0x7
	attrAppendTime    = 0x8
	attrTransactional = 0x10
	attrControl       = 0x20
)

// MaxBatchBytes bounds any batch, whatever a topic's own limit says.
const MaxBatchBytes = 32 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Batch is one record batch. Its bytes are immutable but for offset, epoch and
// append time, which its shard's owner sets before anybody reads it. A Batch
// must not be copied; it may be read by any number of goroutines.
type Batch struct {
	raw  []byte   // all of it, or the first piece, which holds the header
	rest [][]byte // the pieces after raw
	recs atomic.Pointer[[]Record]
	// decoded is how many bytes the records were last decoded from.
	decoded atomic.Int64
	// joined is all of it where that was asked for and there is a rest.
	joined atomic.Pointer[[]byte]
}

// ParseBatch takes the one batch that raw holds, checking lengths, magic and
// checksum, not the records. It keeps raw. Errors: KindInvalid, KindTooLarge,
// KindCorrupt.
func ParseBatch(raw []byte) (*Batch, error) {
	b, err := VerifiedBatch(raw)
	if err != nil {
		return nil, err
	}
	if b.u32(posCRC) != crc32.Checksum(raw[posAttrs:], castagnoli) {
		return nil, &Error{Kind: KindCorrupt, Op: "parse batch", Msg: "checksum does not match", Err: ErrBatchCorrupt}
	}
	return b, nil
}

// VerifiedBatch is ParseBatch of bytes whose checksum the caller has verified:
// it is not computed again.
func VerifiedBatch(raw []byte) (*Batch, error) {
	n, err := BatchLen(raw)
	if err != nil {
		return nil, err
	}
	if n != len(raw) {
		return nil, &Error{Kind: KindCorrupt, Op: "parse batch", Msg: "length does not match", Err: ErrBatchCorrupt}
	}
	b := &Batch{raw: raw}
	if err := b.checkCounts(); err != nil {
		return nil, err
	}
	return b, nil
}

// VerifiedPieces is VerifiedBatch of a batch that lies in pieces, in order. It keeps
// them, so that a large batch need not be copied to be sent on.
func VerifiedPieces(pieces [][]byte) (*Batch, error) {
	if len(pieces) == 1 {
		return VerifiedBatch(pieces[0])
	}
	if len(pieces) == 0 || len(pieces[0]) < BatchHeaderBytes {
		return VerifiedBatch(bytes.Join(pieces, nil))
	}
	n, err := BatchLen(pieces[0])
	if err != nil {
		return nil, err
	}
	b := &Batch{raw: pieces[0], rest: pieces[1:]}
	if n != b.Size() {
		return nil, &Error{Kind: KindCorrupt, Op: "parse batch", Msg: "length does not match", Err: ErrBatchCorrupt}
	}
	if err := b.checkCounts(); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *Batch) checkCounts() error {
	count, last := b.Count(), b.LastOffsetDelta()
	if count < 0 || last < 0 || count > b.Size() && b.Codec() == CodecNone {
		return &Error{Kind: KindInvalid, Op: "parse batch", Msg: "record count out of bounds", Err: ErrBatchCorrupt}
	}
	return nil
}

// BatchLen gives the length in bytes of the batch that b begins with; b may
// hold less than all of it but must hold the header. Errors as ParseBatch.
func BatchLen(b []byte) (int, error) {
	if len(b) < BatchHeaderBytes {
		return 0, &Error{Kind: KindCorrupt, Op: "parse batch", Msg: "shorter than its header", Err: ErrBatchCorrupt}
	}
	if m := b[posMagic]; m != 2 {
		return 0, Errorf(KindInvalid, "parse batch: magic %d is not supported", int8(m))
	}
	n := int64(int32(binary.BigEndian.Uint32(b[posLength:]))) + posLength + 4
	if n < BatchHeaderBytes {
		return 0, &Error{Kind: KindCorrupt, Op: "parse batch", Msg: "length field too small", Err: ErrBatchCorrupt}
	}
	if n > MaxBatchBytes {
		return 0, &Error{Kind: KindTooLarge, Op: "parse batch", Err: ErrBatchTooLarge}
	}
	return int(n), nil
}

// SplitBatches parses consecutive batches. What it returns shares raw.
func SplitBatches(raw []byte) ([]*Batch, error) {
	var bs []*Batch
	for len(raw) > 0 {
		n, err := BatchLen(raw)
		if err != nil {
			return bs, err
		}
		if n > len(raw) {
			return bs, &Error{Kind: KindCorrupt, Op: "parse batch", Msg: "truncated", Err: ErrBatchCorrupt}
		}
		b, err := ParseBatch(raw[:n:n])
		if err != nil {
			return bs, err
		}
		bs, raw = append(bs, b), raw[n:]
	}
	return bs, nil
}

func (b *Batch) u32(p int) uint32 { return binary.BigEndian.Uint32(b.raw[p:]) }
func (b *Batch) i64(p int) int64  { return int64(binary.BigEndian.Uint64(b.raw[p:])) }
func (b *Batch) attrs() uint16    { return binary.BigEndian.Uint16(b.raw[posAttrs:]) }

// Raw gives the encoded batch. Callers must not change it. A batch that lies in
// pieces is copied, the first time.
func (b *Batch) Raw() []byte {
	if b.rest == nil {
		return b.raw
	}
	if all := b.joined.Load(); all != nil {
		return *all
	}
	all := append(raw.Bytes(b.Size())[:0], b.raw...)
	for _, p := range b.rest {
		all = append(all, p...)
	}
	b.joined.CompareAndSwap(nil, &all)
	return *b.joined.Load()
}

// AppendPieces appends what Raw gives to dst, where it lies.
func (b *Batch) AppendPieces(dst [][]byte) [][]byte {
	return append(append(dst, b.raw), b.rest...)
}

// Size is the encoded length in bytes.
func (b *Batch) Size() int {
	n := len(b.raw)
	for _, p := range b.rest {
		n += len(p)
	}
	return n
}

// BaseOffset is the offset of the first record.
func (b *Batch) BaseOffset() int64 { return b.i64(0) }

// LastOffsetDelta is the last record's offset less the base offset.
func (b *Batch) LastOffsetDelta() int { return int(int32(b.u32(posLastDelta))) }

// LastOffset is the offset of the last record.
func (b *Batch) LastOffset() int64 { return b.BaseOffset() + int64(b.LastOffsetDelta()) }

// Epoch is the ownership epoch under which the batch was appended.
func (b *Batch) Epoch() int32 { return int32(b.u32(posEpoch)) }

// Count is the number of records, as the header says.
func (b *Batch) Count() int { return int(int32(b.u32(posCount))) }

// Codec is the compression of the records.
func (b *Batch) Codec() Codec { return Codec(b.attrs() & attrCodec) }

// AppendTime tells whether timestamps are those of the append.
func (b *Batch) AppendTime() bool { return b.attrs()&attrAppendTime != 0 }

// Transactional tells whether the batch belongs to a Kafka transaction.
func (b *Batch) Transactional() bool { return b.attrs()&attrTransactional != 0 }

// Control tells whether the batch holds a marker that no client is shown.
func (b *Batch) Control() bool { return b.attrs()&attrControl != 0 }

// BaseTimestamp and MaxTimestamp are in milliseconds since the epoch.
func (b *Batch) BaseTimestamp() int64 { return b.i64(posBaseTime) }

// MaxTimestamp is the largest timestamp in the batch.
func (b *Batch) MaxTimestamp() int64 { return b.i64(posMaxTime) }

// Producer gives the idempotent producer's id (-1: none), epoch and the
// sequence number of the first record.
func (b *Batch) Producer() (id int64, epoch int16, seq int32) {
	return b.i64(posProducer), int16(binary.BigEndian.Uint16(b.raw[posPEpoch:])), int32(b.u32(posSequence))
}

// Assign sets offset and epoch, in the bytes and in the decoded records. Only
// the shard's owner calls it, before the batch is shared.
func (b *Batch) Assign(base int64, epoch int32) {
	old := b.BaseOffset()
	binary.BigEndian.PutUint64(b.raw, uint64(base))
	binary.BigEndian.PutUint32(b.raw[posEpoch:], uint32(epoch))
	if recs := b.recs.Load(); recs != nil && old != base {
		for i := range *recs {
			(*recs)[i].Offset += base - old
		}
	}
}

// SetAppendTime stamps all records with the time of the append, milliseconds
// since the epoch (Kafka message.timestamp.type=LogAppendTime). As Assign.
func (b *Batch) SetAppendTime(ms int64) {
	binary.BigEndian.PutUint16(b.raw[posAttrs:], b.attrs()|attrAppendTime)
	binary.BigEndian.PutUint64(b.raw[posMaxTime:], uint64(ms))
	binary.BigEndian.PutUint32(b.raw[posCRC:], crc32.Checksum(b.raw[posAttrs:], castagnoli))
	if recs := b.recs.Load(); recs != nil {
		for i := range *recs {
			(*recs)[i].Timestamp = ms
		}
	}
}

// Records decodes the batch once and gives its records, which are immutable and
// share memory with it. A control batch has none. Errors: KindCorrupt,
// KindTooLarge (decompressed size over MaxDecompressedBytes).
func (b *Batch) Records() ([]Record, error) { return b.RecordsWithin(MaxDecompressedBytes) }

// RecordsWithin is Records with a lower bound of what it decompresses to.
func (b *Batch) RecordsWithin(limit int) ([]Record, error) {
	if recs := b.recs.Load(); recs != nil {
		return *recs, nil
	}
	if b.Control() {
		return nil, nil
	}
	recs, size, err := decodeRecords(b, limit)
	if err != nil {
		return nil, err
	}
	b.decoded.Store(int64(size))
	if !b.recs.CompareAndSwap(nil, &recs) {
		if now := b.recs.Load(); now != nil { // else they were forgotten just then
			return *now, nil
		}
	}
	return recs, nil
}

// Held is the memory that a record keeps alive which was decoded from the batch:
// what it was decompressed to, or the batch itself.
func (b *Batch) Held() int { return max(b.Size(), int(b.decoded.Load())) }

// Forget drops the decoded records; Records decodes again.
func (b *Batch) Forget() { b.recs.Store(nil) }
