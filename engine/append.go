package engine

import (
	"context"
	"errors"
	"hash/fnv"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/wal"
)

// pending is one append on its way through the WAL.
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
	object bool
}

// Append implements shard.Log. Only State writes to the state log: what lies there
// is read back as sessions, groups and offsets.
func (e *Engine) Append(ctx context.Context, id shard.ID, b *shard.Batch, opts shard.AppendOptions, done shard.Completion) {
	if id.Topic == stateTopicNum {
		done.Appended(shard.AppendResult{Err: shard.At(shard.ErrTopicNotFound, "append batch", id, -1), AppendTime: -1})
		return
	}
	size := int64(b.Size())
	object := e.waitsForObject(id, &opts)
	if err := e.admit(ctx, size, object); err != nil {
		done.Appended(shard.AppendResult{Err: err, AppendTime: -1})
		return
	}
	r, p := e.append(ctx, id, b, &opts, done, size, object)
	if p == nil {
		e.dismiss(size, object)
	}
	if r != nil {
		done.Appended(*r)
	}
	e.tails.evict()
}

// waitsForObject tells whether an append becomes visible with its segment's commit.
func (e *Engine) waitsForObject(id shard.ID, opts *shard.AppendOptions) bool {
	t, ok := e.topics.ByNum(id.Topic)
	if !ok || opts.Durability == shard.DurabilityWAL {
		return false
	}
	if e.durability(t) == shard.DurabilityObject {
		return true
	}
	return e.becomesObject(id.Topic)
}

// admit takes the append's share of the budgets.
func (e *Engine) admit(ctx context.Context, size int64, object bool) error {
	if err := e.down(); err != nil {
		return err
	}
	if size > e.opts.AppendBytes {
		return &shard.Error{Kind: shard.KindTooLarge, Op: "append batch", Err: shard.ErrBatchTooLarge}
	}
	if !object && !e.waits() {
		if err := e.openLog(ctx); err != nil {
			return err
		}
	}
	if object {
		if err := e.objects.Acquire(ctx, size); err != nil {
			return &shard.Error{Kind: shard.KindUnavailable, Op: "append batch", Err: err, Hint: "too much waits for the object store"}
		}
	}
	if err := e.budget.Acquire(ctx, size); err != nil {
		if object {
			e.objects.Release(size)
		}
		return shard.Errorf(shard.KindUnavailable, "append batch: %w", err)
	}
	return nil
}

// dismiss gives back what admit took.
func (e *Engine) dismiss(size int64, object bool) {
	e.budget.Release(size)
	if object {
		e.objects.Release(size)
	}
}

// append gives the batch its offsets and queues it for the WAL. A result that
// is not nil is the outcome, known already: an error, a duplicate, or an append
// that was promised no durability. What was queued comes back as pending.
func (e *Engine) append(ctx context.Context, id shard.ID, b *shard.Batch, opts *shard.AppendOptions, done shard.Completion, size int64, object bool) (*shard.AppendResult, *pending) {
	fail := func(err error) (*shard.AppendResult, *pending) {
		return &shard.AppendResult{Err: err, AppendTime: -1}, nil
	}
	s, topic, err := e.owned(id)
	if err == nil && e.waits() && !object { // of an object-durable topic, and to be acknowledged by the log
		err = e.waiting.err
	}
	if err != nil {
		return fail(err)
	}
	if max := e.maxMessageBytes(topic); size > int64(max) {
		return fail(&shard.Error{Kind: shard.KindTooLarge, Op: "append batch", Shard: &id, Err: shard.ErrBatchTooLarge})
	}
	if idempotent(b, opts) {
		if err := e.ensureProducers(ctx, s); err != nil {
			return fail(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := e.takes(s, b, opts, object); err != nil {
		return fail(err)
	}
	if err := e.down(); err != nil { // since admit: after it nobody completes what waits
		return fail(err)
	}
	if r, dup, err := e.checkProducer(s, b, opts, done); err != nil {
		return fail(shard.At(err, "append batch", id, s.next))
	} else if dup {
		return r, nil
	}
	// Who was promised nothing is told here, and the WAL has nobody to tell.
	early := opts.Durability == shard.DurabilityMemory || e.durability(topic) == shard.DurabilityMemory || e.hooks.ackEarly && !topic.Internal
	if early {
		done = nil
	}
	r := shard.AppendResult{Base: s.next, AppendTime: -1, Start: s.start}
	b.Assign(s.next, s.epoch)
	if topic.Config.AppendTime {
		r.AppendTime = e.opts.Now().UnixMilli()
		b.SetAppendTime(r.AppendTime)
	}
	last := b.LastOffset()
	p := &pending{e: e, s: s, topic: topic, batch: b, done: done, result: r, origin: opts.Origin, last: last, size: size, object: object}
	if err := e.wal.Append(wal.Entry{Shard: id, Epoch: s.epoch, Data: b.Raw()}, p); err != nil {
		if errors.Is(err, wal.ErrFailed) {
			e.fail(err)
		}
		return fail(walError(err))
	}
	e.recordProducer(s, b, opts)
	s.next = last + 1
	s.tail = append(s.tail, tailEntry{base: r.Base, last: last, maxTime: b.MaxTimestamp(), size: int(size), batch: b})
	e.tails.push(s, last, size)
	if topic.Num != stateTopicNum {
		e.live.Assigned(topic, id.Index, b, opts.Origin)
	}
	if early {
		return &r, p
	}
	return nil, p
}

// takes tells whether a shard takes a batch as things are; it is locked.
func (e *Engine) takes(s *shardLog, b *shard.Batch, opts *shard.AppendOptions, object bool) error {
	switch {
	case s.gone:
		return shard.ErrTopicNotFound
	case !object && opts.Durability != shard.DurabilityWAL && e.becomesObject(s.id.Topic): // since it was asked before
		return errSettling
	case opts.CheckNext && opts.ExpectNext != s.next:
		return shard.At(shard.ErrPrecondition, "append batch", s.id, s.next)
	case s.next+b.LastOffset()-b.BaseOffset()-s.flushed >= maxUnflushed:
		return shard.ErrWALFull
	}
	return nil
}

// WALDone implements wal.Waiter; it runs on the WAL's sync goroutine, in order.
func (p *pending) WALDone(pos wal.Pos, err error) {
	e, s := p.e, p.s
	e.budget.Release(p.size)
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
	if p.object {
		p.e.objects.Release(p.size)
	}
	if p.done != nil {
		p.result.Err = unavailable(err)
		p.done.Appended(p.result)
	}
}

// complete tells the caller and hands the batch to those who follow the shard.
func (p *pending) complete() {
	if p.object {
		p.e.objects.Release(p.size)
	}
	if !p.topic.Internal {
		p.e.feed.push(p)
		return
	}
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
