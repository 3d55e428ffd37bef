package engine

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/engine/group"
	"github.com/robustmq/robustmq-go/engine/live"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/wal"
)

// Engine is the storage engine of one gateway. It implements the interfaces of
// package shard; all its methods may be called concurrently.
type Engine struct {
	opts    Options
	log     *slog.Logger
	cat     *catalog.Catalog
	session *catalog.Session
	store   store.Store
	wal     *wal.WAL
	reader  *tier.Reader

	live   *live.Hub
	groups *group.Manager
	topics *topics
	state  *stateStore

	shards  [shardStripes]shardStripe
	tails   tails
	budget  *semaphore.Weighted
	flusher flusher
	feed    feed

	epochs [Slots]int32
	starts starts

	failed   atomic.Pointer[error]
	counters counters

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

type counters struct {
	flushes, flushedBytes atomic.Int64
	flushFailures         atomic.Int64
	merges, mergedBytes   atomic.Int64
	deletedObjects        atomic.Int64
	lostRecords           atomic.Int64
}

const shardStripes = 64

type shardStripe struct {
	sync.RWMutex
	m map[shard.ID]*shardLog
}

// fail puts the engine out of service: nothing is acknowledged any more.
func (e *Engine) fail(err error) {
	if e.failed.CompareAndSwap(nil, &err) {
		e.log.Error("storage failed; nothing is acknowledged until a restart", "error", err)
	}
}

// down gives the reason why the engine serves no appends.
func (e *Engine) down() error {
	if err := e.failed.Load(); err != nil {
		return &shard.Error{Kind: shard.KindUnavailable, Op: "append batch", Err: *err,
			Hint: "the gateway has to be restarted"}
	}
	select {
	case <-e.session.Lost():
		return shard.Errorf(shard.KindUnavailable, "the catalog session is lost")
	case <-e.ctx.Done():
		return shard.ErrClosed
	default:
		return nil
	}
}

// shardFor finds a shard of a topic that exists, and loads it on first use.
func (e *Engine) shardFor(id shard.ID) (*shardLog, *shard.Topic, error) {
	t, ok := e.topics.ByNum(id.Topic)
	if !ok || id.Index >= t.Shards {
		return nil, nil, shard.ErrTopicNotFound
	}
	st := &e.shards[hashID(id)%shardStripes]
	st.RLock()
	s := st.m[id]
	st.RUnlock()
	if s != nil {
		return s, t, nil
	}
	st.Lock()
	defer st.Unlock()
	if s = st.m[id]; s == nil {
		s = e.newShardLog(id)
		st.m[id] = s
	}
	return s, t, nil
}

// owned is shardFor for appends, which only the owner takes.
func (e *Engine) owned(id shard.ID) (*shardLog, *shard.Topic, error) {
	s, t, err := e.shardFor(id)
	if err == nil && s.epoch == 0 {
		return nil, nil, &shard.Error{Kind: shard.KindMoved, Op: "append batch", Shard: &id, Msg: "another gateway owns the shard"}
	}
	return s, t, err
}

// newShardLog loads what the catalog knows of a shard.
func (e *Engine) newShardLog(id shard.ID) *shardLog {
	s := &shardLog{id: id, epoch: e.epochs[slotOf(id)], start: e.starts.get(id)}
	if _, last, ok := e.cat.Bounds(id); ok {
		s.flushed = last + 1
	}
	s.flushed = max(s.flushed, s.start)
	s.end, s.next, s.synced = s.flushed, s.flushed, s.flushed
	return s
}

// each calls fn for every shard in memory.
func (e *Engine) each(fn func(*shardLog)) {
	for i := range e.shards {
		st := &e.shards[i]
		st.RLock()
		list := make([]*shardLog, 0, len(st.m))
		for _, s := range st.m {
			list = append(list, s)
		}
		st.RUnlock()
		for _, s := range list {
			fn(s)
		}
	}
}

func (e *Engine) durability(t *shard.Topic) shard.Durability {
	if t.Config.Durability == shard.DurabilityDefault {
		return e.opts.Durability
	}
	return t.Config.Durability
}

func (e *Engine) maxMessageBytes(t *shard.Topic) int32 {
	if t.Config.MaxMessageBytes > 0 {
		return t.Config.MaxMessageBytes
	}
	if t.Internal {
		return shard.MaxBatchBytes
	}
	return e.opts.MaxMessageBytes
}

// tierError translates what the object store or the reader refuses.
func (e *Engine) tierError(err error, id shard.ID, offset int64, key string) error {
	kind := shard.KindUnavailable
	var c *tier.CorruptError
	switch {
	case errors.As(err, &c), errors.Is(err, store.ErrNotFound):
		kind = shard.KindCorrupt
		e.log.Error("segment cannot be read", "object", key, "shard", id.String(), "offset", offset, "error", err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
	}
	return &shard.Error{Kind: kind, Op: "read segment " + key, Shard: &id, Offset: offset, Err: err}
}

// Broker gives the gateways what they may use.
func (e *Engine) Broker() shard.Broker {
	return shard.Broker{Topics: e.topics, Log: e, Live: e.live, State: e.state, Groups: e.groups,
		Cluster: cluster{e}, Users: users{e.cat}, ACLs: acls{e.cat}}
}
