package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/robustmq/robustmq-go/shard"
)

const (
	// producerReads bounds the reads of all loads together.
	producerReads = 4
	producerChunk = 4 << 20
	// producerNoteEvery is how much of a long scan is done again after a crash.
	producerNoteEvery = 256 << 20
)

// producerLoad reads a shard's log for its producers, off everybody's way. Appends
// that have to know them are parked here. All but scan is under the shard's lock.
type producerLoad struct {
	scan *scanned
	end  int64
	over chan struct{} // closed when nothing is parked any more

	parked []*parked // in order
	// origins have something parked: what else they append goes behind it.
	origins map[shard.Origin]int
}

// parked is an append that waits for a load.
type parked struct {
	ctx  context.Context
	id   shard.ID
	b    *shard.Batch
	opts shard.AppendOptions
	done shard.Completion
	stop func() bool
}

func newProducerLoad(from *scanned, end int64) *producerLoad {
	return &producerLoad{scan: from, end: end, over: make(chan struct{}), origins: make(map[shard.Origin]int)}
}

// park keeps an append back until its shard's producers are known, and tells
// whether it did. With an error the append is over. What is parked has a budget of
// its own; past it the caller waits.
func (e *Engine) park(ctx context.Context, id shard.ID, b *shard.Batch, opts *shard.AppendOptions, done shard.Completion) (bool, error) {
	decided := idempotent(b, opts)
	if !decided && e.loads.Load() == 0 {
		return false, nil
	}
	if err := e.down(); err != nil {
		return false, err
	}
	s, _, err := e.owned(id)
	if err != nil {
		return false, nil //nolint:nilerr // append says so
	}
	for {
		load, err := e.loadBefore(ctx, s, decided, opts.Origin)
		if err != nil || load == nil {
			return false, err
		}
		if opts.Durability == shard.DurabilityMemory { // its caller is told within the call
			select {
			case <-load.over:
				continue
			case <-ctx.Done():
				return false, parkedError(ctx)
			}
		}
		size := int64(b.Size())
		if err := e.parking.Acquire(ctx, min(size, e.opts.AppendBytes)); err != nil {
			return false, parkedError(ctx)
		}
		if s.park(load, &parked{ctx: ctx, id: id, b: b, opts: *opts, done: done}, e) {
			return true, nil
		}
		e.parking.Release(min(size, e.opts.AppendBytes))
	}
}

// loadBefore gives the load that an append has to wait for.
func (e *Engine) loadBefore(ctx context.Context, s *shardLog, decided bool, origin shard.Origin) (*producerLoad, error) {
	if decided {
		return e.readyProducers(ctx, s)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.producers.load; l != nil && l.origins[origin] > 0 {
		return l, nil
	}
	return nil, nil
}

// park puts an append behind those that wait, unless the load is over.
func (s *shardLog) park(l *producerLoad, p *parked, e *Engine) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.producers.load != l {
		return false
	}
	l.parked = append(l.parked, p)
	l.origins[p.opts.Origin]++
	p.stop = context.AfterFunc(p.ctx, func() { e.unpark(s, l, p) })
	return true
}

// unpark ends an append whose context is over, and those of its origin behind it:
// a producer's batches come in order or not at all.
func (e *Engine) unpark(s *shardLog, l *producerLoad, p *parked) {
	var ended []*parked
	s.mu.Lock()
	if at := slices.Index(l.parked, p); at >= 0 {
		rest := l.parked[:at]
		for i, q := range l.parked[at:] {
			if i > 0 && (q.opts.Origin == 0 || q.opts.Origin != p.opts.Origin) {
				rest = append(rest, q)
				continue
			}
			ended = append(ended, q)
			l.origins[q.opts.Origin]--
		}
		clear(l.parked[len(rest):])
		l.parked = rest
	}
	s.mu.Unlock()
	for _, q := range ended {
		q.stop()
		e.endParked(q, parkedError(p.ctx))
	}
}

func (e *Engine) endParked(p *parked, err error) {
	e.parking.Release(min(int64(p.b.Size()), e.opts.AppendBytes))
	p.done.Appended(shard.AppendResult{Err: err, AppendTime: -1})
}

func parkedError(ctx context.Context) error {
	return &shard.Error{Kind: shard.KindUnavailable, Op: "append batch", Err: context.Cause(ctx),
		Hint: "the shard is being read for what its idempotent producers have appended"}
}

// loadProducers scans, and then appends what was parked, in order. What a scan that
// failed has read is kept for the next.
func (e *Engine) loadProducers(s *shardLog, l *producerLoad) {
	defer e.loads.Add(-1)
	err := e.scanProducers(e.ctx, s, l)
	if err == nil {
		err = e.noteProducers(e.ctx, s, l.scan.from, l.scan.table.Snapshot())
	}
	s.mu.Lock()
	p := &s.producers
	if err == nil {
		p.table, p.partial, p.marked, p.since = l.scan.table, nil, true, 0
		p.saved = e.clock.now().UnixMilli()
	}
	for len(l.parked) > 0 {
		x := l.parked[0]
		l.parked[0] = nil
		l.parked = l.parked[1:]
		s.mu.Unlock()
		x.stop()
		if err != nil {
			e.endParked(x, err)
		} else {
			size := min(int64(x.b.Size()), e.opts.AppendBytes)
			e.appendNow(x.ctx, x.id, x.b, &x.opts, x.done)
			e.parking.Release(size)
		}
		s.mu.Lock()
		l.origins[x.opts.Origin]--
	}
	p.load = nil
	s.mu.Unlock()
	close(l.over)
}

// scanProducers notes the batches of [scan.from, end), which no note has. Only
// idempotent appends that wait for this load could add to them.
func (e *Engine) scanProducers(ctx context.Context, s *shardLog, l *producerLoad) error {
	x := l.scan
	for noted := int64(0); x.from < l.end; {
		r, err := e.readProducers(ctx, s, x.from, l.end)
		switch kind := shard.KindOf(err); {
		case err == nil:
		case kind == shard.KindCorrupt && r.Resume > x.from: // what it held is reported to who reads it
			e.log.Error("producers of a damaged range are not known any more", "shard", s.id.String(), "from", x.from, "to", r.Resume-1)
			x.from = r.Resume
			continue
		case kind == shard.KindOutOfRange && r.Bounds.Start > x.from: // trimmed meanwhile
			x.from = r.Bounds.Start
			continue
		default:
			return fmt.Errorf("load producers of shard %s: %w", s.id, err)
		}
		if len(r.Batches) == 0 {
			break
		}
		for _, b := range r.Batches {
			x.table.Replay(b, e.clock.now().UnixMilli())
			x.from = b.LastOffset() + 1
			noted += int64(b.Size())
		}
		if noted >= producerNoteEvery {
			noted = 0
			if err := e.noteProducers(ctx, s, x.from, x.table.Snapshot()); err != nil {
				return err
			}
		}
	}
	x.from = max(x.from, l.end)
	return nil
}

// readProducers is one read of a load; those of all loads take turns.
func (e *Engine) readProducers(ctx context.Context, s *shardLog, from, end int64) (shard.ReadResult, error) {
	select {
	case e.producerReads <- struct{}{}:
	case <-ctx.Done():
		return shard.ReadResult{}, context.Cause(ctx)
	}
	defer func() { <-e.producerReads }()
	e.counters.producerReads.Add(1)
	return e.Read(ctx, s.id, from, shard.ReadOptions{MaxBytes: producerChunk, Until: end})
}
