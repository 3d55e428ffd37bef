package catalog

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/robustmq/robustmq-go/shard"
)

// A segment is segments/{ulid}, written once, deleted once, never overwritten.
//
// Value, version 1:
//
//	level    1 byte
//	size     varint, bytes of the object
//	created  signed varint, milliseconds since the epoch
//	key      string, name of the object in the store
//	extents  varint, how many rows there are
//	parts    varint, how many further keys hold the rest of the rows
//	rows     to the end of the value
//
// The rows of a segment of many shards go on in segments/{ulid}/001, /002 ...,
// each a version byte and rows, cut at any byte, all written and deleted in the
// same transaction. A row, in order of shard and then base:
//
//	topic    varint, number minus that of the row before (of the first: minus 0)
//	index    varint, minus that of the row before if the topic is the same
//	base     varint, first offset
//	span     varint, last offset minus base
//	pos      varint, position of the extent in the object
//	len      varint, its length in bytes
//	records  varint
//	min      signed varint, smallest timestamp minus created (wrapping)
//	max      signed varint, largest timestamp minus the smallest (wrapping)
//
// All but topic and index can be read without the row before, so the memory
// index points into the rows as they are stored.

// ULID names a segment.
type ULID = ulid.ULID

// Segment describes one immutable object of the store.
type Segment struct {
	ULID  ULID
	Key   string
	Level uint8
	Size  int64
	// Created in milliseconds since the epoch.
	Created int64
	// Extents in order of shard and base; nil in what FindExtent, Extents and
	// Segments give: ask Segment for them.
	Extents []Extent
}

// Extent is where the records of one shard are in a segment. Offsets between
// Base and Last may be missing.
type Extent struct {
	Shard shard.ID
	// Base and Last are the first and the last offset.
	Base, Last int64
	// Pos and Len are bytes in the object.
	Pos, Len int64
	Records  int64
	// MinTime and MaxTime in milliseconds since the epoch.
	MinTime, MaxTime int64
}

// Caps of a segment's record. A part stays well below what etcd takes in one
// request, and all of them together, too.
const (
	partBytes       = 512 << 10
	maxParts        = 8
	maxObjectKey    = 1 << 10
	minRowBytes     = 9
	MaxSegmentBytes = 1200 << 10 // of all values of one segment, or of one swap
)

// encodeSegment gives the value of the head key and those of the part keys.
func encodeSegment(s *Segment) ([][]byte, error) {
	if err := checkSegment(s); err != nil {
		return nil, err
	}
	var rows encoder
	var prev shard.ID
	for i := range s.Extents {
		rows.row(&s.Extents[i], prev, s.Created)
		prev = s.Extents[i].Shard
		if len(rows.b) > MaxSegmentBytes {
			return nil, fmt.Errorf("%w: segment %s of %d extents", ErrTooLarge, s.ULID, len(s.Extents))
		}
	}
	parts := partsFor(len(rows.b))
	e := encoder{b: []byte{version1, s.Level}}
	e.uvarint(uint64(s.Size))
	e.varint(s.Created)
	e.str(s.Key)
	e.uvarint(uint64(len(s.Extents)))
	e.uvarint(uint64(parts))
	rest := rows.b[min(partBytes, len(rows.b)):]
	values := [][]byte{append(e.b, rows.b[:len(rows.b)-len(rest)]...)}
	for len(rest) > 0 {
		n := min(partBytes, len(rest))
		values = append(values, append([]byte{version1}, rest[:n]...))
		rest = rest[n:]
	}
	return values, nil
}

// partsFor gives the number of part keys beside the head for so many bytes of rows.
func partsFor(rows int) int {
	return max(0, (rows-1)/partBytes)
}

func (e *encoder) row(x *Extent, prev shard.ID, created int64) {
	e.uvarint(uint64(x.Shard.Topic - prev.Topic))
	index := x.Shard.Index
	if x.Shard.Topic == prev.Topic {
		index -= prev.Index
	}
	e.uvarint(uint64(index))
	e.uvarint(uint64(x.Base))
	e.uvarint(uint64(x.Last - x.Base))
	e.uvarint(uint64(x.Pos))
	e.uvarint(uint64(x.Len))
	e.uvarint(uint64(x.Records))
	e.varint(x.MinTime - created)
	e.varint(x.MaxTime - x.MinTime)
}

func checkSegment(s *Segment) error {
	if s.Key == "" || len(s.Key) > maxObjectKey || s.Size < 0 || s.ULID == (ULID{}) {
		return fmt.Errorf("%w: segment %s of object %q, %d bytes", ErrInvalid, s.ULID, s.Key, s.Size)
	}
	var prev *Extent
	for i := range s.Extents {
		x := &s.Extents[i]
		if x.Base < 0 || x.Last < x.Base || x.Pos < 0 || x.Len < 0 || x.Records < 0 {
			return fmt.Errorf("%w: extent of shard %s, offsets %d to %d", ErrInvalid, x.Shard, x.Base, x.Last)
		}
		if prev != nil && !follows(prev, x) {
			return fmt.Errorf("%w: extent of shard %s at %d is out of order", ErrInvalid, x.Shard, x.Base)
		}
		prev = x
	}
	return nil
}

// follows tells whether x may stand behind prev in a segment.
func follows(prev, x *Extent) bool {
	switch prev.Shard.Compare(x.Shard) {
	case -1:
		return true
	case 0:
		return x.Base > prev.Last
	}
	return false
}

// joinParts puts the rows of part keys behind the head's value.
func joinParts(values [][]byte) ([]byte, error) {
	if len(values) == 1 {
		return values[0], nil
	}
	out := append([]byte(nil), values[0]...)
	for _, v := range values[1:] {
		d := newDecoder(v, version1)
		if d.err != nil {
			return nil, d.err
		}
		out = append(out, d.b...)
	}
	return out, nil
}

// segmentHead is a segment's record, its parts joined, before the rows are read.
type segmentHead struct {
	Segment
	count int
	parts int
	rows  []byte
}

func decodeHead(id ULID, b []byte) (segmentHead, error) {
	d := newDecoder(b, version1)
	h := segmentHead{Segment: Segment{ULID: id, Level: d.byte(), Size: d.offset(), Created: d.varint(), Key: d.str(maxObjectKey)}}
	if d.err == nil && h.Key == "" {
		d.fail("segment without an object")
	}
	n := d.uvarint()
	h.parts = d.count(maxParts, 0)
	if n > (maxParts+1)*partBytes/minRowBytes {
		d.fail("too many extents")
	}
	if d.err == nil && h.parts != partsFor(len(d.b)) {
		d.fail("rows are cut in the wrong places")
	}
	if d.err != nil {
		return segmentHead{}, fmt.Errorf("decode segment: %w", d.err)
	}
	h.count, h.rows = int(n), d.b
	return h, nil
}

// walk reads all rows; at is where in the rows what can be read alone begins.
// The extent is fn's until it returns.
func (h *segmentHead) walk(fn func(x *Extent, at int)) error {
	var both [2]Extent
	next := 0
	for i := range h.count {
		x, prev := &both[i&1], &both[1-i&1]
		topic, at := uvarintAt(h.rows, next)
		index, at := uvarintAt(h.rows, at)
		x.Shard = shard.ID{Topic: prev.Shard.Topic + shard.TopicNum(topic), Index: uint32(index)}
		if topic == 0 {
			x.Shard.Index += prev.Shard.Index
		}
		if next = x.read(h.rows, at, h.Created); next > len(h.rows) || index > math.MaxUint32 || i > 0 && !follows(prev, x) {
			return fmt.Errorf("decode segment %s: row %d: %w: bad number, or out of order", h.ULID, i, ErrCorrupt)
		}
		fn(x, at)
	}
	if next != len(h.rows) {
		return fmt.Errorf("decode segment %s: %w: bytes after the last row", h.ULID, ErrCorrupt)
	}
	return nil
}

// read reads a row but for its shard, and gives the place behind it: past the
// end of the rows if there is no such row.
func (x *Extent) read(rows []byte, at int, created int64) int {
	base, at := uvarintAt(rows, at)
	span, at := uvarintAt(rows, at)
	pos, at := uvarintAt(rows, at)
	length, at := uvarintAt(rows, at)
	records, at := uvarintAt(rows, at)
	minTime, at := uvarintAt(rows, at)
	maxTime, at := uvarintAt(rows, at)
	x.Base, x.Last, x.Pos, x.Len, x.Records = int64(base), int64(base+span), int64(pos), int64(length), int64(records)
	x.MinTime = created + unzigzag(minTime)
	x.MaxTime = x.MinTime + unzigzag(maxTime)
	if int64(base|span|pos|length|records|(base+span)) < 0 { // over 63 bits
		return len(rows) + 1
	}
	return at
}

// extentAt reads the row at a place that walk gave and that has been read before.
func extentAt(rows []byte, at uint32, id shard.ID, created int64) Extent {
	x := Extent{Shard: id}
	x.read(rows, int(at), created)
	return x
}

// baseAndLast is extentAt for the offsets alone.
func baseAndLast(rows []byte, at uint32) (base, last int64) {
	b, next := uvarintAt(rows, int(at))
	span, _ := uvarintAt(rows, next)
	return int64(b), int64(b + span)
}

func (h *segmentHead) segment() (Segment, error) {
	s := h.Segment
	s.Extents = make([]Extent, 0, min(h.count, len(h.rows)/minRowBytes))
	err := h.walk(func(x *Extent, _ int) { s.Extents = append(s.Extents, *x) })
	return s, err
}

// decodeSegment reads a whole record, its parts joined.
func decodeSegment(id ULID, b []byte) (Segment, error) {
	h, err := decodeHead(id, b)
	if err != nil {
		return Segment{}, err
	}
	return h.segment()
}

func partName(id ULID, part int) string {
	if part == 0 {
		return id.String()
	}
	return fmt.Sprintf("%s/%03d", id, part)
}

// parsePart is the reverse of partName.
func parsePart(name string) (id ULID, part int, err error) {
	head, tail, more := strings.Cut(name, "/")
	if id, err = ulid.ParseStrict(head); err != nil {
		return id, 0, fmt.Errorf("%w: segment name %q", ErrCorrupt, name)
	}
	if more {
		part, err = strconv.Atoi(tail)
	}
	if err != nil || part < 0 || part > maxParts || partName(id, part) != name {
		return id, 0, fmt.Errorf("%w: segment name %q", ErrCorrupt, name)
	}
	return id, part, nil
}
