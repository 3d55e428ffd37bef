package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/robustmq/robustmq-go/shard"
)

// Front holds the listeners of the process. Each incarnation of the engine has a
// Server of its own behind it, and between two of them the front itself answers:
// what asks after the process's health is never refused a connection.
type Front struct {
	log     *slog.Logger
	server  atomic.Pointer[Server] // nil: the engine is away
	why     atomic.Pointer[string]
	handler http.Handler // while it is away

	running struct {
		sync.Mutex
		servers []*http.Server
	}
}

// NewFront makes a front without listeners.
func NewFront(log *slog.Logger) *Front {
	f := &Front{log: log}
	f.Away(errors.New("starting"))
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), awayCollector{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { f.answer(w, http.StatusOK) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { f.answer(w, http.StatusServiceUnavailable) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1")
		writeJSON(w, http.StatusServiceUnavailable, problem{problemBody{Kind: shard.KindUnavailable.String(), Message: f.health().String()}})
	})
	f.handler = secured(mux)
	return f
}

func (f *Front) health() health { return health{down: *f.why.Load()} }

func (f *Front) answer(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, f.health())
}

// awayCollector tells that nothing is served.
type awayCollector struct{}

// Describe implements prometheus.Collector.
func (awayCollector) Describe(ch chan<- *prometheus.Desc) { ch <- readyDesc }

// Collect implements prometheus.Collector.
func (awayCollector) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(readyDesc, prometheus.GaugeValue, 0)
}

// Show lets a server answer.
func (f *Front) Show(s *Server) { f.server.Store(s) }

// Away has the front answer by itself, and say why nothing is served.
func (f *Front) Away(why error) {
	text := oneLine(why)
	f.why.Store(&text)
	f.server.Store(nil)
}

// ServeHTTP implements http.Handler.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s := f.server.Load(); s != nil {
		s.handler.ServeHTTP(w, r)
		return
	}
	f.handler.ServeHTTP(w, r)
}

// Listening tells whether Start was called.
func (f *Front) Listening() bool {
	f.running.Lock()
	defer f.running.Unlock()
	return len(f.running.servers) > 0
}

// Start listens on addr, with TLS unless conf is nil, until Close.
func (f *Front) Start(addr string, conf *tls.Config) (net.Addr, error) {
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
		Handler:           f,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      callTimeout + 10*time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(f.log.Handler(), slog.LevelDebug),
	}
	f.running.Lock()
	f.running.servers = append(f.running.servers, srv)
	f.running.Unlock()
	go func() {
		if err := srv.Serve(ln); err != nil && !errors.Is(err, http.ErrServerClosed) {
			f.log.Error("admin listener ended", "address", addr, "error", err)
		}
	}()
	return at, nil
}

// Close ends all listeners; requests under way get a second to finish.
func (f *Front) Close() {
	f.running.Lock()
	defer f.running.Unlock()
	for _, srv := range f.running.servers {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		if err := srv.Shutdown(ctx); err != nil {
			_ = srv.Close()
		}
		cancel()
	}
	f.running.servers = nil
}
