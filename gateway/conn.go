package gateway

import (
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

	authenticated atomic.Bool
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
	n := &Conn{Conn: c, Origin: shard.Origin(origins.Add(1)), Since: time.Now()}
	n.info.ConnInfo = ConnInfo{Protocol: protocol, Since: n.Since}
	if a := c.RemoteAddr(); a != nil {
		n.info.Remote = a.String()
	}
	return n
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
