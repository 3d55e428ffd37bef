package shard

import (
	"encoding/binary"
	"hash/crc32"
)

// Rewrite gives a batch with the records that fn keeps, uncompressed. fn may
// change its copy of a record (its headers, say). Offsets, the batch's bounds,
// epoch, producer and timestamps stay; nil when nothing is kept. b is unchanged.
func (b *Batch) Rewrite(fn func(r *Record) (keep bool)) (*Batch, error) {
	recs, err := b.Records()
	if err != nil {
		return nil, err
	}
	out := NewBuilder(b.Size())
	out.baseTime, out.count = b.BaseTimestamp(), 0
	base, kept := b.BaseOffset(), 0
	for i := range recs {
		r := recs[i]
		if !fn(&r) {
			continue
		}
		out.add(&r, r.Offset-base)
		kept++
	}
	if kept == 0 {
		return nil, nil
	}
	p := out.buf
	copy(p, b.raw[:BatchHeaderBytes])
	binary.BigEndian.PutUint32(p[posLength:], uint32(len(p)-posLength-4))
	binary.BigEndian.PutUint16(p[posAttrs:], b.attrs()&^attrCodec)
	binary.BigEndian.PutUint32(p[posCount:], uint32(kept))
	binary.BigEndian.PutUint32(p[posCRC:], crc32.Checksum(p[posAttrs:], castagnoli))
	return &Batch{raw: p}, nil
}
