package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// Listener accepts connections of one protocol on one address.
type Listener struct {
	Protocol     string
	Addr         string
	Subprotocols []string // WebSocket when not empty
	TLS          *tls.Config
	OwnTLS       bool         // as ListenerSpec
	HTTP         http.Handler // serves HTTP by it instead of connections
	Server       Server
	Log          *slog.Logger
	Stats        *Stats
	Memory       *Memory // nil: no bound
	Auth         *Auth   // says which origins may connect by HTTP; nil: their own host's
	// MaxConnections as Limits; LoginTimeout closes who has not logged in.
	MaxConnections int
	LoginTimeout   time.Duration

	ln    net.Listener
	http  *http.Server
	conns struct {
		sync.Mutex
		open map[*Conn]struct{}
	}
	wg     sync.WaitGroup
	ctx    context.Context
	cancel context.CancelFunc
}

// Start begins to accept; connections live until Close or the end of ctx.
func (l *Listener) Start(ctx context.Context) error {
	ln, err := net.Listen("tcp", l.Addr)
	if err != nil {
		return fmt.Errorf("listen for %s: %w", l.Protocol, err)
	}
	if l.LoginTimeout <= 0 {
		l.LoginTimeout = 10 * time.Second
	}
	l.conns.open = make(map[*Conn]struct{})
	l.ctx, l.cancel = context.WithCancel(ctx)
	l.ln = ln
	switch {
	case l.HTTP != nil:
		l.startHTTP(l.monitored(l.HTTP))
		return nil
	case len(l.Subprotocols) > 0:
		l.startHTTP(http.HandlerFunc(l.upgrade))
		return nil
	}
	l.wg.Go(l.accept)
	return nil
}

// Address is where it listens, with the port that was given.
func (l *Listener) Address() net.Addr { return l.ln.Addr() }

func (l *Listener) accept() {
	for {
		c, err := l.ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			l.Log.Warn("accept failed", "protocol", l.Protocol, "error", err)
			select {
			case <-time.After(50 * time.Millisecond): // out of descriptors: let some go
			case <-l.ctx.Done():
				return
			}
			continue
		}
		l.wg.Go(func() { l.serveTCP(c) })
	}
}

func (l *Listener) serveTCP(c net.Conn) {
	conn := NewConn(c, l.Protocol)
	conn.UseMemory(l.Memory)
	if !l.admit(conn) {
		l.refuse(c)
		_ = conn.Close()
		return
	}
	defer l.leave(conn)
	switch {
	case l.TLS != nil && l.OwnTLS:
		conn.OfferTLS(l.TLS)
	case l.TLS != nil:
		tc := tls.Server(c, l.TLS)
		ctx, cancel := context.WithTimeout(l.ctx, l.loginTimeout())
		err := tc.HandshakeContext(ctx)
		cancel()
		if err != nil {
			l.Log.Debug("TLS handshake failed", "protocol", l.Protocol, "remote", c.RemoteAddr().String(), "error", err)
			l.Stats.ProtocolErrors.Add(1)
			return
		}
		st := tc.ConnectionState()
		conn.Conn, conn.TLS = tc, &st
	}
	l.serve(conn)
}

func (l *Listener) startHTTP(h http.Handler) {
	l.http = &http.Server{
		Handler:           h,
		ReadHeaderTimeout: l.loginTimeout(),
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(l.Log.Handler(), slog.LevelDebug),
	}
	ln := l.ln
	if l.TLS != nil {
		ln = tls.NewListener(ln, l.TLS)
	}
	l.wg.Go(func() {
		if err := l.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			l.Log.Warn("HTTP listener ended", "protocol", l.Protocol, "error", err)
		}
	})
}

func (l *Listener) upgrade(w http.ResponseWriter, r *http.Request) {
	if err := l.Auth.CheckOrigin(r); err != nil {
		l.Stats.Refused.Add(1)
		l.Log.Debug("WebSocket refused", "protocol", l.Protocol, "remote", r.RemoteAddr, "error", err)
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols:       l.Subprotocols,
		InsecureSkipVerify: true, // CheckOrigin did
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		l.Stats.ProtocolErrors.Add(1)
		return
	}
	ws.SetReadLimit(-1) // the protocol's own frame cap holds; frames are streamed
	nc := websocket.NetConn(l.ctx, ws, websocket.MessageBinary)
	conn := NewConn(wsConn{nc, RequestAddr(r), ws}, l.Protocol)
	conn.WebSocket, conn.TLS = true, r.TLS
	conn.UseMemory(l.Memory)
	if !l.admit(conn) {
		_ = ws.Close(websocket.StatusTryAgainLater, "too many connections")
		_ = conn.Close()
		return
	}
	l.wg.Add(1)
	defer l.wg.Done()
	defer l.leave(conn)
	l.serve(conn)
}

// wsConn gives the peer's real address.
type wsConn struct {
	net.Conn
	remote net.Addr
	ws     *websocket.Conn
}

// abort skips the closing handshake, which waits for the peer.
func (c wsConn) abort() { _ = c.ws.CloseNow() }

func (c wsConn) RemoteAddr() net.Addr {
	if c.remote != nil {
		return c.remote
	}
	return c.Conn.RemoteAddr()
}

func (l *Listener) admit(c *Conn) bool {
	l.conns.Lock()
	defer l.conns.Unlock()
	if l.ctx.Err() != nil || l.MaxConnections > 0 && len(l.conns.open) >= l.MaxConnections || l.Memory.Tight() {
		l.Stats.Refused.Add(1)
		return false
	}
	l.conns.open[c] = struct{}{}
	l.Stats.Accepted.Add(1)
	l.Stats.Connections.Add(1)
	return true
}

// refuse tells a client why, where the protocol can before anything was read.
func (l *Listener) refuse(c net.Conn) {
	if r, ok := l.Server.(Refuser); ok && (l.TLS == nil || l.OwnTLS) && l.ctx.Err() == nil {
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		r.Refuse(c)
	}
}

func (l *Listener) leave(c *Conn) {
	_ = c.Close()
	l.conns.Lock()
	delete(l.conns.open, c)
	l.conns.Unlock()
	l.Stats.Connections.Add(-1)
}

func (l *Listener) serve(c *Conn) {
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	login := time.AfterFunc(l.loginTimeout(), func() {
		if !c.authenticated.Load() {
			l.Stats.Refused.Add(1)
			c.Abort()
		}
	})
	defer login.Stop()
	defer func() {
		if p := recover(); p != nil {
			l.Log.Error("connection handler panicked", "protocol", l.Protocol, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	l.Server.ServeConn(ctx, c)
}

// SetLimits changes MaxConnections and LoginTimeout for the connections that come
// from now on; open ones stay.
func (l *Listener) SetLimits(maxConnections int, login time.Duration) {
	l.conns.Lock()
	defer l.conns.Unlock()
	l.MaxConnections, l.LoginTimeout = maxConnections, login
}

func (l *Listener) loginTimeout() time.Duration {
	l.conns.Lock()
	defer l.conns.Unlock()
	return l.LoginTimeout
}

// Conns lists the open connections.
func (l *Listener) Conns() []*Conn {
	l.conns.Lock()
	defer l.conns.Unlock()
	out := make([]*Conn, 0, len(l.conns.open))
	for c := range l.conns.open {
		out = append(out, c)
	}
	return out
}

// StopAccepting ends the acceptance of new connections; open ones go on.
func (l *Listener) StopAccepting() { _ = l.ln.Close() }

// Close ends all connections and waits for their handlers.
func (l *Listener) Close() {
	l.StopAccepting()
	l.cancel()
	if l.http != nil {
		_ = l.http.Close()
	}
	for _, c := range l.Conns() {
		c.Abort()
	}
	l.wg.Wait()
}
