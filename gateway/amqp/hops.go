package amqp

import (
	"context"
	"maps"
	"slices"

	"github.com/robustmq/robustmq-go/shard"
)

// A message lies under one subject, that of its exchange and routing key, and the
// bindings of the groups say which queues have it. What they cannot say (an exchange
// that takes what another one found no queue for, a way by several keys) is found when
// it is published: the message lies under further subjects then.

// hop is an exchange and a routing key under which a message is put.
type hop struct {
	x   *exchange
	key string
}

// destinations finds the queues that a message reaches which is published to x with
// some keys (RabbitMQ's rabbit_exchange:route), each with the last hop to it. sources
// are x and the alternate exchanges that had a turn. mu is held.
func (vh *vhost) destinations(x *exchange, keys []string, r *shard.Record) (queues map[string]hop, sources []*exchange) {
	queues, sources = make(map[string]hop), []*exchange{x}
	seen := map[*exchange]bool{x: true}
	for work := []*exchange{x}; len(work) > 0; work = work[1:] {
		e, taken := work[0], false
		for _, key := range keys {
			if e.name == "" && vh.mu.queues[key] != nil {
				queues[key] = hop{e, key}
			}
		}
		for _, b := range e.out {
			i := slices.IndexFunc(keys, func(key string) bool { return b.takes(e, key, r) })
			if i < 0 {
				continue
			}
			taken = true
			if _, known := queues[b.dest]; b.toQueue && !known {
				queues[b.dest] = hop{e, keys[i]}
			}
			if d := vh.mu.exchanges[b.dest]; !b.toQueue && d != nil && !seen[d] {
				seen[d] = true
				work = append(work, d)
			}
		}
		if alt := vh.mu.exchanges[e.alternate]; !taken && e.alternate != "" && alt != nil && !seen[alt] {
			seen[alt] = true
			sources, work = append(sources, alt), append(work, alt)
		}
	}
	return queues, sources
}

// hops gives those by which a message reaches all its queues; the first, with its own
// key, is there always. bound tells whether there are any queues.
func (vh *vhost) hops(x *exchange, keys []string, r *shard.Record) (hs []hop, bound bool) {
	vh.mu.RLock()
	defer vh.mu.RUnlock()
	left, sources := vh.destinations(x, keys, r)
	if len(left) == 0 {
		return []hop{{x, keys[0]}}, false
	}
	covers := func(h hop) bool {
		n, to := len(left), make(map[string]bool)
		vh.reached(h.x, h.key, r, make(map[*exchange]bool), to)
		for queue := range to {
			delete(left, queue)
		}
		return len(left) < n
	}
	for _, s := range sources {
		for _, key := range keys {
			h := hop{s, key}
			if !covers(h) {
				continue
			}
			if len(hs) == 0 && key != keys[0] {
				hs = append(hs, hop{s, keys[0]})
			}
			hs = append(hs, h)
		}
	}
	for _, queue := range slices.Sorted(maps.Keys(left)) { // ways by one key to an exchange and by another one from it
		if h, ok := left[queue]; ok {
			if len(hs) == 0 {
				hs = append(hs, hop{x, keys[0]})
			}
			hs = append(hs, h)
			covers(h)
		}
	}
	return hs, true
}

// targets adds what hops gives to ts, as targets; each is delivered with the exchange
// and key of t.
func (vh *vhost) targets(ctx context.Context, t target, x *exchange, keys []string, r *shard.Record, ts []target) ([]target, error) {
	hs, bound := vh.hops(x, keys, r)
	t.bound = bound
	var err error
	for _, h := range hs {
		if ts, err = vh.addTarget(ctx, ts, t, h); err != nil {
			return ts, err
		}
	}
	return ts, nil
}

func (vh *vhost) addTarget(ctx context.Context, ts []target, t target, h hop) ([]target, error) {
	if h.x.name == "" {
		if t.subject = ""; h.key != "" {
			t.subject = vh.subjectOfQueue(h.key)
		}
	} else {
		if !h.x.ready.Load() {
			if err := vh.ensureTopic(ctx, h.x); err != nil {
				return ts, err
			}
		}
		t.subject = vh.subjectOf(h.x, h.key)
	}
	return append(ts, t), vh.checkSubject(t.subject)
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
