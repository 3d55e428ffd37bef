package catalog

import (
	"fmt"
	"math"

	"github.com/robustmq/robustmq-go/shard"
)

// A row of a segment of version 2, in order of shard and then base:
//
//	topic    varint, number minus that of the row before (of the first: minus 0)
//	index    varint, minus that of the row before if the topic is the same
//	base     varint, first offset
//	span     varint, last offset minus base
//	pos      signed varint, position of the extent in the object minus the end of
//	         that of the row before (of the first: minus 0)
//	len      varint, its length in bytes
//	missing  signed varint, offsets from base to last minus records
//	min      signed varint, smallest timestamp minus created
//	max      signed varint, largest timestamp minus the smallest
//	arrived  varint: 0, arrivals are not known and there is no spread; else 1 plus
//	         what a signed varint of the last arrival minus the largest timestamp is
//	spread   signed varint, last arrival minus the first, minus max
//
// Differences of signed varints wrap. Version 1 has no arrivals, the position
// itself (varint) for pos, and the number of records (varint) for missing.
//
// In memory pos is the position itself in both: all but topic and index can be
// read without the row before, and the index points into the rows.

// rowForm is how rows are written.
type rowForm uint8

const (
	rowsV1     rowForm = iota // as stored by version 1
	rowsPacked                // as stored by version 2
	rowsLoose                 // the same, with positions that stand alone
)

// row appends a row of version 2 behind that of prev.
func (e *encoder) row(x, prev *Extent, created int64) {
	e.rowShard(x.Shard, prev.Shard)
	e.rowRest(x, prev.Pos+prev.Len, created)
}

func (e *encoder) rowShard(id, prev shard.ID) {
	e.uvarint(uint64(id.Topic - prev.Topic))
	index := id.Index
	if id.Topic == prev.Topic {
		index -= prev.Index
	}
	e.uvarint(uint64(index))
}

func (e *encoder) rowRest(x *Extent, end, created int64) {
	e.uvarint(uint64(x.Base))
	e.uvarint(uint64(x.Last - x.Base))
	e.varint(x.Pos - end)
	e.uvarint(uint64(x.Len))
	e.varint(x.Last - x.Base + 1 - x.Records)
	e.varint(x.MinTime - created)
	e.varint(x.MaxTime - x.MinTime)
	arrived := zigzag(x.MaxArrival-x.MaxTime) + 1
	if x.MaxArrival == 0 || arrived == 0 { // which it is 2^63 milliseconds away
		e.uvarint(0)
		return
	}
	e.uvarint(arrived)
	e.varint(x.MaxArrival - x.MinArrival - (x.MaxTime - x.MinTime))
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
		end := int64(0)
		if h.form == rowsPacked {
			end = prev.Pos + prev.Len
		}
		if next = x.read(h.rows, at, h.form, end, h.Created); next > len(h.rows) || index > math.MaxUint32 || i > 0 && !follows(prev, x) {
			return fmt.Errorf("decode segment %s: row %d: %w: bad number, or out of order", h.ULID, i, ErrCorrupt)
		}
		fn(x, at)
	}
	if next != len(h.rows) {
		return fmt.Errorf("decode segment %s: %w: bytes after the last row", h.ULID, ErrCorrupt)
	}
	return nil
}

// loosen is walk that also brings the rows into the form that memory has.
func (h *segmentHead) loosen(fn func(x *Extent, at int)) error {
	if h.form != rowsPacked {
		return h.walk(fn)
	}
	const looser = 3 // bytes that a row grows by, as a rule
	e := encoder{b: make([]byte, 0, len(h.rows)+looser*min(h.count, len(h.rows)/minRowBytes))}
	var prev shard.ID
	err := h.walk(func(x *Extent, _ int) {
		e.rowShard(x.Shard, prev)
		at := len(e.b)
		e.rowRest(x, 0, h.Created)
		prev = x.Shard
		fn(x, at)
	})
	if err != nil {
		return err
	}
	h.form, h.rows = rowsLoose, e.b
	return nil
}

// read reads a row but for its shard, and gives the place behind it: past the
// end of the rows if there is no such row.
func (x *Extent) read(rows []byte, at int, form rowForm, end, created int64) int {
	base, at := uvarintAt(rows, at)
	span, at := uvarintAt(rows, at)
	pos, at := uvarintAt(rows, at)
	length, at := uvarintAt(rows, at)
	records, at := uvarintAt(rows, at)
	minTime, at := uvarintAt(rows, at)
	maxTime, at := uvarintAt(rows, at)
	x.MinTime = created + unzigzag(minTime)
	x.MaxTime = x.MinTime + unzigzag(maxTime)
	x.MinArrival, x.MaxArrival = 0, 0
	if form != rowsV1 {
		at = x.readArrivals(rows, at)
		pos = uint64(end + unzigzag(pos))
		records = uint64(int64(span) + 1 - unzigzag(records))
	}
	x.Base, x.Last, x.Pos, x.Len, x.Records = int64(base), int64(base+span), int64(pos), int64(length), int64(records)
	if int64(base|span|pos|length|records|(base+span)) < 0 || !x.arrivalOK() { // over 63 bits
		return len(rows) + 1
	}
	return at
}

// readArrivals reads the end of a row of version 2.
func (x *Extent) readArrivals(rows []byte, at int) (next int) {
	arrived, at := uvarintAt(rows, at)
	if arrived == 0 {
		return at
	}
	spread, at := uvarintAt(rows, at)
	x.MaxArrival = x.MaxTime + unzigzag(arrived-1)
	x.MinArrival = x.MaxArrival - (x.MaxTime - x.MinTime) - unzigzag(spread)
	if x.MaxArrival == 0 {
		return len(rows) + 1
	}
	return at
}

func (x *Extent) arrivalOK() bool { return x.MinArrival >= 0 && x.MinArrival <= x.MaxArrival }

// extentAt reads the row at a place that walk gave and that has been read before.
func (e *entry) extentAt(at uint32, id shard.ID) Extent {
	x := Extent{Shard: id}
	x.read(e.rows, int(at), e.form, 0, e.seg.Created)
	return x
}

// baseAndLast is extentAt for the offsets alone.
func baseAndLast(rows []byte, at uint32) (base, last int64) {
	b, next := uvarintAt(rows, int(at))
	span, _ := uvarintAt(rows, next)
	return int64(b), int64(b + span)
}

// head gives an entry as it can be walked.
func (e *entry) head() segmentHead {
	return segmentHead{Segment: e.seg, count: e.count, form: e.form, rows: e.rows}
}
