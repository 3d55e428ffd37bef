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

// publishParts stores a message under several subjects.
func (ch *channel) publishParts(p *publish, ts []target, r *shard.Record) error {
	c, first := ch.c, ts[0]
	for _, t := range ts {
		if t.subject != "" && !shard.Relayed(t.subject) && !c.allowed(shard.OpPublish, gateway.ResourceSubject, t.subject) {
			return c.may(shard.OpPublish, gateway.ResourceSubject, t.subject, "exchange '"+t.exchange+"' with routing key '"+t.key+"'")
		}
	}
	relayed := first.subject != "" && shard.Relayed(first.subject)
	if p.method.Mandatory && !first.bound && !relayed {
		ch.giveBack(p)
	}
	if relayed {
		alone := *p
		alone.seq, alone.method.Mandatory = 0, p.method.Mandatory && !first.bound
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
