package engine

import (
	"encoding/binary"
	"slices"

	"github.com/robustmq/robustmq-go/wal"
)

// What the WAL alone has of a shard is packed: an entry for each of very many small
// batches would take more memory than the log takes disk.
const (
	packLen = 256 // batches in a run
	packMin = 16
	// tailOverhead is what a batch in the tail takes in memory beside its bytes.
	tailOverhead = 256
)

// packedRun is consecutive batches of a tail that are in the WAL alone, in about ten
// bytes each: for each, as varints, the gap before it, its length in offsets, its
// bytes, and how far its time, its arrival and its place are from the one before.
type packedRun struct{ b []byte }

// pack makes one entry of several, all of them synced and not in memory.
func pack(es []tailEntry) tailEntry {
	t := tailEntry{base: es[0].base, last: es[len(es)-1].last, maxTime: es[0].maxTime, pos: es[0].pos, synced: true}
	b := make([]byte, 0, 12*len(es))
	next, at, came, file, off := t.base, int64(0), int64(0), uint64(0), int64(0)
	for i := range es {
		e := &es[i]
		t.size += e.size
		t.maxTime = max(t.maxTime, e.maxTime)
		b = binary.AppendUvarint(b, uint64(e.base-next))
		b = binary.AppendUvarint(b, uint64(e.last-e.base))
		b = binary.AppendUvarint(b, uint64(e.size))
		b = binary.AppendVarint(b, e.maxTime-at)
		b = binary.AppendVarint(b, e.arrived-came)
		b = binary.AppendUvarint(b, e.pos.File-file)
		b = binary.AppendVarint(b, e.pos.Off-off)
		next, at, came, file, off = e.last+1, e.maxTime, e.arrived, e.pos.File, e.pos.Off
	}
	t.run = &packedRun{slices.Clip(b)}
	return t
}

// each calls fn for the batches of an entry, in order, until it gives false.
func (t *tailEntry) each(fn func(e *tailEntry) bool) bool {
	if t.run == nil {
		return fn(t)
	}
	b := t.run.b
	unsigned := func() uint64 {
		v, n := binary.Uvarint(b)
		b = b[n:]
		return v
	}
	signed := func() int64 {
		v, n := binary.Varint(b)
		b = b[n:]
		return v
	}
	e := tailEntry{synced: true}
	next := t.base
	for len(b) > 0 {
		e.base = next + int64(unsigned())
		e.last = e.base + int64(unsigned())
		e.size = int(unsigned())
		e.maxTime += signed()
		e.arrived += signed()
		e.pos = wal.Pos{File: e.pos.File + unsigned(), Off: e.pos.Off + signed()}
		next = e.last + 1
		if !fn(&e) {
			return false
		}
	}
	return true
}

// after gives what an entry has of batches that end at or past offset, at least one.
func (t *tailEntry) after(offset int64) tailEntry {
	var left []tailEntry
	t.each(func(e *tailEntry) bool {
		if e.last >= offset {
			left = append(left, *e)
		}
		return true
	})
	return pack(left)
}

// loosened counts an entry whose bytes are in the WAL alone, and packs where there are
// many. The shard is locked.
func (s *shardLog) loosened() {
	if s.loose++; s.loose < packLen || s.loose < len(s.tail)/2 {
		return
	}
	s.loose = 0
	packable := func(t *tailEntry) bool { return t.batch == nil && t.synced && t.run == nil }
	kept := make([]tailEntry, 0, len(s.tail)/2)
	for i := 0; i < len(s.tail); {
		n := 0
		for n < packLen && i+n < len(s.tail) && packable(&s.tail[i+n]) {
			n++
		}
		if n >= packMin {
			kept = append(kept, pack(s.tail[i:i+n]))
		} else {
			n = max(n, 1)
			kept = append(kept, s.tail[i:i+n]...)
		}
		i += n
	}
	s.tail = slices.Clip(kept)
}

// cutFlushed drops what need not be in the tail once more of it is flushed.
func (s *shardLog) cutFlushed() {
	n := s.find(s.flushed)
	if n == len(s.tail) || s.tail[n].run == nil || s.tail[n].base >= s.flushed {
		s.cut(n)
		return
	}
	// The WAL need not have the first of the run any more, so what is before it goes, too.
	clear(s.tail[:n])
	s.tail = s.tail[n:]
	s.tail[0] = s.tail[0].after(s.flushed)
}

// tailRuns gathers entries that are in the WAL alone.
type tailRuns struct {
	runs  []tailEntry
	loose []tailEntry
}

func (r *tailRuns) add(e tailEntry) {
	if r.loose = append(r.loose, e); len(r.loose) == packLen {
		r.runs = append(r.runs, pack(r.loose))
		r.loose = r.loose[:0]
	}
}

// each calls fn for all that was added, in order, until it gives an error.
func (r *tailRuns) each(fn func(e *tailEntry) error) (err error) {
	for _, es := range [][]tailEntry{r.runs, r.loose} {
		for i := range es {
			es[i].each(func(e *tailEntry) bool {
				err = fn(e)
				return err == nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
