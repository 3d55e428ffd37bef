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
	ctx, cancel := context.WithTimeout(context.Background(), buryWithin) // no connection's business
	defer cancel()
	exchange, key := vh.addressee(d)
	p := properties(d.Record)
	automatic := reason != shard.DeadRejected
	if automatic && vh.wentRound(u.queue, d.Record) {
		done(nil)
		return nil
	}
	died(&p, u.queue, exchange, key, reason, time.Now())
	if u.l.deadKey != nil { // instead of all keys that it was published with
		key = *u.l.deadKey
		p.Headers = slices.DeleteFunc(p.Headers, func(f frame.Field) bool { return f.Name == "CC" })
	}
	r := shard.Record{Timestamp: time.Now().UnixMilli(), Key: d.Record.Key, Value: d.Record.Value, Headers: appendHeaders(nil, &p)}
	if automatic {
		r.Headers = append(r.Headers, vh.markOf(u.queue, d.Record))
	}
	if automatic && vh.onlyRound(u.l.deadExchange, key, &r) {
		done(nil)
		return nil
	}
	to, err := vh.deadTarget(ctx, u.l.deadExchange, key, &r)
	if f := (*fault)(nil); err != nil && !errors.As(err, &f) {
		return err
	} else if err != nil && f.code == codeAccessRefused {
		return shard.Errorf(shard.KindDenied, "%s", f.text)
	}
	if err != nil || to.subject == "" || shard.Relayed(to.subject) {
		done(nil) // RabbitMQ: no such exchange, or no queue: dropped
		return nil
	}
	if !u.by.may(vh.s.env.Auth, to.subject) {
		vh.s.env.Stats.Dropped.Add(1)
		return shard.Errorf(shard.KindDenied, "publish to subject %q refused for user %q, who declared the queue", to.subject, u.by.User)
	}
	t, err := vh.s.env.Broker.Topics.Resolve(ctx, to.subject, true)
	if err != nil {
		return err
	}
	vh.place(&r, t, to)
	vh.s.env.Broker.Log.Append(context.Background(), t.ShardOf(r.Key, to.subject), shard.BatchOf(r), shard.AppendOptions{},
		shard.CompletionFunc(func(res shard.AppendResult) {
			if res.Err != nil && hopeless(res.Err) {
				u.complain(reason, res.Err)
				res.Err = nil
			}
			done(res.Err)
		}))
	return nil
}

// deadTarget finds where a dead letter goes.
func (vh *vhost) deadTarget(ctx context.Context, exchange, key string, r *shard.Record) (target, error) {
	t := target{exchange: exchange, key: key}
	if exchange == "" {
		if key != "" {
			t.subject = vh.subjectOfQueue(key)
		}
		return t, vh.checkSubject(t.subject)
	}
	x := vh.exchange(exchange)
	if x == nil {
		return t, vh.noExchange(exchange)
	}
	if x.alternate != "" {
		x, _ = vh.match(x, key, r)
	}
	if !x.ready.Load() {
		if err := vh.ensureTopic(ctx, x); err != nil {
			return t, err
		}
	}
	t.subject = vh.subjectOf(x, key)
	return t, vh.checkSubject(t.subject)
}
