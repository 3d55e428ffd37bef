package amqp

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// Dead-lettering (RabbitMQ's x-dead-letter-exchange). A message that a queue
// gives up is published anew, once, whatever is bound to the exchange; it is out
// of its queue when the new one is durable.

// limit gives a queue's group the limits of its arguments.
func (vh *vhost) limit(q *queue) {
	g, ok := q.group.(shard.LimitedGroup)
	if !ok {
		return
	}
	l := q.limits.Load()
	limits := shard.GroupLimits{
		NotUnder: vh.walls,
		TTL:      l.ttl, HasTTL: l.hasTTL && l.kind != "stream", SingleActive: l.singleActive, MaxPriority: l.maxPriority,
	}
	if l.kind != "stream" {
		limits.MaxMessages, limits.MaxBytes = l.maxMessages, l.maxBytes
		limits.Reject, limits.RejectDead = l.overflow != overflowDropHead, l.overflow == overflowRejectDLX
		limits.Rejected = vh.s.rejected
	}
	if l.expires > 0 {
		limits.Expired = func() { vh.expired(q) }
	}
	if l.deadLetters && l.kind != "stream" {
		limits.Dead = &undertaker{vh: vh, queue: q.name, l: l, by: q.declarer}
	}
	g.Limit(limits)
}

// buryWithin bounds finding the topic of a dead letter; it is tried again.
const buryWithin = 30 * time.Second

// hopeless tells whether an append would fail again, however often it is tried.
func hopeless(err error) bool {
	switch shard.KindOf(err) {
	case shard.KindInvalid, shard.KindTooLarge, shard.KindDenied:
		return true
	}
	return false
}

// undertaker publishes what a queue gives up to its dead-letter exchange, in
// order, by one goroutine that lives while there is something.
type undertaker struct {
	vh    *vhost
	queue string
	l     *queueLimits
	by    *declarer

	mu     sync.Mutex
	dead   []dead
	atWork bool

	dropped    int // since complained
	complained time.Time
}

type dead struct {
	d      shard.Delivery
	reason shard.DeadReason
	done   func(error)
}

// Bury implements shard.Undertaker. Finding the topic may wait, so it happens
// elsewhere.
func (u *undertaker) Bury(d shard.Delivery, reason shard.DeadReason, done func(error)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.dead = append(u.dead, dead{d, reason, done})
	if !u.atWork {
		u.atWork = true
		go u.work()
	}
}

func (u *undertaker) work() {
	for {
		u.mu.Lock()
		todo := u.dead
		u.dead = nil
		u.atWork = len(todo) > 0
		u.mu.Unlock()
		if len(todo) == 0 {
			return
		}
		for i := range todo {
			x := &todo[i]
			err := u.publish(&x.d, x.reason, x.done)
			if err == nil {
				continue
			}
			if hopeless(err) { // dropped, as where the exchange is gone
				u.complain(x.reason, err)
				err = nil
			}
			x.done(err)
		}
	}
}

// complainEvery bounds how often a queue's undertaker logs what it drops.
const complainEvery = 10 * time.Second

func (u *undertaker) complain(reason shard.DeadReason, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.dropped++; !u.complained.IsZero() && time.Since(u.complained) < complainEvery {
		return
	}
	u.vh.s.log.Warn("dead letters dropped", "queue", u.queue, "vhost", u.vh.name, "reason", reason, "messages", u.dropped, "error", err)
	u.dropped, u.complained = 0, time.Now()
}

// publish appends the dead letter; done is called unless it gives an error.
func (u *undertaker) publish(d *shard.Delivery, reason shard.DeadReason, done func(error)) error {
	vh := u.vh
	if !u.by.may(vh.s.env.Auth, shard.OpSubscribe, d.Subject) { // hidden from who consumes, and so from where it goes
		vh.s.env.Stats.Dropped.Add(1)
		return shard.Errorf(shard.KindDenied, "subscribe to subject %q refused for user %q, who declared the queue", d.Subject, u.by.User)
	}
	ctx, cancel := context.WithTimeout(context.Background(), buryWithin) // no connection's business
	defer cancel()
	exchange, key := vh.addressee(d)
	p := properties(d.Record)
	automatic := reason != shard.DeadRejected
	if automatic && vh.wentRound(u.queue, d.Record) || vh.marked(d.Record, headerNotFor, u.queue) {
		done(nil)
		return nil
	}
	died(&p, u.queue, exchange, key, reason, time.Now())
	if u.l.deadKey != nil { // instead of all keys that it was published with
		key = *u.l.deadKey
		p.Headers = slices.DeleteFunc(p.Headers, func(f frame.Field) bool { return f.Name == "CC" })
	}
	keys := []string{key}
	if u.l.deadKey == nil {
		keys = append(keys, copiesOf(&p)...)
	}
	r := shard.Record{Timestamp: time.Now().UnixMilli(), Key: d.Record.Key, Value: d.Record.Value, Headers: appendHeaders(nil, &p)}
	if automatic {
		r.Headers = append(r.Headers, vh.markOf(u.queue, d.Record))
	}
	if automatic && vh.onlyRound(u.l.deadExchange, keys, &r) {
		done(nil)
		return nil
	}
	ts, err := vh.deadTargets(ctx, u.l.deadExchange, keys, &r)
	if f := (*fault)(nil); err != nil && !errors.As(err, &f) {
		return err
	} else if err != nil && f.code == codeAccessRefused {
		return shard.Errorf(shard.KindDenied, "%s", f.text)
	}
	ts = slices.DeleteFunc(ts, func(t target) bool { return t.subject == "" || shard.Relayed(t.subject) })
	if err != nil || len(ts) == 0 {
		done(nil) // RabbitMQ: no such exchange, or no queue: dropped
		return nil
	}
	topics := make([]*shard.Topic, len(ts))
	for i, to := range ts {
		if !u.by.may(vh.s.env.Auth, shard.OpPublish, to.subject) {
			vh.s.env.Stats.Dropped.Add(1)
			return shard.Errorf(shard.KindDenied, "publish to subject %q refused for user %q, who declared the queue", to.subject, u.by.User)
		}
		if topics[i], err = vh.s.env.Broker.Topics.Resolve(ctx, to.subject, true); err != nil {
			return err
		}
	}
	c := &burial{u: u, reason: reason, left: len(ts), done: done}
	for i, to := range ts {
		own := r
		own.Headers = slices.Clip(r.Headers)
		vh.place(&own, topics[i], to)
		vh.s.env.Broker.Log.Append(context.Background(), topics[i].ShardOf(own.Key, to.subject), shard.BatchOf(own), shard.AppendOptions{}, c)
	}
	return nil
}

// burial is the records of one dead letter; it is done when all are durable.
type burial struct {
	u      *undertaker
	reason shard.DeadReason
	done   func(error)

	mu   sync.Mutex
	left int
	err  error
}

// Appended implements shard.Completion.
func (b *burial) Appended(res shard.AppendResult) {
	err := res.Err
	if err != nil && hopeless(err) {
		b.u.complain(b.reason, err)
		err = nil
	}
	b.mu.Lock()
	if b.left--; err != nil {
		b.err = err
	}
	last, err := b.left == 0, b.err
	b.mu.Unlock()
	if last {
		b.done(err)
	}
}

// deadTargets finds where a dead letter goes.
func (vh *vhost) deadTargets(ctx context.Context, exchange string, keys []string, r *shard.Record) ([]target, error) {
	x := vh.exchange(exchange)
	if x == nil {
		return nil, vh.noExchange(exchange)
	}
	return vh.targets(ctx, target{exchange: exchange, key: keys[0]}, x, keys, r, nil)
}
