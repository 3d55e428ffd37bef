package engine

import (
	"context"
	"errors"
	"hash/fnv"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/wal"
)

// pending is one append on its way through the WAL and to those who follow the shard.
type pending struct {
	e      *Engine
	s      *shardLog
	topic  *shard.Topic
	batch  *shard.Batch
	done   shard.Completion
	result shard.AppendResult
	origin shard.Origin
	last   int64
	size   int64
	object bool // it becomes visible with its segment's commit
	spared bool // its budget is spare
	own    bool // a note of the engine's own: it has no part of the objects budget
}

// Append implements shard.Log. Only State writes to the state log: what lies there
// is read back as sessions, groups and offsets.
func (e *Engine) Append(ctx context.Context, id shard.ID, b *shard.Batch, opts shard.AppendOptions, done shard.Completion) {
	if id.Topic == stateTopicNum {
		done.Appended(shard.AppendResult{Err: shard.At(shard.ErrTopicNotFound, "append batch", id, -1), AppendTime: -1})
		return
	}
	if err := e.refusal(); err != nil {
		done.Appended(shard.AppendResult{Err: err, AppendTime: -1})
		return
	}
	switch waits, err := e.park(ctx, id, b, &opts, done); {
	case err != nil:
		done.Appended(shard.AppendResult{Err: err, AppendTime: -1})
	case !waits:
		e.appendNow(ctx, id, b, &opts, done)
	}
}

// appendNow is Append of what need not wait for the shard's producers.
func (e *Engine) appendNow(ctx context.Context, id shard.ID, b *shard.Batch, opts *shard.AppendOptions, done shard.Completion) {
	r := e.queue(ctx, id, b, opts, done)
	if r != nil {
		done.Appended(*r)
	}
	e.tails.evict()
}

// queue brings a batch into the WAL's queue. A result that is not nil is the outcome,
// known already.
func (e *Engine) queue(ctx context.Context, id shard.ID, b *shard.Batch, opts *shard.AppendOptions, done shard.Completion) *shard.AppendResult {
	p, err := e.pend(id, b, done, opts.Origin)
	if err == nil {
		p.object = opts.Durability != shard.DurabilityWAL && (e.durability(p.topic) == shard.DurabilityObject || e.becomesObject(id.Topic))
		err = p.admit(ctx)
	}
	if err != nil {
		return &shard.AppendResult{Err: err, AppendTime: -1}
	}
	r, queued := p.append(opts)
	if !queued {
		p.unbudget()
		p.release()
	}
	return r
}

// pend makes an append of a shard that this gateway owns.
func (e *Engine) pend(id shard.ID, b *shard.Batch, done shard.Completion, origin shard.Origin) (*pending, error) {
	if err := e.down(); err != nil {
		return nil, err
	}
	s, topic, err := e.owned(id)
	if err != nil {
		return nil, err
	}
	return &pending{e: e, s: s, topic: topic, batch: b, done: done, origin: origin, size: int64(b.Size())}, nil
}

// append gives the batch its offsets and queues it for the WAL. A result that
// is not nil is the outcome, known already: an error, a duplicate, or an append
// that was promised no durability. queued tells that the WAL will tell.
func (p *pending) append(opts *shard.AppendOptions) (r *shard.AppendResult, queued bool) {
	e, s, b, id := p.e, p.s, p.batch, p.s.id
	fail := func(err error) (*shard.AppendResult, bool) {
		return &shard.AppendResult{Err: err, AppendTime: -1}, false
	}
	if max := e.maxMessageBytes(p.topic); p.size > int64(max) {
		return fail(&shard.Error{Kind: shard.KindTooLarge, Op: "append batch", Shard: &id, Err: shard.ErrBatchTooLarge})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := p.fits(opts); err != nil {
		return fail(err)
	}
	if err := e.down(); err != nil { // since pend: after it nobody completes what waits
		return fail(err)
	}
	if r, dup, err := e.checkProducer(s, b, opts, p.done); err != nil {
		return fail(shard.At(err, "append batch", id, s.next))
	} else if dup {
		return r, false
	}
	// Who was promised nothing is told here, and the WAL has nobody to tell.
	early := opts.Durability == shard.DurabilityMemory || e.durability(p.topic) == shard.DurabilityMemory || e.hooks.ackEarly && !p.topic.Internal
	if early {
		p.done = nil
	}
	p.result = shard.AppendResult{Base: s.next, AppendTime: -1, Start: s.start}
	b.Assign(s.next, s.epoch)
	if p.topic.Config.AppendTime {
		p.result.AppendTime = e.opts.Now().UnixMilli()
		b.SetAppendTime(p.result.AppendTime)
	}
	result := p.result
	p.last = b.LastOffset()
	if err := e.wal.Append(wal.Entry{Shard: id, Epoch: s.epoch, Data: b.Raw()}, p); err != nil {
		if errors.Is(err, wal.ErrFailed) {
			e.fail(err)
		}
		return fail(walError(err))
	}
	e.recordProducer(s, b, opts)
	p.follow()
	if early {
		return &result, true
	}
	return nil, true
}

// fits tells whether the shard takes the batch as things are; it is locked.
func (p *pending) fits(opts *shard.AppendOptions) error {
	e, s := p.e, p.s
	switch {
	case s.gone:
		return shard.ErrTopicNotFound
	case !p.object && opts.Durability != shard.DurabilityWAL && e.becomesObject(s.id.Topic): // since it was asked before
		return errSettling
	case !p.object && e.waits(): // of an object-durable topic, and to be acknowledged by the log
		return e.waiting.err
	case opts.CheckNext && opts.ExpectNext != s.next:
		return shard.At(shard.ErrPrecondition, "append batch", s.id, s.next)
	case s.next+p.batch.LastOffset()-p.batch.BaseOffset()-s.flushed >= maxUnflushed:
		return shard.ErrWALFull
	}
	return nil
}

// follow makes the shard go on after a batch that the WAL was given. The shard is locked.
func (p *pending) follow() {
	s, b := p.s, p.batch
	base := s.next
	s.next = p.last + 1
	s.tail = append(s.tail, tailEntry{base: base, last: p.last, maxTime: b.MaxTimestamp(), arrived: p.e.opts.Now().UnixMilli(), size: int(p.size), batch: b})
	p.e.tails.push(s, p.last, p.size+tailOverhead)
	if p.topic.Num != stateTopicNum {
		p.e.live.Assigned(p.topic, s.id.Index, b, p.origin)
	}
}

// WALDone implements wal.Waiter; it runs on the WAL's sync goroutine, in order.
func (p *pending) WALDone(pos wal.Pos, err error) {
	e, s := p.e, p.s
	p.unbudget()
	if err == nil && !e.session.Alive() {
		err = errSessionOver
	}
	if err != nil {
		e.fail(err)
		p.refuse(walError(err))
		return
	}
	s.mu.Lock()
	if s.gone {
		e.flusher.note(s, pos, p.size, false) // so that the WAL may be trimmed
		s.mu.Unlock()
		p.refuse(shard.ErrTopicNotFound)
		return
	}
	if e.failed.Load() != nil { // an earlier entry was refused: all after it are
		s.mu.Unlock()
		p.refuse(walError(errSessionOver))
		return
	}
	if t := s.entryAt(p.result.Base); t != nil {
		t.pos, t.synced = pos, true
		if t.evicted {
			t.batch = nil
			s.loosened()
		}
	}
	s.synced = p.last + 1
	e.flusher.note(s, pos, p.size, p.object)
	if p.object {
		s.object = append(s.object, p)
		s.mu.Unlock()
		return
	}
	p.result.Start = s.start
	s.advance(p.last + 1)
	dups := s.takeDups()
	s.mu.Unlock()
	p.complete()
	for _, d := range dups {
		d.done.Appended(d.result)
	}
}

// refuse completes an append that will not become visible now.
func (p *pending) refuse(err error) {
	p.release()
	if p.done != nil {
		p.result.Err = unavailable(err)
		p.done.Appended(p.result)
	}
}

// complete tells the caller and hands the batch to those who follow the shard.
func (p *pending) complete() {
	if !p.topic.Internal {
		p.e.feed.push(p)
		return
	}
	p.release()
	if p.done != nil {
		p.done.Appended(p.result)
	}
}

// walError translates what the WAL refuses.
func walError(err error) error {
	switch {
	case errors.Is(err, wal.ErrFull):
		return shard.ErrWALFull
	case errors.Is(err, wal.ErrTooLarge):
		return &shard.Error{Kind: shard.KindTooLarge, Op: "append batch", Err: shard.ErrBatchTooLarge}
	case errors.Is(err, wal.ErrClosed):
		return shard.ErrClosed
	}
	return &shard.Error{Kind: shard.KindUnavailable, Op: "append batch", Err: err,
		Hint: "this gateway acknowledges nothing until its storage has been opened anew"}
}

// hashID spreads shards over workers and stripes.
func hashID(id shard.ID) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte{byte(id.Index), byte(id.Index >> 8), byte(id.Index >> 16),
		byte(id.Topic), byte(id.Topic >> 8), byte(id.Topic >> 16), byte(id.Topic >> 24)})
	return h.Sum32()
}
