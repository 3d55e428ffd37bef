package shardmem

import (
	"context"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/robustmq/robustmq-go/engine/producer"
	"github.com/robustmq/robustmq-go/shard"
)

// shardLog is one shard.
type shardLog struct {
	mu      sync.Mutex
	batches []*shard.Batch  // assigned; those that end at or before end are visible
	arrived map[int64]int64 // by base offset, milliseconds
	start   int64
	end     int64
	next    int64 // to be assigned
	table   *producer.Table
	waits   map[int64]chan struct{}
	gone    bool
}

// pending is a completion that waits for its turn.
type pending struct {
	log    *shardLog
	topic  *shard.Topic
	index  uint32
	batch  *shard.Batch // nil when nothing was written
	origin shard.Origin
	result shard.AppendResult
	done   shard.Completion
	size   int64
}

func newShardLog() *shardLog {
	return &shardLog{table: producer.New(producer.Limits{}), waits: make(map[int64]chan struct{}), arrived: make(map[int64]int64)}
}

func (l *shardLog) reopen() *shardLog {
	n := newShardLog()
	n.start, n.end, n.next = l.start, l.end, l.end
	now := time.Now().UnixMilli()
	for _, b := range l.batches {
		raw := slices.Clone(b.Raw())
		if c, err := shard.ParseBatch(raw); err == nil {
			n.batches = append(n.batches, c)
			n.arrived[c.BaseOffset()] = l.arrived[b.BaseOffset()]
			n.table.Replay(c, now)
		}
	}
	return n
}

// close wakes all who wait, for good.
func (l *shardLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = true
	for _, ch := range l.waits {
		close(ch)
	}
	l.waits = make(map[int64]chan struct{})
}

func (b *Broker) log(id shard.ID) (*shardLog, *shard.Topic, error) {
	t, ok := b.topics.ByNum(id.Topic)
	if !ok || id.Index >= t.Shards {
		return nil, nil, shard.ErrTopicNotFound
	}
	b.logs.RLock()
	l := b.logs.m[id]
	b.logs.RUnlock()
	if l == nil {
		b.logs.Lock()
		defer b.logs.Unlock()
		if l = b.logs.m[id]; l == nil {
			l = newShardLog()
			b.logs.m[id] = l
		}
	}
	return l, t, nil
}

func (b *Broker) dropLogs(t *shard.Topic) {
	b.logs.Lock()
	defer b.logs.Unlock()
	for i := range t.Shards {
		id := t.Shard(i)
		if l := b.logs.m[id]; l != nil {
			l.close()
			delete(b.logs.m, id)
		}
	}
}

// Append implements shard.Log.
func (b *Broker) Append(ctx context.Context, id shard.ID, batch *shard.Batch, opts shard.AppendOptions, done shard.Completion) {
	size := min(int64(batch.Size()), b.opts.AppendBudget)
	if err := b.budget.Acquire(ctx, size); err != nil {
		done.Appended(refused(shard.Errorf(shard.KindUnavailable, "append batch: %w", err)))
		return
	}
	l, t, err := b.log(id)
	if err != nil {
		b.budget.Release(size)
		done.Appended(refused(err))
		return
	}
	var early *shard.AppendResult // of an append that is refused, or promised nothing
	defer func() {
		if early != nil {
			done.Appended(*early)
		}
	}()
	l.mu.Lock()
	defer l.mu.Unlock()
	p := pending{log: l, topic: t, index: id.Index, origin: opts.Origin, done: done, size: size}
	p.result, err = b.assign(l, t, id, batch, opts)
	if err != nil { // told at once, as the engine does
		r := refused(shard.At(err, "append batch", id, l.next))
		early = &r
		b.budget.Release(size)
		return
	}
	if !p.result.Duplicate {
		p.batch = batch
		b.hub.Assigned(t, id.Index, batch, opts.Origin)
	}
	if opts.Durability == shard.DurabilityMemory {
		r := p.result
		early, p.done = &r, nil
	}
	b.push(p)
}

func refused(err error) shard.AppendResult {
	return shard.AppendResult{Err: err, Base: -1, AppendTime: -1}
}

// assign checks the batch and gives it its offsets. l is locked.
func (b *Broker) assign(l *shardLog, t *shard.Topic, id shard.ID, batch *shard.Batch, opts shard.AppendOptions) (shard.AppendResult, error) {
	if f := b.opts.FailAppend; f != nil {
		if err := f(id, batch, opts); err != nil {
			return shard.AppendResult{}, err
		}
	}
	limit := t.Config.MaxMessageBytes
	if limit <= 0 {
		limit = b.opts.MaxMessageBytes
	}
	switch {
	case l.gone:
		return shard.AppendResult{}, shard.ErrTopicNotFound
	case batch.Size() > int(limit):
		return shard.AppendResult{}, shard.ErrBatchTooLarge
	case batch.Count() == 0 || batch.LastOffsetDelta() < 0:
		return shard.AppendResult{}, shard.Errorf(shard.KindInvalid, "batch has no records")
	}
	now := b.opts.Now().UnixMilli()
	v, err := l.table.CheckID(opts.DedupeID, now)
	if err == nil && !v.Duplicate {
		v, err = l.table.Check(batch, now)
	}
	if err != nil {
		return shard.AppendResult{}, err
	}
	res := shard.AppendResult{Base: v.Base, AppendTime: -1, Start: l.start, Duplicate: v.Duplicate}
	if v.Duplicate {
		if t.Config.AppendTime {
			res.AppendTime = v.Timestamp
		}
		return res, nil
	}
	if opts.CheckNext && opts.ExpectNext != l.next {
		return shard.AppendResult{}, shard.ErrPrecondition
	}
	batch.Assign(l.next, 0)
	if t.Config.AppendTime {
		batch.SetAppendTime(now)
		res.AppendTime = now
	}
	res.Base = l.next
	l.next = batch.LastOffset() + 1
	l.table.Add(batch, now)
	l.table.AddID(opts.DedupeID, batch, now)
	l.batches = append(l.batches, batch)
	l.arrived[res.Base] = now
	return res, nil
}

func (b *Broker) push(p pending) {
	b.queue.Lock()
	defer b.queue.Unlock()
	if b.queue.closed {
		p.result = refused(shard.ErrClosed)
		if p.batch != nil && p.log != nil { // it never becomes visible
			p.log.batches = p.log.batches[:len(p.log.batches)-1]
			p.batch = nil
		}
		b.budget.Release(p.size)
		if p.done != nil {
			go p.done.Appended(p.result)
		}
		return
	}
	b.queue.items = append(b.queue.items, p)
	b.queue.wake.Signal()
}

// complete makes batches visible and tells the publishers, in order.
func (b *Broker) complete() {
	for {
		b.queue.Lock()
		for len(b.queue.items) == 0 && !b.queue.closed {
			b.queue.wake.Wait()
		}
		items := b.queue.items
		b.queue.items = nil
		b.queue.Unlock()
		if len(items) == 0 {
			return
		}
		if b.opts.Delay > 0 {
			time.Sleep(b.opts.Delay)
		}
		for i := range items {
			p := &items[i]
			if p.batch != nil {
				p.log.show(p.batch)
				b.durable(p)
			}
			if p.done != nil {
				p.done.Appended(p.result)
			}
			b.budget.Release(p.size)
		}
	}
}

// durable feeds what takes durable messages, before the publisher hears of it.
func (b *Broker) durable(p *pending) {
	if p.topic.Internal {
		return
	}
	b.hub.Durable(p.topic, p.index, p.batch, p.origin)
	b.groups.Durable(p.topic, p.index, p.batch, p.origin)
}

func (l *shardLog) show(batch *shard.Batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end = batch.LastOffset() + 1
	for end, ch := range l.waits {
		if end < l.end {
			close(ch)
			delete(l.waits, end)
		}
	}
}

func (l *shardLog) bounds() shard.Bounds {
	return shard.Bounds{Start: l.start, End: l.end, Stable: l.end}
}

// Read implements shard.Log.
func (b *Broker) Read(ctx context.Context, id shard.ID, from int64, opts shard.ReadOptions) (shard.ReadResult, error) {
	l, _, err := b.log(id)
	if err != nil {
		return shard.ReadResult{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	res := shard.ReadResult{Bounds: l.bounds()}
	if from < l.start || from > l.end {
		return res, shard.At(shard.ErrOffsetOutOfRange, "read", id, from)
	}
	left := opts.MaxBytes
	if left <= 0 {
		left = 1 << 20
	}
	for i := l.find(from); i < len(l.batches); i++ {
		x := l.batches[i]
		if x.LastOffset() >= l.end || opts.Until > 0 && x.BaseOffset() >= opts.Until ||
			len(res.Batches) > 0 && x.Size() > left {
			break
		}
		res.Batches = append(res.Batches, x)
		left -= x.Size()
	}
	return res, ctx.Err()
}

// find gives the index of the first batch that ends at offset or later.
func (l *shardLog) find(offset int64) int {
	return sort.Search(len(l.batches), func(i int) bool { return l.batches[i].LastOffset() >= offset })
}

// Arrived implements shard.Arrivals.
func (b *Broker) Arrived(id shard.ID, offset int64) (first, last int64, ok bool) {
	l, _, err := b.log(id)
	if err != nil {
		return 0, 0, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.find(offset)
	if i == len(l.batches) {
		return 0, 0, false
	}
	at, ok := l.arrived[l.batches[i].BaseOffset()]
	return at, at, ok
}

// Bounds implements shard.Log.
func (b *Broker) Bounds(_ context.Context, id shard.ID) (shard.Bounds, error) {
	l, _, err := b.log(id)
	if err != nil {
		return shard.Bounds{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bounds(), nil
}

// Wait implements shard.Log.
func (b *Broker) Wait(id shard.ID, end int64) (<-chan struct{}, error) {
	l, _, err := b.log(id)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	ch := l.waits[end]
	if ch == nil {
		ch = make(chan struct{})
		if l.end > end || l.gone {
			close(ch)
		} else {
			l.waits[end] = ch
		}
	}
	return ch, nil
}

// OffsetOf implements shard.Log.
func (b *Broker) OffsetOf(_ context.Context, id shard.ID, ts int64) (offset, timestamp int64, ok bool, err error) {
	l, _, err := b.log(id)
	if err != nil {
		return 0, 0, false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range l.batches {
		if x.LastOffset() >= l.end {
			break
		}
		if x.MaxTimestamp() < ts {
			continue
		}
		recs, err := x.Records()
		if err != nil {
			return 0, 0, false, shard.At(err, "find offset", id, x.BaseOffset())
		}
		for i := range recs {
			if recs[i].Timestamp >= ts && recs[i].Offset >= l.start {
				return recs[i].Offset, recs[i].Timestamp, true, nil
			}
		}
	}
	return 0, 0, false, nil
}

// TrimBefore implements shard.Log.
func (b *Broker) TrimBefore(_ context.Context, id shard.ID, offset int64) error {
	l, _, err := b.log(id)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if offset > l.end {
		return shard.At(shard.ErrOffsetOutOfRange, "trim", id, offset)
	}
	if offset > l.start {
		l.start = offset
		l.batches = slices.Delete(l.batches, 0, l.find(offset))
	}
	return nil
}
