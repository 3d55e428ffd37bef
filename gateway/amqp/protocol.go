package amqp

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// Config is the protocol's part of the configuration.
type Config struct {
	// VHosts besides "/". The subjects of vhost v lie below "v.".
	VHosts []string `mapstructure:"vhosts"`
	// RootSeesVHosts makes "/" the whole subject space: its queues may be bound to the
	// subjects of the other vhosts, and its clients may publish there.
	RootSeesVHosts bool `mapstructure:"root_sees_vhosts"`
	// Heartbeat that the server proposes; 0 turns it off.
	Heartbeat time.Duration `mapstructure:"heartbeat"`
	// FrameMax in bytes and ChannelMax bound what is negotiated.
	FrameMax   int `mapstructure:"frame_max"`
	ChannelMax int `mapstructure:"channel_max"`
	// MaxQueues and MaxExchanges bound each vhost.
	MaxQueues    int `mapstructure:"max_queues"`
	MaxExchanges int `mapstructure:"max_exchanges"`
}

func defaultConfig() Config {
	return Config{Heartbeat: time.Minute, FrameMax: 128 << 10, ChannelMax: 2047, MaxQueues: 100_000, MaxExchanges: 10_000}
}

func (c *Config) check() error {
	switch {
	case c.FrameMax < frame.MinMax || c.FrameMax > 16<<20:
		return fmt.Errorf("check amqp.frame_max: %d is not between %d and 16777216", c.FrameMax, frame.MinMax)
	case c.ChannelMax < 1 || c.ChannelMax > 65535:
		return fmt.Errorf("check amqp.channel_max: %d is not between 1 and 65535", c.ChannelMax)
	case c.MaxQueues < 1 || c.MaxExchanges < 1:
		return fmt.Errorf("check amqp: max_queues and max_exchanges must be over 0")
	case c.Heartbeat < 0 || c.Heartbeat > 65535*time.Second:
		return fmt.Errorf("check amqp.heartbeat: %v is not between 0 and 65535s", c.Heartbeat)
	}
	for _, name := range c.VHosts {
		// Below it lie its queues: subjects that are stored, which a filter can name.
		f, err := shard.ParseSubjectFilter(name)
		if _, literal := f.Literal(); name != "/" && (err != nil || !literal || shard.Relayed(name+".")) {
			return fmt.Errorf("check amqp.vhosts: %q cannot begin a subject", name)
		}
	}
	return c.checkApart()
}

// checkApart refuses vhosts of which one would hold the subjects or the queues of
// another.
func (c *Config) checkApart() error {
	names := append([]string{"/"}, c.VHosts...)
	for i, a := range names {
		for j, b := range names {
			if i != j && a != b && (strings.HasPrefix(b, a+".") || strings.HasPrefix(b, a+"/")) {
				return fmt.Errorf("check amqp.vhosts: %q lies within %q: what is in one would be in the other", b, a)
			}
		}
	}
	return nil
}

// Protocol is the gateway's line in the table of protocols.
func Protocol() gateway.Protocol {
	return gateway.Protocol{
		Name:      "amqp",
		Listeners: []gateway.ListenerSpec{{Key: "listen", Port: 5672}},
		New:       New,
	}
}

// server is the gateway.
type server struct {
	env    gateway.Env
	cfg    Config
	log    *slog.Logger
	vhosts map[string]*vhost
	// origins has the *conn of each shard.Origin.
	origins sync.Map
	mu      struct {
		sync.Mutex
		conns map[*conn]struct{}
		empty chan struct{} // closed when conns is
	}
}

// loadWithin bounds what reading the vhosts may take of the start.
const loadWithin = time.Minute

// New makes the gateway. What is stored of the vhosts is read before anybody may
// publish: the limits of a queue hold for messages of all protocols.
func New(env gateway.Env) (gateway.Server, error) {
	cfg := defaultConfig()
	if err := env.Config(&cfg); err != nil {
		return nil, fmt.Errorf("read amqp configuration: %w", err)
	}
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
	s := &server{env: env, cfg: cfg, log: env.Log, vhosts: make(map[string]*vhost)}
	s.mu.conns = make(map[*conn]struct{})
	for _, name := range append([]string{"/"}, cfg.VHosts...) {
		s.vhosts[name] = newVHost(s, name)
	}
	s.vhosts["/"].walls = cfg.walls()
	s.loadVHosts()
	return s, nil
}

// loadVHosts reads the vhosts. One that cannot be read is tried again with its
// first connection, which is told.
func (s *server) loadVHosts() {
	ctx, cancel := context.WithTimeout(context.Background(), loadWithin)
	defer cancel()
	for name, vh := range s.vhosts {
		if err := vh.load(ctx); err != nil {
			s.log.Error("vhost is not read; the limits of its queues do not hold yet", "vhost", name, "error", err)
		}
	}
}

// ServeConn serves one connection.
func (s *server) ServeConn(ctx context.Context, nc *gateway.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := newConn(ctx, s, nc)
	nc.OnRevoke(func() {
		c.out.method(0, &frame.ConnectionClose{ReplyCode: codeConnectionForced, ReplyText: "CONNECTION_FORCED - user '" + c.who.Name + "' is deleted or changed"})
	})
	s.mu.Lock()
	if s.mu.conns[c] = struct{}{}; len(s.mu.conns) == 1 {
		s.mu.empty = make(chan struct{})
		go s.watchRules(s.mu.empty)
	}
	s.mu.Unlock()
	s.origins.Store(nc.Origin, c)
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	defer stop()
	defer func() {
		s.mu.Lock()
		if delete(s.mu.conns, c); len(s.mu.conns) == 0 {
			close(s.mu.empty)
		}
		s.mu.Unlock()
		s.origins.Delete(nc.Origin)
		c.cleanup()
	}()
	c.serve()
}

// Drain sends every client connection.close 320.
func (s *server) Drain(ctx context.Context) {
	s.mu.Lock()
	conns := make([]*conn, 0, len(s.mu.conns))
	for c := range s.mu.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.out.method(0, &frame.ConnectionClose{
			ReplyCode: codeConnectionForced,
			ReplyText: "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'",
		})
	}
	for _, c := range conns {
		c.out.drained(ctx)
	}
}
