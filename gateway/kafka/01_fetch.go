package kafka

import (
	"context"
	"reflect"
	"time"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Fetch (1): v4-18.
//
// v7+: sessions (KIP-227). v9+: the leader epoch is checked. v11+: rack, which
// changes nothing: every partition has the one reader that owns it. v13+: topic
// ids. A fetch that finds less than min_bytes waits for the end of any of its
// partitions to move, or for max_wait. The budget of bytes is shared out evenly
// first; what some do not need goes to the others.
func serveFetch(c *conn, r *request) {
	q := r.body.(*kmsg.FetchRequest)
	f := &fetch{c: c, q: q, reply: &fetchReply{FetchResponse: q.ResponseKind().(*kmsg.FetchResponse)}}
	f.reply.byID = q.Version >= 13
	sess, code := c.fetches.open(q)
	if code != codeNone {
		f.reply.ErrorCode = code
		r.reply(f.reply)
		return
	}
	f.budget = min(int(q.MaxBytes), c.srv.env.Limits.MaxOutboundBytes, maxFetchBytes)
	f.parts = sess.order()
	f.run(c.ctx)
	if c.ctx.Err() != nil {
		r.hangUp()
		return
	}
	c.fetches.answer(sess, f)
	f.lookAhead()
	if r.out = f.reply.recordBytes(c); r.out > 0 {
		if c.outbound.acquire(c.ctx, r.out) != nil {
			r.hangUp()
			return
		}
	}
	f.reply.ThrottleMillis = c.throttled()
	r.reply(f.reply)
}

const (
	maxFetchBytes = 55 << 20 // Kafka's fetch.max.bytes
	maxFetchWait  = 10 * time.Minute
	// maxWatched bounds the partitions whose ends one fetch waits for, which
	// reflect.Select does too; a fetch of more than that waits for these.
	maxWatched = 60_000
)

// fetch is one fetch request being served.
type fetch struct {
	c      *conn
	q      *kmsg.FetchRequest
	reply  *fetchReply
	parts  []*fetchPart
	budget int // bytes left
	bytes  int // found
	failed bool
}

// fetchPart is a partition of a fetch, of a session where there is one.
type fetchPart struct {
	key partKey

	// As asked for.
	offset   int64
	epoch    int32
	maxBytes int

	// Resolved for this request.
	topic *shard.Topic
	id    shard.ID

	// Found.
	code    int16
	bounds  shard.Bounds
	known   bool // bounds are
	batches []*shard.Batch
	shown   [][]byte // of batches: what shownToKafka gave
	bytes   int
	next    int64
	limit   int // the most bytes that a read of it might take

	// sentCode, sentEnd and sentStart are what the session's client knows.
	sentCode           int16
	sentEnd, sentStart int64
}

// partKey names a partition as its client does.
type partKey struct {
	name      string
	id        topicID
	partition int32
}

func (p *fetchPart) reset() {
	p.code, p.batches, p.shown, p.bytes, p.next, p.known, p.limit = codeNone, nil, nil, 0, p.offset, false, 0
	p.bounds = shard.Bounds{Start: -1, End: -1, Stable: -1, Epoch: -1}
}

func (f *fetch) run(ctx context.Context) {
	for _, p := range f.parts {
		p.reset()
		f.resolve(p)
	}
	f.readAll(ctx)
	if f.enough() || f.q.MaxWaitMillis <= 0 {
		return
	}
	wait := min(time.Duration(f.q.MaxWaitMillis)*time.Millisecond, maxFetchWait)
	ctx, cancel := context.WithTimeout(f.c.alive, wait)
	defer cancel()
	for !f.enough() && f.waitAny(ctx) {
	}
}

func (f *fetch) enough() bool {
	return f.failed || f.bytes >= int(f.q.MinBytes) || f.budget <= 0 || f.c.alive.Err() != nil
}

func (f *fetch) fail(p *fetchPart, code int16) {
	p.code, f.failed = code, true
}

func (f *fetch) resolve(p *fetchPart) {
	t, code := f.c.srv.lookup(p.key.name, p.key.id, f.reply.byID)
	if code == codeNone && !f.c.mayRead(t) {
		code = codeTopicAuthorizationFailed
	}
	if code != codeNone {
		f.fail(p, code)
		return
	}
	id, ok := partition(t, p.key.partition)
	if !ok {
		f.fail(p, codeUnknownTopicOrPartition)
		return
	}
	p.topic, p.id = t, id
}

// readAll reads each partition's fair share, then lets those that have more
// take what is left.
func (f *fetch) readAll(ctx context.Context) {
	n := 0
	for _, p := range f.parts {
		if p.code == codeNone {
			n++
		}
	}
	if n == 0 {
		return
	}
	share := max(f.budget/n, 1)
	for _, p := range f.parts {
		f.read(ctx, p, share)
	}
	for _, p := range f.parts {
		if f.budget <= 0 {
			return
		}
		if n > 1 && p.code == codeNone && p.next < p.bounds.End {
			f.read(ctx, p, f.budget)
		}
	}
}

// read takes up to limit bytes more of a partition. The first batch of a fetch
// is taken whatever its size (KIP-74), another only if it fits.
func (f *fetch) read(ctx context.Context, p *fetchPart, limit int) {
	limit = min(limit, p.maxBytes-p.bytes, f.budget)
	if p.code != codeNone || limit <= 0 && p.known {
		return
	}
	p.limit = max(p.limit, limit)
	if r := f.c.ahead.take(p.id, p.next); r != nil {
		took, ok := f.takeAhead(ctx, p, r, limit)
		if ok && (took == 0 || took >= limit/2) {
			return
		}
		limit -= took
	}
	opts := shard.ReadOptions{MaxBytes: max(limit, 1)}
	if f.q.IsolationLevel == 1 && p.known {
		opts.Until = p.bounds.Stable
	}
	res, err := f.c.srv.broker.Log.Read(ctx, p.id, p.next, opts)
	if res.Bounds != (shard.Bounds{}) || err == nil {
		p.bounds, p.known = res.Bounds, true
	}
	if err != nil {
		f.readFailed(p, err)
		return
	}
	if code := checkLeaderEpoch(p.epoch, p.bounds.Epoch); code != codeNone {
		f.fail(p, code)
		return
	}
	f.add(p, res.Batches, nil, limit)
}

// add takes batches while they fit, and tells how many bytes they are. shown is
// what shownToKafka gave of each, nil if that is to be found out.
func (f *fetch) add(p *fetchPart, batches []*shard.Batch, shown [][]byte, limit int) int {
	took := 0
	for i, b := range batches {
		n := b.Size()
		if f.bytes > 0 && n > min(f.budget, max(limit-took, 0)) {
			break
		}
		if f.q.IsolationLevel == 1 && b.LastOffset() >= p.bounds.Stable {
			break
		}
		p.batches = append(p.batches, b)
		if shown == nil {
			p.shown = append(p.shown, shownToKafka(b))
		} else {
			p.shown = append(p.shown, shown[i])
		}
		took += n
		f.bytes += n
		f.budget -= n
		p.next = b.LastOffset() + 1
	}
	p.bytes += took
	return took
}

func (f *fetch) readFailed(p *fetchPart, err error) {
	if len(p.batches) > 0 {
		return // the next fetch meets it
	}
	code := errorCode(err)
	if f.reply.byID && code == codeUnknownTopicOrPartition {
		code = codeUnknownTopicID
	}
	if code == codeUnknownServerError || code == codeStorageError {
		f.c.log.Error("fetch failed", "error", err)
	}
	f.fail(p, code)
}

func checkLeaderEpoch(asked, ours int32) int16 {
	switch {
	case asked < 0 || asked == ours:
		return codeNone
	case asked < ours:
		return codeFencedLeaderEpoch
	}
	return codeUnknownLeaderEpoch
}

// waitAny waits until some partition's end moved, reads what came there, and
// tells whether to go on.
func (f *fetch) waitAny(ctx context.Context) bool {
	watched := make([]*fetchPart, 0, min(len(f.parts), maxWatched))
	cases := make([]reflect.SelectCase, 1, cap(watched)+1)
	cases[0] = reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(ctx.Done())}
	var only <-chan struct{}
	for _, p := range f.parts {
		if len(watched) == maxWatched {
			break
		}
		ch, err := f.c.srv.broker.Log.Wait(p.id, p.bounds.End)
		if err != nil {
			f.readFailed(p, err)
			return false
		}
		only = ch
		watched = append(watched, p)
		cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(ch)})
	}
	if len(watched) == 0 {
		<-ctx.Done()
		return false
	}
	if len(watched) == 1 { // the usual case, without reflection's cost
		select {
		case <-only:
			f.read(f.c.ctx, watched[0], f.budget)
			return true
		case <-ctx.Done():
			return false
		}
	}
	i, _, _ := reflect.Select(cases)
	if i == 0 {
		return false
	}
	f.read(f.c.ctx, watched[i-1], f.budget)
	return true
}
