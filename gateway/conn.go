package gateway

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// Conn is one client connection.
type Conn struct {
	net.Conn
	// Origin numbers the connection within the process; never 0.
	Origin shard.Origin
	// Since is when it was accepted.
	Since time.Time
	// TLS is the state of the handshake, nil without TLS.
	TLS *tls.ConnectionState
	// WebSocket tells whether it came by WebSocket.
	WebSocket bool

	raw           net.Conn    // as accepted, below TLS
	tls           *tls.Config // of StartTLS
	authenticated atomic.Bool
	closed        atomic.Bool
	auth          atomic.Pointer[Auth]       // of Join
	account       atomic.Pointer[account]    // of Join; nil before it and without limits
	user          atomic.Pointer[shard.User] // of Join: the account as it was
	farewell      atomic.Pointer[func()]     // of OnRevoke
	grace         time.Duration              // of SetGrace
	mem           incoming
	info          struct {
		sync.Mutex
		ConnInfo
	}
}

// ConnInfo is what an operator sees of a connection.
type ConnInfo struct {
	Protocol string
	ClientID string
	User     string
	Remote   string
	Since    time.Time
}

var origins atomic.Uint64

// NewConn wraps a network connection; listeners and tests call it.
func NewConn(c net.Conn, protocol string) *Conn {
	n := &Conn{Conn: c, raw: c, Origin: shard.Origin(origins.Add(1)), Since: time.Now()}
	n.mem.gone = make(chan struct{})
	n.info.ConnInfo = ConnInfo{Protocol: protocol, Since: n.Since}
	if a := c.RemoteAddr(); a != nil {
		n.info.Remote = a.String()
	}
	return n
}

// OfferTLS lets the protocol call StartTLS; listeners and tests call it before
// the connection is served.
func (c *Conn) OfferTLS(cfg *tls.Config) { c.tls = cfg }

// TLSOffered tells whether StartTLS may be called: the listener has a
// certificate and the protocol does the upgrade itself (ListenerSpec.OwnTLS).
func (c *Conn) TLSOffered() bool { return c.tls != nil && c.TLS == nil }

// TLSVerify tells whether the offered TLS asks for a client's certificate.
func (c *Conn) TLSVerify() bool {
	if c.tls == nil {
		return false
	}
	cfg := c.tls
	if f := cfg.GetConfigForClient; f != nil {
		if now, err := f(&tls.ClientHelloInfo{}); err == nil && now != nil {
			cfg = now
		}
	}
	return cfg.ClientAuth >= tls.VerifyClientCertIfGiven
}

// StartTLS does the server's handshake; read is what was read of it already.
// Only the goroutine that serves the connection may call it, while nobody else
// reads or writes.
func (c *Conn) StartTLS(ctx context.Context, read []byte) error {
	if !c.TLSOffered() {
		return shard.Errorf(shard.KindInvalid, "start TLS: not offered")
	}
	under := c.Conn
	if len(read) > 0 {
		under = &prefixConn{Conn: under, read: append([]byte(nil), read...)}
	}
	tc := tls.Server(under, c.tls)
	if err := tc.HandshakeContext(ctx); err != nil {
		return shard.Errorf(shard.KindInvalid, "start TLS: %w", err)
	}
	st := tc.ConnectionState()
	c.Conn, c.TLS = tc, &st
	return nil
}

// prefixConn reads some bytes again.
type prefixConn struct {
	net.Conn
	read []byte
}

func (c *prefixConn) Read(b []byte) (int, error) {
	if len(c.read) > 0 {
		n := copy(b, c.read)
		c.read = c.read[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// Abort ends the connection at once and without a farewell, even while a write
// is stuck. Any goroutine may call it.
func (c *Conn) Abort() {
	c.closed.Store(true)
	c.endMemory()
	if a, ok := c.raw.(interface{ abort() }); ok {
		a.abort()
		return
	}
	_ = c.raw.Close()
}

// Authenticated says who it is; the deadline for logging in is off from then on.
func (c *Conn) Authenticated(p Principal, clientID string) {
	c.authenticated.Store(true)
	c.info.Lock()
	c.info.User, c.info.ClientID = p.Name, clientID
	c.info.Unlock()
}

// Info gives what is known of the connection.
func (c *Conn) Info() ConnInfo {
	c.info.Lock()
	defer c.info.Unlock()
	return c.info.ConnInfo
}

// Loopback tells whether the peer is on this machine.
func (c *Conn) Loopback() bool { return Loopback(c.RemoteAddr()) }

// Loopback tells whether an address is a loopback address, an in-process pipe or
// a Unix socket.
func Loopback(a net.Addr) bool {
	if a == nil {
		return false
	}
	switch a := a.(type) {
	case foreignAddr:
		return false
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	if a.Network() == "pipe" {
		return true
	}
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// foreign tells whether a request came through a proxy or by a name that is not
// this machine's, though its connection may be from here.
func foreign(a net.Addr) bool {
	_, is := a.(foreignAddr)
	return is
}

// foreignAddr is the address of a peer that speaks for others: it is not local
// whatever it reads.
type foreignAddr struct{ net.Addr }
