package amqp

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

func TestWrongProtocolHeader(t *testing.T) {
	s := startServer(t, testOptions{})
	for _, h := range []string{"AMQP\x01\x01\x00\x09", "GET / HTTP/1.1\r\n", "AMQP\x00\x01\x00\x00", "X"} {
		c := dialRaw(t, s)
		c.write([]byte(h))
		b := make([]byte, 64)
		_ = c.nc.SetReadDeadline(time.Now().Add(patience))
		n, err := c.nc.Read(b)
		if err != nil || string(b[:n]) != frame.ProtocolHeader {
			t.Errorf("%q: answered %q, %v", h, b[:n], err)
		}
		if _, err := c.next(); !errors.Is(err, errClosed) {
			t.Errorf("%q: %v", h, err)
		}
	}
}

func TestServerProperties(t *testing.T) {
	s := startServer(t, testOptions{})
	c := dialRaw(t, s)
	c.write([]byte(frame.ProtocolHeader))
	m := expect[*frame.ConnectionStart](c, 0)
	caps, _ := m.ServerProperties.Get("capabilities")
	for _, name := range []string{"publisher_confirms", "basic.nack", "consumer_cancel_notify", "connection.blocked", "exchange_exchange_bindings", "authentication_failure_close", "per_consumer_qos", "direct_reply_to", "consumer_priorities"} {
		if v, ok := caps.List.Get(name); !ok || !v.Bool() {
			t.Errorf("capability %s is not announced", name)
		}
	}
	if string(m.Mechanisms) != "PLAIN AMQPLAIN ANONYMOUS" || m.VersionMajor != 0 || m.VersionMinor != 9 {
		t.Errorf("start = %+v", m)
	}
}

func TestLoginMechanisms(t *testing.T) {
	s := startServer(t, testOptions{})
	amqplain := frame.AppendTable(nil, frame.Table{{Name: "LOGIN", Value: frame.String("bob")}, {Name: "PASSWORD", Value: frame.String("secret")}})
	for _, l := range [][2]string{{"PLAIN", "\x00bob\x00secret"}, {"AMQPLAIN", string(amqplain)}, {"ANONYMOUS", "x"}} {
		c := dialAs(t, s, "/", l[0], l[1])
		c.channel(1)
		call[*frame.ConnectionCloseOk](c, 0, &frame.ConnectionClose{ReplyCode: 200})
	}
}

func TestLoginRefused(t *testing.T) {
	s := startServer(t, testOptions{auth: gateway.AuthConfig{AnonymousOff: true}})
	for _, l := range [][2]string{
		{"PLAIN", "\x00admin\x00wrong"}, {"PLAIN", "\x00guest\x00guest"}, {"PLAIN", "no"}, {"AMQPLAIN", "\xff"}, {"ANONYMOUS", ""},
	} {
		c := dialRaw(t, s)
		c.write([]byte(frame.ProtocolHeader))
		expect[*frame.ConnectionStart](c, 0)
		c.send(0, &frame.ConnectionStartOk{ClientProperties: testCaps, Mechanism: l[0], Response: []byte(l[1])})
		if m := c.connectionClosed(403); !strings.HasPrefix(m.ReplyText, "ACCESS_REFUSED - Login was refused") {
			t.Errorf("reply text %q", m.ReplyText)
		}
	}
	// Without authentication_failure_close the connection is just closed.
	c := dialRaw(t, s)
	c.write([]byte(frame.ProtocolHeader))
	expect[*frame.ConnectionStart](c, 0)
	c.send(0, &frame.ConnectionStartOk{Mechanism: "PLAIN", Response: []byte("\x00admin\x00wrong")})
	if _, err := c.next(); !errors.Is(err, errClosed) {
		t.Errorf("after a wrong password: %v", err)
	}
	if n := s.stats.AuthFailures.Load(); n != 6 {
		t.Errorf("%d authentication failures counted", n)
	}
}

func TestVHosts(t *testing.T) {
	s := startServer(t, testOptions{config: func(c *Config) { c.VHosts = []string{"tenant"} }})
	c := dialRaw(t, s)
	c.write([]byte(frame.ProtocolHeader))
	expect[*frame.ConnectionStart](c, 0)
	c.send(0, &frame.ConnectionStartOk{ClientProperties: testCaps, Mechanism: "PLAIN", Response: []byte("\x00admin\x00robustmq")})
	expect[*frame.ConnectionTune](c, 0)
	c.send(0, &frame.ConnectionTuneOk{})
	c.send(0, &frame.ConnectionOpen{VirtualHost: "nowhere"})
	c.connectionClosed(530)

	// Names of one vhost mean nothing in another.
	a, b := dial(t, s), dialAs(t, s, "tenant", "PLAIN", "\x00admin\x00robustmq")
	for _, c := range []*testClient{a, b} {
		c.channel(1)
		c.confirms(1)
		c.declare(1, frame.QueueDeclare{Queue: "q", Durable: true})
	}
	b.put(1, "", "q", "for tenant")
	a.wantGet(1, "q", "")
	if m := b.wantGet(1, "q", "for tenant").method.(*frame.BasicGetOk); m.Exchange != "" || m.RoutingKey != "q" {
		t.Errorf("delivered as %+v", m)
	}
}

func TestTuneBounds(t *testing.T) {
	s := startServer(t, testOptions{})
	for _, m := range []frame.ConnectionTuneOk{{FrameMax: 4095}, {FrameMax: 1 << 20}, {FrameMax: 4096, ChannelMax: 4000}} {
		c := dialRaw(t, s)
		c.write([]byte(frame.ProtocolHeader))
		expect[*frame.ConnectionStart](c, 0)
		c.send(0, &frame.ConnectionStartOk{ClientProperties: testCaps, Mechanism: "ANONYMOUS"})
		expect[*frame.ConnectionTune](c, 0)
		c.send(0, &m)
		c.connectionClosed(530)
	}
}

func TestFrameMaxIsKept(t *testing.T) {
	s := startServer(t, testOptions{})
	c := dialRaw(t, s)
	c.write([]byte(frame.ProtocolHeader))
	expect[*frame.ConnectionStart](c, 0)
	c.send(0, &frame.ConnectionStartOk{ClientProperties: testCaps, Mechanism: "ANONYMOUS"})
	expect[*frame.ConnectionTune](c, 0)
	c.send(0, &frame.ConnectionTuneOk{FrameMax: 4096})
	c.send(0, &frame.ConnectionOpen{VirtualHost: "/"})
	expect[*frame.ConnectionOpenOk](c, 0)
	c.channel(1)
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	big := strings.Repeat("x", 10_000)
	c.write(frame.AppendContent(frame.AppendMethod(nil, 1, &frame.BasicPublish{RoutingKey: "q"}), 1, &frame.Properties{}, []byte(big), 4096))
	c.max = 4096 // Parse refuses what is larger
	c.consume(1, "q", "", true)
	c.deliver(1, big)
	c.write(frame.AppendContent(frame.AppendMethod(nil, 1, &frame.BasicPublish{RoutingKey: "q"}), 1, &frame.Properties{}, []byte(big), 8192))
	c.connectionClosed(501)
}

func TestHeartbeats(t *testing.T) {
	s := startServer(t, testOptions{})
	c := dialRaw(t, s)
	c.write([]byte(frame.ProtocolHeader))
	expect[*frame.ConnectionStart](c, 0)
	c.send(0, &frame.ConnectionStartOk{ClientProperties: testCaps, Mechanism: "ANONYMOUS"})
	expect[*frame.ConnectionTune](c, 0)
	c.send(0, &frame.ConnectionTuneOk{Heartbeat: 1})
	c.send(0, &frame.ConnectionOpen{VirtualHost: "/"})
	expect[*frame.ConnectionOpenOk](c, 0)
	begin := time.Now()
	beats := 0
	buf := make([]byte, 256)
	for {
		_ = c.nc.SetReadDeadline(time.Now().Add(patience))
		n, err := c.nc.Read(buf)
		if err != nil {
			break
		}
		beats += n / frame.Overhead
	}
	if d := time.Since(begin); d < 1500*time.Millisecond || d > 20*time.Second || beats < 2 {
		t.Errorf("a silent client was closed after %v, having got %d heartbeats", d, beats)
	}
}

func TestConnectionErrors(t *testing.T) {
	for _, x := range []struct {
		name string
		code uint16
		do   func(c *testClient)
	}{
		{"unknown frame type", 501, func(c *testClient) { c.write([]byte{7, 0, 1, 0, 0, 0, 0, 0xce}) }},
		{"no frame end", 501, func(c *testClient) { c.write([]byte{1, 0, 1, 0, 0, 0, 0, 0}) }},
		{"frame too large", 501, func(c *testClient) { c.write([]byte{3, 0, 1, 0xff, 0xff, 0xff, 0xff}) }},
		{"heartbeat on a channel", 501, func(c *testClient) { c.write([]byte{8, 0, 1, 0, 0, 0, 0, 0xce}) }},
		{"bad arguments", 502, func(c *testClient) { c.write([]byte{1, 0, 1, 0, 0, 0, 5, 0, 50, 0, 10, 0, 0xce}) }},
		{"unknown method", 503, func(c *testClient) { c.write([]byte{1, 0, 1, 0, 0, 0, 4, 0, 50, 0, 99, 0xce}) }},
		{"server's method", 503, func(c *testClient) { c.send(1, &frame.QueueDeclareOk{}) }},
		{"connection method on a channel", 503, func(c *testClient) { c.send(1, &frame.ConnectionOpen{VirtualHost: "/"}) }},
		{"channel not open", 504, func(c *testClient) { c.send(2, &frame.QueueDeclare{Queue: "q"}) }},
		{"channel opened twice", 504, func(c *testClient) { c.send(1, &frame.ChannelOpen{}) }},
		{"body without method", 505, func(c *testClient) { c.write([]byte{3, 0, 1, 0, 0, 0, 1, 'x', 0xce}) }},
		{"method instead of content", 505, func(c *testClient) {
			c.send(1, &frame.BasicPublish{})
			c.send(1, &frame.BasicQos{})
		}},
		{"channel over the maximum", 530, func(c *testClient) { c.send(3000, &frame.ChannelOpen{}) }},
		{"flow off", 540, func(c *testClient) { c.send(1, &frame.ChannelFlow{}) }},
		{"prefetch size", 540, func(c *testClient) { c.send(1, &frame.BasicQos{PrefetchSize: 1}) }},
		{"recover without requeue", 540, func(c *testClient) { c.send(1, &frame.BasicRecover{}) }},
		{"immediate", 540, func(c *testClient) {
			c.write(frame.AppendContent(frame.AppendMethod(nil, 1, &frame.BasicPublish{Immediate: true}), 1, &frame.Properties{}, nil, 4096))
		}},
	} {
		t.Run(x.name, func(t *testing.T) {
			s := startServer(t, testOptions{})
			c := dial(t, s)
			c.channel(1)
			x.do(c)
			c.connectionClosed(x.code)
		})
	}
}

func TestChannelErrorLeavesTheConnection(t *testing.T) {
	s := startServer(t, testOptions{})
	c := dial(t, s)
	c.channel(1)
	c.channel(2)
	c.send(1, &frame.QueueDeclare{Queue: "nope", Passive: true})
	c.send(1, &frame.QueueDeclare{Queue: "discarded"}) // between close and close-ok
	m := c.channelClosed(1, 404)
	if m.ReplyText != "NOT_FOUND - no queue 'nope' in vhost '/'" || m.ClassID != 50 || m.MethodID != 10 {
		t.Errorf("close = %+v", m)
	}
	c.declare(2, frame.QueueDeclare{Queue: "q"})
	c.channel(1)
	c.send(1, &frame.QueueDeclare{Queue: "discarded", Passive: true})
	c.channelClosed(1, 404)
}

func TestDrain(t *testing.T) {
	s := startServer(t, testOptions{})
	c := dial(t, s)
	c.channel(1)
	s.srv.Drain(t.Context())
	c.connectionClosed(320)
}

func TestContentTooLarge(t *testing.T) {
	l := gateway.DefaultLimits()
	l.MaxMessageBytes = 1000
	s := startServer(t, testOptions{limits: l})
	c := dial(t, s)
	c.channel(1)
	c.publish(1, "", "q", strings.Repeat("x", 1001))
	c.channelClosed(1, 311)
	c.channel(1)
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	c.publish(1, "", "q", strings.Repeat("x", 900))
	c.wantGet(1, "q", strings.Repeat("x", 900))
}

// TestTooLargeIsToldAfterItsBody: amqplib opens its next channel under the same
// number before it sends what is left of the body and close-ok.
func TestTooLargeIsToldAfterItsBody(t *testing.T) {
	l := gateway.DefaultLimits()
	l.MaxMessageBytes = 1000
	s := startServer(t, testOptions{limits: l})
	c := dial(t, s)
	c.channel(1)
	c.channel(2)
	full := frame.AppendContent(frame.AppendMethod(nil, 1, &frame.BasicPublish{RoutingKey: "q"}), 1, &frame.Properties{}, make([]byte, 1001), 501)
	c.write(full[:len(full)-23]) // the last frame is missing
	c.declare(2, frame.QueueDeclare{Queue: "q"})
	if len(c.queue) != 0 {
		t.Fatalf("before the end of the body: %+v", c.queue)
	}
	c.write(full[len(full)-23:])
	c.channelClosed(1, 311)
}

// TestChannelOpenBeforeCloseOk: as RabbitMQ, and no silence.
func TestChannelOpenBeforeCloseOk(t *testing.T) {
	s := startServer(t, testOptions{})
	c := dial(t, s)
	c.channel(1)
	c.publish(1, "none", "x", "x")
	expect[*frame.ChannelClose](c, 1)
	c.send(1, &frame.ChannelOpen{})
	c.connectionClosed(504)
}

func TestBodiesUnderWayAreBounded(t *testing.T) {
	l := gateway.DefaultLimits()
	l.MaxInflightBytes = 100_000
	s := startServer(t, testOptions{limits: l})
	c := dial(t, s)
	for ch := uint16(1); ch <= 3; ch++ {
		c.channel(ch)
		b := frame.AppendMethod(nil, ch, &frame.BasicPublish{RoutingKey: "q"})
		full := frame.AppendContent(b, ch, &frame.Properties{}, make([]byte, 60_000), 50_000)
		c.write(full[:len(full)-(60_000-50_000+frame.Overhead)-frame.Overhead]) // the last frame is missing
	}
	c.connectionClosed(506)
}

func TestAccessRules(t *testing.T) {
	s := startServer(t, testOptions{mem: shardmem.Options{ACLs: []shard.ACL{
		{Principal: "bob", Resource: "subject", Filter: "open.>", Operation: shard.OpAll},
		{Principal: "bob", Resource: "group", Filter: "amqp///open*", Operation: shard.OpAll},
	}}})
	c := dialAs(t, s, "/", "PLAIN", "\x00bob\x00secret")
	refusedOn := func(do func()) {
		t.Helper()
		c.channel(1)
		do()
		c.channelClosed(1, 403)
	}
	refusedOn(func() { c.send(1, &frame.QueueDeclare{Queue: "shut"}) })
	refusedOn(func() { c.send(1, &frame.ExchangeDeclare{Exchange: "shut", Type: "fanout"}) })
	refusedOn(func() { c.publish(1, "", "shut", "x") })
	refusedOn(func() { c.send(1, &frame.BasicConsume{Queue: "shut"}) })
	refusedOn(func() { c.send(1, &frame.BasicGet{Queue: "shut"}) })
	refusedOn(func() {
		c.declare(1, frame.QueueDeclare{Queue: "open.q"})
		c.send(1, &frame.QueueBind{Queue: "open.q", Exchange: "amq.topic", RoutingKey: "#"})
	})
	c.channel(1)
	c.confirms(1)
	c.put(1, "", "open.q", "x")
	c.wantGet(1, "open.q", "x")
}

// TestChannelNumberAgain: the number of a channel that was closed, by its client or
// by the server, is another channel when it is opened next.
func TestChannelNumberAgain(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	q := frame.QueueDeclare{Queue: "q"}
	c.declare(1, q)
	for range 2 {
		c.channel(2)
		c.confirms(2)
		c.put(2, "", "q", "x")
		call[*frame.ChannelCloseOk](c, 2, &frame.ChannelClose{})
		c.channel(2)
		c.declare(2, q)
		c.send(2, &frame.QueueDeclare{Queue: "none", Passive: true})
		c.channelClosed(2, codeNotFound)
		c.channel(2)
		c.declare(2, q)
		call[*frame.ChannelCloseOk](c, 2, &frame.ChannelClose{})
	}
}
