package tier

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store"
)

// Part of the format of version 1: never change.
const (
	Version1 uint32 = 1

	v1Magic      = "RMQSEG\r\n"
	v1HeaderLen  = 16
	v1TrailerLen = 40
	v1ExtentLen  = 8 + 4 + 8 + 8 + 8 + 8 + 8 + 8 + 8 + 4
	v1EntryLen   = 8 + 8 + 8
	v1FrameHead  = 4
	v1MinFrame   = v1FrameHead + batchHeadLen
	v1EntryStep  = 64 << 10 // bytes of an extent between two sparse entries, at least
	v1MinObject  = v1HeaderLen + 4 + v1TrailerLen
)

// maxIndex is the size in bytes of the largest index that is read.
const maxIndex = 256 << 20

// Extent says where the batches of one shard are in an object.
type Extent struct {
	Shard            shard.ID
	Base, Last       int64 // first and last offset, both included
	Pos, Len         int64 // bytes in the object, head checksums included
	Records          int64
	MinTime, MaxTime int64 // milliseconds; smallest base timestamp, largest max timestamp
}

// Entry is a sparse index entry of an extent: a frame to begin at.
type Entry struct {
	Offset int64 // base offset of the frame's batch
	Pos    int64 // the frame's place in bytes from the extent's begin
	Before int64 // largest timestamp of the extent before this frame, milliseconds
}

// IndexExtent is an extent with its sparse entries.
type IndexExtent struct {
	Extent
	Entries []Entry
}

// Index is the decoded footer of an object: its extents in order of shard and
// offset.
type Index struct {
	Version uint32
	Size    int64 // of the object, in bytes
	Extents []IndexExtent
}

func v1AppendHeader(b []byte) []byte {
	start := len(b)
	b = append(b, v1Magic...)
	b = binary.BigEndian.AppendUint32(b, Version1)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

func v1AppendIndex(b []byte, extents []IndexExtent) []byte {
	be := binary.BigEndian
	b = be.AppendUint32(b, uint32(len(extents)))
	for i := range extents {
		e := &extents[i]
		b = be.AppendUint64(b, uint64(e.Shard.Topic))
		b = be.AppendUint32(b, e.Shard.Index)
		for _, v := range [...]int64{e.Base, e.Last, e.Pos, e.Len, e.Records, e.MinTime, e.MaxTime} {
			b = be.AppendUint64(b, uint64(v))
		}
		b = be.AppendUint32(b, uint32(len(e.Entries)))
		for _, n := range e.Entries {
			b = be.AppendUint64(b, uint64(n.Offset))
			b = be.AppendUint64(b, uint64(n.Pos))
			b = be.AppendUint64(b, uint64(n.Before))
		}
	}
	return b
}

// v1AppendTrailer appends the trailer of an object whose index is index and
// stands at the place at.
func v1AppendTrailer(b []byte, at int64, index []byte) []byte {
	be := binary.BigEndian
	start := len(b)
	b = be.AppendUint64(b, uint64(at))
	b = be.AppendUint32(b, uint32(len(index)))
	b = be.AppendUint32(b, crc32.Checksum(index, castagnoli))
	b = be.AppendUint64(b, uint64(at)+uint64(len(index))+v1TrailerLen)
	b = be.AppendUint32(b, 0)
	b = be.AppendUint32(b, Version1)
	b = append(b, v1Magic...)
	be.PutUint32(b[start+24:], v1TrailerSum(b[start:]))
	return b
}

func v1TrailerSum(t []byte) uint32 {
	return crc32.Update(crc32.Checksum(t[:24], castagnoli), castagnoli, t[28:v1TrailerLen])
}

// v1CheckHeader checks the first bytes of an object.
func v1CheckHeader(key string, b []byte) error {
	if len(b) < v1HeaderLen || string(b[:8]) != v1Magic {
		return corrupt(key, 0, "header: not a segment object")
	}
	if v := binary.BigEndian.Uint32(b[8:]); v != Version1 {
		return &VersionError{Key: key, Version: v}
	}
	if binary.BigEndian.Uint32(b[12:]) != crc32.Checksum(b[:12], castagnoli) {
		return corrupt(key, 0, "header: checksum does not match")
	}
	return nil
}

// v1Trailer is a decoded trailer.
type v1Trailer struct {
	indexAt  int64
	indexLen int
	indexSum uint32
}

// v1DecodeTrailer decodes b, the last 40 bytes of an object of size bytes.
func v1DecodeTrailer(key string, b []byte, size int64) (t v1Trailer, err error) {
	at := size - v1TrailerLen
	if size < v1MinObject || len(b) != v1TrailerLen {
		return t, corrupt(key, 0, "object of %d bytes is too short", size)
	}
	if !bytes.Equal(b[32:], []byte(v1Magic)) {
		return t, corrupt(key, at, "trailer: not the end of a segment object")
	}
	if v := binary.BigEndian.Uint32(b[28:]); v != Version1 {
		return t, &VersionError{Key: key, Version: v}
	}
	if binary.BigEndian.Uint32(b[24:]) != v1TrailerSum(b) {
		return t, corrupt(key, at, "trailer: checksum does not match")
	}
	pos, n := binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[8:])
	if written := binary.BigEndian.Uint64(b[16:]); written != uint64(size) {
		return t, corrupt(key, at, "object has %d bytes, was written with %d", size, written)
	}
	if pos < v1HeaderLen || pos > uint64(size) || pos+uint64(n)+v1TrailerLen != uint64(size) || n > maxIndex {
		return t, corrupt(key, at, "trailer: index of %d bytes at %d does not fit", n, pos)
	}
	return v1Trailer{indexAt: int64(pos), indexLen: int(n), indexSum: binary.BigEndian.Uint32(b[12:])}, nil
}

// v1DecodeIndex decodes the index b that the trailer t of an object speaks of.
func v1DecodeIndex(key string, b []byte, t v1Trailer) (*Index, error) {
	if len(b) != t.indexLen {
		return nil, corrupt(key, t.indexAt, "index: %d bytes instead of %d", len(b), t.indexLen)
	}
	if crc32.Checksum(b, castagnoli) != t.indexSum {
		return nil, corrupt(key, t.indexAt, "index: checksum does not match")
	}
	ix := &Index{Version: Version1, Size: t.indexAt + int64(t.indexLen) + v1TrailerLen}
	if reason := v1ParseExtents(ix, b, t.indexAt); reason != "" {
		return nil, corrupt(key, t.indexAt, "index: %s", reason)
	}
	return ix, nil
}

// v1ParseExtents fills ix from the index b and says what is wrong with it. What
// it accepts encodes to b again.
func v1ParseExtents(ix *Index, b []byte, end int64) string {
	be := binary.BigEndian
	if len(b) < 4 {
		return "too short"
	}
	n := int64(be.Uint32(b))
	b = b[4:]
	if n*v1ExtentLen > int64(len(b)) {
		return "more extents than bytes"
	}
	ix.Extents = make([]IndexExtent, 0, n)
	pos := int64(v1HeaderLen)
	for range n {
		if len(b) < v1ExtentLen {
			return "cut off"
		}
		var e IndexExtent
		e.Shard = shard.ID{Topic: shard.TopicNum(be.Uint64(b)), Index: be.Uint32(b[8:])}
		for i, p := range [...]*int64{&e.Base, &e.Last, &e.Pos, &e.Len, &e.Records, &e.MinTime, &e.MaxTime} {
			*p = int64(be.Uint64(b[12+8*i:]))
		}
		entries := int64(be.Uint32(b[v1ExtentLen-4:]))
		b = b[v1ExtentLen:]
		if entries*v1EntryLen > int64(len(b)) {
			return "more entries than bytes"
		}
		if e.Pos != pos || e.Len < v1MinFrame || e.Len > end-pos {
			return "extents do not cover the object"
		}
		pos += e.Len
		if e.Base < 0 || e.Last < e.Base || e.Last == math.MaxInt64 || e.Records < 0 || e.Records > e.Last-e.Base+1 {
			return "offsets out of bounds"
		}
		if k := len(ix.Extents); k > 0 && ix.Extents[k-1].Shard.Compare(e.Shard) >= 0 {
			return "extents out of order"
		}
		if entries > 0 {
			e.Entries = make([]Entry, entries)
			if !v1ParseEntries(&e, b) {
				return "entries out of order"
			}
			b = b[entries*v1EntryLen:]
		}
		ix.Extents = append(ix.Extents, e)
	}
	if len(b) != 0 || pos != end {
		return "extents do not cover the object"
	}
	return ""
}

func v1ParseEntries(e *IndexExtent, b []byte) bool {
	be := binary.BigEndian
	last := Entry{Offset: e.Base, Pos: 0, Before: math.MinInt64}
	for i := range e.Entries {
		n := Entry{Offset: int64(be.Uint64(b)), Pos: int64(be.Uint64(b[8:])), Before: int64(be.Uint64(b[16:]))}
		b = b[v1EntryLen:]
		if n.Offset <= last.Offset || n.Offset > e.Last || n.Pos < last.Pos+v1EntryStep || n.Pos > e.Len-v1MinFrame || n.Before < last.Before || n.Before > e.MaxTime {
			return false
		}
		e.Entries[i], last = n, n
	}
	return true
}

// Decode decodes the index of a whole object and checks its header. It does not
// look at the batches. key is for errors only.
func Decode(key string, object []byte) (*Index, error) {
	size := int64(len(object))
	if err := v1CheckHeader(key, object); err != nil {
		return nil, err
	}
	if size < v1MinObject || size > store.MaxObject {
		return nil, corrupt(key, 0, "object of %d bytes is too short", size)
	}
	t, err := v1DecodeTrailer(key, object[size-v1TrailerLen:], size)
	if err != nil {
		return nil, err
	}
	return v1DecodeIndex(key, object[t.indexAt:t.indexAt+int64(t.indexLen)], t)
}
