package catalog

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/robustmq/robustmq-go/shard"
)

// A segment is segments/{ulid}, written once, deleted once, never overwritten.
//
// Value, version 2; version 1, which is read and not written any more, has no
// sections:
//
//	level     1 byte
//	size      varint, bytes of the object
//	created   signed varint, milliseconds since the epoch
//	key       string, name of the object in the store
//	extents   varint, how many rows there are
//	parts     varint, how many further keys hold the rest of the rows
//	sections  varint, how many; each: kind (varint), data (varint length, bytes), by rising kind
//	rows      to the end of the value
//
// A section says something of the segment that not all segments have. A reader
// passes over one of an even kind that it does not know, and refuses a segment
// with one of an odd kind that it does not know.
//
// The rows of a segment of many shards go on in segments/{ulid}/001, /002 ...,
// each a version byte and rows, cut at any byte, all written and deleted in the
// same transaction. What a row says is in segmentrow.go.

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
	// Sections by rising kind.
	Sections []Section
}

// Section is something that a segment says beside its extents.
type Section struct {
	Kind uint64
	Data []byte
}

func (x Section) equal(y Section) bool { return x.Kind == y.Kind && bytes.Equal(x.Data, y.Data) }

// SectionSnapshot marks a snapshot of state; what is in it is the engine's. It is
// required: who does not know it does not know what the snapshot took the place of.
const SectionSnapshot uint64 = 1

// SectionClass says what kind of records a segment holds, by which merges go: one
// byte, which is the engine's.
const SectionClass uint64 = 2

// knownSections are the kinds, of those that are required, which this version reads.
var knownSections = map[uint64]bool{SectionSnapshot: true}

// Section gives the data of the section of a kind.
func (s *Segment) Section(kind uint64) ([]byte, bool) {
	for i := range s.Sections {
		if s.Sections[i].Kind == kind {
			return s.Sections[i].Data, true
		}
	}
	return nil, false
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
	// MinTime and MaxTime in milliseconds since the epoch, as the records carry them.
	MinTime, MaxTime int64
	// MinArrival and MaxArrival bound when the records came to their owner, by its
	// clock, in milliseconds since the epoch; both are 0 where that is not known.
	MinArrival, MaxArrival int64
}

// Caps of a segment's record. A part stays well below what etcd takes in one
// request, and all of them together, too.
const (
	partBytes       = 512 << 10
	maxParts        = 8
	maxObjectKey    = 1 << 10
	minRowBytes     = 9
	maxSections     = 64
	maxSectionBytes = 256 << 10  // of all of a segment
	MaxSegmentBytes = 1200 << 10 // of all values of one segment, or of one swap
)

// encodeSegment gives the value of the head key and those of the part keys.
func encodeSegment(s *Segment) ([][]byte, error) {
	if err := checkSegment(s); err != nil {
		return nil, err
	}
	rows := encoder{}
	var prev Extent
	for i := range s.Extents {
		rows.row(&s.Extents[i], &prev, s.Created)
		prev = s.Extents[i]
		if len(rows.b) > MaxSegmentBytes {
			return nil, fmt.Errorf("%w: segment %s of %d extents", ErrTooLarge, s.ULID, len(s.Extents))
		}
	}
	parts := partsFor(len(rows.b))
	e := encoder{b: []byte{version2, s.Level}}
	e.uvarint(uint64(s.Size))
	e.varint(s.Created)
	e.str(s.Key)
	e.uvarint(uint64(len(s.Extents)))
	e.uvarint(uint64(parts))
	e.uvarint(uint64(len(s.Sections)))
	for _, x := range s.Sections {
		e.uvarint(x.Kind)
		e.str(string(x.Data))
	}
	rest := rows.b[min(partBytes, len(rows.b)):]
	values := [][]byte{append(e.b, rows.b[:len(rows.b)-len(rest)]...)}
	for len(rest) > 0 {
		n := min(partBytes, len(rest))
		values = append(values, append([]byte{version2}, rest[:n]...))
		rest = rest[n:]
	}
	return values, nil
}

// partsFor gives the number of part keys beside the head for so many bytes of rows.
func partsFor(rows int) int {
	return max(0, (rows-1)/partBytes)
}

func checkSegment(s *Segment) error {
	if s.Key == "" || len(s.Key) > maxObjectKey || s.Size < 0 || s.ULID == (ULID{}) {
		return fmt.Errorf("%w: segment %s of object %q, %d bytes", ErrInvalid, s.ULID, s.Key, s.Size)
	}
	total := 0
	for i, x := range s.Sections {
		total += len(x.Data)
		if total > maxSectionBytes || i >= maxSections || i > 0 && x.Kind <= s.Sections[i-1].Kind || x.Kind&1 == 1 && !knownSections[x.Kind] {
			return fmt.Errorf("%w: section %d of segment %s", ErrInvalid, x.Kind, s.ULID)
		}
	}
	var prev *Extent
	for i := range s.Extents {
		x := &s.Extents[i]
		if !x.arrivalOK() || x.Base < 0 || x.Last < x.Base || x.Pos < 0 || x.Len < 0 || x.Records < 0 {
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
	if len(values) == 1 || len(values[0]) == 0 {
		return values[0], nil
	}
	out := append([]byte(nil), values[0]...)
	for _, v := range values[1:] {
		d := newDecoder(v, out[0])
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
	form  rowForm
	rows  []byte
}

func decodeHead(id ULID, b []byte) (segmentHead, error) {
	version := byte(version2)
	if len(b) > 0 && b[0] == version1 {
		version = version1
	}
	d := newDecoder(b, version)
	h := segmentHead{Segment: Segment{ULID: id, Level: d.byte(), Size: d.offset(), Created: d.varint(), Key: d.str(maxObjectKey)}}
	if d.err == nil && h.Key == "" {
		d.fail("segment without an object")
	}
	n := d.uvarint()
	h.parts = d.count(maxParts, 0)
	if n > (maxParts+1)*partBytes/minRowBytes {
		d.fail("too many extents")
	}
	if version == version2 {
		h.form = rowsPacked
		h.Sections = d.sections()
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

// sections reads the sections of a segment; those that may be passed over stay as
// they are.
func (d *decoder) sections() []Section {
	n := d.count(maxSections, 2)
	if n == 0 {
		return nil
	}
	out := make([]Section, 0, n)
	left := maxSectionBytes
	for i := range n {
		x := Section{Kind: d.uvarint(), Data: d.bytes(left)}
		left -= len(x.Data)
		switch {
		case d.err != nil:
			return nil
		case i > 0 && x.Kind <= out[i-1].Kind:
			d.fail("sections are out of order")
			return nil
		case x.Kind&1 == 1 && !knownSections[x.Kind]:
			d.err = fmt.Errorf("%w: section %d", ErrFormat, x.Kind)
			d.b = nil
			return nil
		}
		out = append(out, x)
	}
	return out
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
