package gatewaytest

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/admin"
	"github.com/robustmq/robustmq-go/gateway/amqp"
	"github.com/robustmq/robustmq-go/gateway/kafka"
	"github.com/robustmq/robustmq-go/gateway/mqtt"
	"github.com/robustmq/robustmq-go/gateway/nats"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// house is all four gateways over one broker in memory, on real sockets.
type house struct {
	t         *testing.T
	broker    shard.Broker
	auth      *gateway.Auth
	listeners map[string]*gateway.Listener
	admin     *admin.Server // of the rights matrix
}

const password = "bob-password"

func open(t *testing.T, conf *tls.Config, users ...shard.User) *house {
	t.Helper()
	return openWith(t, nil, conf, shardmem.Options{Users: users})
}

func openWithin(t *testing.T, memory *gateway.Memory, conf *tls.Config, users ...shard.User) *house {
	t.Helper()
	return openWith(t, memory, conf, shardmem.Options{Users: users})
}

func openWith(t *testing.T, memory *gateway.Memory, conf *tls.Config, o shardmem.Options) *house {
	t.Helper()
	mem := shardmem.New(o)
	t.Cleanup(mem.Close)
	h := &house{t: t, broker: mem.Broker(), listeners: map[string]*gateway.Listener{}}
	h.auth = gateway.NewAuth(h.broker.Users, h.broker.ACLs, gateway.AuthConfig{})
	log := slog.New(slog.DiscardHandler)
	for _, p := range []gateway.Protocol{mqtt.Protocol(), kafka.Protocol(), nats.Protocol(), amqp.Protocol()} {
		stats := new(gateway.Stats)
		srv, err := p.New(gateway.Env{Broker: h.broker, Auth: h.auth, Log: log, Limits: gateway.DefaultLimits(), Stats: stats})
		if err != nil {
			t.Fatal(err)
		}
		l := &gateway.Listener{Protocol: p.Name, Addr: "127.0.0.1:0", Server: srv, Log: log, Stats: stats, TLS: conf, OwnTLS: p.Listeners[0].OwnTLS, Memory: memory}
		if err := l.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.Close)
		h.listeners[p.Name] = l
	}
	return h
}

// wire is a client that speaks as much of a protocol as a login takes.
type wire struct {
	net.Conn
	r    *bufio.Reader
	kind string
}

func (h *house) dial(kind string, conf *tls.Config) *wire {
	h.t.Helper()
	protocol := strings.TrimSuffix(kind, "5")
	c, err := net.Dial("tcp", h.listeners[protocol].Address().String())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = c.Close() })
	w := greet(h.t, c, kind)
	if conf != nil {
		w.Conn = tls.Client(c, conf)
		w.r = bufio.NewReader(w.Conn)
	}
	return w
}

// greet reads what a server says first.
func greet(t *testing.T, c net.Conn, kind string) *wire {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(15 * time.Second))
	w := &wire{Conn: c, r: bufio.NewReader(c), kind: kind}
	if kind == "nats" {
		if line, err := w.r.ReadString('\n'); !strings.HasPrefix(line, "INFO") {
			t.Fatalf("NATS greets with %q, %v", line, err)
		}
	}
	return w
}

func str16(s string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s
}

func str32(s string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(s)))) + s
}

// login says who it is, nothing with an empty name, and gives the refusal; "" is
// a success.
func (w *wire) login(user string) string {
	switch w.kind {
	case "mqtt", "mqtt5":
		return w.loginMQTT(user)
	case "kafka":
		return w.loginKafka(user)
	case "nats":
		return w.loginNATS(user)
	}
	return w.loginAMQP(user)
}

func (w *wire) loginMQTT(user string) string {
	version, props := "\x04", ""
	if w.kind == "mqtt5" {
		version, props = "\x05", "\x00"
	}
	flags, body := byte(2), str16(fmt.Sprintf("client-%p", w))
	if user != "" {
		flags, body = flags|0xc0, body+str16(user)+str16(password)
	}
	body = str16("MQTT") + version + string([]byte{flags}) + "\x00\x00" + props + body
	_, _ = io.WriteString(w, "\x10"+string([]byte{byte(len(body))})+body)
	head := make([]byte, 4)
	if _, err := io.ReadFull(w.r, head); err != nil {
		return err.Error()
	}
	_, _ = w.r.Discard(int(head[1]) - 2)
	if head[3] != 0 {
		return fmt.Sprintf("CONNACK 0x%02x", head[3])
	}
	return ""
}

func (w *wire) ask(key, version uint16, clientID, body string) ([]byte, error) {
	b := string(binary.BigEndian.AppendUint16(nil, key)) + string(binary.BigEndian.AppendUint16(nil, version)) + "\x00\x00\x00\x01" + str16(clientID) + body
	_, _ = io.WriteString(w, str32(b))
	return w.answer()
}

func (w *wire) answer() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(w.r, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, min(binary.BigEndian.Uint32(size[:]), 1<<20))
	_, err := io.ReadFull(w.r, b)
	return b[min(4, len(b)):], err
}

func (w *wire) loginKafka(user string) string {
	if user == "" {
		if _, err := w.ask(18, 0, "c", ""); err != nil {
			return err.Error()
		}
		return ""
	}
	if _, err := w.ask(17, 1, "c", str16("PLAIN")); err != nil {
		return err.Error()
	}
	b, err := w.ask(36, 0, "c", str32("\x00"+user+"\x00"+password))
	switch {
	case err != nil:
		return err.Error()
	case b[0] != 0 || b[1] != 0:
		return fmt.Sprintf("error %d: %s", binary.BigEndian.Uint16(b), b[4:4+binary.BigEndian.Uint16(b[2:])])
	}
	return ""
}

func (w *wire) loginNATS(user string) string {
	connect := `{"verbose":false,"pedantic":false}`
	if user != "" {
		connect = `{"verbose":false,"pedantic":false,"user":"` + user + `","pass":"` + password + `"}`
	}
	_, _ = io.WriteString(w, "CONNECT "+connect+"\r\nPING\r\n")
	for {
		line, err := w.r.ReadString('\n')
		switch {
		case err != nil:
			return err.Error()
		case strings.HasPrefix(line, "PONG"):
			return ""
		case !strings.HasPrefix(line, "INFO"):
			return strings.TrimSpace(line)
		}
	}
}

func (w *wire) frame(channel byte, payload string) {
	_, _ = io.WriteString(w, "\x01\x00"+string([]byte{channel})+str32(payload)+"\xce")
}

func (w *wire) method() (id uint32, args []byte, err error) {
	head := make([]byte, 7)
	if _, err := io.ReadFull(w.r, head); err != nil {
		return 0, nil, err
	}
	b := make([]byte, min(binary.BigEndian.Uint32(head[3:]), 1<<20)+1)
	if _, err := io.ReadFull(w.r, b); err != nil {
		return 0, nil, err
	}
	return binary.BigEndian.Uint32(b), b[4 : len(b)-1], nil
}

// loginAMQP uses EXTERNAL without a name over TLS.
func (w *wire) loginAMQP(user string) string {
	mechanism, response := "PLAIN", "\x00"+user+"\x00"+password
	if _, secure := w.Conn.(*tls.Conn); user == "" {
		mechanism, response = "ANONYMOUS", ""
		if secure {
			mechanism = "EXTERNAL"
		}
	}
	_, _ = io.WriteString(w, "AMQP\x00\x00\x09\x01")
	for {
		id, args, err := w.method()
		switch {
		case err != nil:
			return err.Error()
		case id == 10<<16|10:
			w.frame(0, "\x00\x0a\x00\x0b\x00\x00\x00\x00"+string([]byte{byte(len(mechanism))})+mechanism+str32(response)+"\x05en_US")
		case id == 10<<16|30:
			w.frame(0, "\x00\x0a\x00\x1f\x00\x00\x00\x00\x00\x00\x00\x00")
			w.frame(0, "\x00\x0a\x00\x28\x01/\x00\x00")
		case id == 10<<16|41:
			return ""
		case id == 10<<16|50:
			return string(args[3 : 3+args[2]])
		}
	}
}

// send sends size bytes and over, and waits until all of it was read.
func (w *wire) send(size int) error {
	const step = 8 << 10
	filler := strings.Repeat("x", step)
	var err error
	switch w.kind {
	case "mqtt", "mqtt5":
		props := ""
		if w.kind == "mqtt5" {
			props = "\x00"
		}
		body := str16("rate/x") + props + filler
		n := len(body)
		for range size / step {
			_, _ = io.WriteString(w, "0"+string([]byte{byte(n&127) | 128, byte(n >> 7)})+body)
		}
		_, _ = io.WriteString(w, "\xc0\x00")
		_, err = io.ReadFull(w.r, make([]byte, 2))
	case "kafka":
		for range size / step {
			if _, err = w.ask(18, 0, filler, ""); err != nil {
				break
			}
		}
	case "nats":
		for range size / step {
			_, _ = fmt.Fprintf(w, "PUB rate.x %d\r\n%s\r\n", step, filler)
		}
		_, _ = io.WriteString(w, "PING\r\n")
		_, err = w.r.ReadString('\n')
	case "amqp":
		for range size / step {
			_, _ = io.WriteString(w, strings.Repeat("\x08\x00\x00\x00\x00\x00\x00\xce", step/8))
		}
		w.frame(1, "\x00\x14\x00\x0a\x00")
		_, _, err = w.method()
	}
	return err
}

func (h *house) users(kind string) (names []string) {
	for _, c := range h.listeners[strings.TrimSuffix(kind, "5")].Conns() {
		names = append(names, c.Info().User)
	}
	return names
}

func account(t *testing.T, name string) shard.User {
	t.Helper()
	u, err := gateway.NewUser(name, password)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

var kinds = []string{"mqtt", "mqtt5", "kafka", "nats", "amqp"}

func TestMaxConnections(t *testing.T) {
	bob := account(t, "bob")
	bob.MaxConnections = 5
	h := open(t, nil, bob, account(t, "eve"))
	var held []*wire
	for _, kind := range kinds {
		w := h.dial(kind, nil)
		if got := w.login("bob"); got != "" {
			t.Fatalf("%s within the limit: %s", kind, got)
		}
		held = append(held, w)
	}
	refusals := map[string]string{
		"mqtt":  "CONNACK 0x03",
		"mqtt5": "CONNACK 0x97",
		"kafka": "error 58: Authentication failed: user bob has as many connections as it may",
		"nats":  "-ERR 'maximum account active connections exceeded'",
		"amqp":  "NOT_ALLOWED - connection refused for user 'bob': user connection limit (5) is reached",
	}
	for _, kind := range kinds {
		w := h.dial(kind, nil)
		if got := w.login("bob"); got != refusals[kind] {
			t.Errorf("%s over the limit: %q, want %q", kind, got, refusals[kind])
		}
		_ = w.Close()
		if got := h.dial(kind, nil).login("eve"); got != "" {
			t.Errorf("%s as another user: %s", kind, got)
		}
		if got := h.dial(kind, nil).login(""); got != "" {
			t.Errorf("%s anonymous: %s", kind, got)
		}
	}
	for i, kind := range kinds { // each place is free again once its connection went
		_ = held[i].Close()
		until := time.Now().Add(30 * time.Second)
		for {
			got := h.dial(kind, nil).login("bob")
			if got == "" {
				break
			}
			if time.Now().After(until) {
				t.Fatalf("%s after another left: %s", kind, got)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// A session that is taken over frees its place for who takes it.
func TestMaxConnectionsTakeover(t *testing.T) {
	bob := account(t, "bob")
	bob.MaxConnections = 1
	h := open(t, nil, bob)
	connect := func() *wire {
		w := h.dial("mqtt", nil)
		body := str16("MQTT") + "\x04\xc2\x00\x00" + str16("same") + str16("bob") + str16(password)
		_, _ = io.WriteString(w, "\x10"+string([]byte{byte(len(body))})+body)
		ack := make([]byte, 4)
		if _, err := io.ReadFull(w.r, ack); err != nil || ack[3] != 0 {
			t.Fatalf("CONNACK %x, %v", ack, err)
		}
		return w
	}
	first := connect()
	for range 20 {
		connect()
	}
	if _, err := first.r.ReadByte(); err == nil {
		t.Error("the first connection goes on")
	}
}

func TestBytesPerSecond(t *testing.T) {
	const rate, size = 64 << 10, 128 << 10
	bob := account(t, "bob")
	bob.BytesPerSecond = rate
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			h := open(t, nil, bob, account(t, "eve"))
			ws := []*wire{h.dial(kind, nil), h.dial(kind, nil), h.dial(kind, nil)}
			for i, name := range []string{"bob", "bob", "eve"} {
				if got := ws[i].login(name); got != "" {
					t.Fatal(got)
				}
			}
			began := time.Now()
			done := make(chan error, 2)
			for _, w := range ws[:2] { // what one second brings at once, and one second more, between them
				go func() { done <- w.send(size / 2) }()
			}
			if err := ws[2].send(8 * rate); err != nil || time.Since(began) > 7*time.Second {
				t.Errorf("eve, without a limit, waits %v, %v", time.Since(began), err)
			}
			for range 2 {
				if err := <-done; err != nil {
					t.Fatal(err)
				}
			}
			if d := time.Since(began); d < 700*time.Millisecond || d > 30*time.Second {
				t.Errorf("%d bytes at %d/s took %v", size, rate, d)
			}
			free := bob
			free.BytesPerSecond = 0
			if err := h.broker.Users.Put(t.Context(), free); err != nil {
				t.Fatal(err)
			}
			time.Sleep(1100 * time.Millisecond) // looked up once a second
			if began = time.Now(); ws[0].send(8*rate) != nil || time.Since(began) > 6*time.Second {
				t.Errorf("with the limit lifted: %v", time.Since(began))
			}
		})
	}
}
