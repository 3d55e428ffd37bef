package tier

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/robustmq/robustmq-go/internal/raw"
)

// walker walks through the frames of one extent for one call. It holds the
// blocks it has touched, so they cannot vanish under it.
type walker struct {
	ctx   context.Context
	r     *Reader
	seg   Segment
	again bool     // see blockCache.lookup
	lo    int64    // first block held
	held  [][]byte // blocks lo and following
	// after is the offset after the last frame known to be sound: where the
	// damage begins that a CorruptError tells of.
	after int64
}

// load makes sure that the bytes pos to pos+n are held. When they begin before
// what is held, or after a gap, it starts over.
func (w *walker) load(pos, n int64) error {
	block := w.r.cache.block
	first, last := pos/block, (pos+n-1)/block
	have := w.lo + int64(len(w.held))
	if len(w.held) == 0 || first < w.lo || first > have {
		w.lo, w.held, have = first, nil, first
	}
	if last < have {
		return nil
	}
	more, err := w.r.cache.get(w.ctx, w.seg.Key, w.seg.Size, have, last, w.again)
	if err != nil {
		return w.mark(err, pos)
	}
	for i, b := range more {
		// A block is as long as whoever had it read said that the object is.
		n := have + int64(i)
		if want := min(block, w.seg.Size-n*block); int64(len(b)) < want {
			return w.corrupt(pos, "block %d has %d bytes, of an object of %d it has %d", n, len(b), w.seg.Size, want)
		}
	}
	w.held = append(w.held, more...)
	return nil
}

// release gives up the blocks before pos.
func (w *walker) release(pos int64) {
	if n := pos/w.r.cache.block - w.lo; n > 0 && n <= int64(len(w.held)) {
		w.held = append([][]byte(nil), w.held[n:]...)
		w.lo += n
	}
}

// bytes returns the n bytes at pos; the caller does not change them.
func (w *walker) bytes(pos int64, n int) ([]byte, error) {
	if err := w.load(pos, int64(n)); err != nil {
		return nil, err
	}
	block := w.r.cache.block
	if b := w.held[pos/block-w.lo][pos%block:]; len(b) >= n {
		return b[:n], nil
	}
	p, err := w.pieces(pos, int64(n))
	if err != nil {
		return nil, err
	}
	return p.appendTo(raw.Bytes(n)[:0]), nil
}

// pieces returns the n bytes at pos where they lie; the caller does not change them.
func (w *walker) pieces(pos, n int64) (Pieces, error) {
	if err := w.load(pos, n); err != nil {
		return nil, err
	}
	block := w.r.cache.block
	out := make(Pieces, 0, (pos%block+n-1)/block+1)
	for n > 0 {
		b := w.held[pos/block-w.lo][pos%block:]
		b = b[:min(n, int64(len(b)))]
		out = append(out, b)
		pos += int64(len(b))
		n -= int64(len(b))
	}
	return out, nil
}

// frame is a frame whose head is sound.
type frame struct {
	pos  int64 // of the frame in the object
	next int64 // of what follows it
	head batchHead
}

// corrupt returns a CorruptError about the rest of the extent after what is
// sound; bound narrows it.
func (w *walker) corrupt(pos int64, format string, args ...any) *CorruptError {
	return &CorruptError{Key: w.seg.Key, Shard: w.seg.Extent.Shard, From: w.after, To: w.seg.Extent.Last, Pos: pos, Reason: fmt.Sprintf(format, args...)}
}

// mark gives an error of the cache that tells of damage the walker's shard and
// offsets. Errors are shared between those who wait for a block: it copies.
func (w *walker) mark(err error, pos int64) error {
	var bad *CorruptError
	if errors.As(err, &bad) && w.seg.Extent.Len > 0 {
		return w.corrupt(pos, "%s", bad.Reason)
	}
	return err
}

// frame decodes and verifies the head of the frame at pos.
func (w *walker) frame(pos int64) (frame, error) {
	if w.seg.Extent.Pos+w.seg.Extent.Len-pos < v1MinFrame {
		return frame{}, w.corrupt(pos, "extent ends within a frame")
	}
	b, err := w.bytes(pos, v1FrameHead+batchPrefixLen)
	if err != nil {
		return frame{}, err
	}
	f, err := checkFrame(b, w.seg.Extent, pos, w.after)
	if err != nil {
		return frame{}, w.corrupt(pos, "%v", err)
	}
	return f, nil
}

// checkFrame decodes and verifies b, the head of the frame at pos in the object,
// whose batch has to begin at offset after or later.
func checkFrame(b []byte, ext Extent, pos, after int64) (frame, error) {
	if binary.BigEndian.Uint32(b) != headSum(ext.Shard, b[v1FrameHead:]) {
		return frame{}, errors.New("head checksum does not match")
	}
	h, err := parsePrefix(b[v1FrameHead:])
	if err != nil {
		return frame{}, err
	}
	f := frame{pos: pos, next: pos + v1FrameHead + int64(h.length), head: h}
	if f.next > ext.Pos+ext.Len {
		return frame{}, fmt.Errorf("batch of %d bytes runs past its extent", h.length)
	}
	if h.base < max(after, ext.Base) || h.base > ext.Last || pos == ext.Pos && h.base != ext.Base {
		return frame{}, fmt.Errorf("batch at offset %d does not belong between %d and %d", h.base, max(after, ext.Base), ext.Last)
	}
	return f, nil
}

// body returns the batch of f, verified. It is part of the blocks it lies in: the
// caller does not change it.
func (w *walker) body(f *frame) (Pieces, error) {
	p, err := w.pieces(f.pos+v1FrameHead, int64(f.head.length))
	if err != nil {
		return nil, err
	}
	head, err := w.bytes(f.pos+v1FrameHead, batchHeadLen)
	if err != nil {
		return nil, err
	}
	h, err := parsePieces(head, p)
	if err == nil && h.last > w.seg.Extent.Last {
		err = fmt.Errorf("batch ends at offset %d after its extent's %d", h.last, w.seg.Extent.Last)
	}
	if err != nil {
		bad := w.corrupt(f.pos, "%v", err)
		bad.From = f.head.base
		return nil, bad
	}
	f.head = h
	return p, nil
}

// read returns batches from the one that contains from on. start is the place
// of a frame at or before it.
func (w *walker) read(start place, from int64, maxBytes int) ([]Pieces, place, error) {
	w.after = start.offset
	end := w.seg.Extent.Pos + w.seg.Extent.Len
	first, pos, err := w.seek(start.pos, from)
	if err != nil {
		return nil, place{}, err
	}
	if first != nil { // it may end before from, when there is a gap
		b, err := w.body(first)
		if err != nil {
			return nil, place{}, err
		}
		if w.after = first.head.last + 1; w.after > from {
			return w.collect(b, first.next, end, maxBytes)
		}
	}
	if pos >= end {
		return nil, place{}, w.corrupt(pos, "extent ends before its last offset")
	}
	return w.collect(nil, pos, end, maxBytes)
}

// detach copies batches that are less than a quarter of the blocks they lie in, so
// that who keeps them does not keep those: a reader of many shards would keep a
// megabyte for a few kilobytes of each.
func (w *walker) detach(batches []Pieces) {
	size := 0
	for _, p := range batches {
		size += p.Len()
	}
	if int64(size) >= int64(len(w.held))*w.r.cache.block/4 {
		return
	}
	own := raw.Bytes(size)[:0]
	for i, p := range batches {
		from := len(own)
		own = p.appendTo(own)
		batches[i] = Pieces{own[from:len(own):len(own)]}
	}
}

// seek walks from the frame at start to the last one that begins at from or
// before. It returns that frame, if any, and the place of the one after it. Only
// heads are looked at, and they alone decide.
func (w *walker) seek(start, from int64) (last *frame, pos int64, err error) {
	end := w.seg.Extent.Pos + w.seg.Extent.Len
	for pos = start; pos < end; {
		f, err := w.frame(pos)
		if err != nil && last != nil {
			// Whether last contains from can be seen in last itself.
			return last, pos, nil
		}
		if err != nil {
			return nil, pos, err
		}
		if f.head.base > from {
			break
		}
		w.after = f.head.base + 1
		last, pos = &f, f.next
		w.release(f.pos)
	}
	return last, pos, nil
}

// collect returns first, if any, and the batches from pos on while they fit.
func (w *walker) collect(first Pieces, pos, end int64, maxBytes int) ([]Pieces, place, error) {
	w.release(pos)
	var out []Pieces
	if first != nil {
		out = append(out, first)
	}
	size := first.Len()
	var stop error // why the frame at pos cannot be had
	if n := min(end-pos, int64(maxBytes-size)); n > 0 {
		stop = w.load(pos, n)
		var bad *CorruptError
		if errors.As(stop, &bad) {
			stop = nil // perhaps only the later part of it is damaged
		}
	}
	for pos < end && stop == nil {
		var f frame
		if f, stop = w.frame(pos); stop != nil {
			break
		}
		if len(out) > 0 && size+f.head.length > maxBytes {
			break
		}
		var b Pieces
		if b, stop = w.body(&f); stop == nil {
			out, size = append(out, b), size+f.head.length
			w.after, pos = f.head.last+1, f.next
		}
	}
	if len(out) == 0 {
		return nil, place{}, stop
	}
	return out, place{pos: pos, offset: w.after}, nil
}

// findTime walks from the frame at pos to the first whose batch has a timestamp
// of ts or later.
func (w *walker) findTime(start place, ts int64) (offset, timestamp int64, found bool, err error) {
	pos := start.pos
	w.after = start.offset
	for end := w.seg.Extent.Pos + w.seg.Extent.Len; pos < end; {
		f, err := w.frame(pos)
		if err != nil {
			return 0, 0, false, err
		}
		if _, err = w.body(&f); err != nil {
			return 0, 0, false, err
		}
		if f.head.maxTim >= ts {
			return f.head.base, f.head.maxTim, true, nil
		}
		w.after, pos = f.head.last+1, f.next
		w.release(pos)
	}
	return 0, 0, false, nil
}

// bound narrows a CorruptError of this walker: the damage ends before the next
// frame whose head is sound, found right after the damaged batch or through the
// index.
func (w *walker) bound(bad *CorruptError) {
	ext := w.seg.Extent
	w.held, w.after = nil, bad.From
	if f, err := w.frame(bad.Pos); err == nil { // its head is sound: the batch is damaged
		w.after = f.head.base + 1
		if g, err := w.frame(f.next); err == nil {
			bad.To = g.head.base - 1
			return
		}
		if f.next == ext.Pos+ext.Len {
			return // the last one of the extent
		}
	}
	entries, err := w.r.entries(w.ctx, w.seg)
	if err != nil {
		return
	}
	for _, e := range entries {
		if ext.Pos+e.Pos <= bad.Pos || e.Offset <= bad.From {
			continue
		}
		w.after = bad.From
		if f, err := w.frame(ext.Pos + e.Pos); err == nil && f.head.base == e.Offset {
			bad.To = e.Offset - 1
			return
		}
	}
}
