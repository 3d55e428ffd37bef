package amqp

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// beating opens a connection with heartbeats of a second and a consumer that
// acknowledges nothing.
func beating(t *testing.T, s *testServer, queue string) *testClient {
	t.Helper()
	c := dialRaw(t, s)
	c.write([]byte(frame.ProtocolHeader))
	expect[*frame.ConnectionStart](c, 0)
	c.send(0, &frame.ConnectionStartOk{ClientProperties: testCaps, Mechanism: "PLAIN", Response: []byte("\x00admin\x00robustmq"), Locale: "en_US"})
	tune := expect[*frame.ConnectionTune](c, 0)
	c.send(0, &frame.ConnectionTuneOk{ChannelMax: tune.ChannelMax, FrameMax: tune.FrameMax, Heartbeat: 1})
	c.send(0, &frame.ConnectionOpen{VirtualHost: "/"})
	expect[*frame.ConnectionOpenOk](c, 0)
	c.channel(1)
	c.declare(1, frame.QueueDeclare{Queue: queue})
	c.consume(1, queue, "slow", false)
	return c
}

func (s *testServer) until(what string, done func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatal("not yet: ", what)
		}
	}
}

func (s *testServer) conns() (n int, over bool) {
	s.srv.mu.Lock()
	defer s.srv.mu.Unlock()
	for k := range s.srv.mu.conns {
		over = over || k.out.excess()
	}
	return len(s.srv.mu.conns), over
}

// A client that stopped while its output is over the bound is closed, and its
// messages go to others. One that is slow and sends heartbeats stays.
func TestStoppedConsumer(t *testing.T) {
	l := gateway.DefaultLimits()
	l.MaxOutboundBytes = 64 << 10
	s := startServer(t, testOptions{limits: l})
	slow := beating(t, s, "slow")
	var beats atomic.Int64
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Millisecond):
				if _, err := slow.nc.Write(frame.AppendHeartbeat(nil)); err != nil {
					return
				}
				beats.Add(1)
			}
		}
	}()
	stopped := beating(t, s, "stopped")
	p := open(t, s)
	body := string(make([]byte, 100_000))
	const n = 150 // more than sockets hold
	for range n {
		p.publish(1, "", "slow", body)
		p.publish(1, "", "stopped", body)
	}
	s.until("an output over its bound", func() bool { _, over := s.conns(); return over })
	s.until("the stopped client is closed", func() bool { n, _ := s.conns(); return n == 2 })
	from := beats.Load()
	s.until("the slow client lives on", func() bool { return beats.Load() > from+12 })
	if n, _ := s.conns(); n != 2 || s.stats.SlowConsumers.Load() != 1 {
		t.Errorf("%d connections, %d closed for being slow", n, s.stats.SlowConsumers.Load())
	}
	for i := range n {
		if e, err := slow.next(); err != nil || len(e.body) != len(body) {
			t.Fatalf("message %d of the slow client: %d bytes, %v", i, len(e.body), err)
		}
	}
	other := open(t, s)
	other.consume(1, "stopped", "other", true)
	for i := range n {
		if e, err := other.next(); err != nil || len(e.body) != len(body) {
			t.Fatalf("message %d of the stopped client: %d bytes, %v", i, len(e.body), err)
		}
	}
	_ = stopped.nc.Close()
}

// coldGroups is Groups whose messages cannot be read until they are opened.
type coldGroups struct {
	shard.Groups
	open chan struct{}
}

type coldGroup struct {
	shard.Group
	open chan struct{}
}

type coldConsumer struct {
	shard.Consumer
	open chan struct{}
}

func (g coldGroups) Create(ctx context.Context, c shard.GroupConfig) (shard.Group, error) {
	x, err := g.Groups.Create(ctx, c)
	return coldGroup{x, g.open}, err
}

func (g coldGroup) Attach(c shard.ConsumerConfig, r shard.Receiver) (shard.Consumer, error) {
	k, err := g.Group.Attach(c, r)
	return coldConsumer{k, g.open}, err
}

func (k coldConsumer) Get() (shard.Delivery, bool) {
	select {
	case <-k.open:
		return k.Consumer.Get()
	default:
		return shard.Delivery{}, false
	}
}

// A get of messages that have to be read from the store first is answered with
// them, however long that takes, and other channels do not wait for it.
func TestGetWaitsForTheStore(t *testing.T) {
	mem := shardmem.New(shardmem.Options{Users: []shard.User{superuser(t)}})
	t.Cleanup(mem.Close)
	b := mem.Broker()
	cold := make(chan struct{})
	b.Groups = coldGroups{b.Groups, cold}
	s := serveOn(t, testOptions{}, mem, b)
	c := open(t, s)
	c.channel(2)
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	c.publish(1, "", "q", "one")
	c.publish(1, "", "q", "two")
	c.send(1, &frame.BasicGet{Queue: "q", NoAck: true})
	c.send(1, &frame.BasicGet{Queue: "q", NoAck: true})
	c.send(1, &frame.BasicGet{Queue: "q", NoAck: true})
	c.send(1, &frame.QueueDeclare{Queue: "q", Passive: true})
	// The reader waits for the gets now, as what follows them has to be answered
	// after them; so the other channel asks before.
	d := open(t, s)
	d.declare(1, frame.QueueDeclare{Queue: "q", Passive: true})
	time.AfterFunc(time.Second, func() { close(cold) }) // longer than a get once waited
	for _, want := range []string{"one", "two"} {
		e, err := c.next()
		for err == nil && e.method.ID() == frame.IDBasicAck { // of a publish
			e, err = c.next()
		}
		if _, ok := e.method.(*frame.BasicGetOk); !ok || err != nil || string(e.body) != want {
			t.Fatalf("%T, %v: want %s", e.method, err, want)
		}
	}
	expect[*frame.BasicGetEmpty](c, 1)
	expect[*frame.QueueDeclareOk](c, 1)
}

// While a get waits, the connection is served.
func TestGetHoldsNobodyUp(t *testing.T) {
	mem := shardmem.New(shardmem.Options{Users: []shard.User{superuser(t)}})
	t.Cleanup(mem.Close)
	b := mem.Broker()
	cold := make(chan struct{})
	b.Groups = coldGroups{b.Groups, cold}
	s := serveOn(t, testOptions{}, mem, b)
	c := open(t, s)
	c.channel(2)
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	c.publish(1, "", "q", "one")
	c.send(1, &frame.BasicGet{Queue: "q"})
	c.declare(2, frame.QueueDeclare{Queue: "other"})
	close(cold)
	e, err := c.next()
	for err == nil && e.method.ID() == frame.IDBasicAck {
		e, err = c.next()
	}
	if err != nil || string(e.body) != "one" {
		t.Fatalf("%+v, %v", e, err)
	}
}

func superuser(t *testing.T) shard.User {
	t.Helper()
	u, err := gateway.NewUser("admin", "robustmq")
	if err != nil {
		t.Fatal(err)
	}
	u.Superuser = true
	return u
}
