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
		TTL: l.ttl, HasTTL: l.hasTTL && l.kind != "stream", SingleActive: l.singleActive, MaxPriority: l.maxPriority,
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
		limits.Dead = &undertaker{vh: vh, queue: q.name, l: l}
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

	mu     sync.Mutex
	dead   []dead
	atWork bool
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
				u.vh.s.log.Warn("dead letter dropped", "queue", u.queue, "reason", x.reason, "error", err)
				err = nil
			}
			x.done(err)
		}
	}
}

// publish appends the dead letter; done is called unless it gives an error.
func (u *undertaker) publish(d *shard.Delivery, reason shard.DeadReason, done func(error)) error {
	vh := u.vh
	ctx, cancel := context.WithTimeout(context.Background(), buryWithin) // no connection's business
	defer cancel()
	exchange, key := vh.addressee(d)
	p := properties(d.Record)
	if !died(&p, u.queue, exchange, key, reason, time.Now()) {
		done(nil)
		return nil
	}
	if u.l.deadKey != nil { // instead of all keys that it was published with
		key = *u.l.deadKey
		p.Headers = slices.DeleteFunc(p.Headers, func(f frame.Field) bool { return f.Name == "CC" })
	}
	r := shard.Record{Timestamp: time.Now().UnixMilli(), Key: d.Record.Key, Value: d.Record.Value, Headers: appendHeaders(nil, &p)}
	if reason != shard.DeadRejected && vh.onlyRound(u.l.deadExchange, key, &p, &r) {
		done(nil)
		return nil
	}
	to, err := vh.deadTarget(ctx, u.l.deadExchange, key, &r)
	if f := (*fault)(nil); err != nil && !errors.As(err, &f) {
		return err
	}
	if err != nil || to.subject == "" || shard.Relayed(to.subject) {
		done(nil) // RabbitMQ: no such exchange, or no queue: dropped
		return nil
	}
	t, err := vh.s.env.Broker.Topics.Resolve(ctx, to.subject, true)
	if err != nil {
		return err
	}
	vh.place(&r, t, to)
	vh.s.env.Broker.Log.Append(context.Background(), t.ShardOf(r.Key, to.subject), shard.BatchOf(r), shard.AppendOptions{},
		shard.CompletionFunc(func(res shard.AppendResult) {
			if res.Err != nil && hopeless(res.Err) {
				vh.s.log.Warn("dead letter refused", "queue", u.queue, "topic", t.Name, "error", res.Err)
				res.Err = nil
			}
			done(res.Err)
		}))
	return nil
}

// died notes a death in a message's properties, as RabbitMQ does: x-death has an
// entry per queue and reason, the newest first. It gives false for a message
// that died in this queue before and was rejected nowhere since: it would go
// round for ever.
func died(p *frame.Properties, queue, exchange, key string, reason shard.DeadReason, now time.Time) bool {
	deaths, _ := p.Headers.Get("x-death")
	old := deaths.List
	if deaths.Kind != frame.KindArray {
		old = nil
	}
	text := func(e frame.Value, name string) string { v, _ := e.List.Get(name); return v.Str }
	round, at := reason != shard.DeadRejected, -1
	seen := false
	for i, e := range old {
		if text(e.Value, "queue") == queue && text(e.Value, "reason") == string(reason) {
			at = i
		}
		round = round && (seen || text(e.Value, "reason") != string(shard.DeadRejected))
		seen = seen || text(e.Value, "queue") == queue
	}
	if round && seen {
		return false
	}
	entry := frame.Table{
		{Name: "count", Value: frame.Int(1)},
		{Name: "reason", Value: frame.String(string(reason))},
		{Name: "queue", Value: frame.String(queue)},
		{Name: "time", Value: frame.Value{Kind: frame.KindTimestamp, Num: uint64(now.Unix())}},
		{Name: "exchange", Value: frame.String(exchange)},
		{Name: "routing-keys", Value: frame.Value{Kind: frame.KindArray, List: keysOf(key, p)}},
	}
	if p.Flags&frame.HasExpiration != 0 {
		entry = append(entry, frame.Field{Name: "original-expiration", Value: frame.String(p.Expiration)})
	}
	if at >= 0 {
		entry = slices.Clone(old[at].Value.List)
		for i := range entry {
			if n, ok := entry[i].Value.Int(); ok && entry[i].Name == "count" {
				entry[i].Value = frame.Int(n + 1)
			}
		}
		old = slices.Delete(slices.Clone(old), at, at+1)
	}
	set := func(name string, v frame.Value) {
		p.Headers = slices.DeleteFunc(slices.Clone(p.Headers), func(f frame.Field) bool { return f.Name == name })
		p.Headers = append(p.Headers, frame.Field{Name: name, Value: v})
	}
	set("x-death", frame.Value{Kind: frame.KindArray, List: append(frame.Table{{Value: frame.Nested(entry)}}, old...)})
	for _, f := range []struct{ name, value string }{{"reason", string(reason)}, {"queue", queue}, {"exchange", exchange}} {
		if _, has := p.Headers.Get("x-first-death-" + f.name); !has {
			set("x-first-death-"+f.name, frame.String(f.value))
		}
		set("x-last-death-"+f.name, frame.String(f.value))
	}
	p.Flags = p.Flags&^frame.HasExpiration | frame.HasHeaders
	return true
}

// keysOf lists the routing keys that a message was published with, but BCC's.
func keysOf(key string, p *frame.Properties) frame.Table {
	keys := frame.Table{{Value: frame.String(key)}}
	if cc, _ := p.Headers.Get("CC"); cc.Kind == frame.KindArray {
		keys = append(keys, cc.List...)
	}
	return keys
}

// onlyRound tells whether a dead letter would reach no queue but those in which it
// died before, and was rejected nowhere since: RabbitMQ drops it.
func (vh *vhost) onlyRound(name, key string, p *frame.Properties, r *shard.Record) bool {
	queues := make(map[string]bool)
	vh.mu.RLock()
	vh.reached(vh.mu.exchanges[name], key, r, map[*exchange]bool{}, queues)
	vh.mu.RUnlock()
	deaths, _ := p.Headers.Get("x-death")
	for _, e := range deaths.List {
		reason, _ := e.Value.List.Get("reason")
		if reason.Str == string(shard.DeadRejected) || len(queues) == 0 {
			return false
		}
		queue, _ := e.Value.List.Get("queue")
		if delete(queues, queue.Str); len(queues) == 0 {
			return true
		}
	}
	return false
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

// deadSubject is where a queue's dead letters go, as access rules name it.
func (vh *vhost) deadSubject(l *queueLimits) string {
	key := ""
	if l.deadKey != nil {
		key = *l.deadKey
	}
	if x := vh.exchange(l.deadExchange); x != nil && l.deadExchange != "" {
		return vh.subjectOf(x, key)
	}
	return vh.prefix + l.deadExchange + key
}
