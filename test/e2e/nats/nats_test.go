package nats

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/robustmq/robustmq-go/test/harness"
)

const patience = 20 * time.Second

func broker(t *testing.T, o harness.Options) *harness.Broker {
	t.Helper()
	b, err := harness.StartBroker(t.Context(), o)
	if err != nil {
		t.Fatalf("start broker: %v", err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func connect(t *testing.T, url string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, append([]nats.Option{nats.UserInfo(harness.User, harness.Password), nats.Timeout(patience)}, opts...)...)
	if err != nil {
		t.Fatalf("connect to %s: %v", url, err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// must ends the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func next(t *testing.T, s *nats.Subscription) *nats.Msg {
	t.Helper()
	m, err := s.NextMsg(patience)
	if err != nil {
		t.Fatalf("next message of %s: %v", s.Subject, err)
	}
	return m
}

// TestGoClient: what applications do every day, by TCP and by WebSocket.
func TestGoClient(t *testing.T) {
	b := broker(t, harness.Options{})
	for name, url := range map[string]string{"tcp": "nats://" + harness.Addr(b.Ports.NATS), "websocket": "ws://" + harness.Addr(b.Ports.NATSWS)} {
		t.Run(name, func(t *testing.T) { goClient(t, url, "go-"+name) })
	}
}

func goClient(t *testing.T, url, prefix string) {
	nc := connect(t, url, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { t.Errorf("async error: %v", err) }))
	sub, err := nc.SubscribeSync(prefix + ".*.x")
	must(t, err)
	m := nats.NewMsg(prefix + ".a.x")
	m.Header["Key"] = []string{"1", "2"}
	m.Data = []byte("hello")
	must(t, nc.PublishMsg(m))
	got := next(t, sub)
	if got.Subject != m.Subject || string(got.Data) != "hello" || strings.Join(got.Header["Key"], ",") != "1,2" {
		t.Fatalf("got %+v", got)
	}
	service, err := nc.QueueSubscribe(prefix+"-service", "q", func(m *nats.Msg) { _ = m.Respond([]byte("re: " + string(m.Data))) })
	must(t, err)
	re, err := nc.Request(prefix+"-service", []byte("x"), patience)
	if err != nil || string(re.Data) != "re: x" {
		t.Fatalf("reply %v, %v", re, err)
	}
	must(t, service.Drain())
	if _, err := nc.Request(prefix+"-nobody", nil, patience); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("request to nobody: %v", err)
	}
	if err := nc.Publish(prefix, make([]byte, nc.MaxPayload()+1)); !errors.Is(err, nats.ErrMaxPayload) {
		t.Errorf("publish over max_payload: %v", err)
	}
	big := make([]byte, nc.MaxPayload())
	bigSub, err := nc.SubscribeSync(prefix + ".big")
	must(t, err)
	must(t, nc.Publish(prefix+".big", big))
	if got := next(t, bigSub); len(got.Data) != len(big) {
		t.Errorf("%d bytes of %d", len(got.Data), len(big))
	}
	if rtt, err := nc.RTT(); err != nil || rtt <= 0 {
		t.Errorf("round trip %v, %v", rtt, err)
	}
	must(t, nc.Drain())
}

// TestWrongPassword: the client is told so, and does not try for ever.
func TestWrongPassword(t *testing.T) {
	b := broker(t, harness.Options{})
	for name, opt := range map[string]nats.Option{"password": nats.UserInfo(harness.User, "wrong"), "token": nats.Token("none")} {
		nc, err := nats.Connect("nats://"+harness.Addr(b.Ports.NATS), opt)
		if !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: %v", name, err)
		}
		if nc != nil {
			nc.Close()
		}
	}
}

// TestRestart: clients reconnect to a broker that comes back, resubscribe, and
// what was flushed before is stored.
func TestRestart(t *testing.T) {
	b := broker(t, harness.Options{})
	again, ldm := make(chan struct{}, 4), make(chan struct{}, 4)
	nc := connect(t, "nats://"+harness.Addr(b.Ports.NATS), nats.ReconnectWait(100*time.Millisecond), nats.MaxReconnects(-1),
		nats.ReconnectHandler(func(*nats.Conn) { again <- struct{}{} }), nats.LameDuckModeHandler(func(*nats.Conn) { ldm <- struct{}{} }))
	sub, err := nc.SubscribeSync("restart.>")
	must(t, err)
	for i := range 100 {
		must(t, nc.Publish("restart.x", fmt.Append(nil, i)))
	}
	must(t, nc.Flush())
	for range 100 {
		next(t, sub)
	}
	must(t, b.Restart(t.Context()))
	for _, ch := range []chan struct{}{ldm, again} {
		select {
		case <-ch:
		case <-time.After(patience):
			t.Fatal("no lame duck notice, or no reconnection")
		}
	}
	must(t, nc.Publish("restart.y", []byte("after")))
	if m := next(t, sub); string(m.Data) != "after" {
		t.Fatalf("got %q", m.Data)
	}
}

// TestTLS: the library upgrades after INFO, and a client without TLS is refused.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	pool := certificate(t, dir)
	port, err := harness.FreePort()
	must(t, err)
	b := broker(t, harness.Options{Config: fmt.Sprintf("tls:\n  cert_file: %s\n  key_file: %s\nnats:\n  tls_listen: %s\n  handshake_first: auto\n",
		filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), harness.Addr(port))})
	conf := &tls.Config{RootCAs: pool, ServerName: "localhost"}
	for name, opts := range map[string][]nats.Option{
		"upgrade":         {nats.Secure(conf)},
		"handshake first": {nats.Secure(conf), nats.TLSHandshakeFirst()},
	} {
		nc := connect(t, "nats://"+harness.Addr(port), opts...)
		if st, err := nc.TLSConnectionState(); err != nil || !st.HandshakeComplete {
			t.Errorf("%s: %v", name, err)
		}
		sub, err := nc.SubscribeSync("tls.x")
		must(t, err)
		must(t, nc.Publish("tls.x", []byte("x")))
		next(t, sub)
	}
	if nc, err := nats.Connect("nats://"+harness.Addr(port), nats.UserInfo(harness.User, harness.Password)); err == nil {
		nc.Close()
		t.Error("the library trusts a certificate it cannot know")
	}
	connect(t, "nats://"+harness.Addr(b.Ports.NATS))
}

func certificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	must(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	must(t, os.WriteFile(filepath.Join(dir, "cert.pem"), cert, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	return pool
}

// TestCLI: the nats tool subscribes, publishes, requests, replies and measures.
func TestCLI(t *testing.T) {
	b := broker(t, harness.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	sub, err := harness.NATSSub(b.Ports.NATS, "cli.>")
	must(t, err)
	defer func() { _ = sub.Stop() }()
	must(t, sub.Ready(ctx))
	time.Sleep(200 * time.Millisecond) // it says so before the server has it
	must(t, harness.NATSPub(ctx, b.Ports.NATS, "cli.a", "hello", "-H", "Key:value"))
	if _, err := sub.WaitMessages(ctx, 1); err != nil {
		t.Fatal(err)
	}
	tool, err := harness.Tool("nats")
	must(t, err)
	url := "nats://" + harness.User + ":" + harness.Password + "@" + harness.Addr(b.Ports.NATS)
	run := func(args ...string) string {
		t.Helper()
		p, err := harness.StartProc(harness.Command{Name: "nats", Path: tool, Args: append([]string{"--server", url}, args...),
			Env: []string{"XDG_CONFIG_HOME=/nonexistent", "NO_COLOR=1"}})
		must(t, err)
		err = p.Wait(ctx)
		out := p.Output(harness.Stdout) + p.Output(harness.Stderr)
		if err != nil {
			t.Fatalf("nats %v: %v\n%s", args, err, out)
		}
		return out
	}
	reply, err := harness.StartProc(harness.Command{Name: "nats", Path: tool, Args: []string{"--server", url, "reply", "cli-echo", "pong", "--queue", "q"},
		Env: []string{"XDG_CONFIG_HOME=/nonexistent"}})
	must(t, err)
	defer reply.Kill()
	time.Sleep(500 * time.Millisecond)
	if out := run("request", "cli-echo", "ping", "--raw"); !strings.Contains(out, "pong") {
		t.Errorf("request printed %q", out)
	}
	if out := run("rtt", "3"); !strings.Contains(out, "ms") && !strings.Contains(out, "µs") && !strings.Contains(out, "us") {
		t.Errorf("rtt printed %q", out)
	}
	if out := run("bench", "pub", "cli-bench", "--msgs", "20000", "--size", "128", "--no-progress"); !strings.Contains(out, "msgs/sec") {
		t.Errorf("bench printed %q", out)
	}
}

// TestPython: nats-py, see client.py.
func TestPython(t *testing.T) {
	b := broker(t, harness.Options{})
	python, err := harness.Tool("python3")
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	p, err := harness.StartProc(harness.Command{Name: "client.py", Path: python, Args: []string{"client.py", "nats://" + harness.Addr(b.Ports.NATS)}})
	must(t, err)
	if err := p.Wait(ctx); err != nil || !strings.Contains(p.Output(harness.Stdout), "ok") {
		t.Fatalf("%v\n%s%s", err, p.Output(harness.Stdout), p.Output(harness.Stderr))
	}
}
