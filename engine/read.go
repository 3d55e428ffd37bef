package engine

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/wal"
)

const defaultReadBytes = 1 << 20

// Bounds implements shard.Log.
func (e *Engine) Bounds(_ context.Context, id shard.ID) (shard.Bounds, error) {
	s, _, err := e.shardFor(id)
	if err != nil {
		return shard.Bounds{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bounds(), nil
}

// Wait implements shard.Log.
func (e *Engine) Wait(id shard.ID, end int64) (<-chan struct{}, error) {
	s, _, err := e.shardFor(id)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end > end || s.gone {
		return closedChan, nil
	}
	ch := s.waiting[end]
	if ch == nil {
		if s.waiting == nil {
			s.waiting = make(map[int64]chan struct{}, 1)
		}
		ch = make(chan struct{})
		s.waiting[end] = ch
	}
	return ch, nil
}

var closedChan = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// piece is a tail entry as a reader found it: a batch, or where the WAL has it.
type piece struct {
	batch      *shard.Batch
	pos        wal.Pos
	base, last int64
	arrived    int64
}

// errMoved: what a read had found was flushed, trimmed or merged meanwhile, and
// is somewhere else now.
var errMoved = errors.New("records have moved meanwhile")

const readTries = 4

// Read implements shard.Log.
func (e *Engine) Read(ctx context.Context, id shard.ID, from int64, opts shard.ReadOptions) (shard.ReadResult, error) {
	s, _, err := e.shardFor(id)
	if err != nil {
		return shard.ReadResult{}, err
	}
	if opts.MaxBytes <= 0 {
		opts.MaxBytes = defaultReadBytes
	}
	var r shard.ReadResult
	for range readTries {
		r, err = e.read(ctx, s, from, opts)
		if !errors.Is(err, errMoved) {
			break
		}
	}
	var d *damage
	if errors.As(err, &d) {
		r.Resume = d.resume
	}
	return r, err
}

// damage is a cause of KindCorrupt that tells where the damaged range ends.
type damage struct {
	msg    string
	resume int64
	err    error
}

// Error implements error.
func (d *damage) Error() string { return d.msg }

// Unwrap gives the cause.
func (d *damage) Unwrap() error { return d.err }

func (e *Engine) read(ctx context.Context, s *shardLog, from int64, opts shard.ReadOptions) (shard.ReadResult, error) {
	id := s.id
	s.mu.Lock()
	b := s.bounds()
	if s.gone {
		s.mu.Unlock()
		return shard.ReadResult{}, shard.ErrTopicNotFound
	}
	if from < b.Start || from > b.End {
		s.mu.Unlock()
		return shard.ReadResult{Bounds: b}, shard.At(shard.ErrOffsetOutOfRange, "read", id, from)
	}
	limit := b.End
	if opts.Until > 0 {
		limit = min(limit, opts.Until)
	}
	if from >= limit {
		s.mu.Unlock()
		return shard.ReadResult{Bounds: b}, nil
	}
	lost := s.lostAfter(from) // nothing past it is given together with what is before it
	limit = min(limit, lost)
	tail := b.End > s.flushed && from >= s.flushed
	inTail := len(s.tail) > 0 && s.tail[0].base <= from
	pieces := s.collect(from, limit, opts.MaxBytes)
	s.mu.Unlock()
	r := shard.ReadResult{Bounds: b}
	if tail {
		if err := e.down(); err != nil { // another gateway may know better
			return r, err
		}
	}
	var err error
	if !inTail && from < limit {
		r.Batches, err = e.readObject(ctx, s, from, limit, opts)
	}
	if len(r.Batches) == 0 && err == nil { // or compaction left a hole up to the tail
		r.Batches, err = e.load(id, pieces)
	}
	switch {
	case len(r.Batches) > 0:
		return r, nil // the next read begins at a fault, if there is one, and reports it
	case err == nil && limit == lost:
		s.mu.Lock()
		err := s.checkLost(lost)
		s.mu.Unlock()
		if err != nil {
			e.noteDamage("", id, lost, err)
		}
		return r, err
	case err == nil && limit == b.End && e.nothingAt(s, from):
		return r, &shard.Error{Kind: shard.KindCorrupt, Op: "read", Shard: &id, Offset: from,
			Err: &damage{msg: "no segment has these records", resume: b.End, err: errMoved}}
	}
	return r, err
}

// nothingAt tells whether a shard has no record at or past an offset.
func (e *Engine) nothingAt(s *shardLog, from int64) bool {
	_, _, found := e.cat.FindExtent(s.id, from)
	s.mu.Lock()
	defer s.mu.Unlock()
	return !found && from >= s.start && s.find(from) == len(s.tail)
}

// collect gives the tail's batches in [from, limit), up to budget bytes but one at
// least. A gap at from is left to load to report.
func (s *shardLog) collect(from, limit int64, budget int) []piece {
	var out []piece
	n := 0
	for i := s.find(from); i < len(s.tail); i++ {
		more := s.tail[i].each(func(t *tailEntry) bool {
			if t.base >= limit || len(out) > 0 && n+t.size > budget {
				return false
			}
			if t.last >= from {
				out = append(out, piece{batch: t.batch, pos: t.pos, base: t.base, last: t.last})
				n += t.size
			}
			return true
		})
		if !more {
			break
		}
	}
	return out
}

// load reads from the WAL what is no longer in memory.
func (e *Engine) load(id shard.ID, ps []piece) ([]*shard.Batch, error) {
	out := make([]*shard.Batch, 0, len(ps))
	for _, p := range ps {
		b := p.batch
		if b == nil {
			var err error
			if b, err = e.loadOne(id, p); err != nil {
				return out, err
			}
		}
		out = append(out, b)
	}
	return out, nil
}

// loadOne reads one batch from the WAL, whose checksum is over all of it. Errors: errMoved, KindCorrupt,
// KindUnavailable where the disk cannot be read.
func (e *Engine) loadOne(id shard.ID, p piece) (*shard.Batch, error) {
	entry, err := e.wal.ReadAt(p.pos)
	if errors.Is(err, wal.ErrTrimmed) || errors.Is(err, wal.ErrBadPos) {
		return nil, &shard.Error{Kind: shard.KindCorrupt, Op: "read write-ahead log", Shard: &id, Offset: p.base,
			Err: fmt.Errorf("%w: %w", errMoved, err)}
	}
	var b *shard.Batch
	if err == nil {
		if b, err = shard.VerifiedBatch(entry.Data); err == nil && (entry.Shard != id || b.BaseOffset() != p.base || b.LastOffset() != p.last) {
			err = wal.ErrCorrupt
		} else if err == nil {
			return b, nil
		}
		err = fmt.Errorf("%w: %w", wal.ErrCorrupt, err)
	}
	if !errors.Is(err, wal.ErrCorrupt) {
		return nil, &shard.Error{Kind: shard.KindUnavailable, Op: "read write-ahead log", Shard: &id, Offset: p.base, Err: err}
	}
	e.noteDamage("", id, p.base, err)
	return nil, &shard.Error{Kind: shard.KindCorrupt, Op: "read write-ahead log", Shard: &id, Offset: p.base,
		Err: &damage{msg: err.Error(), resume: p.last + 1, err: err}}
}

// lostAfter gives the first damaged offset at or past from; the largest number
// when there is none. The shard is locked.
func (s *shardLog) lostAfter(from int64) int64 {
	for _, l := range s.lost {
		if from < l.to {
			return max(from, l.from)
		}
	}
	return math.MaxInt64
}

// checkLost reports an offset that was damaged before it was flushed.
func (s *shardLog) checkLost(offset int64) error {
	for _, l := range s.lost {
		if offset >= l.from && offset < l.to {
			msg := fmt.Sprintf("offsets %d to %d were damaged in the write-ahead log", l.from, l.to-1)
			return &shard.Error{Kind: shard.KindCorrupt, Op: "read", Shard: &s.id, Offset: offset, Err: &damage{msg: msg, resume: l.to}}
		}
	}
	return nil
}

// OffsetOf implements shard.Log.
func (e *Engine) OffsetOf(ctx context.Context, id shard.ID, ts int64) (offset, timestamp int64, ok bool, err error) {
	s, _, err := e.shardFor(id)
	if err != nil {
		return 0, 0, false, err
	}
	s.mu.Lock()
	start, end, floor := s.start, s.end, s.end
	if len(s.tail) > 0 {
		floor = s.tail[0].base
	}
	s.mu.Unlock()
	from := start
	for from < floor {
		seg, ext, found := e.cat.FindExtent(id, from)
		if !found || ext.Base >= floor {
			break
		}
		if ext.MaxTime < ts {
			from = ext.Last + 1
			continue
		}
		base, _, hit, err := e.reader.FindTime(ctx, seg.Key, seg.Size, tierExtent(ext), ts)
		if err != nil {
			return 0, 0, false, e.tierError(err, id, from, seg.Key)
		}
		if hit {
			return e.refine(ctx, id, max(base, from), end, ts)
		}
		from = ext.Last + 1
	}
	s.mu.Lock()
	at := end
	for i := range s.tail {
		if t := &s.tail[i]; t.maxTime >= ts && t.last >= start {
			at = t.base
			break
		}
	}
	s.mu.Unlock()
	return e.refine(ctx, id, max(at, start), end, ts)
}

// refine finds the record within the batches from offset on. The first of them may
// begin before it: records below are not there for anybody (shard.Bounds.Start).
func (e *Engine) refine(ctx context.Context, id shard.ID, from, end, ts int64) (offset, timestamp int64, ok bool, err error) {
	for floor := from; from < end; {
		r, err := e.Read(ctx, id, from, shard.ReadOptions{})
		if err != nil || len(r.Batches) == 0 {
			return 0, 0, false, err
		}
		for _, b := range r.Batches {
			from = b.LastOffset() + 1
			if b.MaxTimestamp() < ts || b.Control() {
				continue
			}
			recs, err := b.Records()
			if err != nil {
				return 0, 0, false, shard.At(err, "find time", id, b.BaseOffset())
			}
			for i := range recs {
				if recs[i].Timestamp >= ts && recs[i].Offset >= floor && recs[i].Offset < end {
					return recs[i].Offset, recs[i].Timestamp, true, nil
				}
			}
		}
	}
	return 0, 0, false, nil
}
