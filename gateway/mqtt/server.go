package mqtt

import (
	"context"
	"sync"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
)

// Protocol describes this gateway.
func Protocol() gateway.Protocol {
	return gateway.Protocol{
		Name: "mqtt",
		Listeners: []gateway.ListenerSpec{
			{Key: "listen", Port: 1883},
			{Key: "ws_listen", Port: 8083, Subprotocols: []string{"mqtt", "mqttv3.1"}},
		},
		New: New,
	}
}

// Server is the MQTT side of a broker.
type Server struct {
	env      gateway.Env
	broker   shard.Broker
	cfg      Config
	retained *retainStore
	shares   shares
	started  time.Time
	// ctx ends with Drain; what goes on without a connection runs in it.
	ctx    context.Context
	cancel context.CancelFunc

	mu struct {
		sync.Mutex
		clients  map[string]*client // by client identifier
		offline  map[string]*offline
		draining bool
	}
}

// New makes the server: it loads the names of retained messages and resumes the
// timers of sessions that outlived the last process.
func New(env gateway.Env) (gateway.Server, error) {
	s := &Server{env: env, broker: env.Broker, cfg: defaultConfig(), started: time.Now()}
	if err := env.Config(&s.cfg); err != nil {
		return nil, err
	}
	if err := s.cfg.check(env.Limits); err != nil {
		return nil, err
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.mu.clients = make(map[string]*client)
	s.mu.offline = make(map[string]*offline)
	s.shares.open = make(map[string]*share)
	s.retained = newRetainStore(env.Broker.State)
	if err := s.retained.load(s.ctx); err != nil {
		s.cancel()
		return nil, err
	}
	if err := s.resumeOffline(s.ctx); err != nil {
		s.cancel()
		return nil, err
	}
	go s.watchRules()
	s.startSys()
	return s, nil
}

// ServeConn serves one connection.
func (s *Server) ServeConn(ctx context.Context, nc *gateway.Conn) {
	c := newClient(ctx, s, nc)
	stop := context.AfterFunc(ctx, nc.Abort)
	defer stop()
	err := c.readLoop()
	c.leave(err)
}

// Drain tells every client to go [MQTT-4.13.1-1] and ends the server's timers.
func (s *Server) Drain(ctx context.Context) {
	s.mu.Lock()
	s.mu.draining = true
	all := make([]*client, 0, len(s.mu.clients))
	for _, c := range s.mu.clients {
		all = append(all, c)
	}
	s.mu.Unlock()
	code, ref := packet.ServerShuttingDown, ""
	for _, n := range s.broker.Cluster.Nodes() {
		if n.ID != s.broker.Cluster.Self().ID && n.Addresses["mqtt"] != "" {
			code, ref = packet.UseAnotherServer, n.Addresses["mqtt"]
			break
		}
	}
	for _, c := range all {
		c.kick(code, ref)
	}
	for _, c := range all {
		select {
		case <-c.done:
		case <-ctx.Done():
			s.cancel()
			return
		}
	}
	s.stopOffline()
	s.cancel()
}

// claim makes c the connection of its client identifier and waits until the one
// before it is gone [MQTT-3.1.4-3].
func (s *Server) claim(c *client) error {
	s.mu.Lock()
	if s.mu.draining {
		s.mu.Unlock()
		return protocolError(packet.ServerShuttingDown, "server is draining")
	}
	prev := s.mu.clients[c.id]
	s.mu.clients[c.id] = c
	c.claimed = true
	s.mu.Unlock()
	if prev == nil {
		return nil
	}
	prev.kick(packet.SessionTakenOver, "")
	select {
	case <-prev.done:
		return nil
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
}

// release ends c's claim, unless another has taken over.
func (s *Server) release(c *client) {
	s.mu.Lock()
	if s.mu.clients[c.id] == c {
		delete(s.mu.clients, c.id)
	}
	s.mu.Unlock()
}
