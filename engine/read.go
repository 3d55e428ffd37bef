package engine

import (
	"context"
	"fmt"

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
	if s.waiting == nil {
		s.waiting = make(chan struct{})
	}
	return s.waiting, nil
}

var closedChan = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// piece is a tail entry as a reader found it: a batch, or where the WAL has it.
type piece struct {
	batch *shard.Batch
	pos   wal.Pos
	base  int64
}

// Read implements shard.Log.
func (e *Engine) Read(ctx context.Context, id shard.ID, from int64, opts shard.ReadOptions) (shard.ReadResult, error) {
	s, _, err := e.shardFor(id)
	if err != nil {
		return shard.ReadResult{}, err
	}
	if opts.MaxBytes <= 0 {
		opts.MaxBytes = defaultReadBytes
	}
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
	if err := s.checkLost(from); err != nil {
		s.mu.Unlock()
		return shard.ReadResult{Bounds: b}, err
	}
	inTail := len(s.tail) > 0 && s.tail[0].base <= from
	pieces := s.collect(from, limit, opts.MaxBytes)
	s.mu.Unlock()
	r := shard.ReadResult{Bounds: b}
	if !inTail {
		r.Batches, err = e.readObject(ctx, s, from, limit, opts.MaxBytes)
	}
	if len(r.Batches) == 0 && err == nil { // or compaction left a hole up to the tail
		r.Batches, err = e.load(id, pieces)
	}
	if err != nil && len(r.Batches) > 0 {
		err = nil // the next read begins at the fault and reports it
	}
	return r, err
}

// collect gives the tail's batches in [from, limit), up to budget bytes but one at
// least. A gap at from is left to load to report.
func (s *shardLog) collect(from, limit int64, budget int) []piece {
	var out []piece
	n := 0
	for i := s.find(from); i < len(s.tail); i++ {
		t := &s.tail[i]
		if t.base >= limit || len(out) > 0 && n+t.size > budget {
			break
		}
		out = append(out, piece{t.batch, t.pos, t.base})
		n += t.size
	}
	return out
}

// load reads from the WAL what is no longer in memory.
func (e *Engine) load(id shard.ID, ps []piece) ([]*shard.Batch, error) {
	out := make([]*shard.Batch, 0, len(ps))
	for _, p := range ps {
		b := p.batch
		if b == nil {
			entry, err := e.wal.ReadAt(p.pos)
			if err == nil {
				b, err = shard.ParseBatch(entry.Data)
			}
			if err != nil {
				return out, &shard.Error{Kind: shard.KindCorrupt, Op: "read write-ahead log", Shard: &id, Offset: p.base, Err: err}
			}
		}
		out = append(out, b)
	}
	return out, nil
}

// readObject reads what is flushed, through the cache. It may span extents.
func (e *Engine) readObject(ctx context.Context, s *shardLog, from, limit int64, budget int) ([]*shard.Batch, error) {
	var out []*shard.Batch
	for n := 0; from < limit && n < budget; {
		seg, ext, ok := e.cat.FindExtent(s.id, from)
		if !ok || ext.Base >= limit {
			break
		}
		if ext.Base > from {
			s.mu.Lock()
			err := s.checkLost(from)
			s.mu.Unlock()
			if err != nil {
				return out, err
			}
		}
		raw, err := e.reader.Read(ctx, seg.Key, seg.Size, tierExtent(ext), max(from, ext.Base), budget-n)
		if err != nil {
			return out, e.tierError(err, s.id, from, seg.Key)
		}
		bs, err := shard.SplitBatches(raw)
		if err != nil {
			return out, &shard.Error{Kind: shard.KindCorrupt, Op: "read segment " + seg.Key, Shard: &s.id, Offset: from, Err: err}
		}
		if len(bs) == 0 {
			from = ext.Last + 1
			continue
		}
		for _, b := range bs {
			if b.BaseOffset() >= limit {
				return out, nil
			}
			out = append(out, b)
			n += b.Size()
			from = b.LastOffset() + 1
		}
	}
	return out, nil
}

// checkLost reports an offset that was damaged before it was flushed.
func (s *shardLog) checkLost(offset int64) error {
	for _, l := range s.lost {
		if offset >= l.from && offset < l.to {
			return &shard.Error{Kind: shard.KindCorrupt, Op: "read", Shard: &s.id, Offset: offset,
				Msg: fmt.Sprintf("offsets %d to %d were damaged in the write-ahead log", l.from, l.to-1)}
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

// refine finds the record within the batches from offset on.
func (e *Engine) refine(ctx context.Context, id shard.ID, from, end, ts int64) (offset, timestamp int64, ok bool, err error) {
	for from < end {
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
				if recs[i].Timestamp >= ts && recs[i].Offset < end {
					return recs[i].Offset, recs[i].Timestamp, true, nil
				}
			}
		}
	}
	return 0, 0, false, nil
}
