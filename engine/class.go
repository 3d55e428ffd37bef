package engine

import (
	"context"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// A topic's class says what has to be waited for when a log is not there: nothing,
// for shards of the class object. So a topic becomes object-durable only when all
// that was acknowledged on the strength of the log is in segments, and while it is
// on its way there no append is acknowledged by the log any more.

// errSettling: the append was asked for in the old class, and is to be made in the new.
var errSettling = shard.Errorf(shard.KindUnavailable, "the topic's durability is being changed")

func (e *Engine) becomesObject(num shard.TopicNum) bool {
	_, soon := e.settling.Load(num)
	return soon
}

// settleClass makes a topic ready for what fn is about to do to it; done is called
// after that.
func (t *topics) settleClass(ctx context.Context, name string, fn func(*shard.Topic) error) (done func(), err error) {
	e := t.e
	old, ok := t.ByName(name)
	if !ok {
		return func() {}, nil
	}
	next := old.Clone()
	if err := fn(next); err != nil || next.Config.Durability == old.Config.Durability {
		return func() {}, nil //nolint:nilerr // whatever is wrong, the update itself will say
	}
	if e.waits() {
		return nil, shard.At(e.waiting.err, "change the durability of topic "+name, old.Shard(0), -1)
	}
	if e.durability(next) != shard.DurabilityObject || e.durability(old) == shard.DurabilityObject {
		return func() {}, nil
	}
	e.settling.Store(old.Num, true)
	done = func() { e.settling.Delete(old.Num) }
	if err := e.settle(ctx, old.Num); err != nil {
		done()
		return nil, shard.Errorf(shard.KindUnavailable, "flush topic %q before it becomes object-durable: %w", name, err)
	}
	return done, nil
}

// settle returns when all that a topic has been given until now is in segments.
func (e *Engine) settle(ctx context.Context, num shard.TopicNum) error {
	var shards []*shardLog
	var upto []int64
	e.each(func(s *shardLog) {
		if s.id.Topic == num {
			s.mu.Lock()
			shards, upto = append(shards, s), append(upto, s.next)
			s.mu.Unlock()
		}
	})
	for i, s := range shards {
		for {
			s.mu.Lock()
			synced := s.synced >= upto[i] || s.gone
			s.mu.Unlock()
			if synced {
				break
			}
			if err := e.down(); err != nil {
				return err
			}
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	return e.Flush(ctx)
}
