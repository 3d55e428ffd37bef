package shard

import (
	"encoding/binary"
	"unsafe"
)

// minRecordBytes is the least one encoded record takes.
const minRecordBytes = 7

func corrupt(msg string) error {
	return &Error{Kind: KindCorrupt, Op: "decode records", Msg: msg, Err: ErrBatchCorrupt}
}

// decodeRecords gives the records, and the bytes that they lie in.
func decodeRecords(b *Batch, limit int) (_ []Record, size int, err error) {
	body, err := Decompress(b.Codec(), b.Raw()[BatchHeaderBytes:], limit)
	if err != nil {
		return nil, 0, err
	}
	count := b.Count()
	if count < 0 || count > len(body)/minRecordBytes {
		return nil, 0, corrupt("more records than bytes")
	}
	recs := make([]Record, count)
	d := decoder{b: body}
	base, baseTime := b.BaseOffset(), b.BaseTimestamp()
	appendTime, maxTime := b.AppendTime(), b.MaxTimestamp()
	prev := int64(-1)
	for i := range recs {
		delta := d.record(&recs[i], base, baseTime)
		if d.bad {
			return nil, 0, corrupt("malformed record")
		}
		if delta <= prev || delta > int64(b.LastOffsetDelta()) {
			return nil, 0, corrupt("offset deltas do not rise")
		}
		prev = delta
		if appendTime {
			recs[i].Timestamp = maxTime
		}
	}
	if len(d.b) != 0 {
		return nil, 0, corrupt("bytes after the last record")
	}
	return recs, len(body), nil
}

// decoder reads records; once bad it stays bad and gives zero values.
type decoder struct {
	b    []byte
	bad  bool
	slab []Header
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

// bytes reads a length and that many bytes; length -1 is null.
func (d *decoder) bytes() []byte {
	n := d.varint()
	if n < 0 || n > int64(len(d.b)) {
		if n != -1 {
			d.bad, d.b = true, nil
		}
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) record(r *Record, base, baseTime int64) (delta int64) {
	n := d.varint()
	if d.bad || n < 0 || n > int64(len(d.b)) {
		d.bad = true
		return 0
	}
	rest := d.b[n:]
	d.b = d.b[:n]
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[1:] // attributes, unused
	r.Timestamp = baseTime + d.varint()
	delta = d.varint()
	r.Offset = base + delta
	r.Key = d.bytes()
	r.Value = d.bytes()
	d.headers(r)
	if len(d.b) != 0 {
		d.bad = true
	}
	d.b = rest
	return delta
}

func (d *decoder) headers(r *Record) {
	n := d.varint()
	if n == 0 || d.bad {
		return
	}
	if n < 0 || n > int64(len(d.b)/2) {
		d.bad = true
		return
	}
	if int(n) > cap(d.slab)-len(d.slab) {
		d.slab = make([]Header, 0, max(int(n), 64))
	}
	from := len(d.slab)
	for range n {
		name := d.bytes()
		if name == nil {
			d.bad = true
			return
		}
		d.slab = append(d.slab, Header{Name: unsafeString(name), Value: d.bytes()})
	}
	r.Headers = d.slab[from:len(d.slab):len(d.slab)]
}

// unsafeString shares the bytes of an immutable buffer.
func unsafeString(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return unsafe.String(&b[0], len(b))
}
