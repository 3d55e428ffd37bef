package mqtt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// scripted is a connection that gives bytes and swallows what is written.
type scripted struct {
	net.Conn
	in io.Reader
}

func (s *scripted) Read(b []byte) (int, error)       { return s.in.Read(b) }
func (s *scripted) Write(b []byte) (int, error)      { return len(b), nil }
func (s *scripted) Close() error                     { return nil }
func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }

// FuzzServe feeds bytes to a connection that has logged in: no panic, and the
// server lets go of it.
func FuzzServe(f *testing.F) {
	b := newBed(f, bedOptions{mem: shardmem.Options{}})
	var conv []byte
	for _, k := range []packet.Packet{
		&packet.Subscribe{ID: 1, Filters: []packet.Subscription{{Filter: "x/#", QoS: 1}, {Filter: "$share/g/x", QoS: 2}}},
		&packet.Publish{Topic: []byte("x/y"), QoS: 2, ID: 3, Payload: []byte("hello"), Retain: true},
		&packet.Publish{Topic: []byte("x/z"), QoS: 1, ID: 4, Props: packet.Props(nil).AddNum(packet.PropTopicAlias, 1).AddUser("a", []byte("b"))},
		&packet.Ack{Kind: packet.PUBREL, ID: 3}, &packet.Ack{Kind: packet.PUBREC, ID: 1}, &packet.Ack{Kind: packet.PUBACK, ID: 1},
		&packet.Unsubscribe{ID: 2, Filters: []string{"x/#"}}, &packet.Ping{Kind: packet.PINGREQ}, &packet.Disconnect{},
	} {
		conv = k.Append(conv, packet.V5)
	}
	f.Add(conv)
	f.Add([]byte{0xff, 0xff, 0xff, 0x7f})
	f.Add([]byte{0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, 'a'})
	f.Fuzz(func(t *testing.T, raw []byte) {
		all := append(kept(packet.V5, "fuzz").Append(nil, packet.V5), raw...)
		a, z := net.Pipe()
		defer a.Close()
		defer z.Close()
		done := make(chan struct{})
		go func() {
			defer close(done)
			b.srv.ServeConn(b.ctx, gateway.NewConn(&scripted{Conn: a, in: bytes.NewReader(all)}, "mqtt"))
		}()
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			t.Fatal("the connection is not let go")
		}
	})
}

// TestHostile: none of these harms another connection, nor takes memory for
// what only a length promises.
func TestHostile(t *testing.T) {
	b := newBed(t, bedOptions{})
	good := b.connect(clean(5, "good"))
	for name, raw := range map[string]string{
		"not MQTT":             "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"zeroes":               strings.Repeat("\x00", 100),
		"CONNECT of 256 MiB":   "\x10\xff\xff\xff\x7f\x00\x04MQTT",
		"CONNECT of 300 KiB":   "\x10\xe0\xa7\x12\x00\x04MQTT",
		"PUBLISH first":        "\x30\x03\x00\x01a",
		"length never ends":    "\x10\xff\xff\xff\xff\xff",
		"reserved packet type": "\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			p := b.dial(4)
			p.t = t
			go discard(p.nc)
			_, _ = p.nc.Write([]byte(raw))
			select {
			case <-p.done:
			case <-time.After(30 * time.Second):
				t.Fatal("connection goes on")
			}
		})
	}
	good.send(&packet.Ping{Kind: packet.PINGREQ})
	good.expect("PINGRESP")
}

// TestSlowGroupConsumer: what is queued for a client that does not read is
// bounded, and nothing at QoS 1 is lost.
func TestSlowGroupConsumer(t *testing.T) {
	b := newBed(t, bedOptions{limits: func(l *gateway.Limits) { l.MaxOutboundBytes = 256 << 10 }})
	slow := b.connect(clean(4, "slow"))
	slow.subscribe("t", 1)
	p := b.connect(clean(4, "p"))
	const n = 400
	payload := strings.Repeat("x", 8000)
	for i := range n {
		p.publish("t", payload, 1, uint16(i+1))
		p.expect(fmt.Sprintf("PUBACK %d", i+1))
	}
	b.srv.mu.Lock()
	c := b.srv.mu.clients["slow"]
	b.srv.mu.Unlock()
	c.out.mu.Lock()
	queued := c.out.bytes
	c.out.mu.Unlock()
	if queued > 3<<20 {
		t.Errorf("%d bytes are queued", queued)
	}
	for range n {
		k, ok := slow.read().(*packet.Publish)
		if !ok || len(k.Payload) != len(payload) {
			t.Fatal(show(k))
		}
		slow.finishReceive(k)
	}
	slow.quiet()
}

// TestListeners speaks over TCP and WebSocket listeners.
func TestListeners(t *testing.T) {
	b := newBed(t, bedOptions{})
	for _, spec := range Protocol().Listeners {
		t.Run(spec.Key, func(t *testing.T) {
			l := &gateway.Listener{Protocol: "mqtt", Addr: "127.0.0.1:0", Subprotocols: spec.Subprotocols, Server: b.srv,
				Log: slog.New(slog.DiscardHandler), Stats: b.stats, MaxConnections: 10, LoginTimeout: 300 * time.Millisecond}
			if err := l.Start(context.Background()); err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			dial := func() net.Conn {
				if spec.Subprotocols == nil {
					nc, err := net.Dial("tcp", l.Address().String())
					if err != nil {
						t.Fatal(err)
					}
					return nc
				}
				ws, _, err := websocket.Dial(b.ctx, "ws://"+l.Address().String()+"/mqtt", &websocket.DialOptions{Subprotocols: []string{"mqtt"}})
				if err != nil {
					t.Fatal(err)
				}
				ws.SetReadLimit(-1)
				return websocket.NetConn(b.ctx, ws, websocket.MessageBinary)
			}
			p := &peer{t: t, b: b, nc: dial(), v: 5, done: make(chan struct{})}
			close(p.done)
			p.send(clean(5, "l"))
			if a, ok := p.read().(*packet.Connack); !ok || a.Code != 0 {
				t.Fatalf("%+v", a)
			}
			p.subscribe("t", 1)
			big := strings.Repeat("x", 300_000)
			p.publish("t", big, 1, 1)
			for range 2 {
				switch k := p.read().(type) {
				case *packet.Ack:
				case *packet.Publish:
					if string(k.Payload) != big {
						t.Fatal("payload differs")
					}
				default:
					t.Fatal(show(k))
				}
			}
			for i := range 20 { // split anywhere
				raw := (&packet.Ping{Kind: packet.PINGREQ}).Append(nil, 5)
				p.raw(raw[:i%2+1])
				p.raw(raw[i%2+1:])
				p.expect("PINGRESP")
			}
			p.publish("t/#", "m", 0, 0)
			p.raw(make([]byte, 100_000)) // unread bytes must not swallow the reason
			p.expect("DISCONNECT 0x90")
			slow := dial()
			_, _ = slow.Write([]byte{0x10})
			_ = slow.SetReadDeadline(time.Now().Add(30 * time.Second))
			if _, err := slow.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("not logged in, and still there: %v", err)
			}
		})
	}
}
