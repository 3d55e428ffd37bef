package amqp

import (
	"bytes"
	"errors"
	"io"
	"net"
	"reflect"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
)

// testClient speaks the protocol frame by frame.
type testClient struct {
	t     testing.TB
	nc    net.Conn
	buf   []byte
	queue []event // that were passed over
	max   int
}

// event is a method with its content.
type event struct {
	channel uint16
	method  frame.Method
	props   frame.Properties
	body    []byte
}

const patience = 30 * time.Second

func dialRaw(t testing.TB, s *testServer) *testClient {
	t.Helper()
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return &testClient{t: t, nc: nc, max: 128 << 10}
}

var testCaps = frame.Table{{Name: "capabilities", Value: frame.Nested(frame.Table{
	{Name: "consumer_cancel_notify", Value: frame.Bool(true)}, {Name: "connection.blocked", Value: frame.Bool(true)},
	{Name: "authentication_failure_close", Value: frame.Bool(true)},
})}}

// dial opens a connection as admin to "/".
func dial(t testing.TB, s *testServer) *testClient {
	t.Helper()
	return dialAs(t, s, "/", "PLAIN", "\x00admin\x00robustmq")
}

func dialAs(t testing.TB, s *testServer, vhost, mechanism, response string) *testClient {
	t.Helper()
	c := dialRaw(t, s)
	c.write([]byte(frame.ProtocolHeader))
	expect[*frame.ConnectionStart](c, 0)
	c.send(0, &frame.ConnectionStartOk{ClientProperties: testCaps, Mechanism: mechanism, Response: []byte(response), Locale: "en_US"})
	tune := expect[*frame.ConnectionTune](c, 0)
	c.send(0, &frame.ConnectionTuneOk{ChannelMax: tune.ChannelMax, FrameMax: tune.FrameMax})
	c.send(0, &frame.ConnectionOpen{VirtualHost: vhost})
	expect[*frame.ConnectionOpenOk](c, 0)
	return c
}

// channel opens a channel.
func (c *testClient) channel(id uint16) uint16 {
	c.t.Helper()
	c.send(id, &frame.ChannelOpen{})
	expect[*frame.ChannelOpenOk](c, id)
	return id
}

func (c *testClient) write(b []byte) {
	c.t.Helper()
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

func (c *testClient) send(channel uint16, m frame.Method) {
	c.t.Helper()
	c.write(frame.AppendMethod(nil, channel, m))
}

func publishFrames(b []byte, channel uint16, exchange, key string, p frame.Properties, body []byte, mandatory bool) []byte {
	b = frame.AppendMethod(b, channel, &frame.BasicPublish{Exchange: exchange, RoutingKey: key, Mandatory: mandatory})
	return frame.AppendContent(b, channel, &p, body, 128<<10)
}

func (c *testClient) publish(channel uint16, exchange, key, body string) {
	c.t.Helper()
	c.write(publishFrames(nil, channel, exchange, key, frame.Properties{}, []byte(body), false))
}

var errClosed = errors.New("closed by the server")

// next gives the next method with its content; heartbeats are passed over.
func (c *testClient) next() (event, error) {
	var e event
	size := -1
	for {
		f, n, err := frame.Parse(c.buf, c.max)
		if err != nil {
			return e, err
		}
		if n == 0 {
			_ = c.nc.SetReadDeadline(time.Now().Add(patience))
			p := make([]byte, 64<<10)
			k, err := c.nc.Read(p)
			if c.buf = append(c.buf, p[:k]...); err != nil && k == 0 {
				if errors.Is(err, io.EOF) || !isTimeout(err) {
					return e, errClosed
				}
				return e, err
			}
			continue
		}
		f.Payload = bytes.Clone(f.Payload)
		c.buf = c.buf[n:]
		switch f.Type {
		case frame.TypeMethod:
			m, _, err := frame.Decode(f.Payload)
			if err != nil {
				return e, err
			}
			e = event{channel: f.Channel, method: m}
			if !m.ID().HasContent() {
				return e, nil
			}
		case frame.TypeHeader:
			h, err := frame.DecodeHeader(f.Payload)
			if err != nil {
				return e, err
			}
			e.props, size = h.Properties, int(h.BodySize)
		case frame.TypeBody:
			e.body = append(e.body, f.Payload...)
		}
		if size >= 0 && len(e.body) == size {
			return e, nil
		}
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// expectEvent waits for a method of that type on that channel; what comes
// before on other channels, or of kinds that come by themselves, is kept.
func expectEvent[M frame.Method](c *testClient, channel uint16) event {
	c.t.Helper()
	for i, e := range c.queue {
		if _, ok := e.method.(M); ok && e.channel == channel {
			c.queue = append(c.queue[:i:i], c.queue[i+1:]...)
			return e
		}
	}
	for {
		e, err := c.next()
		if err != nil {
			c.t.Fatalf("waiting for %s: %v", reflect.TypeFor[M](), err)
		}
		if _, ok := e.method.(M); ok && e.channel == channel {
			return e
		}
		switch e.method.(type) {
		case *frame.BasicDeliver, *frame.BasicAck, *frame.BasicNack, *frame.BasicReturn, *frame.BasicCancel, *frame.ConnectionBlocked, *frame.ConnectionUnblocked:
			c.queue = append(c.queue, e)
		default:
			c.t.Fatalf("waiting for %s on channel %d: got %T %+v on channel %d", reflect.TypeFor[M](), channel, e.method, e.method, e.channel)
		}
	}
}

func expect[M frame.Method](c *testClient, channel uint16) M {
	c.t.Helper()
	return expectEvent[M](c, channel).method.(M)
}

// call sends a method and waits for its answer.
func call[M frame.Method](c *testClient, channel uint16, m frame.Method) M {
	c.t.Helper()
	c.send(channel, m)
	return expect[M](c, channel)
}

// declare makes a queue, "" for one named by the server.
func (c *testClient) declare(channel uint16, m frame.QueueDeclare) *frame.QueueDeclareOk {
	c.t.Helper()
	return call[*frame.QueueDeclareOk](c, channel, &m)
}

func (c *testClient) consume(channel uint16, queue, tag string, noAck bool) {
	c.t.Helper()
	call[*frame.BasicConsumeOk](c, channel, &frame.BasicConsume{Queue: queue, ConsumerTag: tag, NoAck: noAck})
}

// deliver waits for a delivery with that body.
func (c *testClient) deliver(channel uint16, body string) (event, *frame.BasicDeliver) {
	c.t.Helper()
	e := expectEvent[*frame.BasicDeliver](c, channel)
	if string(e.body) != body {
		c.t.Fatalf("delivered %q, want %q", e.body, body)
	}
	return e, e.method.(*frame.BasicDeliver)
}

// quiet checks that nothing more of a type comes before the answer to qos.
func quiet[M frame.Method](c *testClient, channel uint16) {
	c.t.Helper()
	time.Sleep(30 * time.Millisecond)
	call[*frame.BasicRecoverOk](c, 999, &frame.BasicRecover{Requeue: true})
	for _, e := range c.queue {
		if m, ok := e.method.(M); ok && e.channel == channel {
			c.t.Fatalf("unexpected %T %+v %q", m, m, e.body)
		}
	}
}

// confirms turns confirms on.
func (c *testClient) confirms(channel uint16) {
	c.t.Helper()
	call[*frame.ConfirmSelectOk](c, channel, &frame.ConfirmSelect{})
}

// put publishes and waits for the confirm; every earlier publish was confirmed.
func (c *testClient) put(channel uint16, exchange, key, body string) {
	c.t.Helper()
	c.publish(channel, exchange, key, body)
	expect[*frame.BasicAck](c, channel)
}

// get takes a message; ok is false when there is none.
func (c *testClient) get(channel uint16, queue string, noAck bool) (e event, ok bool) {
	c.t.Helper()
	c.send(channel, &frame.BasicGet{Queue: queue, NoAck: noAck})
	for {
		e, err := c.next()
		if err != nil {
			c.t.Fatalf("waiting for the answer to get: %v", err)
		}
		switch e.method.(type) {
		case *frame.BasicGetOk:
			return e, true
		case *frame.BasicGetEmpty:
			return e, false
		case *frame.BasicDeliver, *frame.BasicAck:
			c.queue = append(c.queue, e)
		default:
			c.t.Fatalf("answer to get: %T %+v", e.method, e.method)
		}
	}
}

// wantGet takes a message without acknowledgement and checks its body, "" for
// none at all.
func (c *testClient) wantGet(channel uint16, queue, body string) event {
	c.t.Helper()
	e, ok := c.get(channel, queue, true)
	if ok != (body != "") || string(e.body) != body {
		c.t.Fatalf("get of %s: %v %q, want %q", queue, ok, e.body, body)
	}
	return e
}

// channelClosed waits for the server to close a channel with that code.
func (c *testClient) channelClosed(channel uint16, code uint16) *frame.ChannelClose {
	c.t.Helper()
	m := expect[*frame.ChannelClose](c, channel)
	if m.ReplyCode != code {
		c.t.Fatalf("channel closed with %d %s, want %d", m.ReplyCode, m.ReplyText, code)
	}
	c.send(channel, &frame.ChannelCloseOk{})
	return m
}

// connectionClosed waits for the server to close the connection with that code.
func (c *testClient) connectionClosed(code uint16) *frame.ConnectionClose {
	c.t.Helper()
	m := expect[*frame.ConnectionClose](c, 0)
	if m.ReplyCode != code {
		c.t.Fatalf("connection closed with %d %s, want %d", m.ReplyCode, m.ReplyText, code)
	}
	c.send(0, &frame.ConnectionCloseOk{})
	if _, err := c.next(); !errors.Is(err, errClosed) {
		c.t.Fatalf("after close-ok: %v", err)
	}
	return m
}
