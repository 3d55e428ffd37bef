package shardtest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

var groupTests = []test{
	{"create, get, list, delete", func(e *env) {
		gs := e.Broker.Groups
		g := e.group(shard.GroupConfig{Name: "a/1", Data: []byte("d")})
		e.group(shard.GroupConfig{Name: "a/1", Data: []byte("other")})
		_, err := gs.Create(e.ctx, shard.GroupConfig{Name: "a/1", Durable: true})
		e.kind(err, shard.KindExists)
		e.group(shard.GroupConfig{Name: "b"})
		e.group(shard.GroupConfig{Name: "a/0", Durable: true})
		var names []string
		for _, g := range gs.List("a/") {
			names = append(names, g.Config().Name)
		}
		e.equal(names, []string{"a/0", "a/1"})
		e.equal(string(g.Config().Data), "d")
		e.must(g.SetData(e.ctx, []byte("new"), time.Hour))
		if c := g.Config(); string(c.Data) != "new" || c.ExpireAfter != time.Hour {
			e.Fatalf("%+v", c)
		}
		_, in := e.attach(g, shard.ConsumerConfig{})
		e.must(gs.Delete(e.ctx, "a/1"))
		if in.closed == nil {
			e.Error("the consumer did not hear of it")
		}
		e.kind(gs.Delete(e.ctx, "a/1"), shard.KindNotFound)
		_, err = gs.Get("a/1")
		if !errors.Is(err, shard.ErrGroupNotFound) {
			e.Error(err)
		}
		_, err = g.Attach(shard.ConsumerConfig{}, receiver{&inbox{}})
		e.kind(err, shard.KindNotFound)
		e.group(shard.GroupConfig{Name: "a/1", Durable: true})
	}},
	{"deliver and acknowledge", func(e *env) {
		g := e.group(shard.GroupConfig{Name: "g"}, "q")
		e.publish("q", "1", "2", "3")
		c, in := e.attach(g, shard.ConsumerConfig{})
		ds := e.want(in, "1", "2", "3")
		for i, d := range ds {
			if d.Count != 1 || d.Tag.Offset != int64(i) || d.Tag.Shard != d.ID() || len(d.Bindings) != 1 || d.Bindings[0].ID != "q" || d.Subject != "q" {
				e.Fatalf("%+v", d)
			}
		}
		if s := g.Stats(); s.Unacked != 3 || s.Ready != 0 || s.Consumers != 1 {
			e.Fatalf("%+v", s)
		}
		e.equal(c.Ack(ds[2].Tag, ds[0].Tag, ds[0].Tag, shard.DeliveryTag{}), 2)
		e.equal(c.Ack(ds[0].Tag), 0)
		if s := g.Stats(); s.Unacked != 1 || s.Acked != 2 {
			e.Fatalf("%+v", s)
		}
	}},
	{"windows are exact", windowsAreExact},
	{"a window over two groups", func(e *env) {
		w := shard.NewWindow(3)
		g1, g2 := e.group(shard.GroupConfig{Name: "1"}, "a"), e.group(shard.GroupConfig{Name: "2"}, "b")
		own := shard.NewWindow(2)
		c1, i1 := e.attach(g1, shard.ConsumerConfig{Windows: []*shard.Window{w, own}})
		e.publish("a", numbers(0, 5)...)
		d1 := e.want(i1, "0", "1")
		c2, i2 := e.attach(g2, shard.ConsumerConfig{Windows: []*shard.Window{w}})
		e.publish("b", numbers(0, 5)...)
		d2 := e.deliveries(i2, 1)
		time.Sleep(silence)
		e.equal(w.Used(), 3)
		c1.Ack(d1[0].Tag)
		e.eventually("the freed place is taken", func() bool { return w.Used() == 3 })
		c2.Ack(d2[0].Tag)
		e.eventually("the freed place is taken", func() bool { return w.Used() == 3 })
		c1.Close()
		c2.Close()
		e.equal(w.Used(), 0)
		e.equal(own.Used(), 0)
	}},
	{"no ack", func(e *env) {
		g := e.group(shard.GroupConfig{Name: "g"}, "q")
		_, in := e.attach(g, shard.ConsumerConfig{NoAck: true, Windows: window(1)})
		e.publish("q", numbers(0, 20)...)
		e.want(in, numbers(0, 20)...)
		if s := g.Stats(); s.Unacked != 0 || s.Acked != 20 {
			e.Fatalf("%+v", s)
		}
	}},
	{"competing consumers take turns", func(e *env) {
		g := e.group(shard.GroupConfig{Name: "g"}, "q")
		_, a := e.attach(g, shard.ConsumerConfig{})
		_, b := e.attach(g, shard.ConsumerConfig{})
		e.publish("q", numbers(0, 20)...)
		da, db := e.deliveries(a, 10), e.deliveries(b, 10)
		all := append(values(da), values(db)...)
		slices.Sort(all)
		if len(slices.Compact(all)) != 20 {
			e.Fatalf("%v and %v", values(da), values(db))
		}
	}},
	{"priority", func(e *env) {
		g := e.group(shard.GroupConfig{Name: "g"}, "q")
		_, low := e.attach(g, shard.ConsumerConfig{Priority: 1})
		high, hi := e.attach(g, shard.ConsumerConfig{Priority: 9, Windows: window(2)})
		e.publish("q", numbers(0, 5)...)
		d := e.want(hi, "0", "1")
		e.want(low, "2", "3", "4")
		high.Ack(tags(d)...)
		e.publish("q", "5")
		e.want(hi, "5")
		high.Pause(true)
		time.Sleep(silence)
		e.publish("q", "6")
		e.want(low, "6")
	}},
	{"exclusive", func(e *env) {
		g := e.group(shard.GroupConfig{Name: "g"})
		c, _ := e.attach(g, shard.ConsumerConfig{})
		_, err := g.Attach(shard.ConsumerConfig{Exclusive: true}, receiver{&inbox{}})
		if !errors.Is(err, shard.ErrExclusive) {
			e.Fatal(err)
		}
		c.Close()
		c, _ = e.attach(g, shard.ConsumerConfig{Exclusive: true})
		_, err = g.Attach(shard.ConsumerConfig{}, receiver{&inbox{}})
		if !errors.Is(err, shard.ErrExclusive) {
			e.Fatal(err)
		}
		c.Close()
		c.Close()
		e.attach(g, shard.ConsumerConfig{})
	}},
	{"nack returns to its place", func(e *env) {
		g := e.group(shard.GroupConfig{Name: "g"}, "q")
		e.publish("q", numbers(0, 6)...)
		c, in := e.attach(g, shard.ConsumerConfig{Windows: window(3)})
		ds := e.want(in, "0", "1", "2")
		e.equal(c.Nack(shard.NackOptions{}, ds[2].Tag, ds[0].Tag, ds[0].Tag), 2)
		again := e.want(in, "0", "2")
		e.equal([]int{again[0].Count, again[1].Count}, []int{2, 2})
		c.Nack(shard.NackOptions{Undelivered: true}, again[0].Tag)
		e.equal(e.want(in, "0")[0].Count, 2)
		c.Nack(shard.NackOptions{Drop: true}, ds[0].Tag, ds[1].Tag, ds[2].Tag)
		e.want(in, "3", "4", "5")
		if s := g.Stats(); s.Redelivered != 3 {
			e.Fatalf("%+v", s)
		}
	}},
	{"nack with delay", func(e *env) {
		g := e.group(shard.GroupConfig{Name: "g"}, "q")
		c, in := e.attach(g, shard.ConsumerConfig{})
		e.publish("q", "0")
		ds := e.want(in, "0")
		start := time.Now()
		c.Nack(shard.NackOptions{Delay: 150 * time.Millisecond}, ds[0].Tag)
		e.equal(g.Stats().Ready, 1)
		e.deliveries(in, 0)
		e.want(in, "0")
		if d := time.Since(start); d < 140*time.Millisecond {
			e.Fatalf("came back after %v", d)
		}
	}},
	{"close returns what is unacknowledged", func(e *env) {
		g := e.group(shard.GroupConfig{Name: "g"}, "q")
		e.publish("q", numbers(0, 8)...)
		w := window(4)
		c, in := e.attach(g, shard.ConsumerConfig{Windows: w})
		ds := e.want(in, numbers(0, 4)...)
		c.Ack(ds[1].Tag)
		ds = append(ds, e.want(in, "4")...)
		c.Close()
		e.equal(w[0].Used(), 0)
		e.equal(c.Ack(ds[0].Tag), 0)
		_, in = e.attach(g, shard.ConsumerConfig{})
		ds = e.want(in, "0", "2", "3", "4", "5", "6", "7")
		for i, d := range ds {
			if want := 1 + max(0, min(1, 4-i)); d.Count != want {
				e.Errorf("%s: count %d, want %d", d.Record.Value, d.Count, want)
			}
		}
	}},
	{"ack timeout", func(e *env) {
		g := e.group(shard.GroupConfig{Name: "g", AckTimeout: 100 * time.Millisecond}, "q")
		c, in := e.attach(g, shard.ConsumerConfig{Windows: window(1)})
		e.publish("q", "0", "1")
		e.want(in, "0")
		d := e.want(in, "0")
		e.equal(d[0].Count, 2)
		c.Ack(d[0].Tag)
		e.want(in, "1")
	}},
	{"max deliver", func(e *env) {
		g := e.group(shard.GroupConfig{Name: "g", MaxDeliver: 2}, "q")
		c, in := e.attach(g, shard.ConsumerConfig{Windows: window(1)})
		e.publish("q", "bad", "good")
		c.Nack(shard.NackOptions{}, e.want(in, "bad")[0].Tag)
		c.Nack(shard.NackOptions{}, e.want(in, "bad")[0].Tag)
		e.want(in, "good")
		e.equal(g.Stats().Acked, 1)
	}},
	{"get and pull", func(e *env) {
		g := e.group(shard.GroupConfig{Name: "g"}, "q")
		c, in := e.attach(g, shard.ConsumerConfig{Pull: true})
		if _, ok := c.Get(); ok {
			e.Fatal("there is something")
		}
		e.publish("q", "0", "1")
		e.ready(g, 2)
		d, ok := c.Get()
		if !ok || string(d.Record.Value) != "0" {
			e.Fatal(d, ok)
		}
		e.deliveries(in, 0)
		c.Nack(shard.NackOptions{}, d.Tag)
		d, ok = c.Get()
		if !ok || string(d.Record.Value) != "0" || d.Count != 2 {
			e.Fatal(d, ok)
		}
		e.equal(c.Ack(d.Tag), 1)
	}},
	{"get reaches what lies far behind", func(e *env) {
		g := e.group(shard.GroupConfig{Name: "g"}, "q")
		const n = 10_000
		for i := 0; i < n; i += 500 {
			e.publish("q", numbers(i, 500)...)
		}
		e.ready(g, n)
		c, _ := e.attach(g, shard.ConsumerConfig{Pull: true, NoAck: true})
		for i := range n {
			d, ok := c.Get()
			if !ok || string(d.Record.Value) != fmt.Sprint(i) {
				e.Fatalf("%d: %v %v", i, ok, d.Tag)
			}
		}
		if _, ok := c.Get(); ok {
			e.Fatal("there is more")
		}
	}},
	{"pause", func(e *env) {
		g := e.group(shard.GroupConfig{Name: "g"}, "q")
		c, in := e.attach(g, shard.ConsumerConfig{})
		c.Pause(true)
		e.publish("q", "0")
		e.ready(g, 1)
		e.deliveries(in, 0)
		c.Pause(false)
		e.want(in, "0")
	}},
	{"purge", func(e *env) {
		g := e.group(shard.GroupConfig{Name: "g"}, "q")
		c, in := e.attach(g, shard.ConsumerConfig{Windows: window(2)})
		for i := 0; i < 6000; i += 500 {
			e.publish("q", numbers(i, 500)...)
		}
		ds := e.want(in, "0", "1")
		e.ready(g, 5998)
		n, err := g.Purge(e.ctx)
		e.must(err)
		e.equal(n, 5998)
		if s := g.Stats(); s.Ready != 0 || s.Unacked != 2 {
			e.Fatalf("%+v", s)
		}
		c.Nack(shard.NackOptions{}, ds[0].Tag)
		ds = append(ds[1:], e.want(in, "0")...)
		e.publish("q", "new")
		c.Ack(tags(ds)...)
		e.want(in, "new")
	}},
	{"expired messages are not delivered", func(e *env) {
		g := e.group(shard.GroupConfig{Name: "g"}, "q")
		t := e.topic("q")
		none, behind := record(t, "q", "none", shard.Header{Name: shard.HeaderExpiration, Value: []byte("0")}),
			record(t, "q", "behind", shard.Header{Name: shard.HeaderExpiration, Value: []byte("600000")})
		soon, never := record(t, "q", "soon", shard.Header{Name: shard.HeaderExpiration, Value: []byte("80")}), record(t, "q", "never")
		behind.Timestamp -= 3_600_000 // a clock that is slow: the time counts from the arrival
		e.append(t.Shard(0), shard.BatchOf(none, behind, soon, never), shard.AppendOptions{})
		e.ready(g, 3)
		time.Sleep(120 * time.Millisecond)
		c, in := e.attach(g, shard.ConsumerConfig{})
		c.Ack(tags(e.want(in, "behind", "never"))...)
		if s := g.Stats(); s.Ready != 0 || s.Unacked != 0 {
			e.Fatalf("%+v", s)
		}
	}},
	{"own messages are skipped", func(e *env) {
		g := e.group(shard.GroupConfig{Name: "g"}, "q")
		_, in := e.attach(g, shard.ConsumerConfig{Origin: 7, NoLocal: true})
		t := e.topic("q")
		e.append(t.Shard(0), shard.BatchOf(record(t, "q", "mine")), shard.AppendOptions{Origin: 7})
		e.append(t.Shard(0), shard.BatchOf(record(t, "q", "theirs")), shard.AppendOptions{Origin: 8})
		e.want(in, "theirs")
	}},
	{"pull consumers hold nobody off", func(e *env) {
		g := e.group(shard.GroupConfig{Name: "g", Durable: true, ExpireAfter: 400 * time.Millisecond}, "q")
		pull, _ := e.attach(g, shard.ConsumerConfig{Pull: true})
		c, _ := e.attach(g, shard.ConsumerConfig{Exclusive: true})
		e.attach(g, shard.ConsumerConfig{Pull: true})
		e.equal(g.Stats().Consumers, 1)
		c.Close()
		e.equal(g.Stats().Consumers, 0)
		for range 8 { // each Get is a use
			time.Sleep(100 * time.Millisecond)
			pull.Get()
			_, err := e.Broker.Groups.Get("g")
			e.must(err)
		}
		e.eventually("it expires", func() bool {
			_, err := e.Broker.Groups.Get("g")
			return errors.Is(err, shard.ErrGroupNotFound)
		})
	}},
	{"expiry of the group", func(e *env) {
		g := e.group(shard.GroupConfig{Name: "g", Durable: true, ExpireAfter: 400 * time.Millisecond})
		c, _ := e.attach(g, shard.ConsumerConfig{})
		time.Sleep(600 * time.Millisecond)
		_, err := e.Broker.Groups.Get("g")
		e.must(err)
		c.Close()
		e.eventually("it expires", func() bool {
			_, err := e.Broker.Groups.Get("g")
			return errors.Is(err, shard.ErrGroupNotFound)
		})
		e.eventually("its state goes", func() bool {
			owners, err := e.Broker.State.Owners(e.ctx, "group/g")
			e.must(err)
			return len(owners) == 0
		})
	}},
	{"a deleted topic", func(e *env) {
		g := e.group(shard.GroupConfig{Name: "g", Durable: true}, "q")
		c, in := e.attach(g, shard.ConsumerConfig{Windows: window(1)})
		e.publish("q", "0", "1")
		old := e.want(in, "0")
		e.must(e.Broker.Topics.Delete(e.ctx, "q"))
		e.ready(g, 0)
		c.Ack(old[0].Tag)
		e.publish("q", "new")
		e.want(in, "new")
	}},
	{"interest is of groups with consumers", interest},
	{"many groups, much traffic, nothing lost", manyGroups},
}

func interest(e *env) {
	is := func(subject string, want bool) {
		e.Helper()
		if got := e.Broker.Groups.Interest(subject); got != want {
			e.Errorf("interest in %s: %v", subject, got)
		}
	}
	g, other := e.group(shard.GroupConfig{Name: "g"}, "rpc.*"), e.group(shard.GroupConfig{Name: "other"}, "rpc.*")
	is("rpc.a", false)
	c, _ := e.attach(g, shard.ConsumerConfig{})
	pulls, _ := e.attach(other, shard.ConsumerConfig{Pull: true})
	is("rpc.a", true)
	is("rpc", false)
	e.bind(g, shard.Binding{ID: "late", Filter: e.filter("more.>")})
	is("more.x.y", true)
	e.must(g.Bindings().Remove(e.ctx, "rpc.*"))
	is("rpc.a", false)
	second, _ := e.attach(other, shard.ConsumerConfig{})
	is("rpc.a", true)
	second.Close()
	is("rpc.a", false)
	pulls.Close()
	c.Close()
	is("more.x.y", false)
	e.attach(g, shard.ConsumerConfig{})
	is("more.x.y", true)
	e.must(e.Broker.Groups.Delete(e.ctx, "g"))
	is("more.x.y", false)
}

func windowsAreExact(e *env) {
	g := e.group(shard.GroupConfig{Name: "g"}, "q")
	const limit, total = 5, 3000
	w := shard.NewWindow(limit)
	var mu sync.Mutex
	inFlight, peak, seen := 0, 0, 0
	acks := make(chan shard.DeliveryTag, total)
	var cs [3]shard.Consumer
	owner := make(map[shard.DeliveryTag]int)
	for i := range cs {
		in := &inbox{onDeliver: func(ds []shard.Delivery) {
			mu.Lock()
			defer mu.Unlock()
			inFlight += len(ds)
			peak = max(peak, inFlight)
			for _, d := range ds {
				owner[d.Tag] = i
				acks <- d.Tag
			}
		}}
		c, err := g.Attach(shard.ConsumerConfig{Windows: []*shard.Window{w, shard.NewWindow(0)}}, receiver{in})
		e.must(err)
		cs[i] = c
	}
	for i := 0; i < total; i += 100 {
		e.publish("q", numbers(i, 100)...)
	}
	for seen < total {
		select {
		case tag := <-acks:
			mu.Lock()
			inFlight--
			c := cs[owner[tag]]
			mu.Unlock()
			if c.Ack(tag) != 1 {
				e.Fatal("not acknowledged", tag)
			}
			seen++
		case <-time.After(patience):
			e.Fatalf("stuck after %d: %+v", seen, g.Stats())
		}
	}
	if peak > limit || peak < 2 {
		e.Fatalf("%d in flight, the window is %d", peak, limit)
	}
	e.equal(w.Used(), 0)
}

// manyGroups publishes while consumers of several groups come and go.
func manyGroups(e *env) {
	const groups, total = 6, 2000
	var wg sync.WaitGroup
	gs := make([]shard.Group, groups)
	for i := range gs {
		gs[i] = e.group(shard.GroupConfig{Name: fmt.Sprint("g", i), Durable: i%2 == 0}, "a.*")
	}
	e.create(shard.Topic{Name: "t", Captures: []string{"a.>"}, Shards: 3})
	for _, g := range gs {
		wg.Go(func() { e.consumeAll(g, total) })
	}
	for i := range total {
		t := e.topic("a.x")
		subject := fmt.Sprint("a.", i%7)
		e.Broker.Log.Append(e.ctx, t.ShardOf(nil, subject), shard.BatchOf(record(t, subject, fmt.Sprint(i))), shard.AppendOptions{},
			shard.CompletionFunc(func(r shard.AppendResult) {
				if r.Err != nil {
					e.Error(r.Err)
				}
			}))
	}
	wg.Wait()
	for _, g := range gs {
		if s := g.Stats(); s.Ready != 0 || s.Unacked != 0 {
			e.Errorf("%s: %+v", g.Config().Name, s)
		}
	}
}

// consumeAll takes everything of a group with consumers that close now and then,
// and sees that each message is acknowledged once and that first deliveries of a
// subject come in order.
func (e *env) consumeAll(g shard.Group, total int) {
	acked := make(map[string]bool)
	last := make(map[string]int64)
	end := time.Now().Add(patience)
	for round := 0; len(acked) < total && time.Now().Before(end); round++ {
		in := &inbox{}
		c, err := g.Attach(shard.ConsumerConfig{Windows: window(50)}, receiver{in})
		if err != nil {
			e.Error(err)
			return
		}
		for k := 0; k < 300 && len(acked) < total && time.Now().Before(end); k++ {
			for j, d := range in.takeDeliveries() {
				v := string(d.Record.Value)
				if d.Count == 1 {
					if prev, ok := last[d.Subject]; ok && d.Tag.Offset <= prev {
						e.Errorf("%s: offset %d after %d", d.Subject, d.Tag.Offset, prev)
					}
					last[d.Subject] = d.Tag.Offset
				}
				switch {
				case acked[v]:
					e.Errorf("%s came again after its acknowledgement", v)
				case (k+j)%11 == 0:
					c.Nack(shard.NackOptions{}, d.Tag)
				case c.Ack(d.Tag) == 1:
					acked[v] = true
				}
			}
			time.Sleep(50 * time.Microsecond)
		}
		c.Close()
	}
	if len(acked) != total {
		e.Errorf("group %s: %d of %d acknowledged; %+v", g.Config().Name, len(acked), total, g.Stats())
	}
}
