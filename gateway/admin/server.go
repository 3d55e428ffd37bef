package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

// Bounds of what a caller may take.
const (
	maxBodyBytes   = 1 << 20
	maxHeaderBytes = 64 << 10
	maxConnections = 1024
	maxInFlight    = 64 // API requests at once
	callTimeout    = time.Minute
)

// Engine is what the admin gateway asks of the storage engine. All methods may
// be called concurrently.
type Engine interface {
	// Health says what is wrong: down is why it does not serve, degraded what
	// needs looking after while it does. Both are nil when nothing is wrong.
	Health() (down, degraded error)
	// Flush returns when everything that was acknowledged before the call is in
	// object storage and committed.
	Flush(ctx context.Context) error
	// Segments gives where a shard's flushed records are, in offset order.
	Segments(id shard.ID) []Segment
	// TrustClock says that the clock is right, though it jumped.
	TrustClock(ctx context.Context) error
}

// Protocol is a protocol gateway as the admin gateway sees it. Its Server may
// be a gateway.GroupLister or a gateway.SessionLister too.
type Protocol struct {
	Name      string
	Server    gateway.Server
	Stats     *gateway.Stats
	Listeners []*gateway.Listener
}

// Env is what the server needs.
type Env struct {
	Broker    shard.Broker
	Auth      *gateway.Auth
	Engine    Engine
	Protocols []Protocol
	// Drain stops accepting and tells all clients to go elsewhere; it returns
	// when that is done or ctx ends. May be called again.
	Drain func(ctx context.Context)
	// Pinned gives, by group, the stored bytes that retention keeps for it alone;
	// nil where there is no retention.
	Pinned func() map[string]int64
	// Collectors are further metrics.
	Collectors []prometheus.Collector
	Version    string
	Log        *slog.Logger
	Now        func() time.Time
}

// Server serves HTTP to operators. Use New, then Start or Handler.
type Server struct {
	env      Env
	log      *slog.Logger
	routes   []route
	spec     []byte
	handler  http.Handler
	slots    chan struct{}
	draining atomic.Bool
	lag      lagCache
	authFail atomic.Int64
	// changing orders look-then-write changes of accounts.
	changing sync.Mutex

	running struct {
		sync.Mutex
		servers []*http.Server
	}
}

// New makes the server; it listens nowhere yet.
func New(env Env) (*Server, error) {
	if env.Log == nil {
		env.Log = slog.New(slog.DiscardHandler)
	}
	if env.Now == nil {
		env.Now = time.Now
	}
	s := &Server{env: env, log: env.Log, slots: make(chan struct{}, maxInFlight)}
	s.routes = s.table()
	var err error
	if s.spec, err = s.document(); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", s.monitored(s.metricsHandler()))
	mux.HandleFunc("GET /debug/pprof/{name}", s.profiles)
	for i := range s.routes {
		r := &s.routes[i]
		mux.HandleFunc(r.method+" "+r.path, func(w http.ResponseWriter, req *http.Request) { s.call(w, req, r) })
	}
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, shard.Errorf(shard.KindDenied, "a browser made this request for another site"))
	}))
	s.handler = secured(protection.Handler(s.inJSON(mux)))
	return s, nil
}

// inJSON answers what is not there below /api as the rest of the API answers.
func (s *Server) inJSON(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := mux.Handler(r)
		if pattern != "" || r.URL.Path != "/api" && !strings.HasPrefix(r.URL.Path, "/api/") {
			mux.ServeHTTP(w, r)
			return
		}
		h.ServeHTTP(&unrouted{w, r}, r)
	})
}

// unrouted is the writer of what no route matches: it writes the refusal of the
// multiplexer, whose header says which methods there are, as JSON.
type unrouted struct {
	http.ResponseWriter
	r *http.Request
}

// WriteHeader implements http.ResponseWriter.
func (u *unrouted) WriteHeader(status int) {
	if status < http.StatusBadRequest { // a path to be cleaned
		u.ResponseWriter.WriteHeader(status)
		return
	}
	p := problemBody{Kind: shard.KindNotFound.String(), Message: "no such path; " + base + "/openapi.json has them all"}
	if status == http.StatusMethodNotAllowed {
		p = problemBody{Kind: shard.KindInvalid.String(), Message: "method " + u.r.Method + " is not allowed here: " + u.Header().Get("Allow") + " are"}
	}
	writeJSON(u.ResponseWriter, status, problem{p})
}

// Write implements http.ResponseWriter: the text is not sent.
func (u *unrouted) Write(p []byte) (int, error) { return len(p), nil }

// secured sets the headers that hold for every answer, and bounds every body.
func secured(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
		h.ServeHTTP(w, r)
	})
}

// Handler serves everything, for tests and for listeners of the caller's own.
func (s *Server) Handler() http.Handler { return s.handler }

// Start listens on addr, with TLS unless conf is nil, until Close.
func (s *Server) Start(addr string, conf *tls.Config) (net.Addr, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for admin: %w", err)
	}
	at := ln.Addr()
	ln = &limitListener{Listener: ln, places: make(chan struct{}, maxConnections), closed: make(chan struct{})}
	if conf != nil {
		ln = tls.NewListener(ln, conf)
	}
	srv := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      callTimeout + 10*time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.running.Lock()
	s.running.servers = append(s.running.servers, srv)
	s.running.Unlock()
	go func() {
		if err := srv.Serve(ln); err != nil && !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("admin listener ended", "address", addr, "error", err)
		}
	}()
	return at, nil
}

// Close ends all listeners; requests under way get a second to finish.
func (s *Server) Close() {
	s.running.Lock()
	defer s.running.Unlock()
	for _, srv := range s.running.servers {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		if err := srv.Shutdown(ctx); err != nil {
			_ = srv.Close()
		}
		cancel()
	}
	s.running.servers = nil
}

// SetDraining makes readyz say so: new clients should go elsewhere.
func (s *Server) SetDraining() { s.draining.Store(true) }

// limitListener bounds the connections that are open at once; further ones wait
// in the kernel's queue.
type limitListener struct {
	net.Listener
	places chan struct{}
	once   sync.Once
	closed chan struct{}
}

// Accept implements net.Listener.
func (l *limitListener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &limitConn{Conn: c, release: sync.OnceFunc(func() { <-l.places })}, nil
}

// Close implements net.Listener.
func (l *limitListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitConn struct {
	net.Conn
	release func()
}

// Close implements net.Conn.
func (c *limitConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
