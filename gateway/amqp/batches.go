package amqp

import (
	"context"
	"sync"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// ref is whom the outcome of an append concerns.
type ref struct {
	ch  *channel
	seq uint64
	tx  *transaction
	ps  *parts // the message has further records; nil: none
}

// batch is what a connection publishes to one shard at once.
type batch struct {
	c       *conn
	topic   *shard.Topic
	id      shard.ID
	builder *shard.Builder
	refs    []ref
	bytes   int
	sealed  *shard.Batch
	raw     []byte // to seal it again, while held
	stored  shard.ID
	base    int64 // offset in stored
}

// maxBatch is where a batch is sealed though more follows, in bytes. It is under
// the least limit that topics commonly have.
const maxBatch = 512 << 10

// batches gathers what one read brought, by shard.
type batches struct {
	by    map[shard.ID]*batch
	order []*batch
	size  int // of the last batch: the next is likely to be like it
}

func (bs *batches) add(c *conn, t *shard.Topic, id shard.ID, r *shard.Record, to ref) {
	b := bs.by[id]
	limit := maxBatch
	if m := int(t.Config.MaxMessageBytes); m > 0 {
		limit = min(limit, m*3/4)
	}
	if b != nil && b.builder.Size()+r.Size() > limit {
		bs.flush(c) // all of them, so that order stays
		b = nil
	}
	if b == nil {
		b = &batch{c: c, topic: t, id: id, builder: shard.NewBuilder(max(bs.size, r.Size()+64))}
		if bs.by == nil {
			bs.by = make(map[shard.ID]*batch)
		}
		bs.by[id] = b
		bs.order = append(bs.order, b)
	}
	b.builder.Add(r)
	b.refs = append(b.refs, to)
}

// flush appends the batches.
func (bs *batches) flush(c *conn) {
	for i, b := range bs.order {
		b.sealed = b.builder.Build()
		b.bytes = b.sealed.Size()
		bs.size = b.bytes
		c.inflight.add(b.bytes)
		if !c.held.behind(b) {
			b.append(c.ctx)
		}
		bs.order[i] = nil
	}
	if len(bs.order) > 0 {
		clear(bs.by)
		bs.order = bs.order[:0]
	}
}

func (b *batch) append(ctx context.Context) {
	b.c.s.env.Broker.Log.Append(ctx, b.id, b.sealed, shard.AppendOptions{Origin: b.c.nc.Origin}, b)
}

// Appended takes the outcome: confirms, or what to do about a refusal.
func (b *batch) Appended(r shard.AppendResult) {
	switch {
	case r.Err == nil:
		b.stored, b.base = b.id, r.Base
		b.settle(confirmed)
	case retriable(r.Err) || shard.KindOf(r.Err) == shard.KindNotFound:
		b.c.held.hold(b, true)
	case isTooLarge(r.Err) && len(b.refs) > 1:
		b.c.held.hold(b, false) // one by one
	default:
		b.c.log.Warn("publish refused", "topic", b.topic.Name, "messages", len(b.refs), "error", r.Err)
		b.settle(refused)
	}
}

// settle passes the outcome on to the channels. What is stored and was promised a
// confirm is refused all the same where a queue did not take it.
func (b *batch) settle(o outcome) {
	var not map[int]bool
	if o == confirmed {
		not = b.c.rejections.take(b.stored, b.base, len(b.refs))
	}
	of := func(i int) outcome {
		if not[i] && b.refs[i].seq != 0 && b.refs[i].tx == nil {
			return refused
		}
		return o
	}
	for i := 0; i < len(b.refs); {
		n, ch, is := i+1, b.refs[i].ch, of(i)
		for n < len(b.refs) && b.refs[n].ch == ch && of(n) == is {
			n++
		}
		ch.settleAll(b.refs[i:n], is)
		i = n
	}
	b.c.inflight.done(b.bytes)
}

func (ch *channel) settleAll(refs []ref, o outcome) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	unpromised := false
	for _, r := range refs {
		all := o
		switch {
		case r.tx != nil:
			r.tx.settled(o)
		case r.seq != 0:
			if r.ps.done(&all) {
				ch.mu.confirms.set(r.seq, all)
			}
		default:
			unpromised = true
		}
	}
	ch.sendConfirms()
	if unpromised && o == refused && !ch.mu.gone {
		// There is no confirm to refuse: close, so that the client knows.
		f := refuse(codeInternalError, "message could not be stored")
		ch.c.out.method(0, &frame.ConnectionClose{ReplyCode: f.code, ReplyText: f.text, ClassID: 60, MethodID: 40})
	}
}

// inflight bounds what a connection published that is not settled.
type inflight struct {
	mu    sync.Mutex
	bytes int
	room  chan struct{} // closed when bytes fell; nil when nobody waits
}

func (f *inflight) add(n int) {
	f.mu.Lock()
	f.bytes += n
	f.mu.Unlock()
}

func (f *inflight) done(n int) {
	f.mu.Lock()
	f.bytes -= n
	if f.room != nil {
		close(f.room)
		f.room = nil
	}
	f.mu.Unlock()
}

// waitBelow blocks until at most n bytes are under way.
func (f *inflight) waitBelow(ctx context.Context, n int) bool {
	for {
		f.mu.Lock()
		if f.bytes <= n {
			f.mu.Unlock()
			return true
		}
		if f.room == nil {
			f.room = make(chan struct{})
		}
		room := f.room
		f.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return false
		}
	}
}

// heldBatches are those that were refused for now. They are appended again, in
// order per shard, by one goroutine that lives while there are any.
type heldBatches struct {
	mu      sync.Mutex
	queue   []*batch
	shards  map[shard.ID]int
	blocked bool // the client was told
	memory  *gateway.Queue
}

// behind queues a batch if others of its shard are held.
func (h *heldBatches) behind(b *batch) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.shards[b.id] == 0 {
		return false
	}
	h.push(b)
	return true
}

func (h *heldBatches) push(b *batch) {
	b.raw = b.sealed.Raw()
	h.memory.Add(b.bytes)
	h.queue = append(h.queue, b)
	h.shards[b.id]++
}

// hold keeps a refused batch; called by completions. tell says that the client
// should hear of it.
func (h *heldBatches) hold(b *batch, tell bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.shards == nil {
		h.shards = make(map[shard.ID]int)
	}
	first := len(h.queue) == 0
	h.push(b)
	if tell {
		b.c.setBlocked(h, true)
	}
	if first {
		go b.c.retryHeld()
	}
}

// inflightLimit is what may be under way when reading goes on. While the log takes
// nothing it is less: what is held then is memory, and all publishers hold some.
func (c *conn) inflightLimit() int {
	limit := c.s.env.Limits.MaxInflightBytes
	if c.held.memory.Bytes() > 0 {
		limit = min(limit, c.held.memory.Limit())
	}
	return limit
}

// setBlocked tells the client, once per change, if it asked to be told; h.mu is held.
func (c *conn) setBlocked(h *heldBatches, on bool) {
	if h.blocked == on {
		return
	}
	h.blocked = on
	if !c.caps.blocked {
		return
	}
	if on {
		c.out.method(0, &frame.ConnectionBlocked{Reason: "low on resources: storage does not take messages now"})
	} else {
		c.out.method(0, &frame.ConnectionUnblocked{})
	}
}

// retryHeld appends held batches until there are none.
func (c *conn) retryHeld() {
	wait := time.Duration(0)
	for {
		select {
		case <-time.After(wait):
		case <-c.ctx.Done():
			return
		}
		wait = min(2*wait+25*time.Millisecond, time.Second)
		for {
			b := c.held.first()
			if b == nil {
				return
			}
			ok, err := b.again(c.ctx)
			if err != nil {
				break // wait again
			}
			if !ok {
				b.settle(refused)
			} else {
				b.settle(confirmed)
			}
			wait = 25 * time.Millisecond
			c.held.pop(c)
		}
	}
}

func (h *heldBatches) first() *batch {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.queue) == 0 {
		return nil
	}
	return h.queue[0]
}

func (h *heldBatches) pop(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.queue[0]
	h.memory.Add(-b.bytes)
	h.queue[0] = nil
	h.queue = h.queue[1:]
	if h.shards[b.id]--; h.shards[b.id] == 0 {
		delete(h.shards, b.id)
	}
	if len(h.queue) == 0 {
		h.queue = nil
		c.setBlocked(h, false)
	}
}

// again appends a held batch, record by record where that is needed. An error
// says to try later; ok is false when it is refused for good.
func (b *batch) again(ctx context.Context) (ok bool, err error) {
	again, err := shard.ParseBatch(append([]byte(nil), b.raw...))
	if err != nil {
		return false, nil
	}
	recs, err := again.Records()
	if err != nil {
		return false, nil
	}
	log := b.c.s.env.Broker.Log
	opts := shard.AppendOptions{Origin: b.c.nc.Origin}
	subject := b.topic.SubjectOf(&recs[0])
	t, err := b.c.s.env.Broker.Topics.Resolve(ctx, subject, true)
	if err != nil {
		return false, err
	}
	id := t.ShardOf(recs[0].Key, subject)
	res, err := shard.AppendWait(ctx, log, id, again, opts)
	b.stored, b.base = id, res.Base
	if err == nil || retriable(err) || ctx.Err() != nil {
		return err == nil, err
	}
	if !isTooLarge(err) || len(recs) == 1 {
		b.c.log.Warn("publish refused", "topic", b.topic.Name, "error", err)
		return false, nil
	}
	return b.oneByOne(ctx, id, recs)
}

// oneByOne appends the records of a batch that was too large as a whole, and
// settles each by itself.
func (b *batch) oneByOne(ctx context.Context, id shard.ID, recs []shard.Record) (ok bool, err error) {
	for i := range recs {
		opts := shard.AppendOptions{Origin: b.c.nc.Origin}
		res, err := shard.AppendWait(ctx, b.c.s.env.Broker.Log, id, shard.BatchOf(recs[i]), opts)
		if err != nil && (retriable(err) || ctx.Err() != nil) {
			b.raw = shard.BatchOf(recs[i:]...).Raw()
			b.refs = b.refs[i:]
			return false, err
		}
		o := confirmed
		if err != nil || b.c.rejections.take(id, res.Base, 1) != nil && b.refs[i].seq != 0 && b.refs[i].tx == nil {
			o = refused
		}
		b.refs[i].ch.settleAll(b.refs[i:i+1], o)
	}
	b.refs = nil
	return true, nil
}

// blockedWait tells the client that it is blocked and waits; false when the
// connection ends.
func (c *conn) blockedWait(d time.Duration) bool {
	c.flush()
	c.held.mu.Lock()
	c.setBlocked(&c.held, true)
	c.held.mu.Unlock()
	select {
	case <-time.After(d):
		return true
	case <-c.ctx.Done():
		return false
	}
}

// unblocked ends what blockedWait began, unless batches are held.
func (c *conn) unblocked() {
	c.held.mu.Lock()
	if c.held.blocked && len(c.held.queue) == 0 {
		c.setBlocked(&c.held, false)
	}
	c.held.mu.Unlock()
}
