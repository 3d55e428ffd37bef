package amqp

import (
	"slices"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// Sender-selected distribution (RabbitMQ's CC and BCC): a message is routed by
// further keys, which it brings in its headers. Each that reaches a queue which no
// key before it reached is a record of its own; all are confirmed as one.

// maxSelected bounds the further routing keys of a message.
const maxSelected = 100

// selected gives the routing keys of CC and BCC, and takes BCC out of the headers.
func selected(p *frame.Properties) (keys []string, err error) {
	for i := range p.Headers {
		f := &p.Headers[i]
		if f.Name != "CC" && f.Name != "BCC" {
			continue
		}
		if f.Value.Kind != frame.KindArray {
			return nil, refuse(codePreconditionFailed, "header '%s' is no array of routing keys", f.Name)
		}
		for _, k := range f.Value.List {
			if k.Value.Kind != frame.KindString || len(k.Value.Str) > frame.MaxShortstr {
				return nil, refuse(codePreconditionFailed, "header '%s' holds what is no routing key", f.Name)
			}
			keys = append(keys, k.Value.Str)
		}
	}
	if len(keys) > maxSelected {
		return nil, refuse(codePreconditionFailed, "headers 'CC' and 'BCC' have over %d routing keys", maxSelected)
	}
	if _, ok := p.Headers.Get("BCC"); ok {
		p.Headers = slices.DeleteFunc(slices.Clone(p.Headers), func(f frame.Field) bool { return f.Name == "BCC" })
	}
	return keys, nil
}

// spread finds the subjects of a publish with further keys: that of its own key, and
// those by which more queues are reached. Each is delivered with the publish's own. x
// is the exchange or its alternate, nil where no queue is reached.
func (vh *vhost) spread(first target, keys []string, r *shard.Record) (ts []target, x *exchange) {
	vh.mu.RLock()
	defer vh.mu.RUnlock()
	x = vh.mu.exchanges[first.exchange]
	covered := make(map[string]bool)
	all := append([]string{first.key}, keys...)
	for range 16 { // alternate exchanges take what no key finds a queue for
		for _, key := range all {
			vh.reached(x, key, r, map[*exchange]bool{}, covered)
		}
		next := vh.mu.exchanges[x.alternate]
		if len(covered) > 0 || x.alternate == "" || next == nil {
			break
		}
		x = next
	}
	if len(covered) == 0 {
		return []target{first}, nil
	}
	if first.exchange != "" {
		first.subject = vh.subjectOf(x, first.key)
	}
	ts, covered = append(ts, first), make(map[string]bool)
	vh.reached(x, first.key, r, map[*exchange]bool{}, covered)
	for _, key := range keys {
		n := len(covered)
		if vh.reached(x, key, r, map[*exchange]bool{}, covered); len(covered) == n {
			continue
		}
		t := first
		if t.subject = vh.subjectOf(x, key); x.name == "" {
			t.subject = vh.subjectOfQueue(key)
		}
		ts = append(ts, t)
	}
	return ts, x
}

// reached adds the queues that a message published to x reaches; mu is held.
func (vh *vhost) reached(x *exchange, key string, r *shard.Record, seen map[*exchange]bool, to map[string]bool) {
	if x == nil || seen[x] {
		return
	}
	seen[x] = true
	if x.name == "" && vh.mu.queues[key] != nil {
		to[key] = true
	}
	for _, b := range x.out {
		if !b.takes(x, key, r) {
			continue
		}
		if b.toQueue {
			to[b.dest] = true
		} else {
			vh.reached(vh.mu.exchanges[b.dest], key, r, seen, to)
		}
	}
}

// parts are the records of one message, whose outcome is one. Under the channel's mu.
type parts struct {
	left    int
	outcome outcome
}

// done takes the outcome of one part; it gives false while others are under way.
func (ps *parts) done(o *outcome) bool {
	if ps == nil {
		return true
	}
	if ps.left--; *o == refused {
		ps.outcome = refused
	}
	*o = ps.outcome
	return ps.left == 0
}

// publishSelected stores a message under the subjects of all its keys.
func (ch *channel) publishSelected(p *publish, first target, keys []string, r *shard.Record) error {
	c := ch.c
	ts, x := c.vh.spread(first, keys, r)
	bound := x != nil
	if bound && !x.ready.Load() {
		if err := c.vh.ensureTopic(c.ctx, x); err != nil {
			return err
		}
	}
	for _, t := range ts {
		if err := c.vh.checkSubject(t.subject); err != nil {
			return err
		}
		if t.subject != "" && !shard.Relayed(t.subject) && !c.allowed(shard.OpPublish, gateway.ResourceSubject, t.subject) {
			return c.may(shard.OpPublish, gateway.ResourceSubject, t.subject, "exchange '"+t.exchange+"' with routing key '"+t.key+"'")
		}
	}
	relayed := first.subject != "" && shard.Relayed(first.subject)
	if relayed {
		if err := c.mayRelay(first.subject); err != nil {
			return err
		}
	}
	if p.method.Mandatory && !bound && !relayed {
		ch.giveBack(p)
	}
	if relayed {
		alone := *p
		alone.seq, alone.method.Mandatory = 0, p.method.Mandatory && !bound
		ch.relay(&alone, first.subject, r)
	}
	ts = slices.DeleteFunc(ts, func(t target) bool { return t.subject == "" || shard.Relayed(t.subject) })
	if len(ts) == 0 {
		ch.settle(p.seq, confirmed)
		return nil
	}
	ps := &parts{left: len(ts), outcome: confirmed}
	for _, t := range ts {
		own := *r
		own.Headers = slices.Clip(r.Headers)
		if err := c.store(ch, p, t, &own, ps); err != nil {
			return err
		}
	}
	return nil
}
