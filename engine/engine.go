package engine

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

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
	cold    *coldReads

	live   *live.Hub
	groups *group.Manager
	topics *topics
	state  *stateStore

	shards [shardStripes]shardStripe
	tails  tails
	// The budgets of appends, see budget.go. They are apart from each other, so that
	// what waits for one thing holds up nobody who waits for another.
	budget, feeding, spare, objects *semaphore.Weighted
	flusher                         flusher
	feed                            feed
	claimed                         claimed
	clock                           *clock
	damaged                         damagedReads
	pins                            pins

	// notedSince: of topics from it on the state log knows every producer.
	notedSince    shard.TopicNum
	loads         atomic.Int64 // scans for producers under way
	parking       *semaphore.Weighted
	producerReads chan struct{}

	opened int64 // milliseconds
	epochs [Slots]int32
	// leaps counts, by slot, the abandoned logs whose offsets are not leaped over yet.
	leaps   [Slots]int64
	waiting waiting
	joined  wal.Joined // what the log's directory notes; the start's, then revisionLoop's
	logOpen opened
	// storeOlder is set where the store lacks what was stored last.
	storeOlder atomic.Pointer[shard.Error]
	// settling holds the topics that are about to become object-durable.
	settling sync.Map
	kept     kept
	// serving is set once the WAL has been replayed.
	serving bool

	failed   atomic.Pointer[error]
	lost     chan struct{} // closed by fail
	counters counters

	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	savings savings

	// unmergeable holds the ULIDs of segments that a merge could not read.
	unmergeable sync.Map
	use         atomic.Pointer[catalogUse]
	ledger      ledger
	fresh       atomic.Pointer[unmerged] // as of the last look
	merging     sync.Mutex               // held by a merge; guards what follows
	mergeTurn   int
	snapshotAt  int64 // of the last one, in milliseconds
	inDoubt     *snapshotSwap
	campaign    *campaign
	inMerge     sync.Map   // ULIDs of what is being merged
	removing    sync.Mutex // held while retention takes segments out

	hooks hooks
}

// hooks are, for tests, ways to break the engine on purpose.
type hooks struct {
	// trimFirst is called with the place that a flush will trim to, before it
	// has written anything.
	trimFirst func(wal.Pos)
	// ackEarly completes appends before they are durable.
	ackEarly bool
	// usage stands for what etcd says of its size.
	usage func(context.Context) (catalog.Usage, error)
}

type counters struct {
	flushes, flushedBytes atomic.Int64
	flushFailures         atomic.Int64
	merges, mergedBytes   atomic.Int64
	unmergeable           atomic.Int64
	snapshots             atomic.Int64
	deletedObjects        atomic.Int64
	lostRecords           atomic.Int64
	producerReads         atomic.Int64
}

const shardStripes = 64

type shardStripe struct {
	sync.RWMutex
	m map[shard.ID]*shardLog
}

// fail puts the engine out of service: nothing is acknowledged any more. What
// was acknowledged and is in memory is brought to the object store if that can
// be done yet, then ownership is given up.
func (e *Engine) fail(err error) {
	if !e.failed.CompareAndSwap(nil, &err) {
		return
	}
	if errors.Is(err, errStartOver) {
		e.log.Info("ownership is given up", "why", err)
	} else {
		e.log.Error("storage failed; nothing is acknowledged until it is opened anew", "error", err)
	}
	close(e.lost)
	go func() {
		e.sweep(err)
		ctx, cancel := context.WithTimeout(e.ctx, rescueTime)
		defer cancel()
		if err := e.Flush(ctx); err != nil {
			e.log.Error("not everything acknowledged could be brought to the object store; the write-ahead log holds it", "error", err)
		}
		if e.ctx.Err() == nil {
			_ = e.session.Leave() // its lease runs out anyway
		}
	}()
}

// rescueTime is how long the last flush of an engine that failed may take.
const rescueTime = 10 * time.Second

// errSessionOver: the lease may be another's.
var errSessionOver = errors.New("the catalog session is lost")

// watchSession fails the engine as soon as the session is lost.
func (e *Engine) watchSession() {
	select {
	case <-e.session.Lost():
		if e.ctx.Err() == nil {
			e.fail(errSessionOver)
		}
	case <-e.ctx.Done():
	}
}

// sweep completes, with an error, what waits for something that will not come.
func (e *Engine) sweep(err error) {
	e.each(func(s *shardLog) { s.abort(err) })
}

// abort completes what waits for the shard's commits and originals.
func (s *shardLog) abort(err error) {
	s.mu.Lock()
	object, dups := s.object, s.dups
	s.object, s.dups = nil, nil
	s.mu.Unlock()
	for _, p := range object {
		p.refuse(err)
	}
	for _, d := range dups {
		d.done.Appended(shard.AppendResult{Err: unavailable(err), AppendTime: -1})
	}
}

func unavailable(err error) error {
	var known *shard.Error
	if errors.As(err, &known) {
		return err
	}
	return &shard.Error{Kind: shard.KindUnavailable, Op: "append batch", Err: err}
}

// down gives the reason why the engine serves no appends.
func (e *Engine) down() error {
	if err := e.failed.Load(); err != nil {
		return &shard.Error{Kind: shard.KindUnavailable, Op: "append batch", Err: *err,
			Hint: "this gateway acknowledges nothing until its storage has been opened anew"}
	}
	select {
	case <-e.ctx.Done():
		return shard.ErrClosed
	default:
	}
	if !e.session.Alive() {
		return &shard.Error{Kind: shard.KindUnavailable, Op: "append batch", Err: errSessionOver}
	}
	return nil
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
		// Asked again under the lock: forgetTopic may have passed by.
		if t, ok = e.topics.ByNum(id.Topic); !ok {
			return nil, nil, shard.ErrTopicNotFound
		}
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
	if err == nil {
		if err := e.mayServe(t); err != nil {
			return nil, nil, shard.At(err, "append batch", id, -1)
		}
	}
	return s, t, err
}

// newShardLog loads what the catalog knows of a shard.
func (e *Engine) newShardLog(id shard.ID) *shardLog {
	s := &shardLog{id: id, feeding: semaphore.NewWeighted(e.opts.AppendBytes / shardShare), epoch: e.epochs[slotOf(id)], lost: e.kept.lostOf(id)}
	s.flushed = e.flushedTo(id)
	if id.Topic == stateTopicNum { // up to there a snapshot has it, see findSnapshots
		s.start = e.kept.start(id)
	}
	s.end, s.next, s.synced = s.flushed, s.flushed, s.flushed
	if e.serving { // else its entries in the WAL come first
		s.skipLost()
		s.raise(e.kept.start(id))
		s.leap(e.kept.leap(id))
	}
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
	d := t.Config.Durability
	if d == shard.DurabilityDefault {
		d = e.opts.Durability
	}
	if t.Internal && d == shard.DurabilityMemory {
		return shard.DurabilityWAL // what has to be remembered is never left to chance
	}
	return d
}

func (e *Engine) maxMessageBytes(t *shard.Topic) int32 {
	if t.Config.MaxMessageBytes > 0 {
		return t.Config.MaxMessageBytes
	}
	if t.Internal {
		return shard.MaxBatchBytes
	}
	return min(e.opts.MaxMessageBytes+batchRoom, shard.MaxBatchBytes)
}

// batchRoom is what a batch may have over the bound that holds where a topic sets none,
// in bytes: the framing of a message of that very size, and the headers that tell where
// it was published to.
const batchRoom = 64 << 10

// tierError translates what the object store or the reader refuses.
func (e *Engine) tierError(err error, id shard.ID, offset int64, key string) error {
	kind := shard.KindUnavailable
	var c *tier.CorruptError
	switch {
	case errors.Is(err, errMoved):
	case errors.As(err, &c):
		kind = shard.KindCorrupt
		at := offset
		if c.From <= c.To {
			at, err = c.From, &damage{msg: err.Error(), resume: c.To + 1, err: err}
		}
		e.noteDamage(key, id, at, err)
	case errors.Is(err, store.ErrNotFound):
		kind = shard.KindCorrupt
		at := offset
		if _, x, ok := e.cat.FindExtent(id, offset); ok {
			at = x.Base
		}
		e.noteDamage(key, id, at, err)
	}
	return &shard.Error{Kind: kind, Op: "read segment " + key, Shard: &id, Offset: offset, Err: err}
}

// Broker gives the gateways what they may use.
func (e *Engine) Broker() shard.Broker {
	b := shard.Broker{Topics: e.topics, Log: e, Live: e.live, State: e.state, Groups: e.groups,
		Cluster: cluster{e}, Users: users{e.cat}, ACLs: acls{e.cat}, Now: e.Time}
	if err := e.stateWaits(); err != nil {
		b.Groups = waitingGroups{err}
	}
	return b
}
