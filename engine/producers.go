package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/robustmq/robustmq-go/engine/producer"
	"github.com/robustmq/robustmq-go/shard"
)

// How often a shard's table is put into the state log: so much of the shard's log,
// or so long after the last time, at the next flush. It bounds what a restart reads.
const (
	producerSaveBytes = 8 << 20
	producerSaveMs    = 30_000
)

// producers is what a shard knows of idempotent appends, under the shard's lock.
//
// invariants:
//   - a shard is marked when the state log has a note of it. The note is in the WAL
//     before the shard's first idempotent batch, so a shard without one has none
//   - what the note does not have comes after its offset in the shard
type producers struct {
	table  *producer.Table // nil: not loaded
	marked bool
	dirty  bool
	// since is the bytes appended since the note, as far as this process knows.
	since int64
	saved int64 // time of the last save, in ms
	// load is a scan under way; partial is how far one came that failed.
	load    *producerLoad
	partial *scanned
	// replayed is, plus one, where the WAL's replay met the first idempotent batch.
	replayed int64
}

// scanned is a table that has noted everything below from.
type scanned struct {
	table *producer.Table
	from  int64
}

// dupWait is a duplicate whose original is not visible yet: it completes when
// the original does.
type dupWait struct {
	last   int64
	done   shard.Completion
	result shard.AppendResult
}

// idempotent tells whether an append is decided by the producer table.
func idempotent(b *shard.Batch, opts *shard.AppendOptions) bool {
	id, _, _ := b.Producer()
	return id >= 0 || opts.DedupeID != ""
}

// producersCounter is where the catalog says from which topic on the notes tell all:
// of a topic made since, no note means no producer.
const producersCounter = "topics-with-producer-notes"

// producersSince gives the topic from which on a shard without a note has no
// producers. A gateway that waited for a log took idempotent appends of
// object-durable shards and could note none of them: after it no topic is such.
func (e *Engine) producersSince(ctx context.Context) (shard.TopicNum, error) {
	for n := range Slots {
		if f, ok := e.session.Former(n); ok && len(f.Pending) > 0 {
			return math.MaxUint64, nil
		}
	}
	return e.cat.TopicsSince(ctx, producersCounter)
}

// readyProducers prepares an idempotent append. With false the shard has to be read
// first, by load.
func (e *Engine) readyProducers(ctx context.Context, s *shardLog) (load *producerLoad, err error) {
	s.mu.Lock()
	if s.gone {
		s.mu.Unlock()
		return nil, nil // append says so
	}
	if s.producers.load == nil && s.producers.table == nil {
		if err := e.beginProducers(ctx, s); err != nil {
			s.mu.Unlock()
			return nil, err
		}
	}
	load = s.producers.load
	if load != nil || s.producers.marked {
		s.mu.Unlock()
		return load, nil
	}
	next, snapshot := s.next, s.producers.table.Snapshot()
	s.mu.Unlock()
	// The WAL has the note before the append that comes now, so nobody waits for it.
	if err := e.noteProducers(ctx, s, next, snapshot); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.producers.marked = true
	s.producers.saved = e.clock.now().UnixMilli()
	s.mu.Unlock()
	return nil, nil
}

// beginProducers finds the table of a shard, or begins to read it from the shard's
// log. The shard is locked.
func (e *Engine) beginProducers(ctx context.Context, s *shardLog) error {
	p := &s.producers
	if p.partial == nil {
		known, marked, err := e.notedProducers(ctx, s)
		if err != nil {
			return err
		}
		p.marked = marked
		p.partial = known
	}
	if p.partial.from >= s.next {
		p.table, p.partial = p.partial.table, nil
		return nil
	}
	p.load = newProducerLoad(p.partial, s.next)
	e.loads.Add(1)
	e.wg.Go(func() { e.loadProducers(s, p.load) })
	return nil
}

// notedProducers gives what the state log knows of a shard's producers. The shard is locked.
func (e *Engine) notedProducers(ctx context.Context, s *shardLog) (known *scanned, marked bool, err error) {
	known = &scanned{producer.New(producer.Limits{}), s.start}
	v, ok, err := e.state.Get(ctx, shardStateOwner(s.id), shardStateKey("producers", s.id))
	switch {
	case err != nil && shard.KindOf(err) == shard.KindCorrupt: // without a note all is read
		return known, false, nil
	case errors.Is(err, shard.ErrLogAway): // nor can one be made: see producersSince
		return known, true, nil
	case err != nil:
		return nil, false, err
	case ok && len(v.Data) >= 8:
		t, err := producer.Restore(producer.Limits{}, v.Data[8:])
		if err != nil {
			return nil, false, fmt.Errorf("restore producers of shard %s: %w", s.id, err)
		}
		return &scanned{t, max(s.start, int64(binary.BigEndian.Uint64(v.Data)))}, true, nil
	case s.id.Topic < e.notedSince: // of a version that made no notes
		return known, false, nil
	}
	if known.from = s.next; s.producers.replayed > 0 {
		known.from = min(known.from, s.producers.replayed-1)
	}
	return known, false, nil
}

// checkProducer asks the table; the shard is locked. A duplicate whose original
// is on its way waits for it, and then the result is nil.
func (e *Engine) checkProducer(s *shardLog, b *shard.Batch, opts *shard.AppendOptions, done shard.Completion) (r *shard.AppendResult, dup bool, err error) {
	if !idempotent(b, opts) {
		return nil, false, nil
	}
	now := e.clock.now().UnixMilli()
	v, err := s.producers.table.Check(b, now)
	if err == nil && !v.Duplicate && opts.DedupeID != "" {
		v, err = s.producers.table.CheckID(opts.DedupeID, now)
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
	s.producers.since += int64(b.Size())
	if !idempotent(b, opts) {
		return
	}
	now := e.clock.now().UnixMilli()
	if id, _, _ := b.Producer(); id >= 0 {
		s.producers.table.Add(b, now)
	}
	if opts.DedupeID != "" {
		s.producers.table.AddID(opts.DedupeID, b, now)
	}
	s.producers.dirty = true
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

// saveProducers puts tables into the state log whose notes are old, so that a
// restart reads little; with all, each that changed.
func (e *Engine) saveProducers(shards []*shardLog, all bool) {
	if e.stateWaits() != nil {
		return
	}
	for _, s := range shards {
		if s.id.Topic == stateTopicNum {
			continue
		}
		s.mu.Lock()
		if s.producers.table == nil {
			e.catchUpProducers(s)
			s.mu.Unlock()
			continue
		}
		now := e.clock.now().UnixMilli()
		next, table := s.next, s.producers.due(now, all)
		var snapshot []byte
		if table != nil {
			table.Expire(now)
			snapshot = table.Snapshot()
		}
		s.mu.Unlock()
		if table == nil {
			continue
		}
		if err := e.noteProducers(e.ctx, s, next, snapshot); err != nil && e.down() == nil {
			e.log.Warn("producer table not saved", "error", err)
		}
	}
}

// savings are the shards whose tables wait to be looked at.
type savings struct {
	mu     sync.Mutex
	todo   map[*shardLog]struct{}
	atWork bool
}

// saveProducersOf is saveProducers for the flusher. Where a note waits for the object
// store, what it takes of the budget is given back by flushes alone, and others may have
// all of it: then somebody else waits.
func (e *Engine) saveProducersOf(shards []*shardLog) {
	if e.opts.Durability != shard.DurabilityObject {
		e.saveProducers(shards, false)
		return
	}
	w := &e.savings
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.todo == nil {
		w.todo = make(map[*shardLog]struct{})
	}
	for _, s := range shards {
		w.todo[s] = struct{}{}
	}
	if !w.atWork && len(w.todo) > 0 {
		w.atWork = true
		e.wg.Go(e.saveWaiting) // the flusher is one of them
	}
}

func (e *Engine) saveWaiting() {
	w := &e.savings
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.todo) > 0 && e.down() == nil {
		todo := slices.Collect(maps.Keys(w.todo))
		clear(w.todo)
		w.mu.Unlock()
		e.saveProducers(todo, false)
		w.mu.Lock()
	}
	w.atWork = false
}

// due gives the table if it is to be saved, and notes that it is.
func (p *producers) due(now int64, all bool) *producer.Table {
	old := p.since >= producerSaveBytes || p.dirty && now-p.saved >= producerSaveMs
	if !p.marked || p.load != nil || !old && !(all && p.dirty) {
		return nil
	}
	p.dirty, p.since, p.saved = false, 0, now
	return p.table
}

// catchUpProducers reads on where others than idempotent producers have filled a
// shard whose table is in nobody's memory: the way is short as long as it is gone
// often. The shard is locked.
func (e *Engine) catchUpProducers(s *shardLog) {
	p := &s.producers
	if p.load != nil || p.since < producerSaveBytes {
		return
	}
	p.since = 0
	_, noted, err := e.state.Get(e.ctx, shardStateOwner(s.id), shardStateKey("producers", s.id))
	if err == nil && noted {
		err = e.beginProducers(e.ctx, s)
	}
	if err != nil {
		e.log.Warn("producer table not loaded", "shard", s.id.String(), "error", err)
	}
}

// noteProducers puts what is known of the producers below next into the state log.
// It does not wait for the disk; the error is of what could not be queued.
func (e *Engine) noteProducers(ctx context.Context, s *shardLog, next int64, snapshot []byte) error {
	var queued, failed atomic.Pointer[error]
	v := append(binary.BigEndian.AppendUint64(nil, uint64(next)), snapshot...)
	e.state.Apply(ctx, shardStateOwner(s.id), []shard.StateOp{{Key: shardStateKey("producers", s.id), Value: v}}, func(err error) {
		if err == nil {
			return
		}
		if queued.Load() == nil {
			failed.Store(&err)
		} else if e.down() == nil {
			e.log.Warn("producer table not saved", "shard", s.id.String(), "error", err)
		}
	})
	if err := failed.Load(); err != nil {
		return fmt.Errorf("note producers of shard %s: %w", s.id, *err)
	}
	queued.Store(new(error))
	return nil
}
