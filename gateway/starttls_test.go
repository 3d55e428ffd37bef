package gateway

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func testCert(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// upgrader greets in the clear, reads one byte, and does the handshake over it.
type upgrader struct{ t *testing.T }

func (u upgrader) ServeConn(ctx context.Context, c *Conn) {
	_, _ = io.WriteString(c, "hello\n")
	first := make([]byte, 1)
	if _, err := io.ReadFull(c, first); err != nil {
		u.t.Errorf("read first byte: %v", err)
		return
	}
	if !c.TLSOffered() || c.TLSVerify() {
		u.t.Error("TLS is not offered, or verifies")
	}
	if err := c.StartTLS(ctx, first); err != nil {
		u.t.Errorf("upgrade: %v", err)
		return
	}
	if c.TLSOffered() || c.TLS == nil || c.StartTLS(ctx, nil) == nil {
		u.t.Error("TLS can start twice")
	}
	c.Authenticated(Principal{Name: "x"}, "")
	_, _ = io.Copy(c, c)
}

func (u upgrader) Drain(context.Context) {}

func TestOwnTLS(t *testing.T) {
	l := &Listener{Protocol: "test", Addr: "127.0.0.1:0", OwnTLS: true, Server: upgrader{t}, Stats: &Stats{},
		Log: slog.New(slog.DiscardHandler), TLS: &tls.Config{Certificates: []tls.Certificate{testCert(t)}}}
	if err := l.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	raw, err := net.Dial("tcp", l.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	greeting := make([]byte, 6)
	if _, err := io.ReadFull(raw, greeting); err != nil || string(greeting) != "hello\n" {
		t.Fatalf("greeting %q, %v", greeting, err)
	}
	c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	if _, err := io.WriteString(c, "ping"); err != nil {
		t.Fatal(err)
	}
	echo := make([]byte, 4)
	if _, err := io.ReadFull(c, echo); err != nil || string(echo) != "ping" {
		t.Fatalf("echo %q, %v", echo, err)
	}
	for _, open := range l.Conns() {
		open.Abort()
	}
	if _, err := c.Read(echo); err == nil {
		t.Fatal("the connection lives on after Abort")
	}
}

func TestHTTPListener(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "at "+r.URL.Path) })
	l := &Listener{Protocol: "test", Addr: "127.0.0.1:0", HTTP: h, Stats: &Stats{}, Log: slog.New(slog.DiscardHandler)}
	if err := l.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	res, err := http.Get("http://" + l.Address().String() + "/x")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err != nil || strings.TrimSpace(string(b)) != "at /x" {
		t.Fatalf("got %q, %v", b, err)
	}
}
