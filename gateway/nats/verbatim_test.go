package nats

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

// TestVerbatim: what one NATS client sends another gets, byte for byte, as through
// nats-server 2.15: header blocks however they are written, names with any bytes,
// subjects of any depth.
func TestVerbatim(t *testing.T) {
	b := newBed(t, bedOptions{})
	sub, pub := b.dial(withHeaders), b.dial(withHeaders)
	sub.send("SUB > 1")
	sub.sync()
	for _, block := range []string{
		"NATS/1.0\r\nA: b\r\n\r\n", "NATS/1.0\r\nA:b\r\nB:  c\r\n\r\n", "NATS/1.0 \r\n\r\n", "NATS/1.0  503  No\r\nA: 1\r\n\r\n",
		"NATS/1.0\r\na b:\xc3\xbc: c\r\n\r\n", "NATS/1.0\r\n\xc3\xbc: 1\r\n\r\n", "NATS/1.0\r\nA: 1\n2\r\n\r\n", "NATS/1.0\r\n: v\r\n\r\n",
		"NATS/1.0\r\nrobustmq-x: y\r\nA: b\r\n\r\n", "NATS/1.0\r\nA\r\n\r\n", "no block at all", "NATS/1.0\r\n\r\n",
	} {
		pub.send(fmt.Sprintf("HPUB h.x %d %d", len(block), len(block)+1), block+"p")
		m := sub.message()
		if m.headers != block || m.payload != "p" {
			t.Errorf("sent %q, got %q and %q", block, m.headers, m.payload)
		}
	}
	for _, subject := range []string{"a%20b", "a.\x01\x7f.b", "\xc3\xbc", strings.Repeat("t.", 500) + "t", "a\x00b"} {
		pub.send("PUB "+subject+" 1", "p")
		if m := sub.message(); m.subject != subject || m.payload != "p" {
			t.Errorf("published to %.60q, got %.60q", subject, m.subject)
		}
	}
}

// TestMaximumConnections: who is one too many is told so, after INFO.
func TestMaximumConnections(t *testing.T) {
	b := newBed(t, bedOptions{})
	l := &gateway.Listener{Protocol: "nats", Addr: "127.0.0.1:0", OwnTLS: true, Server: b.srv, Log: b.log, Stats: b.stats, MaxConnections: 1}
	if err := l.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	first := dial(t, l.Address().String())
	first.send("CONNECT " + quiet)
	first.sync()
	second := dial(t, l.Address().String())
	second.expect("-ERR 'maximum connections exceeded'")
	second.closed()
	first.sync()
}

// TestSystemSubjects: a leading wildcard brings nothing of the server's own.
func TestSystemSubjects(t *testing.T) {
	b := newBed(t, bedOptions{})
	c := b.dial(quiet)
	c.send("SUB > 1", "SUB *.broker.uptime 2", "SUB $SYS.broker.> 3", "SUB $SYS.> 4")
	c.sync()
	broker := b.mem.Broker()
	broker.Live.Relay([]shard.Message{{Subject: "$SYS.broker.uptime", Record: &shard.Record{Value: []byte("1")}}})
	got := map[string]bool{}
	for range 2 {
		got[c.message().sid] = true
	}
	c.sync()
	if !got["3"] || !got["4"] {
		t.Errorf("delivered to %v", got)
	}
}

// TestCountedBytes: both directions count headers and payload.
func TestCountedBytes(t *testing.T) {
	b := newBed(t, bedOptions{})
	c := b.dial(withHeaders)
	const block = "NATS/1.0\r\nA: b\r\n\r\n"
	c.send("SUB a 1", "PUB a 5", "hello", fmt.Sprintf("HPUB a %d %d", len(block), len(block)+3), block+"xyz")
	_, _ = c.message(), c.message()
	c.sync()
	for _, k := range b.srv.list() {
		in, out := k.stats.bytesIn.Load(), k.stats.bytesOut.Load()
		if want := int64(5 + 3 + len(block)); in != want || out != want {
			t.Errorf("in %d, out %d, want %d", in, out, want)
		}
	}
}

var _ gateway.Refuser = (*Server)(nil)
