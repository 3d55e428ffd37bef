package tier

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/robustmq/robustmq-go/shard"
)

// MaxBatch is the length in bytes of the largest batch a segment takes.
const MaxBatch = 128 << 20

// Places in a record batch, of the Kafka RecordBatch v2 encoding.
const (
	batchHeadLen   = 61 // the fixed part before the records
	batchPrefixLen = 21 // what lies before the bytes that the batch's CRC covers
	batchMagic     = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// batchHead is the fixed part of a batch.
type batchHead struct {
	base, last       int64
	length           int // of the whole batch, in bytes
	crc              uint32
	records          int64
	baseTime, maxTim int64
}

// parsePrefix decodes what lies before the checksummed part: the base offset,
// the length and the checksum. b has at least 21 bytes.
func parsePrefix(b []byte) (h batchHead, err error) {
	h.base = int64(binary.BigEndian.Uint64(b))
	n := int64(int32(binary.BigEndian.Uint32(b[8:]))) + 12
	h.length = int(n)
	h.crc = binary.BigEndian.Uint32(b[17:])
	switch {
	case n < batchHeadLen || n > MaxBatch:
		return h, fmt.Errorf("batch length %d out of bounds", n)
	case b[16] != batchMagic:
		return h, fmt.Errorf("batch magic %d, want %d", b[16], batchMagic)
	case h.base < 0:
		return h, fmt.Errorf("base offset %d is negative", h.base)
	}
	return h, nil
}

// parseBatch decodes the fixed part and verifies the checksum of a whole batch.
func parseBatch(b []byte) (h batchHead, err error) {
	if h, err = parseHead(b, len(b)); err == nil && crc32.Checksum(b[batchPrefixLen:], castagnoli) != h.crc {
		err = errSum
	}
	return h, err
}

// parsePieces is parseBatch of a batch in pieces. head is its fixed part.
func parsePieces(head []byte, pieces Pieces) (h batchHead, err error) {
	if h, err = parseHead(head, pieces.Len()); err != nil {
		return h, err
	}
	sum, skip := uint32(0), batchPrefixLen
	for _, p := range pieces {
		n := min(skip, len(p))
		sum = crc32.Update(sum, castagnoli, p[n:])
		skip -= n
	}
	if sum != h.crc {
		err = errSum
	}
	return h, err
}

// Pieces are the bytes of a batch, in order, where they lie.
type Pieces [][]byte

// Len is how many bytes they are.
func (p Pieces) Len() int {
	n := 0
	for _, b := range p {
		n += len(b)
	}
	return n
}

func (p Pieces) appendTo(dst []byte) []byte {
	for _, b := range p {
		dst = append(dst, b...)
	}
	return dst
}

var errSum = errors.New("batch checksum does not match")

// parseHead is parseBatch without the checksum; b is the fixed part of a batch of
// size bytes, or more of it.
func parseHead(b []byte, size int) (h batchHead, err error) {
	if len(b) < batchHeadLen {
		return h, fmt.Errorf("batch of %d bytes is too short", len(b))
	}
	if h, err = parsePrefix(b); err != nil {
		return h, err
	}
	if h.length != size {
		return h, fmt.Errorf("batch says %d bytes, has %d", h.length, size)
	}
	delta := int64(int32(binary.BigEndian.Uint32(b[23:])))
	h.records = int64(int32(binary.BigEndian.Uint32(b[57:])))
	if delta < 0 || h.base > math.MaxInt64-1-delta {
		return h, fmt.Errorf("last offset delta %d out of bounds", delta)
	}
	if h.records < 0 || h.records > delta+1 {
		return h, fmt.Errorf("record count %d does not fit into %d offsets", h.records, delta+1)
	}
	h.last = h.base + delta
	h.baseTime = int64(binary.BigEndian.Uint64(b[27:]))
	h.maxTim = int64(binary.BigEndian.Uint64(b[35:]))
	return h, nil
}

// headSum is the checksum before a batch in a frame. prefix has at least 21
// bytes.
func headSum(id shard.ID, prefix []byte) uint32 {
	var b [12 + batchPrefixLen]byte
	binary.BigEndian.PutUint64(b[:], uint64(id.Topic))
	binary.BigEndian.PutUint32(b[8:], id.Index)
	copy(b[12:], prefix[:batchPrefixLen])
	return crc32.Checksum(b[:], castagnoli)
}
