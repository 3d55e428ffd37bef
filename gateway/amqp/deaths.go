package amqp

import (
	"bytes"
	"slices"
	"time"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// What is noted of a death: x-death for the clients, who may write it too, and a
// mark of the broker's own by which it ends what would go round for ever.

// died notes a death in a message's properties, as RabbitMQ does: x-death has an
// entry per queue and reason, the newest first. What a client wrote there counts on:
// consumers count their attempts by it, and decide nothing for the broker.
func died(p *frame.Properties, queue, exchange, key string, reason shard.DeadReason, now time.Time) {
	deaths, _ := p.Headers.Get("x-death")
	old := deaths.List
	if deaths.Kind != frame.KindArray {
		old = nil
	}
	text := func(e frame.Value, name string) string { v, _ := e.List.Get(name); return v.Str }
	at := slices.IndexFunc(old, func(e frame.Field) bool {
		return text(e.Value, "queue") == queue && text(e.Value, "reason") == string(reason)
	})
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
}

// keysOf lists the routing keys that a message was published with, but BCC's.
func keysOf(key string, p *frame.Properties) frame.Table {
	keys := frame.Table{{Value: frame.String(key)}}
	if cc, _ := p.Headers.Get("CC"); cc.Kind == frame.KindArray {
		keys = append(keys, cc.List...)
	}
	return keys
}

// copiesOf gives the routing keys of CC, as far as they are some: others than AMQP
// clients write headers of that name, too.
func copiesOf(p *frame.Properties) (keys []string) {
	cc, _ := p.Headers.Get("CC")
	if cc.Kind != frame.KindArray {
		return nil
	}
	for _, k := range cc.List[:min(len(cc.List), maxSelected)] {
		if k.Value.Kind == frame.KindString && len(k.Value.Str) <= frame.MaxShortstr {
			keys = append(keys, k.Value.Str)
		}
	}
	return keys
}

// headerDeaths is the mark: the queues in which a message died since it was last
// published or rejected. No client can write it, and who publishes the message anew
// begins anew.
const headerDeaths = shard.ReservedPrefix + "amqp-deaths"

// markName is how the mark names a queue. Neither part holds a NUL.
func (vh *vhost) markName(queue string) []byte { return []byte(vh.name + "\x00" + queue + "\x00\x00") }

// wentRound tells whether a message died in this queue already and was neither
// published nor rejected since. RabbitMQ leaves this queue out when it routes it.
func (vh *vhost) wentRound(queue string, r *shard.Record) bool {
	mark, ok := r.Header(headerDeaths)
	name := vh.markName(queue)
	return ok && (bytes.HasPrefix(mark, name) || bytes.Contains(mark, append([]byte("\x00\x00"), name...)))
}

// markOf gives the mark of a message that died in one more queue.
func (vh *vhost) markOf(queue string, r *shard.Record) shard.Header {
	mark, _ := r.Header(headerDeaths)
	return shard.Header{Name: headerDeaths, Value: append(slices.Clip(mark), vh.markName(queue)...)}
}

// onlyRound tells whether a dead letter with its mark would reach no queue but those
// in which it died: RabbitMQ drops it.
func (vh *vhost) onlyRound(name string, keys []string, r *shard.Record) bool {
	vh.mu.RLock()
	defer vh.mu.RUnlock()
	x := vh.mu.exchanges[name]
	if x == nil {
		return false
	}
	queues, _ := vh.destinations(x, keys, r)
	for queue := range queues {
		if !vh.wentRound(queue, r) {
			return false
		}
	}
	return len(queues) > 0
}
