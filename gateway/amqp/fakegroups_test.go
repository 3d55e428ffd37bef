package amqp

import (
	"context"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// memGroups is a stand-in for the engine's groups.
type memGroups struct {
	b  shard.Broker
	mu sync.Mutex
	m  map[string]*memGroup
}

func newMemGroups(b shard.Broker) *memGroups { return &memGroups{b: b, m: map[string]*memGroup{}} }

func (s *memGroups) Create(_ context.Context, c shard.GroupConfig) (shard.Group, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.m[c.Name]; g != nil {
		return g, nil
	}
	g := &memGroup{s: s, cfg: c, binds: map[string]*shard.Binding{}, seen: map[shard.DeliveryTag]bool{}}
	g.sub = s.b.Live.Subscribe(g)
	s.m[c.Name] = g
	return g, nil
}

func (s *memGroups) Get(name string) (shard.Group, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.m[name]; g != nil {
		return g, nil
	}
	return nil, shard.ErrGroupNotFound
}

func (s *memGroups) List(prefix string) (out []shard.Group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, g := range s.m {
		if strings.HasPrefix(n, prefix) {
			out = append(out, g)
		}
	}
	return out
}

func (s *memGroups) Delete(_ context.Context, name string) error {
	s.mu.Lock()
	g := s.m[name]
	delete(s.m, name)
	s.mu.Unlock()
	if g == nil {
		return shard.ErrGroupNotFound
	}
	g.sub.Close()
	g.mu.Lock()
	cs := g.cs
	g.cs = nil
	g.mu.Unlock()
	for _, c := range cs {
		c.r.Closed(shard.ErrClosed)
	}
	return nil
}

type memEntry struct {
	d     shard.Delivery
	taken *memConsumer
}

type memGroup struct {
	s     *memGroups
	cfg   shard.GroupConfig
	sub   shard.Subscription
	mu    sync.Mutex
	binds map[string]*shard.Binding
	ids   shard.SubID
	q     []*memEntry
	seen  map[shard.DeliveryTag]bool
	cs    []*memConsumer
	next  int
}

func (g *memGroup) Config() shard.GroupConfig      { return g.cfg }
func (g *memGroup) Bindings() shard.GroupBindings { return g }
func (g *memGroup) SetData(context.Context, []byte, time.Duration) error {
	return nil
}

func (g *memGroup) Add(ctx context.Context, b shard.Binding) error {
	g.mu.Lock()
	g.binds[b.ID] = &b
	g.ids++
	id := g.ids
	g.mu.Unlock()
	if err := g.sub.Add(id, b.Filter, shard.LiveOptions{Durable: true}); err != nil {
		return err
	}
	if b.Start == shard.StartEarliest {
		for _, t := range g.s.b.Topics.List() {
			for i := range t.Shards {
				res, err := g.s.b.Log.Read(ctx, t.Shard(i), 0, shard.ReadOptions{MaxBytes: 64 << 20})
				if err != nil {
					continue
				}
				var ms []shard.Message
				for _, bt := range res.Batches {
					rs, _ := bt.Records()
					for j := range rs {
						if sub := t.SubjectOf(&rs[j]); b.Filter.Match(sub) {
							ms = append(ms, shard.Message{Topic: t, Shard: i, Subject: sub, Record: &rs[j]})
						}
					}
				}
				g.Deliver(ms, nil)
			}
		}
	}
	return nil
}

func (g *memGroup) Remove(_ context.Context, id string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.binds, id)
	return nil
}

func (g *memGroup) List() (out []*shard.Binding) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, b := range g.binds {
		out = append(out, b)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}

func (g *memGroup) Deliver(ms []shard.Message, _ []shard.SubID) {
	g.mu.Lock()
	for _, m := range ms {
		if m.Topic == nil {
			continue
		}
		tag := shard.DeliveryTag{Shard: m.ID(), Offset: m.Record.Offset}
		if g.seen[tag] {
			continue
		}
		var bs []*shard.Binding
		for _, b := range g.binds {
			if b.Filter.Match(m.Subject) && b.Headers.Match(m.Record) {
				bs = append(bs, b)
			}
		}
		if len(bs) == 0 {
			continue
		}
		g.seen[tag] = true
		g.q = append(g.q, &memEntry{d: shard.Delivery{Message: m, Tag: tag, Bindings: bs}})
	}
	g.mu.Unlock()
	g.dispatch()
}

// dispatch hands ready messages out; calls to receivers are made without the lock.
func (g *memGroup) dispatch() {
	for {
		g.mu.Lock()
		var hit *memEntry
		var to *memConsumer
		for _, e := range g.q {
			if e.taken == nil {
				if to = g.pick(e); to != nil {
					hit = e
				}
				break
			}
		}
		if hit == nil {
			g.mu.Unlock()
			return
		}
		d := g.take(hit, to)
		g.mu.Unlock()
		if d != nil {
			to.out <- *d
		}
	}
}

func (g *memGroup) take(e *memEntry, to *memConsumer) *shard.Delivery {
	e.d.Count++
	d := e.d
	if to.cfg.NoAck || to.cfg.NoLocal && d.Origin == to.cfg.Origin {
		g.drop(e)
		if !to.cfg.NoAck {
			for _, w := range to.cfg.Windows {
				w.Release(1)
			}
			return nil
		}
		return &d
	}
	e.taken = to
	return &d
}

func (g *memGroup) drop(e *memEntry) {
	for i := range g.q {
		if g.q[i] == e {
			g.q = append(g.q[:i:i], g.q[i+1:]...)
			return
		}
	}
}

func (g *memGroup) pick(*memEntry) *memConsumer {
	best := []*memConsumer(nil)
	for _, c := range g.cs {
		if c.cfg.Pull || c.paused || len(c.out) > 900 {
			continue
		}
		if len(best) > 0 && c.cfg.Priority > best[0].cfg.Priority {
			best = nil
		}
		if len(best) == 0 || c.cfg.Priority == best[0].cfg.Priority {
			best = append(best, c)
		}
	}
	for i := range best {
		c := best[(g.next+i)%len(best)]
		if c.cfg.NoAck {
			g.next++
			return c
		}
		ok := true
		for j, w := range c.cfg.Windows {
			if !w.Acquire(c, func() { go g.dispatch() }) {
				for _, u := range c.cfg.Windows[:j] {
					u.Release(1)
				}
				ok = false
				break
			}
		}
		if ok {
			g.next++
			return c
		}
	}
	return nil
}

func (g *memGroup) Stats() shard.GroupStats {
	g.mu.Lock()
	defer g.mu.Unlock()
	st := shard.GroupStats{Consumers: len(g.cs)}
	for _, e := range g.q {
		if e.taken == nil {
			st.Ready++
		} else {
			st.Unacked++
		}
	}
	return st
}

func (g *memGroup) Purge(context.Context) (n int64, _ error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var keep []*memEntry
	for _, e := range g.q {
		if e.taken != nil {
			keep = append(keep, e)
		} else {
			n++
		}
	}
	g.q = keep
	return n, nil
}

type memConsumer struct {
	g      *memGroup
	cfg    shard.ConsumerConfig
	r      shard.Receiver
	paused bool
	out    chan shard.Delivery
}

func (g *memGroup) Attach(cfg shard.ConsumerConfig, r shard.Receiver) (shard.Consumer, error) {
	g.mu.Lock()
	for _, c := range g.cs {
		if !c.cfg.Pull && !cfg.Pull && (c.cfg.Exclusive || cfg.Exclusive) {
			g.mu.Unlock()
			return nil, shard.ErrExclusive
		}
	}
	c := &memConsumer{g: g, cfg: cfg, r: r, out: make(chan shard.Delivery, 1000)}
	g.cs = append(g.cs, c)
	g.mu.Unlock()
	go func() {
		for d := range c.out {
			c.r.Deliver([]shard.Delivery{d})
		}
	}()
	g.dispatch()
	return c, nil
}

func (c *memConsumer) each(tags []shard.DeliveryTag, fn func(*memEntry)) (n int) {
	c.g.mu.Lock()
	for _, t := range tags {
		for _, e := range c.g.q {
			if e.d.Tag == t && e.taken == c {
				fn(e)
				n++
				break
			}
		}
	}
	c.g.mu.Unlock()
	if !c.cfg.Pull {
		for _, w := range c.cfg.Windows {
			w.Release(n)
		}
	}
	c.g.dispatch()
	return n
}

func (c *memConsumer) Ack(tags ...shard.DeliveryTag) int { return c.each(tags, c.g.drop) }

func (c *memConsumer) Nack(o shard.NackOptions, tags ...shard.DeliveryTag) int {
	return c.each(tags, func(e *memEntry) {
		if e.taken = nil; o.Undelivered {
			e.d.Count--
		}
		if o.Drop {
			c.g.drop(e)
		}
	})
}

func (c *memConsumer) Get() (shard.Delivery, bool) {
	c.g.mu.Lock()
	defer c.g.mu.Unlock()
	for _, e := range c.g.q {
		if e.taken == nil {
			return *c.g.take(e, c), true
		}
	}
	return shard.Delivery{}, false
}

func (c *memConsumer) Pause(on bool) {
	c.g.mu.Lock()
	c.paused = on
	c.g.mu.Unlock()
	if !on {
		c.g.dispatch()
	}
}

func (c *memConsumer) Close() {
	c.g.mu.Lock()
	n := 0
	for _, e := range c.g.q {
		if e.taken == c {
			e.taken = nil
			n++
		}
	}
	for i := range c.g.cs {
		if c.g.cs[i] == c {
			c.g.cs = append(c.g.cs[:i:i], c.g.cs[i+1:]...)
			break
		}
	}
	c.g.mu.Unlock()
	for _, w := range c.cfg.Windows {
		w.Release(n)
	}
	c.g.dispatch()
}
