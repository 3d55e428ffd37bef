package shardtest

import (
	"errors"
	"fmt"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// reopen gives the environment after a restart, crash or not; nil where the
// implementation has none.
func (e *env) reopen(crash bool) *env {
	f := e.Reopen
	if crash {
		f = e.Crash
	}
	if f == nil {
		return nil
	}
	return &env{T: e.T, Instance: f(e.T), ctx: e.ctx}
}

// both runs a test over a restart of each kind: fn gets the broker and how to
// get the next.
func both(name string, fn func(e *env, next func() *env)) test {
	return test{name, func(e *env) {
		for _, crash := range []bool{false, true} {
			if crash && e.Crash == nil || !crash && e.Reopen == nil {
				continue
			}
			cur := e
			fn(cur, func() *env {
				cur = cur.reopen(crash)
				return cur
			})
			if n := cur; n != nil {
				e = n
			}
			e.clean()
		}
	}}
}

// clean removes what a test left, for the next run on the same broker.
func (e *env) clean() {
	for _, g := range e.Broker.Groups.List("") {
		e.must(e.Broker.Groups.Delete(e.ctx, g.Config().Name))
	}
	for _, t := range e.Broker.Topics.List() {
		e.must(e.Broker.Topics.Delete(e.ctx, t.Name))
	}
}

// settled waits until what a group wrote behind is durable.
func (e *env) settled(g shard.Group) {
	e.Helper()
	e.must(g.(shard.SyncedGroup).Sync(e.ctx))
}

var restartTests = []test{
	both("records and topics", func(e *env, next func() *env) {
		e.publish("t", "0", "1")
		id := e.topic("t").Shard(0)
		e.append(id, producerBatch(7, 0, 0, 1), shard.AppendOptions{})
		named := func(value string) shard.AppendResult {
			r := shard.Record{Timestamp: time.Now().UnixMilli(), Value: []byte(value), Headers: []shard.Header{{Name: shard.HeaderDedupeID, Value: []byte("x")}}}
			return e.append(id, shard.BatchOf(r), shard.AppendOptions{DedupeID: "x"})
		}
		e.equal(named("named").Base, 3)
		e.must(e.apply("o", shard.StateOp{Key: "k", Value: []byte("v")}))
		e = next()
		e.equal(e.read(id, 0), []string{"0", "1", "p", "named"})
		if res := named("again"); !res.Duplicate || res.Base != 3 {
			e.Fatalf("%+v", res)
		}
		if res := e.append(id, producerBatch(7, 0, 0, 1), shard.AppendOptions{}); !res.Duplicate || res.Base != 2 {
			e.Fatalf("%+v", res)
		}
		e.equal(e.publish("t", "4").Base, 4)
		e.equal(e.dump("o", ""), []string{"k=v"})
		e.must(e.apply("o", shard.StateOp{Key: "k"}))
	}),
	both("acknowledgements", func(e *env, next func() *env) {
		g := e.group(shard.GroupConfig{Name: "g", Durable: true, Data: []byte("d"), MaxDeliver: 9}, "q")
		e.group(shard.GroupConfig{Name: "transient"}, "q")
		e.publish("q", numbers(0, 10)...)
		c, in := e.attach(g, shard.ConsumerConfig{Windows: window(6)})
		ds := e.want(in, numbers(0, 6)...)
		c.Ack(ds[0].Tag, ds[1].Tag, ds[3].Tag)
		ds = append(ds, e.want(in, "6", "7", "8")...)
		c.Ack(ds[7].Tag)
		e.settled(g)
		e = next()
		if _, err := e.Broker.Groups.Get("transient"); !errors.Is(err, shard.ErrGroupNotFound) {
			e.Fatal("a transient group came back")
		}
		g, err := e.Broker.Groups.Get("g")
		e.must(err)
		if x := g.Config(); string(x.Data) != "d" || x.MaxDeliver != 9 || !x.Durable {
			e.Fatalf("%+v", x)
		}
		e.equal(g.Stats().Ready, 6)
		e.publish("q", "10")
		e.ready(g, 7)
		c, in = e.attach(g, shard.ConsumerConfig{})
		ds = e.want(in, "2", "4", "5", "6", "8", "9", "10")
		if ds[0].Count < 2 || ds[2].Count < 2 || ds[6].Count != 1 {
			e.Fatalf("counts %d %d %d", ds[0].Count, ds[2].Count, ds[6].Count)
		}
		c.Ack(tags(ds)...)
	}),
	both("delivery counts", func(e *env, next func() *env) {
		g := e.group(shard.GroupConfig{Name: "g", Durable: true, MaxDeliver: 4}, "q")
		e.publish("q", "bad", "last", "fresh")
		c, in := e.attach(g, shard.ConsumerConfig{})
		ds := e.want(in, "bad", "last", "fresh")
		again := func(d shard.Delivery, value string, count int) shard.Delivery {
			e.Helper()
			c.Nack(shard.NackOptions{}, d.Tag)
			d = e.want(in, value)[0]
			e.equal(d.Count, count)
			return d
		}
		again(again(ds[0], "bad", 2), "bad", 3)
		again(again(again(ds[1], "last", 2), "last", 3), "last", 4)
		e.settled(g)
		e = next()
		g, err := e.Broker.Groups.Get("g")
		e.must(err)
		c, in = e.attach(g, shard.ConsumerConfig{})
		ds = e.want(in, "bad", "fresh") // the other one was not acknowledged four times
		e.equal(ds[0].Count, 4)
		e.equal(ds[1].Count, 2)
		c.Nack(shard.NackOptions{}, ds[0].Tag)
		e.equal(g.Stats().Acked, 2)
		c.Ack(again(ds[1], "fresh", 3).Tag)
		e.equal(g.Stats().Acked, 3)
	}),
	both("a group that was idle", func(e *env, next func() *env) {
		g := e.group(shard.GroupConfig{Name: "g", Durable: true}, "a.*", "b")
		e.publish("a.1", "1")
		e.publish("b", "2")
		c, in := e.attach(g, shard.ConsumerConfig{})
		c.Ack(tags(e.deliveries(in, 2))...)
		e.publish("other", "x")
		e.settled(g)
		e = next()
		e.publish("a.2", "3") // of a topic that is new
		g, err := e.Broker.Groups.Get("g")
		e.must(err)
		e.equal(len(g.Bindings().List()), 2)
		_, in = e.attach(g, shard.ConsumerConfig{})
		e.want(in, "3")
	}),
	both("bindings with start and end", func(e *env, next func() *env) {
		e.create(shard.Topic{Name: "t", Captures: []string{"s.>"}, Shards: 1})
		e.publish("s.a", "before")
		g := e.group(shard.GroupConfig{Name: "g", Durable: true}, "s.a", "s.b")
		e.publish("s.a", "a1")
		e.publish("s.b", "b1")
		e.must(g.Bindings().Remove(e.ctx, "s.a"))
		e.publish("s.a", "a2")
		e.publish("s.b", "b2")
		e = next()
		g, err := e.Broker.Groups.Get("g")
		e.must(err)
		e.publish("s.a", "a3")
		e.publish("s.b", "b3")
		c, in := e.attach(g, shard.ConsumerConfig{})
		ds := e.want(in, "a1", "b1", "b2", "b3")
		c.Ack(tags(ds)...)
		c.Close()
		e.settled(g)
		e = next()
		g, err = e.Broker.Groups.Get("g")
		e.must(err)
		e.ready(g, 0)
		e.publish("s.b", "b4")
		_, in = e.attach(g, shard.ConsumerConfig{})
		e.want(in, "b4")
	}),
	both("a deep queue", func(e *env, next func() *env) {
		g := e.group(shard.GroupConfig{Name: "g", Durable: true}, "q")
		const n = 7000
		for i := 0; i < n; i += 500 {
			e.publish("q", numbers(i, 500)...)
		}
		c, in := e.attach(g, shard.ConsumerConfig{Windows: window(100)})
		ds := e.deliveries(in, 100)
		for i, d := range ds {
			if i%2 == 0 {
				c.Ack(d.Tag)
			}
		}
		e.deliveries(in, 50)
		e.settled(g)
		e = next()
		g, err := e.Broker.Groups.Get("g")
		e.must(err)
		e.equal(g.Stats().Ready, n-50)
		_, in = e.attach(g, shard.ConsumerConfig{NoAck: true})
		ds = e.deliveries(in, n-50)
		prev := int64(-1)
		for _, d := range ds {
			if d.Tag.Offset <= prev || d.Tag.Offset < 100 && d.Tag.Offset%2 == 0 {
				e.Fatalf("%d after %d", d.Tag.Offset, prev)
			}
			prev = d.Tag.Offset
		}
	}),
	both("purge", func(e *env, next func() *env) {
		g := e.group(shard.GroupConfig{Name: "g", Durable: true}, "q")
		e.publish("q", numbers(0, 300)...)
		_, in := e.attach(g, shard.ConsumerConfig{Windows: window(1)})
		e.want(in, "0")
		_, err := g.Purge(e.ctx)
		e.must(err)
		e = next()
		g, err = e.Broker.Groups.Get("g")
		e.must(err)
		e.equal(g.Stats().Ready, 1)
		c, in := e.attach(g, shard.ConsumerConfig{})
		c.Ack(e.want(in, "0")[0].Tag)
	}),
	both("what retention freed is passed over", func(e *env, next func() *env) {
		g := e.group(shard.GroupConfig{Name: "g", Durable: true}, "q")
		for i := range 6 {
			e.publish("q", fmt.Sprint(i))
		}
		e.settled(g)
		e = next()
		e.must(e.Broker.Log.TrimBefore(e.ctx, e.topic("q").Shard(0), 4))
		g, err := e.Broker.Groups.Get("g")
		e.must(err)
		_, in := e.attach(g, shard.ConsumerConfig{})
		e.want(in, "4", "5")
	}),
	{"what may have been delivered before a crash says so", func(e *env) {
		for _, crash := range []bool{false, true} {
			if crash && e.Crash == nil || !crash && e.Reopen == nil {
				continue
			}
			g := e.group(shard.GroupConfig{Name: "g", Durable: true}, "q")
			e.publish("q", "0", "1", "2")
			_, in := e.attach(g, shard.ConsumerConfig{Windows: []*shard.Window{shard.NewWindow(1)}})
			e.equal(e.want(in, "0")[0].Redelivered, false)
			e = e.reopen(crash)
			e.publish("q", "3")
			g, err := e.Broker.Groups.Get("g")
			e.must(err)
			_, in = e.attach(g, shard.ConsumerConfig{})
			ds := e.want(in, "0", "1", "2", "3")
			for i, want := range []bool{true, crash, crash, false} {
				e.equal(ds[i].Redelivered, want)
			}
			e.equal(ds[1].Count, 1) // none that is known: limits go by it
			e.clean()
		}
	}},
	both("deleted groups stay away", func(e *env, next func() *env) {
		g := e.group(shard.GroupConfig{Name: "g", Durable: true}, "q")
		e.publish("q", "0")
		c, in := e.attach(g, shard.ConsumerConfig{})
		c.Ack(e.want(in, "0")[0].Tag)
		e.must(e.Broker.Groups.Delete(e.ctx, "g"))
		e = next()
		if _, err := e.Broker.Groups.Get("g"); !errors.Is(err, shard.ErrGroupNotFound) {
			e.Fatal(err)
		}
	}),
	both("expiry counts over a restart", func(e *env, next func() *env) {
		e.group(shard.GroupConfig{Name: "short", Durable: true, ExpireAfter: 50 * time.Millisecond})
		e.group(shard.GroupConfig{Name: "long", Durable: true, ExpireAfter: time.Hour})
		e = next()
		e.eventually("it expires", func() bool {
			_, err := e.Broker.Groups.Get("short")
			return errors.Is(err, shard.ErrGroupNotFound)
		})
		_, err := e.Broker.Groups.Get("long")
		e.must(err)
	}),
}
