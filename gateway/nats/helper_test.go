package nats

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// bed is a gateway on TCP over an in-memory broker.
type bed struct {
	t        testing.TB
	mem      *shardmem.Broker
	srv      *Server
	stats    *gateway.Stats
	log      *slog.Logger
	listener *gateway.Listener
}

type bedOptions struct {
	mem    shardmem.Options
	config func(*Config)
	limits func(*gateway.Limits)
	auth   gateway.AuthConfig
	tls    *tls.Config
	ws     bool
	broker func(*shard.Broker)
}

func newBed(t testing.TB, o bedOptions) *bed {
	t.Helper()
	if o.mem.MaxMessageBytes == 0 {
		o.mem.MaxMessageBytes = 4 << 20
	}
	b := &bed{t: t, mem: shardmem.New(o.mem), stats: &gateway.Stats{}}
	broker := b.mem.Broker()
	if o.broker != nil {
		o.broker(&broker)
	}
	limits := gateway.DefaultLimits()
	if o.limits != nil {
		o.limits(&limits)
	}
	b.log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	srv, err := New(gateway.Env{Broker: broker, Auth: gateway.NewAuth(broker.Users, broker.ACLs, o.auth), Log: b.log,
		Limits: limits, Stats: b.stats, Decode: func(dst any) error {
			if o.config != nil {
				o.config(dst.(*Config))
			}
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	b.srv = srv.(*Server)
	b.listener = b.listen(o.tls, o.ws)
	b.mem.SetAddresses(map[string]string{"nats": b.addr()})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		b.srv.Drain(ctx)
		b.listener.Close()
		b.mem.Close()
	})
	return b
}

func (b *bed) listen(conf *tls.Config, ws bool) *gateway.Listener {
	b.t.Helper()
	l := &gateway.Listener{Protocol: "nats", Addr: "127.0.0.1:0", OwnTLS: true, TLS: conf, Server: b.srv, Log: b.log, Stats: b.stats}
	if ws {
		l.Subprotocols, l.OwnTLS = []string{"nats"}, false
	}
	if err := l.Start(context.Background()); err != nil {
		b.t.Fatal(err)
	}
	return l
}

func (b *bed) addr() string { return b.listener.Address().String() }

// client is a raw connection.
type client struct {
	t testing.TB
	net.Conn
	r    *bufio.Reader
	info string
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return greeted(t, nc)
}

// greeted reads INFO.
func greeted(t testing.TB, nc net.Conn) *client {
	t.Helper()
	c := &client{t: t, Conn: nc, r: bufio.NewReader(nc)}
	t.Cleanup(func() { _ = nc.Close() })
	c.info = c.line()
	if !strings.HasPrefix(c.info, "INFO {") {
		t.Fatalf("greeting %q", c.info)
	}
	return c
}

// quiet is CONNECT of a client that wants no +OK, as all libraries.
const (
	quiet       = `{"verbose":false,"pedantic":false}`
	withHeaders = `{"verbose":false,"pedantic":false,"headers":true,"no_responders":true}`
)

// dial connects, and logs in where connect is not "".
func (b *bed) dial(connect string) *client {
	b.t.Helper()
	c := dial(b.t, b.addr())
	if connect != "" {
		c.send("CONNECT " + connect)
		c.sync()
	}
	return c
}

// send writes lines, each with CR LF.
func (c *client) send(lines ...string) {
	c.t.Helper()
	if _, err := io.WriteString(c, strings.Join(lines, "\r\n")+"\r\n"); err != nil {
		c.t.Fatalf("send %q: %v", lines, err)
	}
}

const patience = 30 * time.Second

func (c *client) line() string {
	c.t.Helper()
	s, err := c.tryLine(patience)
	if err != nil {
		c.t.Fatalf("read line: %v (got %q)", err, s)
	}
	return s
}

func (c *client) tryLine(wait time.Duration) (string, error) {
	_ = c.SetReadDeadline(time.Now().Add(wait))
	s, err := c.r.ReadString('\n')
	return strings.TrimSuffix(s, "\r\n"), err
}

func (c *client) expect(lines ...string) {
	c.t.Helper()
	for _, want := range lines {
		if got := c.line(); got != want {
			c.t.Fatalf("got %q, want %q", got, want)
		}
	}
}

// closed wants the end of the connection next.
func (c *client) closed() {
	c.t.Helper()
	if s, err := c.tryLine(patience); err == nil || isTimeout(err) {
		c.t.Fatalf("not closed: %q, %v", s, err)
	}
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

// sync waits until all that was sent is done.
func (c *client) sync() {
	c.t.Helper()
	c.send("PING")
	c.expect("PONG")
}

// message is a MSG or HMSG as a client reads it.
type message struct{ subject, sid, reply, headers, payload string }

func (m message) String() string {
	return fmt.Sprintf("%s %s %s [%s] %s", m.subject, m.sid, m.reply, m.headers, m.payload)
}

// message reads the next line, which has to begin a message.
func (c *client) message() message {
	c.t.Helper()
	head := c.line()
	m, hlen, size, err := parseHead(head)
	if err != nil {
		c.t.Fatalf("%v", err)
	}
	body := make([]byte, size+2)
	if _, err := io.ReadFull(c.r, body); err != nil || string(body[size:]) != "\r\n" {
		c.t.Fatalf("body of %q: %q, %v", head, body, err)
	}
	m.headers, m.payload = string(body[:hlen]), string(body[hlen:size])
	return m
}

func parseHead(head string) (m message, hlen, size int, err error) {
	f := strings.Split(head, " ")
	fixed := 4
	if f[0] == "HMSG" {
		fixed = 5
	} else if f[0] != "MSG" {
		return m, 0, 0, fmt.Errorf("%q is no message", head)
	}
	if len(f) == fixed+1 {
		m.reply = f[3]
	} else if len(f) != fixed {
		return m, 0, 0, fmt.Errorf("%q has %d fields", head, len(f))
	}
	m.subject, m.sid = f[1], f[2]
	if size, err = strconv.Atoi(f[len(f)-1]); err != nil {
		return m, 0, 0, err
	}
	if fixed == 5 {
		if hlen, err = strconv.Atoi(f[len(f)-2]); err != nil || hlen > size {
			return m, 0, 0, fmt.Errorf("%q: header length: %v", head, err)
		}
	}
	return m, hlen, size, nil
}

// readMessages reads bytes that hold nothing but messages.
func readMessages(b []byte) (ms []message, err error) {
	for len(b) > 0 {
		head, rest, ok := bytes.Cut(b, []byte("\r\n"))
		if !ok {
			return ms, fmt.Errorf("no line in %q", b)
		}
		m, hlen, size, err := parseHead(string(head))
		if err != nil {
			return ms, err
		}
		if len(rest) < size+2 || string(rest[size:size+2]) != "\r\n" {
			return ms, fmt.Errorf("message of %q is cut short or too long", head)
		}
		m.headers, m.payload = string(rest[:hlen]), string(rest[hlen:size])
		ms, b = append(ms, m), rest[size+2:]
	}
	return ms, nil
}

// stored gives the records of a topic's shards.
func (b *bed) stored(topic string) []shard.Record {
	b.t.Helper()
	br := b.mem.Broker()
	t, ok := br.Topics.ByName(topic)
	if !ok {
		return nil
	}
	if err := b.mem.Settle(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	var out []shard.Record
	for i := range t.Shards {
		for from := int64(0); ; {
			res, err := br.Log.Read(b.t.Context(), t.Shard(i), from, shard.ReadOptions{})
			if err != nil {
				b.t.Fatal(err)
			}
			if len(res.Batches) == 0 {
				break
			}
			for _, batch := range res.Batches {
				rs, err := batch.Records()
				if err != nil {
					b.t.Fatal(err)
				}
				out, from = append(out, rs...), batch.LastOffset()+1
			}
		}
	}
	return out
}

// append stores records as a foreign protocol's gateway would.
func (b *bed) append(topic string, rs ...shard.Record) {
	b.t.Helper()
	br := b.mem.Broker()
	t, err := br.Topics.Resolve(b.t.Context(), topic, true)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := shard.AppendWait(b.t.Context(), br.Log, t.Shard(0), shard.BatchOf(rs...), shard.AppendOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

// eventually polls.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not seen in %v: %s", patience, what)
		}
	}
}
