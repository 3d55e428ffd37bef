package tier

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/robustmq/robustmq-go/internal/crc32c"
	"github.com/robustmq/robustmq-go/internal/raw"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store"
)

// Builder makes one segment object, in memory or on its way out of it. Add the
// batches of one shard after the other, in order of shard.ID.Compare, each shard's
// in order of offset; then call Finish. A Builder is used by one goroutine and for
// one object.
type Builder struct {
	buf      []byte
	out      io.Writer // nil: all of it stays in buf
	gone     int64     // bytes written to out
	extents  []IndexExtent
	entries  int   // in all extents
	lastMark int64 // place of the current extent's last entry, from its begin
}

// NewBuilder returns a Builder with room for sizeHint bytes.
func NewBuilder(sizeHint int) *Builder { return NewBuilderIn(nil, sizeHint) }

// NewBuilderIn is NewBuilder in the memory of buf, as far as that goes: of an
// object that is of no more use.
func NewBuilderIn(buf []byte, sizeHint int) *Builder {
	if need := max(sizeHint, 0) + v1MinObject; cap(buf) < need {
		buf = raw.Bytes(need)
	}
	return &Builder{buf: v1AppendHeader(buf[:0])}
}

// spoolBytes is how much of an object is in memory that is written out.
const spoolBytes = 2 << 20

// NewBuilderTo returns a Builder that writes the object to out while it is made,
// from its begin to its end: Finish returns the extents alone.
func NewBuilderTo(out io.Writer) *Builder {
	b := NewBuilder(spoolBytes)
	b.out = out
	return b
}

// spool writes out what is in memory, from least bytes on.
func (b *Builder) spool(least int) error {
	if b.out == nil || len(b.buf) < least {
		return nil
	}
	n, err := b.out.Write(b.buf)
	b.gone += int64(n)
	b.buf = b.buf[:copy(b.buf, b.buf[n:])]
	if err != nil {
		return fmt.Errorf("write segment: %w", err)
	}
	return nil
}

// Add appends one batch of a shard, whose bytes it copies. The batch must be
// whole and its checksum right (ErrBatch), after what was added before (ErrOrder),
// and the object must stay below store.MaxObject (ErrFull: finish this object and
// begin another). These errors leave the Builder as it was; one of writing the
// object ends it.
func (b *Builder) Add(id shard.ID, batch []byte) error {
	h, err := parseHead(batch, len(batch))
	if err != nil {
		return fmt.Errorf("add batch of shard %s: %w: %w", id, ErrBatch, err)
	}
	if b.Size()+v1FrameHead+len(batch)+v1ExtentLen+v1EntryLen > store.MaxObject {
		return fmt.Errorf("add batch of shard %s: %w", id, ErrFull)
	}
	k := len(b.extents) - 1
	fresh := k < 0 || b.extents[k].Shard != id
	switch {
	case fresh && k >= 0 && b.extents[k].Shard.Compare(id) > 0:
		return fmt.Errorf("add batch of shard %s after %s: %w", id, b.extents[k].Shard, ErrOrder)
	case !fresh && h.base <= b.extents[k].Last:
		return fmt.Errorf("add batch of shard %s at offset %d after %d: %w", id, h.base, b.extents[k].Last, ErrOrder)
	}
	if err := b.spool(spoolBytes - v1FrameHead - len(batch)); err != nil {
		return err
	}
	at := b.gone + int64(len(b.buf))
	if !b.copyFrame(id, batch, h.crc) {
		return fmt.Errorf("add batch of shard %s: %w: %w", id, ErrBatch, errSum)
	}
	if fresh {
		b.extents = append(b.extents, IndexExtent{Extent: Extent{
			Shard: id, Base: h.base, Last: -1, Pos: at, MinTime: h.baseTime, MaxTime: math.MinInt64,
		}})
		b.lastMark = 0
		k++
	}
	e := &b.extents[k]
	if e.Len-b.lastMark >= v1EntryStep {
		e.Entries = append(e.Entries, Entry{Offset: h.base, Pos: e.Len, Before: e.MaxTime})
		b.lastMark = e.Len
		b.entries++
	}
	e.Len += int64(v1FrameHead + len(batch))
	e.Last = h.last
	e.Records += h.records
	e.MinTime = min(e.MinTime, h.baseTime)
	e.MaxTime = max(e.MaxTime, h.maxTim)
	return nil
}

// copyFrame appends the frame of a batch, unless its checksum is not sum.
func (b *Builder) copyFrame(id shard.ID, batch []byte, sum uint32) bool {
	buf := slices.Grow(b.buf, v1FrameHead+len(batch))
	buf = binary.BigEndian.AppendUint32(buf, headSum(id, batch))
	buf = append(buf, batch[:batchPrefixLen]...)
	n := len(buf)
	buf = buf[:n+len(batch)-batchPrefixLen]
	if crc32c.Copy(buf[n:], batch[batchPrefixLen:]) != sum {
		return false
	}
	b.buf = buf
	return true
}

// Size returns the size in bytes that the object would have if it were finished
// now.
func (b *Builder) Size() int {
	return int(b.gone) + len(b.buf) + 4 + len(b.extents)*v1ExtentLen + b.entries*v1EntryLen + v1TrailerLen
}

// Empty reports whether nothing was added yet: such an object is not worth a
// Put.
func (b *Builder) Empty() bool { return len(b.extents) == 0 }

// Finish returns the object and where each shard is in it. The Builder must not
// be used afterwards. A Builder to which nothing was added gives an object
// without extents. The error is ErrFull, or one of writing the object.
func (b *Builder) Finish() (object []byte, extents []Extent, err error) {
	if b.Size() > store.MaxObject || len(b.extents)*v1ExtentLen+b.entries*v1EntryLen+4 > maxIndex {
		return nil, nil, fmt.Errorf("finish segment of %d bytes: %w", b.Size(), ErrFull)
	}
	at := len(b.buf)
	b.buf = v1AppendIndex(b.buf, b.extents)
	b.buf = v1AppendTrailer(b.buf, b.gone+int64(at), b.buf[at:])
	if err := b.spool(0); err != nil {
		return nil, nil, err
	}
	extents = make([]Extent, len(b.extents))
	for i := range b.extents {
		extents[i] = b.extents[i].Extent
	}
	if b.out == nil {
		object = b.buf
	}
	b.buf = nil
	return object, extents, nil
}
