package group_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// walk is one random history of a group, checked against what must hold.
type walk struct {
	t     *testing.T
	rnd   *rand.Rand
	mem   *shardmem.Broker
	g     shard.Group
	cs    []*member
	sent  int
	mine  map[string]bool // published while bound, or before by the earliest start
	acked map[string]bool
	// settled are those acknowledged whose acknowledgement is durable.
	settled map[string]bool
	// maybe are those whose acknowledgement was under way at a crash.
	maybe map[string]bool
	bound map[string]bool
	// limits the group has, set again after each restart; rejected is what they kept out.
	limits   shard.GroupLimits
	rejected rejected
}

// rejected are the messages that a group told it did not take.
type rejected struct {
	mu sync.Mutex
	at map[shard.DeliveryTag]bool
}

func (r *rejected) add(id shard.ID, offset int64, _ shard.Origin) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at == nil {
		r.at = make(map[shard.DeliveryTag]bool)
	}
	r.at[shard.DeliveryTag{Shard: id, Offset: offset}] = true
}

func (r *rejected) has(id shard.ID, offset int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at[shard.DeliveryTag{Shard: id, Offset: offset}]
}

type member struct {
	c  shard.Consumer
	r  *receiver
	ds []shard.Delivery
}

var walkSubjects = []string{"w.a", "w.b", "w.c"}

// TestRandomHistories runs many short histories with next to no memory: every
// message that is the group's is acknowledged once, none comes after that, none
// comes that is not the group's, over restarts and crashes too. Some have
// priorities, some reject what is too much: what they reject never comes.
func TestRandomHistories(t *testing.T) {
	n := 30
	if testing.Short() {
		n = 10
	}
	for seed := range n {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { randomHistory(t, uint64(seed)) })
	}
}

func randomHistory(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	opts := shardmem.Options{}
	opts.Groups.ReadyMessages, opts.Groups.IdleMessages = 1+rnd.IntN(6), 1+rnd.IntN(4)
	opts.Groups.UnackedBytes = int64(1 + rnd.IntN(3)*400)
	w := &walk{
		t: t, rnd: rnd, mem: shardmem.New(opts), mine: make(map[string]bool), acked: make(map[string]bool),
		settled: make(map[string]bool), maybe: make(map[string]bool), bound: make(map[string]bool),
	}
	defer func() { w.mem.Close() }()
	ctx := context.Background()
	if _, err := w.mem.Broker().Topics.Create(ctx, shard.Topic{Name: "w", Captures: []string{"w.>"}, Shards: 1 + uint32(rnd.IntN(2))}); err != nil {
		t.Fatal(err)
	}
	w.g = makeGroup(t, w.mem.Broker(), shard.GroupConfig{Name: "g", Durable: true})
	if seed%3 == 1 {
		w.limits = shard.GroupLimits{Reject: true, MaxMessages: int64(1 + rnd.IntN(12)), Rejected: w.rejected.add}
	}
	if seed%5 == 2 || seed%5 == 4 {
		w.limits.MaxPriority = 3
	}
	w.limit()
	w.bind("w.a")
	for range 150 {
		w.step()
	}
	w.drain()
}

func (w *walk) step() {
	switch k := w.rnd.IntN(20); {
	case k < 6:
		w.publish(w.rnd.IntN(12) + 1)
	case k < 8:
		w.attach()
	case k < 11:
		w.collect()
		w.ack(w.rnd.IntN(5))
	case k < 13:
		w.collect()
		w.nack()
	case k < 14:
		w.closeOne()
	case k < 16:
		w.bind(walkSubjects[w.rnd.IntN(3)])
	case k < 17:
		w.unbind(walkSubjects[w.rnd.IntN(3)])
	case k < 18:
		w.get()
	case k < 19:
		w.settle()
	case w.rnd.IntN(4) == 0:
		w.restart(w.rnd.IntN(2) == 0)
	}
}

func (w *walk) publish(n int) {
	subject := walkSubjects[w.rnd.IntN(3)]
	var vs []string
	for range n {
		v := fmt.Sprintf("%s %d", subject, w.sent)
		w.sent++
		vs = append(vs, v)
		if w.bound[subject] {
			w.mine[v] = true
		}
	}
	id, base := publish(w.t, w.mem.Broker(), subject, vs...)
	for i, v := range vs {
		if w.rejected.has(id, base+int64(i)) {
			if !w.mine[v] {
				w.t.Fatalf("%q was rejected, and is not the group's", v)
			}
			w.acked[v] = true
		}
	}
}

func (w *walk) limit() { w.g.(shard.LimitedGroup).Limit(w.limits) }

func (w *walk) bind(subject string) {
	w.bound[subject] = true
	bind(w.t, w.g, shard.Binding{ID: subject}, subject)
}

func (w *walk) unbind(subject string) {
	delete(w.bound, subject)
	if err := w.g.Bindings().Remove(context.Background(), subject); err != nil {
		w.t.Fatal(err)
	}
}

func (w *walk) attach() {
	if len(w.cs) == 3 {
		return
	}
	r := &receiver{}
	w.cs = append(w.cs, &member{attach(w.t, w.g, shard.ConsumerConfig{Windows: []*shard.Window{shard.NewWindow(1 + w.rnd.IntN(20))}}, r), r, nil})
}

// collect takes what consumers were given, and checks it.
func (w *walk) collect() {
	if w.rnd.IntN(2) == 0 {
		time.Sleep(time.Duration(w.rnd.IntN(300)) * time.Microsecond)
	}
	for _, m := range w.cs {
		for _, d := range m.r.take() {
			w.check(d)
			m.ds = append(m.ds, d)
		}
	}
}

func (w *walk) check(d shard.Delivery) {
	v := string(d.Record.Value)
	if !w.mine[v] {
		w.t.Fatalf("%q is not the group's", v)
	}
	if w.acked[v] {
		w.t.Fatalf("%q came again after its acknowledgement", v)
	}
	if len(d.Bindings) != 1 || d.Bindings[0].ID != d.Subject {
		w.t.Fatalf("%q by %v", v, d.Bindings)
	}
}

func (w *walk) ack(n int) {
	for _, m := range w.cs {
		w.rnd.Shuffle(len(m.ds), func(i, j int) { m.ds[i], m.ds[j] = m.ds[j], m.ds[i] })
		for ; n > 0 && len(m.ds) > 0; n-- {
			w.ackOne(m.c, m.ds[0])
			m.ds = m.ds[1:]
		}
	}
}

func (w *walk) ackOne(c shard.Consumer, d shard.Delivery) {
	if c.Ack(d.Tag) != 1 {
		w.t.Fatalf("%q cannot be acknowledged", d.Record.Value)
	}
	w.acked[string(d.Record.Value)] = true
}

func (w *walk) nack() {
	for _, m := range w.cs {
		if len(m.ds) == 0 {
			continue
		}
		w.rnd.Shuffle(len(m.ds), func(i, j int) { m.ds[i], m.ds[j] = m.ds[j], m.ds[i] })
		n := 1 + w.rnd.IntN(min(len(m.ds), 3))
		opts := shard.NackOptions{Undelivered: w.rnd.IntN(3) == 0}
		if w.rnd.IntN(3) == 0 {
			opts.Delay = time.Millisecond
		}
		if got := m.c.Nack(opts, tags(m.ds[:n])...); got != n {
			w.t.Fatalf("%d of %d were given back", got, n)
		}
		m.ds = slices.Clone(m.ds[n:])
	}
}

func (w *walk) closeOne() {
	if len(w.cs) > 0 {
		w.collect()
		w.cs[0].c.Close()
		w.cs = w.cs[1:]
	}
}

func (w *walk) get() {
	c := attach(w.t, w.g, shard.ConsumerConfig{Pull: true}, &receiver{})
	if d, ok := c.Get(); ok {
		w.check(d)
		w.ackOne(c, d)
	}
	c.Close()
}

// settle waits until all acknowledgements are durable.
func (w *walk) settle() {
	if err := w.g.SetData(context.Background(), nil, 0); err != nil {
		w.t.Fatal(err)
	}
	for v := range w.acked {
		w.settled[v] = true
	}
}

func (w *walk) restart(crash bool) {
	for _, m := range w.cs {
		m.c.Close()
	}
	w.collect()
	w.cs = nil
	if crash {
		w.mem = w.mem.Crash()
		for v := range w.acked {
			if !w.settled[v] {
				delete(w.acked, v)
				w.maybe[v] = true
			}
		}
	} else {
		w.mem = w.mem.Reopen()
		for v := range w.acked {
			w.settled[v] = true
		}
	}
	var err error
	if w.g, err = w.mem.Broker().Groups.Get("g"); err != nil {
		w.t.Fatal(err)
	}
	w.limit()
}

// drain takes all that is left; then nothing of the group's may be missing.
func (w *walk) drain() {
	for len(w.cs) > 0 {
		w.closeOne()
	}
	r := &receiver{}
	c := attach(w.t, w.g, shard.ConsumerConfig{Windows: []*shard.Window{shard.NewWindow(5)}}, r)
	end := time.Now().Add(30 * time.Second)
	for quiet := 0; quiet < 5; quiet++ {
		ds := r.take()
		for _, d := range ds {
			w.check(d)
			w.ackOne(c, d)
		}
		s := w.g.Stats()
		if len(ds) > 0 || s.Ready > 0 || s.Unacked > 0 {
			quiet = 0
		}
		if time.Now().After(end) {
			w.t.Fatalf("it does not come to an end: %+v", s)
		}
		time.Sleep(100 * time.Microsecond)
	}
	for v := range w.mine {
		if !w.acked[v] && !w.maybe[v] {
			w.t.Errorf("%q is lost", v)
		}
	}
}
