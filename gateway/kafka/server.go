package kafka

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

// Server is the gateway. It is safe for concurrent use.
type Server struct {
	env    gateway.Env
	cfg    Config
	log    *slog.Logger
	broker shard.Broker

	apis    *apiTable
	ids     idPrefix
	groups  *coordinator
	pids    producerIDs
	inboxes inboxes

	// bigDecode lets one large request at a time be taken apart: what a hostile
	// one makes us allocate is bounded by one.
	bigDecode sync.Mutex

	damages damages

	ahead atomic.Int64 // bytes of fetches that may be read ahead still

	draining chan struct{}
	conns    struct {
		sync.Mutex
		drained bool
		wg      sync.WaitGroup
	}
}

// New makes the gateway.
func New(env gateway.Env) (gateway.Server, error) {
	cfg := DefaultConfig()
	if err := env.Config(&cfg); err != nil {
		return nil, err
	}
	return newServer(env, cfg)
}

func newServer(env gateway.Env, cfg Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if env.Log == nil {
		env.Log = slog.New(slog.DiscardHandler)
	}
	if env.Stats == nil {
		env.Stats = new(gateway.Stats)
	}
	if env.Limits == (gateway.Limits{}) {
		env.Limits = gateway.DefaultLimits()
	}
	s := &Server{env: env, cfg: cfg, log: env.Log, broker: env.Broker, draining: make(chan struct{})}
	s.ahead.Store(allAhead)
	s.apis = newTable()
	s.ids = newIDPrefix(env.Broker.Cluster.ID())
	s.groups = newCoordinator(s)
	return s, nil
}

// ServeConn serves one connection until it ends or ctx does.
func (s *Server) ServeConn(ctx context.Context, nc *gateway.Conn) {
	s.conns.Lock()
	if s.conns.drained {
		s.conns.Unlock()
		return
	}
	s.conns.wg.Add(1)
	s.conns.Unlock()
	defer s.conns.wg.Done()
	newConn(ctx, s, nc).serve()
}

// Drain ends long polls, answers what was read and closes the connections:
// clients refresh their metadata and go where it sends them.
func (s *Server) Drain(ctx context.Context) {
	s.conns.Lock()
	if !s.conns.drained {
		s.conns.drained = true
		close(s.draining)
	}
	s.conns.Unlock()
	gone := make(chan struct{})
	go func() {
		s.conns.wg.Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-ctx.Done():
	}
	s.groups.close()
}
