package amqp

import (
	"errors"
	"math/rand/v2"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// conversation is what a client sends to log in, declare, bind, publish with
// confirms, consume and acknowledge.
func conversation() []byte {
	b := []byte(frame.ProtocolHeader)
	b = frame.AppendMethod(b, 0, &frame.ConnectionStartOk{ClientProperties: testCaps, Mechanism: "PLAIN", Response: []byte("\x00admin\x00robustmq"), Locale: "en_US"})
	b = frame.AppendMethod(b, 0, &frame.ConnectionTuneOk{ChannelMax: 10, FrameMax: 8192})
	b = frame.AppendMethod(b, 0, &frame.ConnectionOpen{VirtualHost: "/"})
	for _, m := range []frame.Method{
		&frame.ChannelOpen{}, &frame.ConfirmSelect{}, &frame.ExchangeDeclare{Exchange: "x", Type: "topic"},
		&frame.QueueDeclare{Queue: "q"}, &frame.QueueBind{Queue: "q", Exchange: "x", RoutingKey: "a.#", Arguments: frame.Table{{Name: "k", Value: frame.Int(1)}}},
		&frame.BasicQos{PrefetchCount: 10},
	} {
		b = frame.AppendMethod(b, 1, m)
	}
	b = publishFrames(b, 1, "x", "a.b", every(), []byte("body"), true)
	for _, m := range []frame.Method{
		&frame.BasicConsume{Queue: "q", ConsumerTag: "c"}, &frame.BasicRecover{Requeue: true}, &frame.BasicAck{Multiple: true},
		&frame.BasicCancel{ConsumerTag: "c"}, &frame.QueuePurge{Queue: "q"}, &frame.QueueDelete{Queue: "q"}, &frame.ExchangeDelete{Exchange: "x"}, &frame.ChannelClose{},
	} {
		b = frame.AppendMethod(b, 1, m)
	}
	return frame.AppendMethod(b, 0, &frame.ConnectionClose{ReplyCode: 200})
}

// throw sends bytes, hangs up its side, and waits until the server does.
func throw(t testing.TB, s *testServer, b []byte) {
	t.Helper()
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	_, _ = nc.Write(b)
	_ = nc.(*net.TCPConn).CloseWrite()
	_ = nc.SetReadDeadline(time.Now().Add(patience))
	p := make([]byte, 4096)
	for {
		if _, err := nc.Read(p); err != nil {
			if isTimeout(err) {
				t.Fatalf("the server keeps a connection that sent %d bytes", len(b))
			}
			return
		}
	}
}

// A whole conversation, and every prefix of it, leaves nothing behind.
func TestEveryPrefixOfAConversation(t *testing.T) {
	s := startServer(t, testOptions{})
	all := conversation()
	step := 1
	if testing.Short() {
		step = 17
	}
	for i := 0; i <= len(all); i += step {
		throw(t, s, all[:i])
	}
	throw(t, s, all)
	s.healthy(t)
}

// healthy checks that nothing is left of connections, and that a new one works.
func (s *testServer) healthy(t testing.TB) {
	t.Helper()
	eventually(t, "all connections are gone", func() bool { return s.stats.Connections.Load() == 0 })
	if n := s.stats.Subscriptions.Load(); n != 0 {
		t.Errorf("%d consumers are left", n)
	}
	c := open(t, s)
	c.declare(1, frame.QueueDeclare{Queue: "health"})
	c.put(1, "", "health", "x")
	c.wantGet(1, "health", "x")
}

func TestHostileBytes(t *testing.T) {
	s := startServer(t, testOptions{})
	all := conversation()
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		b := append([]byte(nil), all...)
		for range 1 + rnd.IntN(8) {
			b[rnd.IntN(len(b))] = byte(rnd.Uint32())
		}
		throw(t, s, b)
	}
	login := 0
	for i := range all { // what comes after the log-in, at random
		if _, n, _ := frame.Parse(all[8:], 1<<20); n > 0 && i == 0 {
			login = 8 + n
		}
	}
	for range 100 {
		b := append([]byte(nil), all[:login]...)
		for range 500 {
			b = append(b, byte(rnd.Uint32()))
		}
		throw(t, s, b)
	}
	s.healthy(t)
}

// Huge lengths take no memory.
func TestHugeLengths(t *testing.T) {
	s := startServer(t, testOptions{})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var conns []*testClient
	for range 50 {
		c := dial(t, s)
		c.channel(1)
		c.write(frame.AppendMethod(nil, 1, &frame.BasicPublish{RoutingKey: "q"}))
		h := frame.Header{Class: 60, BodySize: uint64(gateway.DefaultLimits().MaxMessageBytes)}
		p := h.Append(nil)
		c.write(append(append([]byte{2, 0, 1, 0, 0, 0, byte(len(p))}, p...), 0xce))
		c.write([]byte{3, 0, 1, 0, 0, 0xf0, 0}) // a body frame that does not come
		conns = append(conns, c)
	}
	time.Sleep(50 * time.Millisecond)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 32<<20 {
		t.Errorf("50 connections that announce 8 MiB each took %d bytes", grown)
	}
	for _, c := range conns {
		_ = c.nc.Close()
	}
	s.healthy(t)
}

// Who publishes what comes back and does not read is not read from.
func TestReturnsAreBounded(t *testing.T) {
	l := gateway.DefaultLimits()
	l.MaxOutboundBytes = 64 << 10
	s := startServer(t, testOptions{limits: l})
	c := open(t, s)
	one := publishFrames(nil, 1, "amq.direct", "nobody", frame.Properties{}, make([]byte, 20_000), true)
	_ = c.nc.SetWriteDeadline(time.Now().Add(time.Second))
	for range 5000 {
		if _, err := c.nc.Write(one); err != nil {
			break
		}
	}
	s.srv.mu.Lock()
	for k := range s.srv.mu.conns {
		k.out.mu.Lock()
		if n := len(k.out.mu.buf) + k.out.mu.writing; n > 4<<20 {
			t.Errorf("%d bytes wait for a client that does not read", n)
		}
		k.out.mu.Unlock()
	}
	s.srv.mu.Unlock()
	_ = c.nc.Close()
	s.healthy(t)
}

func TestCapsOfNames(t *testing.T) {
	s := startServer(t, testOptions{config: func(c *Config) { c.MaxQueues, c.MaxExchanges = 3, 7 }})
	c := open(t, s)
	for _, q := range []string{"a", "b", "c"} {
		c.declare(1, frame.QueueDeclare{Queue: q})
	}
	c.send(1, &frame.QueueDeclare{Queue: "d"})
	c.channelClosed(1, 406)
	c.channel(1)
	c.exchange(frame.ExchangeDeclare{Exchange: "x", Type: "fanout"})
	c.send(1, &frame.ExchangeDeclare{Exchange: "y", Type: "fanout"})
	c.channelClosed(1, 406)
}

func TestCapOfConsumers(t *testing.T) {
	l := gateway.DefaultLimits()
	l.MaxSubscriptions = 2
	s := startServer(t, testOptions{limits: l})
	c := open(t, s)
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	c.consume(1, "q", "a", true)
	c.consume(1, "q", "b", true)
	call[*frame.BasicCancelOk](c, 1, &frame.BasicCancel{ConsumerTag: "a"})
	c.consume(1, "q", "a", true)
	c.send(1, &frame.BasicConsume{Queue: "q"})
	c.connectionClosed(530)
}

func TestErrorCodes(t *testing.T) {
	for kind, code := range map[shard.Kind]uint16{
		shard.KindInternal: 541, shard.KindInvalid: 406, shard.KindNotFound: 404, shard.KindExists: 406, shard.KindDenied: 403,
		shard.KindTooLarge: 311, shard.KindOutOfRange: 406, shard.KindStale: 406, shard.KindMoved: 506, shard.KindUnavailable: 506,
		shard.KindCorrupt: 541, shard.KindClosed: 320,
	} {
		f := faultOf(shard.Errorf(kind, "why"))
		if f.code != code || f.hard != (code == 320 || code > 500) {
			t.Errorf("%s: %+v", kind, f)
		}
	}
	if f := faultOf(shard.ErrExclusive); f.code != 403 {
		t.Errorf("exclusive: %+v", f)
	}
	if f := faultOf(errors.New("strange")); f.code != 541 {
		t.Errorf("foreign error: %+v", f)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, change := range []func(*Config){
		func(c *Config) { c.FrameMax = 100 }, func(c *Config) { c.ChannelMax = 0 }, func(c *Config) { c.ChannelMax = 70000 },
		func(c *Config) { c.Heartbeat = -1 }, func(c *Config) { c.MaxQueues = 0 },
		func(c *Config) { c.VHosts = []string{"app", ""} }, func(c *Config) { c.VHosts = []string{"x.*"} },
		func(c *Config) { c.VHosts = []string{"a..b"} }, func(c *Config) { c.VHosts = []string{"_INBOX"} },
	} {
		_, err := New(gateway.Env{Decode: func(dst any) error { change(dst.(*Config)); return nil }})
		if err == nil {
			t.Error("a configuration that cannot be was taken")
		}
	}
	p := Protocol()
	if p.Name != "amqp" || len(p.Listeners) != 1 || p.Listeners[0].Port != 5672 || p.Listeners[0].Key != "listen" {
		t.Errorf("protocol %+v", p)
	}
}
