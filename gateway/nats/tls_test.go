package nats

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// testTLS makes a self-signed certificate that is its own authority.
func testTLS(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
		IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestTLS(t *testing.T) {
	cert, pool := testTLS(t)
	server := &tls.Config{Certificates: []tls.Certificate{cert}}
	mutual := &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	client := &tls.Config{RootCAs: pool, ServerName: "localhost"}
	known := client.Clone()
	known.Certificates = []tls.Certificate{cert}
	for _, c := range []struct {
		name   string
		server *tls.Config
		first  string // handshake_first
		lax    bool   // allow_non_tls
		client *tls.Config
		early  bool   // the client begins with the handshake
		want   string // in INFO; "" if none comes
		fails  bool
	}{
		{"upgrade", server, "", false, client, false, `"tls_required":true`, false},
		{"not trusted", server, "", false, &tls.Config{ServerName: "localhost"}, false, `"tls_required":true`, true},
		{"plain is refused", server, "", false, nil, false, `"tls_required":true`, true},
		{"plain is allowed", server, "", true, nil, false, `"tls_available":true`, false},
		{"upgrade where plain is allowed", server, "", true, client, false, `"tls_available":true`, false},
		{"mutual", mutual, "", false, known, false, `"tls_verify":true`, false},
		{"mutual without certificate", mutual, "", false, client, false, `"tls_verify":true`, true},
		{"first", server, "true", false, client, true, `"tls_required":true`, false},
		{"auto, early", server, "auto", false, client, true, `"tls_required":true`, false},
		{"auto, late", server, "20ms", false, client, false, `"tls_required":true`, false},
		{"first, plain", server, "true", false, nil, true, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, bedOptions{tls: c.server, config: func(cfg *Config) {
				cfg.HandshakeFirst, cfg.AllowNonTLS, cfg.AuthTimeout = c.first, c.lax, 2*time.Second
			}})
			raw, err := net.Dial("tcp", b.addr())
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			_ = raw.SetDeadline(time.Now().Add(patience))
			got, err := tlsSession(raw, c.client, c.early, c.want == "")
			if !strings.Contains(got, c.want) {
				t.Errorf("INFO %s lacks %s", got, c.want)
			}
			if (err != nil) != c.fails {
				t.Errorf("session: %v", err)
			}
			if err == nil {
				z := b.srv.list()
				if tls := c.client != nil; len(z) != 1 || (z[0].nc.TLS != nil) != tls || z[0].tlsFirst != (c.early && tls) {
					t.Errorf("connection is shown otherwise")
				}
			}
		})
	}
}

// tlsSession greets, logs in and pings.
func tlsSession(raw net.Conn, conf *tls.Config, early, silent bool) (info string, err error) {
	c := raw
	r := bufio.NewReader(c)
	if !early && !silent {
		if info, err = r.ReadString('\n'); err != nil {
			return info, err
		}
	}
	if conf != nil {
		tc := tls.Client(raw, conf)
		if err := tc.Handshake(); err != nil {
			return info, err
		}
		c, r = tc, bufio.NewReader(tc)
	}
	if early && !silent {
		if info, err = r.ReadString('\n'); err != nil {
			return info, err
		}
	}
	if _, err := io.WriteString(c, "CONNECT {\"verbose\":false}\r\nPING\r\n"); err != nil {
		return info, err
	}
	l, err := r.ReadString('\n')
	if err == nil && l != "PONG\r\n" {
		err = io.ErrUnexpectedEOF
	}
	return info, err
}

func TestHandshakeFirstSetting(t *testing.T) {
	for in, want := range map[string]handshakeFirst{"": {}, "false": {}, "true": {on: true}, "auto": {true, autoFallback}, "300ms": {true, 300 * time.Millisecond}} {
		if got, err := parseHandshakeFirst(in); err != nil || got != want {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"maybe", "-1s", "0s"} {
		if _, err := parseHandshakeFirst(in); err == nil {
			t.Errorf("%q is taken", in)
		}
	}
}

// TestWebSocket: the same conversation by WebSocket, whose frames cut commands
// anywhere.
func TestWebSocket(t *testing.T) {
	b := newBed(t, bedOptions{ws: true})
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+b.addr(), &websocket.DialOptions{Subprotocols: []string{"nats"}})
	if err != nil {
		t.Fatal(err)
	}
	if ws.Subprotocol() != "nats" {
		t.Fatalf("subprotocol %q", ws.Subprotocol())
	}
	ws.SetReadLimit(-1)
	c := greeted(t, websocket.NetConn(ctx, ws, websocket.MessageBinary))
	big := strings.Repeat("x", 200_000)
	stream := "CONNECT {\"verbose\":false}\r\nSUB w.x 1\r\nPUB w.x 5\r\nhello\r\nPING\r\n"
	for i := range len(stream) {
		if _, err := c.Write([]byte(stream[i : i+1])); err != nil {
			t.Fatal(err)
		}
	}
	c.expect("MSG w.x 1 5", "hello", "PONG")
	c.send("PUB w.x 200000", big)
	if m := c.message(); m.payload != big {
		t.Fatalf("payload of %d bytes", len(m.payload))
	}
	if i := b.srv.list()[0].monitor(time.Now()); i.Type != "websocket" {
		t.Errorf("shown as %s", i.Type)
	}
	c.send("XYZ")
	c.expect("-ERR 'Unknown Protocol Operation'")
	c.closed()
}
