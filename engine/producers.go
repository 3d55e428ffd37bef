package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/robustmq/robustmq-go/engine/producer"
	"github.com/robustmq/robustmq-go/shard"
)

// dupWait is a duplicate whose original is not visible yet: it completes when
// the original does.
type dupWait struct {
	last   int64
	done   shard.Completion
	result shard.AppendResult
}

// ensureProducers loads a shard's producer table before its first idempotent
// append: the snapshot of a former flush, and what was appended since.
func (e *Engine) ensureProducers(ctx context.Context, s *shardLog) error {
	s.mu.Lock()
	loaded := s.producers != nil
	s.mu.Unlock()
	if loaded {
		return nil
	}
	s.producerLoad.Lock()
	defer s.producerLoad.Unlock()
	s.mu.Lock()
	loaded = s.producers != nil
	from, end := s.start, s.next
	s.mu.Unlock()
	if loaded {
		return nil
	}
	table := producer.New(producer.Limits{})
	v, ok, err := e.state.Get(ctx, shardStateOwner(s.id), shardStateKey("producers", s.id))
	if err != nil && shard.KindOf(err) != shard.KindCorrupt && !errors.Is(err, shard.ErrLogAway) { // without a snapshot all is read
		return err
	}
	if ok && len(v.Data) >= 8 {
		t, err := producer.Restore(producer.Limits{}, v.Data[8:])
		if err != nil {
			return fmt.Errorf("restore producers of shard %s: %w", s.id, err)
		}
		table, from = t, max(from, int64(binary.BigEndian.Uint64(v.Data)))
	}
	if err := e.scanProducers(ctx, s, table, from, end); err != nil {
		return err
	}
	s.mu.Lock()
	s.producers = table
	s.mu.Unlock()
	return nil
}

// scanProducers notes the batches in [from, end), which no snapshot has. Only idempotent appends that
// wait for this load could add to them.
func (e *Engine) scanProducers(ctx context.Context, s *shardLog, table *producer.Table, from, end int64) error {
	for from < end {
		r, err := e.Read(ctx, s.id, from, shard.ReadOptions{MaxBytes: 8 << 20, Until: end})
		switch kind := shard.KindOf(err); {
		case err == nil:
		case kind == shard.KindCorrupt && r.Resume > from: // what it held is reported to who reads it
			e.log.Error("producers of a damaged range are not known any more", "shard", s.id.String(), "from", from, "to", r.Resume-1)
			from = r.Resume
			continue
		case kind == shard.KindOutOfRange && r.Bounds.Start > from: // trimmed meanwhile
			from = r.Bounds.Start
			continue
		default:
			return fmt.Errorf("load producers of shard %s: %w", s.id, err)
		}
		if len(r.Batches) == 0 {
			return nil
		}
		for _, b := range r.Batches {
			table.Replay(b, e.opts.Now().UnixMilli())
			from = b.LastOffset() + 1
		}
	}
	return nil
}

// idempotent tells whether an append is decided by the producer table.
func idempotent(b *shard.Batch, opts *shard.AppendOptions) bool {
	id, _, _ := b.Producer()
	return id >= 0 || opts.DedupeID != ""
}

// checkProducer asks the table; the shard is locked. A duplicate whose original
// is on its way waits for it, and then the result is nil.
func (e *Engine) checkProducer(s *shardLog, b *shard.Batch, opts *shard.AppendOptions, done shard.Completion) (r *shard.AppendResult, dup bool, err error) {
	if !idempotent(b, opts) {
		return nil, false, nil
	}
	now := e.opts.Now().UnixMilli()
	v, err := s.producers.Check(b, now)
	if err == nil && !v.Duplicate && opts.DedupeID != "" {
		v, err = s.producers.CheckID(opts.DedupeID, now)
	}
	if err != nil || !v.Duplicate {
		return nil, false, err
	}
	res := shard.AppendResult{Base: v.Base, AppendTime: -1, Start: s.start, Duplicate: true}
	if b.AppendTime() {
		res.AppendTime = v.Timestamp
	}
	if v.Last >= s.end {
		s.dups = append(s.dups, dupWait{v.Last, done, res})
		return nil, true, nil
	}
	return &res, true, nil
}

// recordProducer notes an append that was given its offsets; the shard is locked.
func (e *Engine) recordProducer(s *shardLog, b *shard.Batch, opts *shard.AppendOptions) {
	if !idempotent(b, opts) {
		return
	}
	now := e.opts.Now().UnixMilli()
	if id, _, _ := b.Producer(); id >= 0 {
		s.producers.Add(b, now)
	}
	if opts.DedupeID != "" {
		s.producers.AddID(opts.DedupeID, b, now)
	}
	s.producersDirty = true
}

// takeDups gives the duplicates whose originals are visible now; the shard is
// locked.
func (s *shardLog) takeDups() []dupWait {
	if len(s.dups) == 0 {
		return nil
	}
	var ready []dupWait
	rest := s.dups[:0]
	for _, d := range s.dups {
		if d.last < s.end {
			ready = append(ready, d)
		} else {
			rest = append(rest, d)
		}
	}
	s.dups = rest
	return ready
}

// saveProducers puts the tables that changed into the state log, so that a
// restart need not read the whole shard again.
func (e *Engine) saveProducers(dirty []*shardLog) {
	if e.stateWaits() != nil {
		return // a restart reads the shard
	}
	for _, s := range dirty {
		s.mu.Lock()
		var v []byte
		if s.producersDirty {
			s.producersDirty = false
			s.producers.Expire(e.opts.Now().UnixMilli())
			v = binary.BigEndian.AppendUint64(nil, uint64(s.next))
			v = append(v, s.producers.Snapshot()...)
		}
		s.mu.Unlock()
		if v == nil {
			continue
		}
		op := shard.StateOp{Key: shardStateKey("producers", s.id), Value: v}
		e.state.Apply(e.ctx, shardStateOwner(s.id), []shard.StateOp{op}, func(err error) {
			if err != nil {
				e.log.Warn("producer table not saved", "shard", s.id.String(), "error", err)
			}
		})
	}
}
