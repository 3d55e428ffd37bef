package tier

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/robustmq/robustmq-go/tier/store"
)

// Report is what Verify found in an object.
type Report struct {
	Key      string
	Size     int64
	Version  uint32
	Extents  []Extent
	Batches  int64 // that are sound
	Records  int64 // in them
	Bytes    int64 // of them
	Problems []*CorruptError
}

// Err joins the problems, or is nil.
func (r *Report) Err() error {
	errs := make([]error, len(r.Problems))
	for i, p := range r.Problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}

// maxProblems bounds a report.
const maxProblems = 1000

// Verify reads a whole object and checks every checksum, the order and the
// bounds of batches, and that the index says what is there. Damage is reported
// in Problems, as far as the object can be read around it, and is no error. The
// error says that the object could not be looked at: it is missing, of another
// version (*VersionError), or the store failed.
func Verify(ctx context.Context, st store.Store, key string) (Report, error) {
	rep := Report{Key: key}
	info, err := st.Head(ctx, key)
	if err != nil {
		return rep, err
	}
	rep.Size = info.Size
	ix, err := ReadIndex(ctx, st, key, info.Size)
	var bad *CorruptError
	if errors.As(err, &bad) {
		rep.Problems = append(rep.Problems, bad)
		return rep, nil
	}
	if err != nil {
		return rep, err
	}
	rep.Version = ix.Version
	for i := range ix.Extents {
		rep.Extents = append(rep.Extents, ix.Extents[i].Extent)
		if err := rep.extent(ctx, st, &ix.Extents[i]); err != nil {
			return rep, err
		}
		if len(rep.Problems) >= maxProblems {
			break
		}
	}
	return rep, nil
}

func (r *Report) problem(ext *Extent, pos int64, format string, args ...any) {
	bad := corrupt(r.Key, pos, format, args...)
	bad.Shard = ext.Shard
	r.Problems = append(r.Problems, bad)
}

// extent verifies one extent; where the head of a frame is damaged it goes on at
// the next entry of the index.
func (r *Report) extent(ctx context.Context, st store.Store, e *IndexExtent) error {
	seg := Segment{r.Key, r.Size, e.Extent}
	start := place{e.Pos, e.Base}
	seen := newTally()
	entries := e.Entries
	clean := true
	for again := true; again; {
		again = false
		for s, err := range batchesOf(ctx, st, seg, start) {
			var bad *CorruptError
			if err != nil && !errors.As(err, &bad) {
				return err
			}
			if err != nil {
				clean = false
				r.Problems = append(r.Problems, bad)
				for len(entries) > 0 && e.Pos+entries[0].Pos <= bad.Pos {
					entries = entries[1:]
				}
				if bad.To == e.Last && len(entries) > 0 && entries[0].Offset > bad.From {
					bad.To = entries[0].Offset - 1
					start = place{e.Pos + entries[0].Pos, entries[0].Offset}
					again = true
				}
				if again || len(r.Problems) >= maxProblems {
					break
				}
				continue
			}
			r.Batches++
			r.Records += s.head.records
			r.Bytes += int64(len(s.batch))
			if len(entries) > 0 && s.pos >= e.Pos+entries[0].Pos {
				n := entries[0]
				entries = entries[1:]
				if s.pos != e.Pos+n.Pos || s.head.base != n.Offset || clean && seen.maxTime != n.Before {
					r.problem(&e.Extent, s.pos, "index entry for offset %d at %d does not match the batch at offset %d", n.Offset, e.Pos+n.Pos, s.head.base)
				}
			}
			seen.add(s.head)
		}
	}
	if clean && seen.extent(e.Extent) != e.Extent {
		r.problem(&e.Extent, e.Pos, "index says %+v, batches say %+v", e.Extent, seen.extent(e.Extent))
	}
	return nil
}

// tally sums up the batches of an extent.
type tally struct {
	base, last, records int64
	minTime, maxTime    int64
}

func newTally() tally {
	return tally{base: -1, last: -1, minTime: math.MaxInt64, maxTime: math.MinInt64}
}

func (t *tally) add(h batchHead) {
	if t.base < 0 {
		t.base = h.base
	}
	t.last = h.last
	t.records += h.records
	t.minTime = min(t.minTime, h.baseTime)
	t.maxTime = max(t.maxTime, h.maxTim)
}

func (t *tally) extent(of Extent) Extent {
	of.Base, of.Last, of.Records, of.MinTime, of.MaxTime = t.base, t.last, t.records, t.minTime, t.maxTime
	return of
}

// Dump writes what is in an object as text: its extents and, with batches, each
// batch. It stops at the first damage, which is its error.
func Dump(ctx context.Context, st store.Store, key string, batches bool, out io.Writer) error {
	w := bufio.NewWriter(out)
	err := dump(ctx, st, key, batches, w)
	if ferr := w.Flush(); err == nil && ferr != nil {
		err = fmt.Errorf("dump segment %q: %w", key, ferr)
	}
	return err
}

func dump(ctx context.Context, st store.Store, key string, batches bool, w io.Writer) error {
	info, err := st.Head(ctx, key)
	if err != nil {
		return err
	}
	ix, err := ReadIndex(ctx, st, key, info.Size)
	if err != nil {
		return err
	}
	p := &printer{w: w}
	p.printf("segment %s version %d size %d extents %d\n", key, ix.Version, ix.Size, len(ix.Extents))
	if n, err := ParseKey(key); err == nil {
		p.printf("level %d epoch %d named %s\n", n.Level, n.Epoch, n.Time().UTC().Format(time.RFC3339Nano))
	}
	for i := range ix.Extents {
		e := &ix.Extents[i]
		p.printf("shard %s offsets %d-%d at %d+%d records %d time %d-%d entries %d\n",
			e.Shard, e.Base, e.Last, e.Pos, e.Len, e.Records, e.MinTime, e.MaxTime, len(e.Entries))
		if !batches {
			continue
		}
		for s, err := range batchesOf(ctx, st, Segment{key, info.Size, e.Extent}, place{e.Pos, e.Base}) {
			if err != nil {
				return errors.Join(err, p.err)
			}
			p.printf("  batch %d-%d at %d bytes %d records %d time %d-%d\n",
				s.head.base, s.head.last, s.pos, len(s.batch), s.head.records, s.head.baseTime, s.head.maxTim)
		}
	}
	return p.err
}

// printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}
