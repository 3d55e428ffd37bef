package engine

import (
	"context"

	"github.com/robustmq/robustmq-go/shard"
)

// batchOverhead is what a batch takes in memory beside its bytes, while it is on
// its way: a budget of bytes alone would let small ones take any amount.
const batchOverhead = 512

const (
	// shardShare is the part of Options.AppendBytes that one shard may have on its way.
	shardShare = 8
	// spareShare is the part, beside it, that is for shards with nothing on their way.
	spareShare = 8
)

// An append takes its part of these budgets, and waits for them on its publisher's
// goroutine, which reads no more meanwhile:
//
//	who                    budget    until
//	object durability      objects   groups and live subscribers were given it
//	                       budget    the WAL has it
//	all other topics       feeding   groups and live subscribers were given it
//	                       s.feeding the same: the shard's share, so that a shard with
//	                                 slow followers leaves room to all others
//	                                 Where feeding is spent, a shard with nothing on
//	                                 its way has spare for one batch
//	the state log          budget    the WAL has it
//	                       objects   its segment is committed, where state is object-durable;
//	                                 not the engine's own notes, which flushes make, too:
//	                                 what a flush gives back no flush may wait for
//
// Who follows never waits for an append, and nothing of the state log waits for who
// follows: budgets come back whatever a group, whose own notes are state, is doing.

// cost is the append's part of a budget of so many bytes.
func (p *pending) cost(limit int64) int64 { return min(p.size+batchOverhead, limit) }

// waitsForStore tells whether the append has a part of the objects budget.
func (p *pending) waitsForStore() bool { return p.object && !p.own }

func (p *pending) fed() bool { return !p.topic.Internal && !p.object }

// admit takes the append's share of the budgets.
func (p *pending) admit(ctx context.Context) error {
	e, limit := p.e, p.e.opts.AppendBytes
	if p.size > limit {
		return &shard.Error{Kind: shard.KindTooLarge, Op: "append batch", Err: shard.ErrBatchTooLarge}
	}
	if !p.object && !e.waits() {
		if err := e.openLog(ctx); err != nil {
			return err
		}
	}
	if p.fed() {
		if err := p.s.feeding.Acquire(ctx, p.cost(limit/shardShare)); err != nil {
			return spent(err, "the shard's followers are behind")
		}
		err := p.admitFed(ctx, limit)
		if err != nil {
			p.s.feeding.Release(p.cost(limit / shardShare))
		}
		return err
	}
	if p.waitsForStore() {
		if err := e.objects.Acquire(ctx, p.cost(limit)); err != nil {
			return spent(err, "too much waits for the object store")
		}
	}
	if err := e.budget.Acquire(ctx, p.cost(limit)); err != nil {
		if p.waitsForStore() {
			e.objects.Release(p.cost(limit))
		}
		return spent(err, "too much is on its way")
	}
	return nil
}

func (p *pending) admitFed(ctx context.Context, limit int64) error {
	e := p.e
	alone := p.s.onWay.Add(1) == 1
	if e.feeding.TryAcquire(p.cost(limit)) {
		return nil
	}
	if alone && e.spare.TryAcquire(p.cost(limit/spareShare)) {
		p.spared = true
		return nil
	}
	if err := e.feeding.Acquire(ctx, p.cost(limit)); err != nil {
		p.s.onWay.Add(-1)
		return spent(err, "too much is on its way")
	}
	return nil
}

func spent(err error, hint string) error {
	return &shard.Error{Kind: shard.KindUnavailable, Op: "append batch", Err: err, Hint: hint}
}

// unbudget gives back what was taken until the WAL has the batch.
func (p *pending) unbudget() {
	if !p.fed() {
		p.e.budget.Release(p.cost(p.e.opts.AppendBytes))
	}
}

// release gives back what was taken until everybody was given the batch.
func (p *pending) release() {
	limit := p.e.opts.AppendBytes
	switch {
	case p.waitsForStore():
		p.e.objects.Release(p.cost(limit))
	case p.fed():
		p.s.onWay.Add(-1)
		p.s.feeding.Release(p.cost(limit / shardShare))
		if p.spared {
			p.e.spare.Release(p.cost(limit / spareShare))
		} else {
			p.e.feeding.Release(p.cost(limit))
		}
	}
}
