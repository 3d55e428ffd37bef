package mqtt

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
)

// slowState holds changes of retained messages back while it is shut, in order.
type slowState struct {
	shard.State
	mu   sync.Mutex
	shut bool
	held []func()
}

func (s *slowState) Apply(ctx context.Context, owner string, ops []shard.StateOp, done func(error)) {
	s.mu.Lock()
	if s.shut && strings.HasPrefix(owner, retainPrefix) {
		s.held = append(s.held, func() { s.State.Apply(ctx, owner, ops, done) })
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	s.State.Apply(ctx, owner, ops, done)
}

func (s *slowState) set(shut bool) {
	s.mu.Lock()
	held := s.held
	s.shut, s.held = shut, nil
	s.mu.Unlock()
	for _, f := range held {
		f()
	}
}

func slow(t testing.TB) (*bed, *slowState) {
	s := &slowState{}
	return newBed(t, bedOptions{broker: func(b *shard.Broker) {
		s.State, b.State = b.State, s
	}}), s
}

// TestRetainedGap: live subscribers have a retained message before the store has
// it; who subscribes then has it too.
func TestRetainedGap(t *testing.T) {
	for qos := range uint8(3) {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			b, st := slow(t)
			defer st.set(false)
			p := b.connect(clean(5, "p"))
			p.publish("s", "old", 1, 1, retained)
			p.expect("PUBACK 1")
			early := b.connect(clean(5, "early"))
			early.subscribe("#", 0)
			early.expect(`PUBLISH s "old" q0 retain`)
			st.set(true)
			p.publish("s", "new", qos, qos2id(qos, 2), retained)
			p.publish("first", "one", qos, qos2id(qos, 3), retained)
			early.expect(`PUBLISH s "new" q0`, `PUBLISH first "one" q0`)
			for i, f := range []struct{ filter, want string }{{"s", `s "new"`}, {"+", ""}, {"first", `first "one"`}} {
				late := b.connect(clean(5, fmt.Sprint("late", i)))
				late.subscribe(f.filter, 0)
				if f.want == "" {
					got := map[string]bool{show(late.read()): true, show(late.read()): true}
					if !got[`PUBLISH s "new" q0 retain`] || !got[`PUBLISH first "one" q0 retain`] {
						t.Fatal(got)
					}
				} else {
					late.expect("PUBLISH " + f.want + " q0 retain")
				}
				late.quiet()
			}
			// Forgetting is as much a change.
			p.publish("s", "", qos, qos2id(qos, 4), retained)
			early.expect(`PUBLISH s "" q0`)
			late := b.connect(clean(5, "late"))
			late.subscribe("s", 0)
			late.quiet()
			st.set(false)
			b.settled(map[string]string{"first": "one"})
		})
	}
}

func qos2id(qos uint8, id uint16) uint16 {
	if qos == 0 {
		return 0
	}
	return id
}

// settled waits until nothing is on its way and compares what is kept.
func (b *bed) settled(want map[string]string) {
	b.t.Helper()
	s := b.srv.retained
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		coming := 0
		for i := range s.order.stripes {
			st := &s.order.stripes[i]
			st.RLock()
			coming += len(st.topics)
			st.RUnlock()
		}
		if coming == 0 {
			break
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%d topics are still on their way", coming)
		}
	}
	if s.count() != len(want) {
		b.t.Errorf("%d names are kept, want %d", s.count(), len(want))
	}
	for topic, value := range want {
		r, ok, err := s.get(context.Background(), topic, time.Now())
		if err != nil || !ok || string(r.Value) != value {
			b.t.Errorf("%s: kept %v %v, want %q", topic, r, err, value)
		}
	}
}

// TestRetainedThenSubscribe: on one connection, however little time lies between.
func TestRetainedThenSubscribe(t *testing.T) {
	b, st := slow(t)
	defer st.set(false)
	st.set(true)
	p := b.connect(clean(5, "p"))
	for i := range 60 {
		topic := fmt.Sprint("t/", i)
		p.send(&packet.Publish{Topic: []byte(topic), Payload: []byte("x"), Retain: true},
			&packet.Subscribe{ID: 1, Filters: []packet.Subscription{{Filter: topic}}})
		p.expect("SUBACK 1 [0]", "PUBLISH "+topic+` "x" q0 retain`)
	}
	st.set(false)
}

// TestRetainedWillGap: a will that was seen is found by the next dashboard.
func TestRetainedWillGap(t *testing.T) {
	b, st := slow(t)
	defer st.set(false)
	c := clean(5, "device")
	c.Will = &packet.Will{Topic: "status", Payload: []byte("Offline"), Retain: true}
	d := b.connect(c)
	d.publish("status", "Online", 1, 1, retained)
	d.expect("PUBACK 1")
	early := b.connect(clean(5, "early"))
	early.subscribe("status", 0)
	early.expect(`PUBLISH status "Online" q0 retain`)
	st.set(true)
	d.nc.Close()
	early.expect(`PUBLISH status "Offline" q0`)
	late := b.connect(clean(5, "late"))
	late.subscribe("status", 0)
	late.expect(`PUBLISH status "Offline" q0 retain`)
	st.set(false)
	<-d.done
	b.settled(map[string]string{"status": "Offline"})
}

// TestRetainedUndecided: a retained message that may yet be refused is not shown,
// nor is the one before it, until that is known.
func TestRetainedUndecided(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		t.Run(fmt.Sprint("refused ", refuse), func(t *testing.T) {
			l := &waitingLog{wait: make(chan struct{}), began: make(chan struct{}), refuse: refuse}
			b := newBed(t, bedOptions{broker: func(b *shard.Broker) { l.Log, b.Log = b.Log, l }})
			p := b.connect(clean(5, "p"))
			p.publish("t", "old", 1, 1, retained)
			p.expect("PUBACK 1")
			l.on.Store(true)
			p.publish("t", "new", 1, 2, retained)
			<-l.began
			s := b.connect(clean(5, "s"))
			s.subscribe("t", 0)
			s.quiet()
			close(l.wait)
			if refuse {
				s.expect(`PUBLISH t "old" q0 retain`)
				b.settled(map[string]string{"t": "old"})
				return
			}
			if got := show(s.read()); got != `PUBLISH t "new" q0 retain` && got != `PUBLISH t "new" q0` {
				t.Fatal(got)
			}
			b.settled(map[string]string{"t": "new"})
		})
	}
}

// waitingLog holds appends back while it is on.
type waitingLog struct {
	shard.Log
	on          atomic.Bool
	refuse      bool
	wait, began chan struct{}
}

func (l *waitingLog) Append(ctx context.Context, id shard.ID, b *shard.Batch, opts shard.AppendOptions, done shard.Completion) {
	if l.on.Load() {
		close(l.began)
		<-l.wait
		if l.refuse {
			done.Appended(shard.AppendResult{Err: shard.ErrWALFull, Base: -1, AppendTime: -1})
			return
		}
	}
	l.Log.Append(ctx, id, b, opts, done)
}

// TestRetainedHeldByWindow: a retained message that waited for the receive maximum
// does not follow a newer one.
func TestRetainedHeldByWindow(t *testing.T) {
	b := newBed(t, bedOptions{})
	p := b.connect(clean(5, "p"))
	for i, topic := range []string{"a", "b"} {
		p.publish(topic, "old", 1, uint16(i+1), retained)
		p.expect(fmt.Sprint("PUBACK ", i+1))
	}
	c := clean(5, "s")
	c.Props = c.Props.AddNum(packet.PropReceiveMaximum, 1)
	s := b.connect(c)
	s.subscribe("+", 1)
	first, ok := s.read().(*packet.Publish)
	if !ok {
		t.Fatal("no retained message")
	}
	other := map[string]string{"a": "b", "b": "a"}[string(first.Topic)]
	p.publish(other, "new", 1, 9, retained)
	p.expect("PUBACK 9")
	last := ""
	s.send(&packet.Ack{Kind: packet.PUBACK, ID: first.ID})
	for {
		k, err := s.next(100 * time.Millisecond)
		if err != nil {
			break
		}
		m := k.(*packet.Publish)
		last = string(m.Payload)
		s.send(&packet.Ack{Kind: packet.PUBACK, ID: m.ID})
	}
	if last != "new" {
		t.Fatalf("the last is %q", last)
	}
}

// TestRetainedWhileOthersJoin: 1000 states change while dashboards join, which all
// end with the newest of each.
func TestRetainedWhileOthersJoin(t *testing.T) {
	const topics, rounds, joiners = 1000, 3, 4
	b := newBed(t, bedOptions{})
	want := make(map[string]string)
	for i := range topics {
		want[fmt.Sprint("state/", i)] = fmt.Sprint(rounds - 1)
	}
	var wg sync.WaitGroup
	published := make(chan int, rounds*topics)
	p := b.connect(clean(5, "p"))
	wg.Go(func() {
		defer close(published)
		go discard(p.nc)
		for round := range rounds {
			for i := range topics {
				p.publish(fmt.Sprint("state/", i), fmt.Sprint(round), 1, uint16(i+1), retained)
				published <- i
			}
		}
	})
	for j := range joiners {
		for range topics / 3 {
			<-published
		}
		s := b.connect(clean(5, fmt.Sprint("join", j)))
		wg.Go(func() {
			s.send(&packet.Subscribe{ID: 1, Filters: []packet.Subscription{{Filter: "state/#", QoS: uint8(j % 2)}}})
			have := make(map[string]string)
			fresh := 0
			for fresh < topics {
				m, ok := s.read().(*packet.Publish)
				if !ok { // SUBACK: live messages may come before it
					continue
				}
				if m.QoS == 1 {
					s.send(&packet.Ack{Kind: packet.PUBACK, ID: m.ID})
				}
				name, value := string(m.Topic), string(m.Payload)
				if value < have[name] {
					t.Errorf("joiner %d: %s went back from %s to %s", j, name, have[name], value)
				}
				if have[name] != value && value == want[name] {
					fresh++
				}
				have[name] = value
			}
		})
	}
	for range published {
	}
	wg.Wait()
	b.settled(want)
}

// TestRetainedOrderOfPublishers: of several publishers, the one whose message live
// subscribers got last is the one whose message is kept.
func TestRetainedOrderOfPublishers(t *testing.T) {
	b := newBed(t, bedOptions{})
	early := b.connect(clean(5, "early"))
	early.subscribe("t", 0)
	const n, each = 4, 200
	var wg sync.WaitGroup
	for i := range n {
		p := b.connect(clean(5, fmt.Sprint("p", i)))
		wg.Go(func() {
			for k := range each {
				p.publish("t", fmt.Sprintf("%d.%d", i, k), 0, 0, retained)
			}
			p.bye()
		})
	}
	last := ""
	for range n * each {
		m, ok := early.read().(*packet.Publish)
		if !ok {
			t.Fatal("not a PUBLISH")
		}
		last = string(m.Payload)
	}
	wg.Wait()
	b.settled(map[string]string{"t": last})
}

// TestRetainedOfKnownMessage: a QoS 2 message whose record survived a crash that its
// retained value did not is kept when the client sends it again.
func TestRetainedOfKnownMessage(t *testing.T) {
	b := newBed(t, bedOptions{})
	p := b.connect(kept(5, "p"))
	early := b.connect(clean(5, "early"))
	early.subscribe("t", 1)
	b.state.lose = func(ops []shard.StateOp) bool {
		return ops[0].Key == "t" || strings.Contains(string(ops[0].Value), `"r":true`)
	}
	p.publish("t", "x", 2, 1, retained)
	early.expect(`PUBLISH t "x" q1 id1`)
	b.crash()
	b = b.restart(bedOptions{})
	p = b.connect(kept(5, "p")).present(true)
	p.publish("t", "x", 2, 1, retained, func(k *packet.Publish) { k.Dup = true })
	p.expect("PUBREC 1")
	b.settled(map[string]string{"t": "x"})
	s := b.connect(clean(5, "s"))
	s.subscribe("t", 1)
	s.expect(`PUBLISH t "x" q1 id1 retain`)
}
