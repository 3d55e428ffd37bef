package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/engine/group"
	"github.com/robustmq/robustmq-go/engine/live"
	"github.com/robustmq/robustmq-go/internal/vfs"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/wal"
)

// Open starts an engine: it joins the cluster, claims its slots, replays the
// write-ahead log and loads the state. The directory of the log must be this
// process's alone (the WAL locks it). The catalog and the store stay the
// caller's to close.
func Open(ctx context.Context, cat *catalog.Catalog, st store.Store, opts Options) (_ *Engine, err error) {
	opts.setDefaults()
	e := &Engine{opts: opts, log: opts.Logger, cat: cat, store: st,
		budget: semaphore.NewWeighted(opts.AppendBytes), feeding: semaphore.NewWeighted(opts.AppendBytes),
		spare: semaphore.NewWeighted(opts.AppendBytes / spareShare), objects: semaphore.NewWeighted(opts.AppendBytes),
		parking: semaphore.NewWeighted(opts.AppendBytes), producerReads: make(chan struct{}, producerReads),
		lost: make(chan struct{}), cold: newColdReads()}
	e.ctx, e.cancel = context.WithCancel(context.WithoutCancel(ctx))
	e.opened = opts.Now().UnixMilli()
	e.clock = newClock(&e.opts)
	e.tails.limit, e.tails.now = opts.TailBytes, opts.Now
	for i := range e.shards {
		e.shards[i].m = make(map[shard.ID]*shardLog)
	}
	e.topics = &topics{e: e, maker: topicMaker{e: e}}
	e.state = newStateStore(e)
	e.flusher = flusher{e: e, kick: make(chan struct{}, 1), ask: make(chan chan error)}
	defer func() {
		if err != nil {
			e.abandon()
		}
	}()
	if err = e.claimFirst(ctx); err != nil {
		return nil, err
	}
	e.startClock(ctx)
	if e.reader, err = tier.NewReader(st, tier.ReaderOptions{CacheBytes: opts.CacheBytes}); err != nil {
		return nil, err
	}
	maxEntry := 0
	if opts.WALFileBytes >= 2*shard.MaxBatchBytes {
		maxEntry = shard.MaxBatchBytes
	}
	wo := wal.Options{Dir: opts.WALDir, FS: opts.FS, FileBytes: opts.WALFileBytes, MaxBytes: opts.WALMaxBytes, MaxEntryBytes: maxEntry, Logger: opts.Logger}
	if err = vfs.Soon(ctx, func() (err error) { e.wal, err = wal.Open(wo); return err }); err != nil {
		return nil, fmt.Errorf("open write-ahead log: %w", err)
	}
	if err = e.join(ctx); err != nil {
		return nil, err
	}
	if err = e.recover(ctx); err != nil {
		return nil, err
	}
	if err = e.afterRecovery(ctx); err != nil {
		return nil, err
	}
	if e.notedSince, err = e.producersSince(ctx); err != nil {
		return nil, err
	}
	e.live = live.NewHub(e.log, opts.Now)
	e.groups = group.NewManager(group.Options{Log: e, State: e.state, Topics: e.topics, Logger: e.log, Now: e.clock.now, TotalBytes: opts.GroupBytes})
	e.feed.groups, e.feed.live = e.groups.Durable, e.live.Durable
	e.feed.start()
	e.wg.Go(func() { e.flusher.run(e.ctx) }) // groups note that they run, which in an object-durable cluster waits for a flush
	if e.stateWaits() == nil {
		if err = e.groups.Load(ctx); err != nil {
			return nil, err
		}
	}
	if e.waits() {
		e.wg.Go(e.watchWaiting)
	}
	e.wg.Go(e.watchSession)
	e.wg.Go(e.revisionLoop)
	e.wg.Go(func() { e.retentionLoop(e.ctx) })
	e.wg.Go(func() { e.mergeLoop(e.ctx) })
	e.wg.Go(func() { e.brakeLoop(e.ctx) })
	return e, nil
}

// join registers this gateway and claims the slots.
func (e *Engine) join(ctx context.Context) (err error) {
	if err := e.beforeJoin(); err != nil {
		return err
	}
	e.session, err = e.cat.Join(ctx, catalog.Gateway{ID: e.opts.Node.Name, Addresses: e.opts.Node.Addresses,
		Zone: e.opts.Node.Zone, WALID: e.walID(), Default: e.opts.Durability}, true)
	if err != nil {
		return fmt.Errorf("join cluster: %w", err)
	}
	e.noteSeen(e.session.Incarnation())
	if e.opts.Node.ID == 0 {
		e.opts.Node.ID = nodeID(e.opts.Node.Name)
	}
	if err := e.claimAll(ctx); err != nil {
		return err
	}
	e.findWaiting()
	if err := e.session.ForgetWALs(ctx); err != nil {
		return fmt.Errorf("forget logs: %w", err)
	}
	return e.ensureStateTopic(ctx)
}

// afterRecovery notes that the log is the one that the catalog knows, and in use.
func (e *Engine) afterRecovery(ctx context.Context) error {
	if err := e.session.MarkWAL(ctx, e.joined.Mark[:]); err != nil {
		return fmt.Errorf("note the write-ahead log: %w", err)
	}
	if e.waits() {
		return nil
	}
	if e.opts.Durability != shard.DurabilityObject { // or the first append would have to wait for it
		if err := e.openLog(ctx); err != nil {
			return err
		}
	}
	return e.leapAll(ctx)
}

// claimAll claims every slot. Those of a gateway of another name are free when its lease
// is over; one that lives on owns them, and there would be nothing to serve.
func (e *Engine) claimAll(ctx context.Context) error {
	all := make([]int, Slots)
	for i := range all {
		all[i] = i
	}
	patience := time.NewTimer(3 * e.cat.LeaseTTL())
	defer patience.Stop()
	for said := false; ; {
		changed := e.cat.GatewaysChanged()
		claimed, err := e.session.ClaimSlots(ctx, all)
		if err != nil {
			return fmt.Errorf("claim slots: %w", err)
		}
		if len(claimed) == Slots {
			for slot, epoch := range claimed {
				e.epochs[slot] = int32(epoch)
			}
			return nil
		}
		if !said {
			said = true
			e.log.Warn("another gateway owns slots: waiting for the end of its lease", "slots", Slots-len(claimed))
			if err := e.salvageOwn(ctx); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-patience.C:
			return &shard.Error{Kind: shard.KindMoved, Op: "claim slots", Msg: fmt.Sprintf("another gateway lives and owns %d of %d", Slots-len(claimed), Slots),
				Hint: "one gateway serves a cluster: stop the other one, or give this one an etcd.prefix and a store.prefix of its own"}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// ensureStateTopic makes the internal topic when the cluster is new; it is the
// first one, so its number is fixed.
func (e *Engine) ensureStateTopic(ctx context.Context) error {
	t, ok := e.cat.Topics().ByName(stateTopic)
	if !ok {
		var err error
		t, err = e.cat.CreateTopic(ctx, shard.Topic{Name: stateTopic, Shards: Slots, Internal: true,
			Created: e.opts.Now().UnixMilli(), Config: shard.TopicConfig{Compact: true}})
		if errors.Is(err, shard.ErrTopicExists) {
			t, _ = e.cat.Topics().ByName(stateTopic)
		} else if err != nil {
			return fmt.Errorf("create state topic: %w", err)
		}
	}
	if t == nil || t.Num != stateTopicNum {
		return shard.Errorf(shard.KindCorrupt, "the catalog's state topic does not have number %d", stateTopicNum)
	}
	return nil
}

// Close flushes what it can, gives up ownership and stops. Appends must have
// ended.
func (e *Engine) Close(ctx context.Context) error {
	if e.down() == nil {
		e.each(func(s *shardLog) { e.saveProducers([]*shardLog{s}, true) })
	}
	err := e.Flush(ctx)
	if err != nil {
		e.log.Warn("last flush failed; the write-ahead log keeps everything", "error", err)
	}
	if e.groups != nil {
		e.groups.Close()
	}
	if cerr := e.closeClock(ctx); cerr != nil {
		e.log.Warn("close clock", "error", cerr)
	}
	// What the groups and the flushes themselves noted in the state log comes after.
	for i := 0; i < closeFlushes && err == nil && e.unsettled(ctx); i++ {
		err = e.Flush(ctx)
	}
	if err == nil {
		e.noteLastRevision(ctx)
	}
	e.stop(err == nil && !e.unsettled(ctx) && e.failed.Load() == nil)
	return err
}

// closeFlushes bounds the flushes of Close: two are what it takes.
const closeFlushes = 5

// unsettled waits until the WAL has what was given to it, and has told, and tells
// whether there is something to flush.
func (e *Engine) unsettled(ctx context.Context) bool {
	for e.wal.Stats().Unreported > 0 && ctx.Err() == nil && e.down() == nil {
		time.Sleep(time.Millisecond)
	}
	return e.flusher.pending()
}

// abandon stops everything, flushed or not.
func (e *Engine) abandon() { e.stop(false) }

// stop ends everything. clean says that all the log held is committed: nobody has
// to wait for it then.
func (e *Engine) stop(clean bool) {
	e.cancel()
	e.wg.Wait()
	if clean {
		e.noteSeen(e.cat.Revision())
	}
	if e.wal != nil {
		if err := e.wal.Close(); err != nil {
			e.log.Warn("close write-ahead log", "error", err)
			clean = false
		}
	}
	if clean && e.flusher.doubt == nil && e.session.Alive() {
		if err := e.release(); err != nil {
			e.log.Warn("the write-ahead log is empty, but could not be noted so: a gateway with another log will wait for it", "error", err)
		}
	}
	e.sweep(shard.ErrClosed)
	if e.feed.groups != nil {
		e.feed.close()
	}
	if e.reader != nil {
		e.reader.Close()
	}
	if e.session != nil {
		if err := e.session.Leave(); err != nil {
			e.log.Warn("leave cluster", "error", err)
		}
	}
}
