package shard

import (
	"encoding/binary"
	"hash/crc32"
	"slices"

	"github.com/robustmq/robustmq-go/internal/raw"
)

// Builder packs records into one batch. The zero value is ready; it is not safe
// for concurrent use. Build hands the buffer over to the batch.
type Builder struct {
	buf      []byte
	count    int
	baseTime int64
	maxTime  int64
}

// NewBuilder makes a builder with room for that many bytes of records.
func NewBuilder(size int) *Builder {
	return &Builder{buf: raw.Bytes(BatchHeaderBytes + max(size, 0))[:BatchHeaderBytes]} // Build writes every byte of the header
}

// Add copies one record into the batch; its Offset is ignored.
func (b *Builder) Add(r *Record) {
	if b.count == 0 {
		if cap(b.buf) == 0 {
			b.buf = make([]byte, BatchHeaderBytes, BatchHeaderBytes+r.Size()+64)
		}
		b.baseTime, b.maxTime = r.Timestamp, r.Timestamp
	}
	b.maxTime = max(b.maxTime, r.Timestamp)
	b.add(r, int64(b.count))
	b.count++
}

// add encodes one record at an offset from the batch's first.
func (b *Builder) add(r *Record, delta int64) {
	timeDelta := r.Timestamp - b.baseTime
	body := 1 + varintLen(timeDelta) + varintLen(delta) +
		bytesLen(r.Key) + bytesLen(r.Value) + varintLen(int64(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		body += varintLen(int64(len(h.Name))) + len(h.Name) + bytesLen(h.Value)
	}
	p := binary.AppendVarint(b.buf, int64(body))
	p = append(p, 0)
	p = binary.AppendVarint(p, timeDelta)
	p = binary.AppendVarint(p, delta)
	p = appendBytes(p, r.Key)
	p = appendBytes(p, r.Value)
	p = binary.AppendVarint(p, int64(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		p = binary.AppendVarint(p, int64(len(h.Name)))
		p = append(p, h.Name...)
		p = appendBytes(p, h.Value)
	}
	b.buf = p
}

// Count is the number of records added.
func (b *Builder) Count() int { return b.count }

// Size is the length in bytes of the batch so far.
func (b *Builder) Size() int { return len(b.buf) }

// wasteful is the room from which on a batch that uses less than half of it moves.
const wasteful = 4 << 10

// Build seals the batch and empties the builder. It panics when no record was
// added.
func (b *Builder) Build() *Batch { return b.build(-1, -1, -1, 0) }

// BuildProducer is Build for an idempotent producer: a client of Kafka's, whose
// records hold no reserved headers.
func (b *Builder) BuildProducer(id int64, epoch int16, seq int32) *Batch {
	return b.build(id, epoch, seq, 0)
}

func (b *Builder) build(id int64, epoch int16, seq int32, attrs uint16) *Batch {
	if b.count == 0 {
		panic("internal error: batch without records")
	}
	p := b.buf
	if cap(p) > 2*len(p) && cap(p) > wasteful { // it may be kept for long
		p = slices.Clone(p)
	}
	binary.BigEndian.PutUint64(p, 0)
	binary.BigEndian.PutUint32(p[posLength:], uint32(len(p)-posLength-4))
	binary.BigEndian.PutUint32(p[posEpoch:], 0)
	p[posMagic] = 2
	binary.BigEndian.PutUint16(p[posAttrs:], attrs)
	binary.BigEndian.PutUint32(p[posLastDelta:], uint32(b.count-1))
	binary.BigEndian.PutUint64(p[posBaseTime:], uint64(b.baseTime))
	binary.BigEndian.PutUint64(p[posMaxTime:], uint64(b.maxTime))
	binary.BigEndian.PutUint64(p[posProducer:], uint64(id))
	binary.BigEndian.PutUint16(p[posPEpoch:], uint16(epoch))
	binary.BigEndian.PutUint32(p[posSequence:], uint32(seq))
	binary.BigEndian.PutUint32(p[posCount:], uint32(b.count))
	binary.BigEndian.PutUint32(p[posCRC:], crc32.Checksum(p[posAttrs:], castagnoli))
	*b = Builder{}
	return &Batch{raw: p}
}

// BatchOf packs records into one batch, which must not be empty.
func BatchOf(rs ...Record) *Batch {
	size := 0
	for i := range rs {
		size += rs[i].Size() + 32
	}
	b := NewBuilder(size)
	for i := range rs {
		b.Add(&rs[i])
	}
	return b.Build()
}

func varintLen(v int64) int {
	u := uint64(v)<<1 ^ uint64(v>>63)
	n := 1
	for u >= 0x80 {
		u >>= 7
		n++
	}
	return n
}

func bytesLen(b []byte) int {
	if b == nil {
		return 1
	}
	return varintLen(int64(len(b))) + len(b)
}

func appendBytes(p, b []byte) []byte {
	if b == nil {
		return binary.AppendVarint(p, -1)
	}
	p = binary.AppendVarint(p, int64(len(b)))
	return append(p, b...)
}
