package wal

import "encoding/binary"

// This file reads the bytes of one file; it does no I/O. Bytes may be anything.

// extent is a stretch of a file: a group with a sound header, or a gap where
// one was expected and none is.
type extent struct {
	off, end int64
	group    bool
}

// layout is the result of the first pass over a file: where its groups are.
type layout struct {
	extents []extent
	synced  int64 // everything before is known to have been synced
	end     int64 // of the last extent, aligned for the next group
}

// image is the content of one file being read.
type image struct {
	no    uint64
	tag   uint64
	b     []byte
	limit int64 // where the log ends in this file, -1 if unknown
}

// groupAt returns where the group at off ends; that may be past the end of the
// bytes if the file was cut.
func (im *image) groupAt(off int64) (end int64, ok bool) {
	if off+groupHeaderLen > int64(len(im.b)) {
		return 0, false
	}
	g, ok := decodeGroupHeader(im.b[off:], Pos{im.no, off})
	if !ok || g.Tag != im.tag {
		return 0, false
	}
	end = off + groupHeaderLen + int64(g.Len)
	if im.limit >= 0 {
		end = min(end, im.limit)
	}
	return end, true
}

func (im *image) syncMarkAt(off int64) bool {
	return off < int64(len(im.b)) && isSyncMark(im.b[off:], im.tag, Pos{im.no, off})
}

// find returns the first group or sync mark at or after off, else stop.
func (im *image) find(off, stop int64) int64 {
	for ; off+syncMarkLen <= stop; off += groupAlign {
		switch binary.LittleEndian.Uint32(im.b[off:]) {
		case groupMagic:
			if _, ok := im.groupAt(off); ok {
				return off
			}
		case syncMagic:
			if im.syncMarkAt(off) {
				return off
			}
		}
	}
	return stop
}

// layout walks the groups. A group or a sync mark is written only after all
// that stands before it was synced, so each one found is a witness for that.
func (im *image) layout() layout {
	l := layout{synced: dataStart}
	stop := int64(len(im.b))
	if im.limit >= 0 {
		stop = min(stop, im.limit)
	}
	off := int64(dataStart)
	for off < stop {
		if end, ok := im.groupAt(off); ok {
			l.extents = append(l.extents, extent{off, end, true})
			l.synced = off
			off = alignUp(end, groupAlign)
			continue
		}
		if im.syncMarkAt(off) {
			l.synced = off
		}
		next := im.find(off+groupAlign, stop)
		if next == stop && im.limit < 0 {
			break
		}
		l.extents = append(l.extents, extent{off, next, false})
		l.synced = next
		off = next
	}
	l.end = off
	if im.limit >= 0 {
		if off < im.limit { // the file is shorter than it was
			l.extents = append(l.extents, extent{off, im.limit, false})
		}
		l.synced, l.end = im.limit, im.limit
	}
	return l
}

// visitor receives what decode finds, in file order. Errors end the walk.
type visitor struct {
	entry  func(off int64, e Entry) error // data aliases the image
	damage func(Damage)
}

// decode is the second pass: the entries of all extents. In what is known to
// have been synced every fault is reported and passed over; the rest, which is
// at most the last group, counts up to its first fault. It returns where the
// log ends.
func (im *image) decode(l layout, v visitor) (end int64, err error) {
	for _, x := range l.extents {
		synced := x.off < l.synced
		stop, err := im.decodeExtent(x, synced, v)
		if err != nil {
			return 0, err
		}
		if stop < x.end {
			return stop, nil
		}
	}
	return l.end, nil
}

// decodeExtent returns x.end, or where the first fault is when x is not known
// to have been synced.
func (im *image) decodeExtent(x extent, synced bool, v visitor) (int64, error) {
	p := x.off
	if x.group {
		p += groupHeaderLen
	}
	inside := min(x.end, int64(len(im.b))) // of x: where bytes are
	for p < x.end {
		e, h, st := im.entryAt(p, inside)
		if st == entryGood {
			if err := v.entry(p, e); err != nil {
				return 0, err
			}
			p += entrySize(int(h.Len))
			continue
		}
		if !synced {
			return p, nil
		}
		if st == entryBadData {
			next := p + entrySize(int(h.Len))
			v.damage(Damage{Kind: DamagedEntry, From: Pos{im.no, p}, To: Pos{im.no, next}, Shard: h.Shard,
				Epoch: h.Epoch, BaseOffset: h.Base, Named: true})
			p = next
			continue
		}
		if !x.group && x.end-p < groupAlign {
			break // padding of a group whose header is lost
		}
		next := p + entryAlign
		for ; next < inside; next += entryAlign {
			if _, _, st := im.entryAt(next, inside); st != entryNone {
				break
			}
		}
		if next >= inside {
			next = x.end
		}
		d := Damage{Kind: DamagedRange, From: Pos{im.no, p}, To: Pos{im.no, next}}
		if next-p < entryHeaderLen { // too short to have held an entry
			d.Kind = DamagedHeader
		}
		v.damage(d)
		p = next
	}
	return x.end, nil
}

type entryState uint8

const (
	entryNone    entryState = iota // no header here
	entryBadData                   // header sound, data not
	entryGood
)

func (im *image) entryAt(p, end int64) (e Entry, h entryHeader, st entryState) {
	if p+entryHeaderLen > end {
		return e, h, entryNone
	}
	h, ok := decodeEntryHeader(im.b[p:end], im.tag)
	if !ok || p+entrySize(int(h.Len)) > end {
		return e, h, entryNone
	}
	data := im.b[p+entryHeaderLen:][:h.Len:h.Len]
	if !h.bears(data) {
		return e, h, entryBadData
	}
	return Entry{Shard: h.Shard, Epoch: h.Epoch, Data: data}, h, entryGood
}

// tornBytes measures what a cut-off write left after off: up to the end of the
// group it is in, or of the last entry header of this file that can still be read.
func (im *image) tornBytes(l layout, off int64) int64 {
	end := off
	if n := len(l.extents); n > 0 {
		end = max(off, min(l.extents[n-1].end, int64(len(im.b))))
	}
	for p := alignUp(off, entryAlign); p+entryHeaderLen <= int64(len(im.b)); p += entryAlign {
		if binary.LittleEndian.Uint64(im.b[p+8:]) != im.tag {
			continue
		}
		if h, ok := decodeEntryHeader(im.b[p:], im.tag); ok {
			end = max(end, min(p+entrySize(int(h.Len)), int64(len(im.b))))
		}
	}
	return end - off
}

// adoptTag finds the tag of a file that lost both headers: that of the first
// group whose checksum holds for this file and place.
func adoptTag(no uint64, b []byte) (tag uint64, ok bool) {
	for off := int64(dataStart); off+groupHeaderLen <= int64(len(b)); off += groupAlign {
		if binary.LittleEndian.Uint32(b[off:]) != groupMagic {
			continue
		}
		if g, ok := decodeGroupHeader(b[off:], Pos{no, off}); ok {
			return g.Tag, true
		}
	}
	return 0, false
}
