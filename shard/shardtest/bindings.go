package shardtest

import (
	"fmt"
	"sync"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

var bindingTests = []test{
	{"new and earliest", func(e *env) {
		e.publish("q", "0", "1")
		g := e.group(shard.GroupConfig{Name: "new"}, "q")
		early := e.group(shard.GroupConfig{Name: "earliest", Durable: true})
		e.bind(early, shard.Binding{ID: "b", Filter: e.filter("q"), Start: shard.StartEarliest})
		e.publish("q", "2")
		_, in := e.attach(g, shard.ConsumerConfig{})
		e.want(in, "2")
		e.ready(early, 3)
		_, in = e.attach(early, shard.ConsumerConfig{})
		e.want(in, "0", "1", "2")
	}},
	{"earliest after a trim", func(e *env) {
		for i := range 4 {
			e.publish("q", fmt.Sprint(i))
		}
		e.must(e.Broker.Log.TrimBefore(e.ctx, e.topic("q").Shard(0), 2))
		g := e.group(shard.GroupConfig{Name: "g"})
		e.bind(g, shard.Binding{ID: "b", Filter: e.filter("q"), Start: shard.StartEarliest})
		_, in := e.attach(g, shard.ConsumerConfig{})
		e.want(in, "2", "3")
	}},
	{"a topic that comes later is read from its start", func(e *env) {
		g := e.group(shard.GroupConfig{Name: "g"}, "late.*")
		e.publish("late.a", "1")
		e.create(shard.Topic{Name: "late.b", Shards: 3})
		e.publish("late.b", "2")
		_, in := e.attach(g, shard.ConsumerConfig{})
		e.want(in, "1", "2")
	}},
	{"several bindings, one delivery", func(e *env) {
		g := e.group(shard.GroupConfig{Name: "g"}, "a.b", "a.*", "a.>", "x")
		e.publish("a.b", "1")
		_, in := e.attach(g, shard.ConsumerConfig{})
		d := e.want(in, "1")[0]
		ids := make(map[string]bool)
		for _, b := range d.Bindings {
			ids[b.ID] = true
		}
		e.equal(ids, map[string]bool{"a.b": true, "a.*": true, "a.>": true})
	}},
	{"many bindings", func(e *env) {
		g := e.group(shard.GroupConfig{Name: "g"})
		for i := range 30 {
			e.publish(fmt.Sprint("s.", i), "old")
			e.bind(g, shard.Binding{ID: fmt.Sprint(i), Filter: e.filter(fmt.Sprint("s.", i)), Start: shard.StartEarliest})
		}
		_, in := e.attach(g, shard.ConsumerConfig{})
		for _, d := range e.deliveries(in, 30) {
			if len(d.Bindings) != 1 || "s."+d.Bindings[0].ID != d.Subject {
				e.Fatalf("%s by %v", d.Subject, d.Bindings)
			}
		}
	}},
	{"unbind keeps what matched", func(e *env) {
		g := e.group(shard.GroupConfig{Name: "g", Durable: true}, "q")
		for i := 0; i < 6000; i += 500 {
			e.publish("q", numbers(i, 500)...)
		}
		e.ready(g, 6000)
		e.must(g.Bindings().Remove(e.ctx, "q"))
		e.must(g.Bindings().Remove(e.ctx, "q"))
		e.publish("q", "after")
		e.equal(len(g.Bindings().List()), 0)
		c, in := e.attach(g, shard.ConsumerConfig{})
		c.Ack(tags(e.want(in, numbers(0, 6000)...))...)
		e.bind(g, shard.Binding{ID: "q", Filter: e.filter("q")})
		e.publish("q", "rebound")
		e.want(in, "rebound")
	}},
	{"replace without a gap", replaceBinding},
	{"data is replaced in place", func(e *env) {
		g := e.group(shard.GroupConfig{Name: "g"})
		e.bind(g, shard.Binding{ID: "b", Filter: e.filter("q"), Data: []byte("1")})
		e.publish("q", "0")
		e.ready(g, 1)
		e.bind(g, shard.Binding{ID: "b", Filter: e.filter("q"), Data: []byte("2"), Start: shard.StartEarliest})
		e.publish("q", "1")
		_, in := e.attach(g, shard.ConsumerConfig{})
		e.equal(string(e.want(in, "0", "1")[1].Bindings[0].Data), "2")
		e.equal(string(g.Bindings().List()[0].Data), "2")
	}},
	{"headers", func(e *env) {
		g := e.group(shard.GroupConfig{Name: "g"})
		e.bind(g, shard.Binding{ID: "all", Filter: e.filter("q"), Headers: &shard.HeaderMatch{Conds: []shard.HeaderCond{{Name: "a", Value: []byte("1")}, {Name: "b"}}}})
		e.bind(g, shard.Binding{ID: "any", Filter: e.filter("q"), Headers: &shard.HeaderMatch{Any: true, Conds: []shard.HeaderCond{{Name: "c"}, {Name: "d", Value: []byte("4")}}}})
		t := e.topic("q")
		h := func(kv ...string) (hs []shard.Header) {
			for i := 0; i < len(kv); i += 2 {
				hs = append(hs, shard.Header{Name: kv[i], Value: []byte(kv[i+1])})
			}
			return hs
		}
		e.append(t.Shard(0), shard.BatchOf(record(t, "q", "none"), record(t, "q", "a", h("a", "1")...), record(t, "q", "ab", h("a", "1", "b", "x")...),
			record(t, "q", "wrong", h("a", "2", "b", "x", "d", "5")...), record(t, "q", "d", h("d", "4")...)), shard.AppendOptions{})
		_, in := e.attach(g, shard.ConsumerConfig{})
		ds := e.want(in, "ab", "d")
		e.equal([]string{ds[0].Bindings[0].ID, ds[1].Bindings[0].ID}, []string{"all", "any"})
	}},
	{"not from", func(e *env) {
		g := e.group(shard.GroupConfig{Name: "g"})
		e.bind(g, shard.Binding{ID: "b", Filter: e.filter("q"), NotFrom: "me"})
		t := e.topic("q")
		e.append(t.Shard(0), shard.BatchOf(record(t, "q", "mine", shard.Header{Name: shard.HeaderOrigin, Value: []byte("me")}),
			record(t, "q", "theirs", shard.Header{Name: shard.HeaderOrigin, Value: []byte("you")}), record(t, "q", "nobody's")), shard.AppendOptions{})
		_, in := e.attach(g, shard.ConsumerConfig{})
		e.want(in, "theirs", "nobody's")
	}},
	{"earliest on a group that has read", func(e *env) {
		e.create(shard.Topic{Name: "t", Captures: []string{"s.>"}, Shards: 1})
		e.publish("s.a", "a0")
		e.publish("s.b", "b0")
		g := e.group(shard.GroupConfig{Name: "g", Durable: true}, "s.a")
		e.publish("s.a", "a1", "a2", "a3")
		c, in := e.attach(g, shard.ConsumerConfig{Windows: window(2)})
		ds := e.want(in, "a1", "a2")
		c.Ack(ds[0].Tag)
		ds = append(ds[1:], e.want(in, "a3")...)
		e.bind(g, shard.Binding{ID: "b", Filter: e.filter("s.b"), Start: shard.StartEarliest})
		c.Nack(shard.NackOptions{}, ds[0].Tag)
		c.Ack(ds[1].Tag)
		more := e.deliveries(in, 2)
		c.Ack(tags(more)...)
		if len(more) != 2 || values(more)[0] == values(more)[1] {
			e.Fatal(values(more))
		}
		e.publish("s.b", "b1")
		e.want(in, "b1")
	}},
	{"bad bindings", func(e *env) {
		g := e.group(shard.GroupConfig{Name: "g"})
		e.kind(g.Bindings().Add(e.ctx, shard.Binding{ID: "b"}), shard.KindInvalid)
		e.must(e.Broker.Groups.Delete(e.ctx, "g"))
		e.kind(g.Bindings().Add(e.ctx, shard.Binding{ID: "b", Filter: e.filter("q")}), shard.KindNotFound)
	}},
	{"no message between publish and bind is lost", bindUnderLoad},
}

// replaceBinding swaps a filter to and fro under load: both match, so no message
// may be missed or come twice.
func replaceBinding(e *env) {
	e.create(shard.Topic{Name: "t", Captures: []string{"r.>"}, Shards: 2})
	g := e.group(shard.GroupConfig{Name: "g"})
	e.bind(g, shard.Binding{ID: "b", Filter: e.filter("r.*")})
	e.publish("r.0", "first")
	const total = 600
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range total {
			e.publish(fmt.Sprint("r.", i%5), fmt.Sprint(i))
		}
	})
	c, in := e.attach(g, shard.ConsumerConfig{})
	for i := range 40 {
		e.bind(g, shard.Binding{ID: "b", Filter: e.filter([]string{"r.>", "r.*", ">"}[i%3])})
		time.Sleep(time.Millisecond)
	}
	wg.Wait()
	seen := make(map[string]bool)
	for _, d := range e.deliveries(in, total+1) {
		if v := string(d.Record.Value); seen[v] {
			e.Errorf("%s came twice", v)
		} else {
			seen[v] = true
		}
		c.Ack(d.Tag)
	}
	e.equal(len(g.Bindings().List()), 1)
}

// bindUnderLoad: from the offset on that was the end before Add, the group has
// everything from some point at or after it, and all that was published after.
func bindUnderLoad(e *env) {
	e.publish("q", "x")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				e.publish("q", "x")
			}
		}
	})
	defer wg.Wait()
	defer close(stop)
	id := e.topic("q").Shard(0)
	for i := range 20 {
		before, err := e.Broker.Log.Bounds(e.ctx, id)
		e.must(err)
		g := e.group(shard.GroupConfig{Name: fmt.Sprint("g", i), Durable: i%2 == 0}, "q")
		after, err := e.Broker.Log.Bounds(e.ctx, id)
		e.must(err)
		e.publish("q", "mark")
		c, in := e.attach(g, shard.ConsumerConfig{NoAck: true})
		prev := int64(-1)
		for end := time.Now().Add(patience); prev < after.End && time.Now().Before(end); {
			for _, d := range in.takeDeliveries() {
				switch {
				case prev < 0 && (d.Tag.Offset < before.End || d.Tag.Offset > after.End):
					e.Fatalf("begins at %d, bound between %d and %d", d.Tag.Offset, before.End, after.End)
				case prev >= 0 && d.Tag.Offset != prev+1:
					e.Fatalf("%d after %d", d.Tag.Offset, prev)
				}
				prev = d.Tag.Offset
			}
		}
		if prev < after.End {
			e.Fatalf("reached %d of %d", prev, after.End)
		}
		c.Close()
		e.must(e.Broker.Groups.Delete(e.ctx, fmt.Sprint("g", i)))
	}
}
