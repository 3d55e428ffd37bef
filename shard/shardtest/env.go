package shardtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// patience is how long a test waits for what must come.
const patience = 15 * time.Second

// silence is how long it waits for what must not.
const silence = 60 * time.Millisecond

// env is a broker under test with helpers that fail the test.
type env struct {
	*testing.T
	Instance
	ctx context.Context
}

func (e *env) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

func (e *env) kind(err error, want shard.Kind) {
	e.Helper()
	if err == nil || shard.KindOf(err) != want {
		e.Fatalf("got error %v, want one that is %q", err, want)
	}
}

func (e *env) topic(subject string) *shard.Topic {
	e.Helper()
	t, err := e.Broker.Topics.Resolve(e.ctx, subject, true)
	e.must(err)
	return t
}

func (e *env) create(t shard.Topic) *shard.Topic {
	e.Helper()
	x, err := e.Broker.Topics.Create(e.ctx, t)
	e.must(err)
	return x
}

func (e *env) filter(s string) shard.Filter {
	e.Helper()
	f, err := shard.ParseSubjectFilter(s)
	e.must(err)
	return f
}

// record makes a record as a gateway does for that subject.
func record(t *shard.Topic, subject, value string, hs ...shard.Header) shard.Record {
	if subject != t.Name {
		hs = append(hs, shard.Header{Name: shard.HeaderSubject, Value: []byte(subject)})
	}
	return shard.Record{Timestamp: time.Now().UnixMilli(), Value: []byte(value), Headers: hs}
}

// publish appends values in one batch and waits until it is done.
func (e *env) publish(subject string, values ...string) shard.AppendResult {
	e.Helper()
	t := e.topic(subject)
	var b shard.Builder
	for _, v := range values {
		r := record(t, subject, v)
		b.Add(&r)
	}
	return e.append(t.ShardOf(nil, subject), b.Build(), shard.AppendOptions{})
}

func (e *env) append(id shard.ID, b *shard.Batch, opts shard.AppendOptions) shard.AppendResult {
	e.Helper()
	res, err := shard.AppendWait(e.ctx, e.Broker.Log, id, b, opts)
	e.must(err)
	return res
}

// read gives all values of a shard from an offset on.
func (e *env) read(id shard.ID, from int64) (vs []string) {
	e.Helper()
	for {
		res, err := e.Broker.Log.Read(e.ctx, id, from, shard.ReadOptions{})
		e.must(err)
		if len(res.Batches) == 0 {
			return vs
		}
		for _, b := range res.Batches {
			recs, err := b.Records()
			e.must(err)
			for i := range recs {
				if recs[i].Offset >= from {
					vs = append(vs, string(recs[i].Value))
				}
			}
			from = b.LastOffset() + 1
		}
	}
}

func numbers(from, n int) []string {
	vs := make([]string, n)
	for i := range vs {
		vs[i] = fmt.Sprint(from + i)
	}
	return vs
}

func (e *env) equal(got, want any) {
	e.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		e.Fatalf("got  %s\nwant %s", g, w)
	}
}

// eventually waits until ok holds.
func (e *env) eventually(what string, ok func() bool) {
	e.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(end) {
			e.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// inbox is a Receiver and a Subscriber that keeps what it gets.
type inbox struct {
	mu     sync.Mutex
	ds     []shard.Delivery
	ms     []string
	closed error
	calls  int
	// peak is the most that was there and not taken, for windows.
	onDeliver func([]shard.Delivery)
}

// receiver makes an inbox a Receiver.
type receiver struct{ *inbox }

// Deliver implements shard.Receiver.
func (r receiver) Deliver(ds []shard.Delivery) {
	r.mu.Lock()
	r.ds = append(r.ds, ds...)
	r.calls++
	f := r.onDeliver
	r.mu.Unlock()
	if f != nil {
		f(ds)
	}
}

// Closed implements shard.Receiver.
func (r receiver) Closed(err error) {
	r.mu.Lock()
	r.closed = err
	r.mu.Unlock()
}

// subscriber makes an inbox a Subscriber: "subject value [ids]".
type subscriber struct{ *inbox }

// Deliver implements shard.Subscriber.
func (s subscriber) Deliver(ms []shard.Message, ids []shard.SubID) {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	for i := range ms {
		s.ms = append(s.ms, fmt.Sprintf("%s %s %v", ms[i].Subject, ms[i].Record.Value, ids))
	}
}

func (i *inbox) takeDeliveries() []shard.Delivery {
	i.mu.Lock()
	defer i.mu.Unlock()
	ds := i.ds
	i.ds = nil
	return ds
}

func (i *inbox) takeMessages() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	ms := i.ms
	i.ms = nil
	return ms
}

// deliveries waits for n deliveries, and makes sure that no more come.
func (e *env) deliveries(i *inbox, n int) []shard.Delivery {
	e.Helper()
	var ds []shard.Delivery
	for end := time.Now().Add(patience); len(ds) < n && time.Now().Before(end); {
		if ds = append(ds, i.takeDeliveries()...); len(ds) < n {
			time.Sleep(200 * time.Microsecond)
		}
	}
	if n == 0 {
		time.Sleep(silence)
	}
	ds = append(ds, i.takeDeliveries()...)
	if len(ds) != n {
		e.Fatalf("got %d deliveries %v, want %d", len(ds), values(ds), n)
	}
	return ds
}

// want waits for deliveries with exactly these values in this order.
func (e *env) want(i *inbox, vs ...string) []shard.Delivery {
	e.Helper()
	ds := e.deliveries(i, len(vs))
	e.equal(values(ds), vs)
	return ds
}

// messages waits for live messages, and makes sure that no more come.
func (e *env) messages(i *inbox, want ...string) {
	e.Helper()
	var got []string
	for end := time.Now().Add(patience); len(got) < len(want) && time.Now().Before(end); {
		if got = append(got, i.takeMessages()...); len(got) < len(want) {
			time.Sleep(200 * time.Microsecond)
		}
	}
	if len(want) == 0 {
		time.Sleep(silence)
	}
	e.equal(append(got, i.takeMessages()...), want)
}

func values(ds []shard.Delivery) []string {
	vs := make([]string, 0, len(ds))
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

func window(n int) []*shard.Window { return []*shard.Window{shard.NewWindow(n)} }

func (e *env) group(c shard.GroupConfig, filters ...string) shard.Group {
	e.Helper()
	g, err := e.Broker.Groups.Create(e.ctx, c)
	e.must(err)
	for _, f := range filters {
		e.bind(g, shard.Binding{ID: f, Filter: e.filter(f)})
	}
	return g
}

func (e *env) bind(g shard.Group, b shard.Binding) {
	e.Helper()
	e.must(g.Bindings().Add(e.ctx, b))
}

func (e *env) attach(g shard.Group, c shard.ConsumerConfig) (shard.Consumer, *inbox) {
	e.Helper()
	i := &inbox{}
	x, err := g.Attach(c, receiver{i})
	e.must(err)
	return x, i
}

// ready waits until a group has so many messages ready.
func (e *env) ready(g shard.Group, n int64) {
	e.Helper()
	var s shard.GroupStats
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(200 * time.Microsecond) {
		if s = g.Stats(); s.Ready == n {
			return
		}
	}
	e.Fatalf("group %s has %+v, want %d ready", g.Config().Name, s, n)
}
