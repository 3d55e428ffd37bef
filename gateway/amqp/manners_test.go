package amqp

import (
	"context"
	"strconv"
	"testing"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
)

// guest/guest logs in from loopback while the first password of the shipped account is
// in force, with the rights of anonymous clients; no longer than that.
func TestGuest(t *testing.T) {
	refused := func(s *testServer, password string) {
		t.Helper()
		c := dialRaw(t, s)
		c.write([]byte(frame.ProtocolHeader))
		expect[*frame.ConnectionStart](c, 0)
		c.send(0, &frame.ConnectionStartOk{ClientProperties: testCaps, Mechanism: "PLAIN", Response: []byte("\x00guest\x00" + password)})
		c.connectionClosed(403)
	}
	shipped := func(s *testServer, on bool) {
		u, _ := s.broker.Users.User("admin")
		own := *u
		own.DefaultPassword = on
		if err := s.broker.Users.Put(context.Background(), own); err != nil {
			t.Fatal(err)
		}
	}
	s := startServer(t, testOptions{})
	refused(s, "guest")
	shipped(s, true)
	refused(s, "other")
	c := dialAs(t, s, "/", "PLAIN", "\x00guest\x00guest")
	c.channel(1)
	c.confirms(1)
	c.declare(1, frame.QueueDeclare{Queue: "hello"})
	c.write(publishFrames(nil, 1, "", "hello", frame.Properties{Flags: frame.HasUserID, UserID: "guest"}, []byte("x"), false))
	expect[*frame.BasicAck](c, 1)
	c.wantGet(1, "hello", "x")
	if d := s.srv.vhosts["/"].queue("hello").declarer; d.User != "guest" || !d.Anonymous {
		t.Errorf("guest is %+v", d)
	}
	shipped(s, false)
	refused(s, "guest")
	shipped(s, true)
	u, err := gateway.NewUser("guest", "changed")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.broker.Users.Put(context.Background(), u); err != nil {
		t.Fatal(err)
	}
	refused(s, "guest")
	off := startServer(t, testOptions{auth: gateway.AuthConfig{AnonymousOff: true}})
	shipped(off, true)
	refused(off, "guest")
}

// Clients that take a version apart find numbers in it.
func TestVersionIsNumbers(t *testing.T) {
	for in, want := range map[string]string{"v1.2.3": "1.2.3", "(devel)": "0.0.0", "": "0.0.0", "v0.0.0-2026+dirty": "0.0.0-2026+dirty"} {
		if got := numbers(in); got != want {
			t.Errorf("%q is %q", in, got)
		}
	}
	if v := version(); v[0] < '0' || v[0] > '9' {
		t.Errorf("version %q", v)
	}
}

// Line ends are no part of the names of queues and exchanges, as in RabbitMQ.
func TestNamesAreOneLine(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	if q := c.declare(1, frame.QueueDeclare{Queue: "a\nb\r\nc"}); q.Queue != "abc" {
		t.Errorf("queue %q", q.Queue)
	}
	c.exchange(frame.ExchangeDeclare{Exchange: "x\ny", Type: "fanout"})
	c.exchange(frame.ExchangeDeclare{Exchange: "xy", Type: "fanout", Passive: true})
	c.bind("abc\n", "x\ny", "k")
	c.put(1, "xy", "", "m")
	c.wantGet(1, "abc", "m")
}

// The answer to queue.delete comes before the notice to the channel's own consumers.
func TestDeleteOkComesFirst(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	c.consume(1, "q", "t", false)
	c.send(1, &frame.QueueDelete{Queue: "q"})
	e, err := c.next()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := e.method.(*frame.QueueDeleteOk); !ok {
		t.Errorf("first came %T", e.method)
	}
	if m := expect[*frame.BasicCancel](c, 1); m.ConsumerTag != "t" {
		t.Errorf("cancel %+v", m)
	}
}

// An expiration may be longer than 32 bits of milliseconds.
func TestLongExpiration(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	for n, ok := range map[int64]bool{4294967296: true, 315_360_000_000: true, 315_360_000_001: false} {
		c.channel(2)
		c.confirms(2)
		p := frame.Properties{Flags: frame.HasExpiration, Expiration: strconv.FormatInt(n, 10)}
		c.write(publishFrames(nil, 2, "", "q", p, []byte("x"), false))
		if !ok {
			c.channelClosed(2, 406)
			continue
		}
		expect[*frame.BasicAck](c, 2)
		c.wantGet(1, "q", "x")
		call[*frame.ChannelCloseOk](c, 2, &frame.ChannelClose{})
	}
}

// A queue of length 0 holds nothing, and its consumers have what they take at once.
func TestMaxLengthOfNothing(t *testing.T) {
	for _, name := range []string{"x-max-length", "x-max-length-bytes"} {
		c := open(t, startServer(t, testOptions{}))
		c.declare(1, frame.QueueDeclare{Queue: "dead"})
		c.declare(1, frame.QueueDeclare{Queue: "q", Arguments: deadArgs("", "dead", frame.Field{Name: name, Value: frame.Int(0)})})
		c.put(1, "", "q", "none")
		wantDead(t, c, "dead", "none", map[string]string{"reason": "maxlen"})
		c.wantGet(1, "q", "")
		c.consume(1, "q", "", true)
		for i := range 50 {
			c.put(1, "", "q", strconv.Itoa(i))
		}
		for i := range 50 {
			c.deliver(1, strconv.Itoa(i))
		}
		c.declare(1, frame.QueueDeclare{Queue: "r", Arguments: frame.Table{{Name: name, Value: frame.Int(0)}, {Name: "x-overflow", Value: frame.String("reject-publish")}}})
		c.publish(1, "", "r", "x")
		expect[*frame.BasicNack](c, 1)
	}
}
