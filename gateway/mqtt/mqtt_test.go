package mqtt

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// bed is a server over an in-memory broker.
type bed struct {
	t      testing.TB
	mem    *shardmem.Broker
	srv    *Server
	stats  *gateway.Stats
	state  *mortal
	conns  []net.Conn // the server's sides
	cancel context.CancelFunc
	ctx    context.Context
}

// mortal is a State that changes no more once its process is dead.
type mortal struct {
	shard.State
	dead atomic.Bool
	// lose, if it says so, forgets a change that it says was made.
	lose func(ops []shard.StateOp) bool
}

func (m *mortal) Apply(ctx context.Context, owner string, ops []shard.StateOp, done func(error)) {
	if m.dead.Load() {
		done(shard.ErrClosed)
		return
	}
	if m.lose != nil && m.lose(ops) {
		done(nil)
		return
	}
	m.State.Apply(ctx, owner, ops, done)
}

// crash ends the server as kill -9 does: what is durable stays as it is.
func (b *bed) crash() {
	b.t.Helper()
	b.state.dead.Store(true)
	b.mem.Close()
	for _, c := range b.conns {
		c.Close()
	}
	b.stop()
}

// kill is crash, but that the broker below gets no time to write anything either:
// the next one is over mem.Crash.
func (b *bed) kill() {
	b.t.Helper()
	b.state.dead.Store(true)
	for _, c := range b.conns {
		c.Close()
	}
}

type bedOptions struct {
	mem    shardmem.Options
	config func(*Config)
	limits func(*gateway.Limits)
	auth   gateway.AuthConfig
	broker func(*shard.Broker)
}

func newBed(t testing.TB, o bedOptions) *bed {
	t.Helper()
	return startBed(t, shardmem.New(o.mem), o)
}

func startBed(t testing.TB, mem *shardmem.Broker, o bedOptions) *bed {
	t.Helper()
	b := &bed{t: t, mem: mem, stats: &gateway.Stats{}}
	broker := mem.Broker()
	b.state = &mortal{State: broker.State}
	broker.State = b.state
	if o.broker != nil {
		o.broker(&broker)
	}
	level := slog.LevelWarn
	if os.Getenv("MQTT_TEST_DEBUG") != "" {
		level = slog.LevelDebug
	}
	limits := gateway.DefaultLimits()
	if o.limits != nil {
		o.limits(&limits)
	}
	env := gateway.Env{
		Broker: broker,
		Auth:   gateway.NewAuth(broker.Users, broker.ACLs, o.auth),
		Log:    slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: level})),
		Limits: limits,
		Stats:  b.stats,
		Decode: func(dst any) error {
			if o.config != nil {
				o.config(dst.(*Config))
			}
			return nil
		},
	}
	srv, err := New(env)
	if err != nil {
		t.Fatal(err)
	}
	b.srv = srv.(*Server)
	b.ctx, b.cancel = context.WithCancel(context.Background())
	t.Cleanup(b.stop)
	return b
}

// stop ends the server and waits for its connections.
func (b *bed) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	b.srv.Drain(ctx)
	b.cancel()
	b.mem.Close()
}

// restart ends the server without warning its clients and starts another over
// what was durable.
func (b *bed) restart(o bedOptions) *bed {
	b.t.Helper()
	mem := b.mem.Reopen()
	return startBed(b.t, mem, o)
}

// peer is the client's side of a connection.
type peer struct {
	t    testing.TB
	b    *bed
	nc   net.Conn
	v    packet.Version
	buf  []byte
	done chan struct{}
	ack  *packet.Connack
}

// dial opens a connection and sends nothing.
func (b *bed) dial(v packet.Version) *peer {
	b.t.Helper()
	cl, sv := net.Pipe()
	b.conns = append(b.conns, sv)
	p := &peer{t: b.t, b: b, nc: cl, v: v, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		defer sv.Close()
		b.srv.ServeConn(b.ctx, gateway.NewConn(sv, "mqtt"))
	}()
	b.t.Cleanup(func() { cl.Close(); <-p.done })
	return p
}

// connect opens a connection and reads a successful CONNACK.
func (b *bed) connect(c *packet.Connect) *peer {
	b.t.Helper()
	p := b.dial(c.Version)
	p.send(c)
	ack, ok := p.read().(*packet.Connack)
	if !ok || ack.Code != packet.Success {
		b.t.Fatalf("CONNACK: %+v", ack)
	}
	p.ack = ack
	return p
}

// clean is the CONNECT of a session that ends with its connection.
func clean(v packet.Version, id string) *packet.Connect {
	return &packet.Connect{Version: v, CleanStart: true, ClientID: id}
}

// kept is the CONNECT of a session that outlives its connection.
func kept(v packet.Version, id string) *packet.Connect {
	c := &packet.Connect{Version: v, ClientID: id}
	if v >= packet.V5 {
		c.Props = c.Props.AddNum(packet.PropSessionExpiry, 3600)
	}
	return c
}

func (p *peer) send(ps ...packet.Packet) {
	p.t.Helper()
	var b []byte
	for _, k := range ps {
		b = k.Append(b, p.v)
	}
	p.raw(b)
}

func (p *peer) raw(b []byte) {
	p.t.Helper()
	_ = p.nc.SetWriteDeadline(time.Now().Add(5 * time.Second))
	if _, err := p.nc.Write(b); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

// next reads one packet, or gives nil when the connection has ended.
func (p *peer) next(wait time.Duration) (packet.Packet, error) {
	_ = p.nc.SetReadDeadline(time.Now().Add(wait))
	for {
		h, n, err := packet.DecodeHeader(p.buf)
		if err != nil {
			return nil, err
		}
		if n > 0 && len(p.buf) >= n+h.Len {
			body := bytes.Clone(p.buf[n : n+h.Len])
			p.buf = p.buf[n+h.Len:]
			return packet.Decode(h, body, p.v)
		}
		b := make([]byte, 64<<10)
		k, err := p.nc.Read(b)
		if err != nil {
			return nil, err
		}
		p.buf = append(p.buf, b[:k]...)
	}
}

func (p *peer) read() packet.Packet {
	p.t.Helper()
	k, err := p.next(5 * time.Second)
	if err != nil {
		p.t.Fatalf("read: %v", err)
	}
	return k
}

// expect reads packets and compares them with what they should be, as text.
func (p *peer) expect(want ...string) {
	p.t.Helper()
	for _, w := range want {
		if got := show(p.read()); got != w {
			p.t.Fatalf("got  %s\nwant %s", got, w)
		}
	}
}

// quiet fails if anything arrives, shortly.
func (p *peer) quiet() {
	p.t.Helper()
	if k, err := p.next(60 * time.Millisecond); err == nil {
		p.t.Fatalf("unexpected %s", show(k))
	} else if !isTimeout(err) {
		p.t.Fatalf("unexpected end: %v", err)
	}
}

// ended fails unless the connection ends without a further packet.
func (p *peer) ended() {
	p.t.Helper()
	if k, err := p.next(5 * time.Second); err == nil {
		p.t.Fatalf("unexpected %s", show(k))
	} else if isTimeout(err) {
		p.t.Fatal("connection goes on")
	}
	<-p.done
}

func (p *peer) close() {
	p.nc.Close()
	<-p.done
}

// bye disconnects and waits until the session is let go.
func (p *peer) bye() {
	p.t.Helper()
	p.send(&packet.Disconnect{})
	p.ended()
}

func (p *peer) publish(topic, payload string, qos uint8, id uint16, mod ...func(*packet.Publish)) {
	p.t.Helper()
	k := &packet.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: qos, ID: id}
	for _, m := range mod {
		m(k)
	}
	p.send(k)
}

func retained(p *packet.Publish) { p.Retain = true }

func (p *peer) subscribe(filter string, qos uint8, mod ...func(*packet.Subscribe)) {
	p.t.Helper()
	k := &packet.Subscribe{ID: 77, Filters: []packet.Subscription{{Filter: filter, QoS: qos}}}
	for _, m := range mod {
		m(k)
	}
	p.send(k)
	p.expect(fmt.Sprintf("SUBACK 77 [%d]", qos))
}

// show gives a packet in one line.
func show(k packet.Packet) string {
	var b strings.Builder
	switch k := k.(type) {
	case *packet.Publish:
		fmt.Fprintf(&b, "PUBLISH %s %q q%d", k.Topic, k.Payload, k.QoS)
		if k.ID != 0 {
			fmt.Fprintf(&b, " id%d", k.ID)
		}
		if k.Dup {
			b.WriteString(" dup")
		}
		if k.Retain {
			b.WriteString(" retain")
		}
		b.WriteString(showProps(k.Props))
	case *packet.Ack:
		fmt.Fprintf(&b, "%s %d", k.Kind, k.ID)
		if k.Code != 0 {
			fmt.Fprintf(&b, " 0x%02x", uint8(k.Code))
		}
	case *packet.Connack:
		fmt.Fprintf(&b, "CONNACK %v 0x%02x%s", k.SessionPresent, uint8(k.Code), showProps(k.Props))
	case *packet.Suback:
		fmt.Fprintf(&b, "SUBACK %d %d", k.ID, k.Codes)
	case *packet.Unsuback:
		fmt.Fprintf(&b, "UNSUBACK %d %d", k.ID, k.Codes)
	case *packet.Disconnect:
		fmt.Fprintf(&b, "DISCONNECT 0x%02x", uint8(k.Code))
		if r := k.Props.Str(packet.PropServerReference); r != "" {
			b.WriteString(" " + r)
		}
	case *packet.Ping:
		b.WriteString(k.Kind.String())
	default:
		fmt.Fprintf(&b, "%T", k)
	}
	return b.String()
}

func showProps(p packet.Props) string {
	var b strings.Builder
	for v, rest, ok := p.Next(); ok; v, rest, ok = rest.Next() {
		if v.ID == packet.PropReasonString {
			continue
		}
		fmt.Fprintf(&b, " %d:", v.ID)
		switch {
		case v.ID == packet.PropUser:
			fmt.Fprintf(&b, "%s=%s", v.Name, v.Data)
		case v.Data != nil:
			fmt.Fprintf(&b, "%s", v.Data)
		default:
			fmt.Fprintf(&b, "%d", v.Num)
		}
	}
	return b.String()
}

var versions = []packet.Version{packet.V31, packet.V311, packet.V5}

func eachVersion(t *testing.T, fn func(t *testing.T, v packet.Version)) {
	for _, v := range versions {
		t.Run(fmt.Sprintf("v%d", v), func(t *testing.T) { fn(t, v) })
	}
}
