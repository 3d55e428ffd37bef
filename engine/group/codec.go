package group

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

const (
	valueV1  = 1 // version of every value
	cursorV2 = 2 // of a cursor that has delivery counts
)

// maxPlaces bounds the shards that a stored binding names.
const maxPlaces = 4 << 20

// checkConfig refuses what could be written and not be read again.
func checkConfig(c *shard.GroupConfig) error {
	if c.AckTimeout < 0 || c.MaxDeliver < 0 || c.ExpireAfter < 0 || len(c.Data) > shard.MaxStateValue {
		return shard.Errorf(shard.KindInvalid, "group %.100q: ack timeout %v, max deliver %d, expiry %v, %d bytes of data", c.Name, c.AckTimeout, c.MaxDeliver, c.ExpireAfter, len(c.Data))
	}
	return nil
}

func encodeConfig(c *shard.GroupConfig, idleSince time.Time) []byte {
	p := []byte{valueV1}
	p = binary.AppendUvarint(p, uint64(c.AckTimeout))
	p = binary.AppendUvarint(p, uint64(c.MaxDeliver))
	p = binary.AppendUvarint(p, uint64(c.ExpireAfter))
	idle := uint64(0)
	if !idleSince.IsZero() {
		idle = uint64(max(idleSince.UnixMilli(), 0))
	}
	p = binary.AppendUvarint(p, idle)
	return appendBytes(p, c.Data)
}

// decodeConfig gives all of a config but its name and that it is durable.
func decodeConfig(p []byte) (c shard.GroupConfig, idleMs int64, err error) {
	r := reader{p: p}
	r.version()
	c.Durable = true
	c.AckTimeout = time.Duration(r.number())
	c.MaxDeliver = int(r.number())
	c.ExpireAfter = time.Duration(r.number())
	idleMs = r.number()
	c.Data = r.bytes()
	return c, idleMs, r.end()
}

func encodeBinding(b *binding) []byte {
	x := b.pub
	p := []byte{valueV1}
	p = appendBytes(p, []byte(x.ID))
	p = appendBytes(p, []byte(x.Filter.String()))
	p = append(p, byte(x.Start))
	p = appendBytes(p, []byte(x.NotFrom))
	p = appendBytes(p, x.Data)
	p = appendHeaders(p, x.Headers)
	p = appendPlaces(p, b.starts)
	if !b.removed {
		return append(p, 0)
	}
	return appendPlaces(append(p, 1), b.ends)
}

// appendHeaders writes 0 for none, else 1 or (any) 2, then the conditions.
func appendHeaders(p []byte, h *shard.HeaderMatch) []byte {
	switch {
	case h == nil:
		return append(p, 0)
	case h.Any:
		p = append(p, 2)
	default:
		p = append(p, 1)
	}
	p = binary.AppendUvarint(p, uint64(len(h.Conds)))
	for i := range h.Conds {
		p = appendBytes(p, []byte(h.Conds[i].Name))
		if h.Conds[i].Value == nil {
			p = append(p, 0)
		} else {
			p = appendBytes(append(p, 1), h.Conds[i].Value)
		}
	}
	return p
}

func appendPlaces(p []byte, m map[shard.ID]int64) []byte {
	p = binary.AppendUvarint(p, uint64(len(m)))
	for _, id := range sortedIDs(m) {
		p = binary.AppendUvarint(p, uint64(id.Topic))
		p = binary.AppendUvarint(p, uint64(id.Index))
		p = binary.AppendUvarint(p, uint64(m[id]))
	}
	return p
}

func decodeBinding(p []byte) (*binding, error) {
	r := reader{p: p}
	r.version()
	x := &shard.Binding{ID: string(r.bytes())}
	text := string(r.bytes())
	x.Start = shard.Start(r.oneOf(1))
	x.NotFrom = string(r.bytes())
	x.Data = r.bytes()
	x.Headers = r.headers()
	starts := r.places()
	var ends map[shard.ID]int64
	removed := r.oneOf(1) == 1
	if removed {
		ends = r.places()
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	f, err := shard.ParseFilter(text)
	if err != nil || f.String() != text {
		return nil, corrupt()
	}
	x.Filter = f
	if checkBinding(x) != nil {
		return nil, corrupt()
	}
	b := newBinding(nil, 0, x)
	b.starts, b.ends, b.removed = starts, ends, removed
	return b, nil
}

// savedCursor is what is written of a cursor.
type savedCursor struct {
	floor, high int64
	runs        runs
	counts      []savedCount // in offset order
}

// savedCount is a message that was delivered more than once and is not done.
type savedCount struct {
	offset int64
	count  int32
}

// encodeCursor writes version 1 of a cursor without counts, else version 2.
func encodeCursor(c *savedCursor) []byte {
	p := []byte{valueV1}
	if len(c.counts) > 0 {
		p[0] = cursorV2
	}
	p = binary.AppendUvarint(p, uint64(c.floor))
	p = binary.AppendUvarint(p, uint64(c.high))
	rs := c.runs[:min(len(c.runs), maxRuns)]
	p = binary.AppendUvarint(p, uint64(len(rs)))
	at := c.floor
	for _, r := range rs {
		p = binary.AppendUvarint(p, uint64(r.lo-at))
		p = binary.AppendUvarint(p, uint64(r.hi-r.lo))
		at = r.hi + 1
	}
	cs := c.counts[:min(len(c.counts), maxSavedCounts)]
	if len(cs) == 0 {
		return p
	}
	p = binary.AppendUvarint(p, uint64(len(cs)))
	at = c.floor
	for _, x := range cs {
		p = binary.AppendUvarint(p, uint64(x.offset-at))
		p = binary.AppendUvarint(p, uint64(x.count-2))
		at = x.offset + 1
	}
	return p
}

func decodeCursor(p []byte) (savedCursor, error) {
	r := reader{p: p}
	v := r.versionUpTo(cursorV2)
	c := savedCursor{floor: r.number(), high: r.number()}
	at := c.floor
	for n := r.count(maxRuns); n > 0 && !r.bad; n-- {
		gap, length := r.number(), r.number()
		if gap > math.MaxInt64-1-at || length > math.MaxInt64-1-at-gap || gap == 0 && len(c.runs) > 0 {
			r.bad = true
			break
		}
		c.runs = append(c.runs, run{at + gap, at + gap + length})
		at += gap + length + 1
	}
	if v == cursorV2 {
		c.counts = r.counts(c.floor)
	}
	return c, r.end()
}

// counts reads at least one; version 1 is for none.
func (r *reader) counts(at int64) []savedCount {
	n := r.count(maxSavedCounts)
	r.bad = r.bad || n == 0
	var cs []savedCount
	for ; n > 0 && !r.bad; n-- {
		gap, more := r.number(), r.number()
		if gap > math.MaxInt64-1-at || more > math.MaxInt32-2 {
			r.bad = true
			break
		}
		cs = append(cs, savedCount{at + gap, int32(more) + 2})
		at += gap + 1
	}
	return cs
}

func appendBytes(p, b []byte) []byte {
	p = binary.AppendUvarint(p, uint64(len(b)))
	return append(p, b...)
}

func corrupt() error {
	return shard.Errorf(shard.KindCorrupt, "decode group: value is malformed")
}

// reader decodes; once bad it stays bad and gives zero values.
type reader struct {
	p       []byte
	bad     bool
	unknown bool
}

func (r *reader) version() { r.versionUpTo(valueV1) }

// versionUpTo reads a version from 1 to top.
func (r *reader) versionUpTo(top byte) byte {
	if len(r.p) == 0 {
		r.bad = true
		return 0
	}
	v := r.p[0]
	r.unknown = v < valueV1 || v > top
	r.bad = r.unknown
	r.p = r.p[1:]
	return v
}

func (r *reader) end() error {
	switch {
	case r.unknown:
		return shard.Errorf(shard.KindInvalid, "decode group: version is not supported")
	case r.bad || len(r.p) != 0:
		return corrupt()
	}
	return nil
}

// number reads one in its shortest form, up to the largest int64.
func (r *reader) number() int64 {
	v, n := binary.Uvarint(r.p)
	if r.bad || n <= 0 || n > 1 && r.p[n-1] == 0 || v > math.MaxInt64 {
		r.bad, r.p = true, nil
		return 0
	}
	r.p = r.p[n:]
	return int64(v)
}

// count reads a number of things that take a byte each at least.
func (r *reader) count(limit int) int {
	v := r.number()
	if v > int64(limit) || v > int64(len(r.p)) {
		r.bad = true
		return 0
	}
	return int(v)
}

func (r *reader) oneOf(top byte) byte {
	if r.bad || len(r.p) == 0 || r.p[0] > top {
		r.bad = true
		return 0
	}
	v := r.p[0]
	r.p = r.p[1:]
	return v
}

// bytes gives nil for none.
func (r *reader) bytes() []byte {
	n := r.count(shard.MaxStateValue)
	if r.bad || n == 0 {
		return nil
	}
	b := r.p[:n:n]
	r.p = r.p[n:]
	return b
}

func (r *reader) headers() *shard.HeaderMatch {
	kind := r.oneOf(2)
	if kind == 0 {
		return nil
	}
	h := &shard.HeaderMatch{Any: kind == 2}
	for n := r.count(maxConds); n > 0 && !r.bad; n-- {
		c := shard.HeaderCond{Name: string(r.bytes())}
		if r.oneOf(1) == 1 {
			if c.Value = r.bytes(); c.Value == nil {
				c.Value = []byte{}
			}
		}
		h.Conds = append(h.Conds, c)
	}
	return h
}

func (r *reader) places() map[shard.ID]int64 {
	m := make(map[shard.ID]int64)
	var prev shard.ID
	for n := r.count(maxPlaces); n > 0 && !r.bad; n-- {
		id := shard.ID{Topic: shard.TopicNum(r.number())}
		index := r.number()
		if index > math.MaxUint32 {
			r.bad = true
		}
		id.Index = uint32(index)
		if len(m) > 0 && prev.Compare(id) >= 0 {
			r.bad = true
		}
		m[id], prev = r.number(), id
	}
	return m
}
