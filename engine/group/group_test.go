package group_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// receiver keeps what it is given.
type receiver struct {
	mu     sync.Mutex
	got    []shard.Delivery
	closed error
	each   func(shard.Delivery)
}

func (r *receiver) Deliver(ds []shard.Delivery) {
	r.mu.Lock()
	r.got = append(r.got, ds...)
	r.mu.Unlock()
	if r.each != nil {
		for _, d := range ds {
			r.each(d)
		}
	}
}

func (r *receiver) Closed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = err
}

func (r *receiver) take() []shard.Delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = nil
	return got
}

// await gives n deliveries, and fails when there are fewer in 5 s.
func (r *receiver) await(t testing.TB, n int) []shard.Delivery {
	t.Helper()
	var got []shard.Delivery
	for deadline := time.Now().Add(30 * time.Second); len(got) < n; {
		got = append(got, r.take()...)
		if time.Now().After(deadline) {
			t.Fatalf("got %d deliveries, want %d", len(got), n)
		}
		if len(got) < n {
			time.Sleep(100 * time.Microsecond)
		}
	}
	return got
}

func values(ds []shard.Delivery) []string {
	var vs []string
	for i := range ds {
		vs = append(vs, string(ds[i].Record.Value))
	}
	return vs
}

func tags(ds []shard.Delivery) []shard.DeliveryTag {
	var ts []shard.DeliveryTag
	for i := range ds {
		ts = append(ts, ds[i].Tag)
	}
	return ts
}

// publish appends one batch, and gives where it lies.
func publish(t testing.TB, b shard.Broker, subject string, values ...string) (id shard.ID, base int64) {
	t.Helper()
	ctx := context.Background()
	topic, err := b.Topics.Resolve(ctx, subject, true)
	if err != nil {
		t.Fatal(err)
	}
	var bld shard.Builder
	for _, v := range values {
		r := shard.Record{Timestamp: time.Now().UnixMilli(), Value: []byte(v)}
		if topic.Name != subject {
			r.Headers = []shard.Header{{Name: shard.HeaderSubject, Value: []byte(subject)}}
		}
		bld.Add(&r)
	}
	id = topic.ShardOf(nil, subject)
	res, err := shard.AppendWait(ctx, b.Log, id, bld.Build(), shard.AppendOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return id, res.Base
}

func makeGroup(t testing.TB, b shard.Broker, c shard.GroupConfig, filters ...string) shard.Group {
	t.Helper()
	g, err := b.Groups.Create(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range filters {
		bind(t, g, shard.Binding{ID: f}, f)
	}
	return g
}

func bind(t testing.TB, g shard.Group, x shard.Binding, filter string) {
	t.Helper()
	var err error
	if x.Filter, err = shard.ParseSubjectFilter(filter); err != nil {
		t.Fatal(err)
	}
	if err := g.Bindings().Add(context.Background(), x); err != nil {
		t.Fatal(err)
	}
}

func attach(t testing.TB, g shard.Group, c shard.ConsumerConfig, r shard.Receiver) shard.Consumer {
	t.Helper()
	x, err := g.Attach(c, r)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestBasics(t *testing.T) {
	mem := shardmem.New(shardmem.Options{})
	defer mem.Close()
	b := mem.Broker()
	publish(t, b, "q", "before")
	g := makeGroup(t, b, shard.GroupConfig{Name: "g", Durable: true}, "q")
	publish(t, b, "q", "1", "2", "3")
	r := &receiver{}
	c := attach(t, g, shard.ConsumerConfig{Windows: []*shard.Window{shard.NewWindow(2)}}, r)
	ds := r.await(t, 2)
	if got := values(ds); !slices.Equal(got, []string{"1", "2"}) || ds[0].Count != 1 || ds[0].Bindings[0].ID != "q" {
		t.Fatal(got)
	}
	if s := g.Stats(); s.Ready != 1 || s.Unacked != 2 || s.Consumers != 1 {
		t.Fatalf("%+v", s)
	}
	if n := c.Ack(ds[0].Tag, ds[0].Tag); n != 1 {
		t.Fatal(n)
	}
	ds = append(ds[1:], r.await(t, 1)...)
	if got := values(ds); !slices.Equal(got, []string{"2", "3"}) {
		t.Fatal(got)
	}
	c.Close()
	if s := g.Stats(); s.Ready != 2 || s.Unacked != 0 || s.Consumers != 0 {
		t.Fatalf("%+v", s)
	}
	c = attach(t, g, shard.ConsumerConfig{}, r)
	ds = r.await(t, 2)
	if got := values(ds); !slices.Equal(got, []string{"2", "3"}) || ds[0].Count != 2 {
		t.Fatal(got, ds[0].Count)
	}
	c.Ack(tags(ds)...)
	c.Close()
}

func TestOverflowAndSeam(t *testing.T) {
	opts := shardmem.Options{}
	opts.Groups.ReadyMessages, opts.Groups.IdleMessages = 10, 4
	mem := shardmem.New(opts)
	defer mem.Close()
	b := mem.Broker()
	g := makeGroup(t, b, shard.GroupConfig{Name: "g"}, "q")
	const total = 5000
	go func() {
		for i := 0; i < total; i += 5 {
			publish(t, b, "q", fmt.Sprint(i), fmt.Sprint(i+1), fmt.Sprint(i+2), fmt.Sprint(i+3), fmt.Sprint(i+4))
		}
	}()
	r := &receiver{}
	var c shard.Consumer
	acks := make(chan shard.DeliveryTag, total)
	r.each = func(d shard.Delivery) { acks <- d.Tag }
	c = attach(t, g, shard.ConsumerConfig{Windows: []*shard.Window{shard.NewWindow(7)}}, r)
	for i := range total {
		select {
		case tag := <-acks:
			if tag.Offset != int64(i) {
				t.Fatalf("offset %d came as %d", tag.Offset, i)
			}
			c.Ack(tag)
		case <-time.After(30 * time.Second):
			t.Fatalf("nothing came after %d: %+v", i, g.Stats())
		}
	}
	if s := g.Stats(); s.Ready != 0 || s.Unacked != 0 || s.Acked != total {
		t.Fatalf("%+v", s)
	}
}
