package gatewaytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// authority issues certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, pool: x509.NewCertPool()}
	c := a.issue(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	a.cert, a.key = c.Leaf, c.PrivateKey.(*ecdsa.PrivateKey)
	a.pool.AddCert(a.cert)
	return a
}

// issue signs a certificate; the first signs itself.
func (a *authority) issue(tmpl *x509.Certificate) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	tmpl.SerialNumber, tmpl.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(time.Hour)
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func named(cn string) *x509.Certificate {
	return &x509.Certificate{Subject: pkix.Name{CommonName: cn}}
}

func TestCertificateLogin(t *testing.T) {
	ca := newAuthority(t)
	server := &tls.Config{
		Certificates: []tls.Certificate{ca.issue(&x509.Certificate{DNSNames: []string{"localhost"}})},
		ClientCAs:    ca.pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}
	one := account(t, "device-1")
	one.MaxConnections = 3
	h := open(t, server, account(t, "bob"), one)
	for _, kind := range kinds {
		for _, c := range []struct {
			name   string
			cert   *x509.Certificate
			user   string // by password
			want   string
			refuse bool
		}{
			{"common name", named("bob"), "", "bob", false},
			{"nobody's name", named("eve"), "", "anonymous", kind == "amqp"}, // EXTERNAL is never anonymous
			{"another's password", named("bob"), "device-1", "device-1", false},
			{"wrong password", named("bob"), "eve", "", true},
		} {
			client := h.dial(kind, &tls.Config{RootCAs: ca.pool, ServerName: "localhost", Certificates: []tls.Certificate{ca.issue(c.cert)}})
			got := client.login(c.user)
			if (got != "") != c.refuse {
				t.Errorf("%s, %s: refused with %q", kind, c.name, got)
			}
			if !c.refuse && !slices.Contains(h.users(kind), c.want) {
				t.Errorf("%s, %s: users are %q, want %q", kind, c.name, h.users(kind), c.want)
			}
			_ = client.Close()
			for until := time.Now().Add(30 * time.Second); len(h.users(kind)) > 0 && time.Now().Before(until); {
				time.Sleep(time.Millisecond)
			}
		}
	}
	var held []*wire // the account's limits hold for certificates too
	for i := range 4 {
		w := h.dial("nats", &tls.Config{RootCAs: ca.pool, ServerName: "localhost", Certificates: []tls.Certificate{ca.issue(named("device-1"))}})
		held = append(held, w)
		if got := w.login(""); (got == "") != (i < 3) {
			t.Errorf("connection %d: %q", i, got)
		}
	}
	for _, w := range held {
		_ = w.Close()
	}
}

func TestCertificateNames(t *testing.T) {
	ca := newAuthority(t)
	mem := shardmem.New(shardmem.Options{Users: []shard.User{
		{Name: "cn", Superuser: true}, {Name: "a@example.com"}, {Name: "dev.example.com"}, {Name: "spiffe://example.com/x"},
	}})
	defer mem.Close()
	b := mem.Broker()
	auth := gateway.NewAuth(b.Users, b.ACLs, gateway.AuthConfig{})
	spiffe, err := url.Parse("spiffe://example.com/x")
	if err != nil {
		t.Fatal(err)
	}
	all := &x509.Certificate{EmailAddresses: []string{"a@example.com"}, DNSNames: []string{"dev.example.com"}, URIs: []*url.URL{spiffe}}
	both := *all
	both.Subject.CommonName = "cn"
	other := *all
	other.Subject.CommonName = "some device"
	for _, c := range []struct {
		cert *x509.Certificate
		want string
	}{
		{&both, "cn"},
		{&other, "a@example.com"},
		{&x509.Certificate{DNSNames: all.DNSNames, URIs: all.URIs}, "dev.example.com"},
		{&x509.Certificate{DNSNames: []string{"unknown.example.com"}, URIs: all.URIs}, "spiffe://example.com/x"},
		{&x509.Certificate{DNSNames: []string{"unknown.example.com"}}, ""},
		{&x509.Certificate{}, ""},
	} {
		leaf := ca.issue(c.cert).Leaf
		p, ok := auth.Certificate(&net.TCPAddr{}, &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}})
		if ok {
			t.Errorf("a certificate that nobody verified is %+v", p)
		}
		p, ok = auth.Certificate(&net.TCPAddr{}, &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf, ca.cert}}})
		if p.Name != c.want || ok != (c.want != "") || p.Superuser != (c.want == "cn") {
			t.Errorf("got %+v %v, want %q", p, ok, c.want)
		}
	}
	if _, ok := auth.Certificate(nil, nil); ok {
		t.Error("no TLS is a login")
	}
}
