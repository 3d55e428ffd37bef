package kafka

import (
	"bytes"
	"cmp"
	"context"
	"reflect"
	"strings"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
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
	f := &fetch{c: c, q: q, client: r.clientID, reply: &fetchReply{FetchResponse: q.ResponseKind().(*kmsg.FetchResponse)}}
	f.reply.byID = q.Version >= 13
	sess, code := c.fetches.open(q)
	if code != codeNone {
		f.reply.ErrorCode = code
		r.reply(f.reply)
		return
	}
	f.budget = min(int(q.MaxBytes), c.queue.Limit(), maxFetchBytes)
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
		c.queue.Add(r.out)
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
	client string
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
	sight gateway.Sight

	// Found.
	code    int16
	bounds  shard.Bounds
	known   bool // bounds are
	batches []*shard.Batch
	shown   [][]byte // of batches: what shownToKafka gave
	bytes   int
	next    int64
	hole    damagedRange // that it passes over; zero: none
	limit   int          // the most bytes that a read of it might take

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

func (k partKey) compare(o partKey) int {
	return cmp.Or(strings.Compare(k.name, o.name), bytes.Compare(k.id[:], o.id[:]), cmp.Compare(k.partition, o.partition))
}

func (p *fetchPart) reset() {
	p.code, p.batches, p.shown, p.bytes, p.next, p.known, p.limit = codeNone, nil, nil, 0, p.offset, false, 0
	p.hole = damagedRange{}
	p.bounds = shard.Bounds{Start: -1, End: -1, Stable: -1, Epoch: -1}
}

func (f *fetch) run(ctx context.Context) {
	for _, p := range f.parts {
		p.reset()
		f.resolve(p)
	}
	f.readAll(ctx)
	for !f.enough() && f.readMore(ctx) {
	}
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
	if code == codeNone {
		if p.sight = f.c.sight(t); p.sight.None() {
			code = codeTopicAuthorizationFailed
		}
	}
	if code == codeUnknownTopicID && p.topic != nil { // the session has seen it
		code = f.c.srv.goneCode(p.topic)
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

// goneCode is Kafka's answer within a fetch session for a topic that it knew.
func (s *Server) goneCode(t *shard.Topic) int16 {
	if _, anew := s.broker.Topics.ByName(t.Name); anew {
		return codeInconsistentTopicID
	}
	return codeUnknownTopicOrPartition
}

// add takes batches while they fit, and tells how many bytes they are. shown is
// what shownToKafka gave of each, nil if that is to be found out.
func (f *fetch) add(p *fetchPart, batches []*shard.Batch, shown [][]byte, limit int) int {
	took := 0
	for i, b := range batches {
		n := b.Size()
		if f.bytes > 0 && n > f.budget {
			f.budget = 0 // not worth more reading for something smaller
		}
		if f.bytes > 0 && n > min(f.budget, max(limit-took, 0)) {
			break
		}
		if f.q.IsolationLevel == 1 && b.LastOffset() >= p.bounds.Stable {
			break
		}
		p.batches = append(p.batches, b)
		switch {
		case !p.sight.All():
			p.shown = append(p.shown, p.seen(b))
		case shown == nil:
			p.shown = append(p.shown, shownToKafka(b))
		default:
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
			f.readWoken(watched[0])
			return true
		case <-ctx.Done():
			return false
		}
	}
	i, _, _ := reflect.Select(cases)
	if i == 0 {
		return false
	}
	f.readWoken(watched[i-1])
	return true
}

// readWoken reads what a fetch waited for. It may have waited for long: the rules
// are asked again.
func (f *fetch) readWoken(p *fetchPart) {
	if p.sight = f.c.sight(p.topic); p.sight.None() {
		f.fail(p, codeTopicAuthorizationFailed)
		return
	}
	f.read(f.c.ctx, p, f.budget, false)
}
