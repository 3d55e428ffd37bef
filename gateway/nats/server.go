package nats

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

// Config is the gateway's part of the configuration. Sizes are in bytes.
type Config struct {
	// MaxPayload bounds payload and headers of a message.
	MaxPayload int `mapstructure:"max_payload"`
	// MaxControlLine bounds a command line; CONNECT may have 16 KiB.
	MaxControlLine int `mapstructure:"max_control_line"`
	// PingInterval is the time between server pings to a silent client; PingMax
	// unanswered ones end the connection.
	PingInterval time.Duration `mapstructure:"ping_interval"`
	PingMax      int           `mapstructure:"ping_max"`
	// WriteDeadline bounds one write to a client, of at most 1 MiB.
	WriteDeadline time.Duration `mapstructure:"write_deadline"`
	// AuthTimeout bounds the time until a client is logged in, TLS included.
	AuthTimeout time.Duration `mapstructure:"auth_timeout"`
	// HandshakeFirst is when a TLS listener does the handshake before INFO:
	// "false", "true", or "auto" or a duration, the time within which the client
	// may begin with it before it is sent INFO in the clear.
	HandshakeFirst string `mapstructure:"handshake_first"`
	// AllowNonTLS lets clients of a TLS listener go on without.
	AllowNonTLS bool `mapstructure:"allow_non_tls"`
	// InboxPrefixes are those of reply subjects besides "_INBOX.", never stored:
	// what clients are given as their inbox prefix.
	InboxPrefixes []string `mapstructure:"inbox_prefixes"`
}

func defaultConfig(l gateway.Limits) Config {
	return Config{
		MaxPayload: min(1<<20, l.MaxMessageBytes), MaxControlLine: defaultControlLine,
		PingInterval: 2 * time.Minute, PingMax: 2, WriteDeadline: 10 * time.Second, AuthTimeout: 5 * time.Second,
	}
}

func (c *Config) check(l gateway.Limits) error {
	switch {
	case c.MaxPayload <= 0 || c.MaxPayload > l.MaxMessageBytes:
		return fmt.Errorf("nats: max_payload %d is not within (0, %d]", c.MaxPayload, l.MaxMessageBytes)
	case c.MaxControlLine < 128 || c.MaxControlLine > 1<<20:
		return fmt.Errorf("nats: max_control_line %d is not within [128, %d]", c.MaxControlLine, 1<<20)
	case c.PingInterval <= 0 || c.PingMax <= 0 || c.WriteDeadline <= 0 || c.AuthTimeout <= 0:
		return fmt.Errorf("nats: ping_interval, ping_max, write_deadline and auth_timeout have to be positive")
	}
	for _, p := range c.InboxPrefixes {
		if valid, literal := validSubject(strings.TrimSuffix(p, ".")); !valid || !literal {
			return fmt.Errorf("nats: inbox prefix %q is not a subject", p)
		}
	}
	return nil
}

// Protocol describes the gateway.
func Protocol() gateway.Protocol {
	return gateway.Protocol{
		Name: "nats",
		Listeners: []gateway.ListenerSpec{
			{Key: "listen", Port: 4222, OwnTLS: true},
			{Key: "ws_listen", Port: 9222, Subprotocols: []string{"nats"}},
			{Key: monitorKey, Port: 8222, HTTP: true, Off: true},
		},
		New: New,
	}
}

// Server is the NATS gateway.
type Server struct {
	env     gateway.Env
	cfg     Config
	first   handshakeFirst
	id      string
	start   time.Time
	buffers sync.Pool // of *[]byte, for outboxes

	rules    atomic.Uint64      // rises when access rules change
	stopping context.CancelFunc // ends watchRules

	inserts, removes, total, stale atomic.Int64
	http                           [len(endpoints)]atomic.Int64 // requests served

	mu struct {
		sync.RWMutex
		conns    map[shard.Origin]*conn
		draining bool
	}
	complaints struct {
		sync.Mutex
		last, lastSlow     time.Time
		silent, silentSlow int
	}
}

// New makes the gateway.
func New(env gateway.Env) (gateway.Server, error) {
	s := &Server{env: env, cfg: defaultConfig(env.Limits), start: time.Now()}
	if err := env.Config(&s.cfg); err != nil {
		return nil, err
	}
	if err := s.cfg.check(env.Limits); err != nil {
		return nil, err
	}
	for i, p := range s.cfg.InboxPrefixes {
		s.cfg.InboxPrefixes[i] = strings.TrimSuffix(p, ".") + "."
	}
	var err error
	if s.first, err = parseHandshakeFirst(s.cfg.HandshakeFirst); err != nil {
		return nil, err
	}
	var id [35]byte         // 56 digits, and no padding
	_, _ = rand.Read(id[:]) // crypto/rand does not fail
	s.id = "N" + base32.StdEncoding.EncodeToString(id[:])[:55]
	s.mu.conns = make(map[shard.Origin]*conn)
	ctx, cancel := context.WithCancel(context.Background())
	s.stopping = cancel
	go s.watchRules(ctx)
	return s, nil
}

// ServeConn implements gateway.Server.
func (s *Server) ServeConn(ctx context.Context, nc *gateway.Conn) { newConn(s, nc).serve(ctx) }

// HTTPHandler implements gateway.HTTPServer: monitoring.
func (s *Server) HTTPHandler(string) http.Handler { return s.Monitor() }

// Refuse implements gateway.Refuser. Clients want INFO before anything else.
func (s *Server) Refuse(c net.Conn) {
	info := encodeInfo(s.info(newConn(s, gateway.NewConn(c, "nats"))))
	_, _ = c.Write(append(info, errLine(errMaxConnections.Error())...))
}

func (s *Server) add(c *conn) {
	s.mu.Lock()
	s.mu.conns[c.nc.Origin] = c
	draining := s.mu.draining
	s.mu.Unlock()
	s.total.Add(1)
	if draining {
		c.lameDuck()
	}
}

func (s *Server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.conns, c.nc.Origin)
}

// list gives the open connections.
func (s *Server) list() []*conn {
	s.mu.RLock()
	defer s.mu.RUnlock()
	conns := make([]*conn, 0, len(s.mu.conns))
	for _, c := range s.mu.conns {
		conns = append(conns, c)
	}
	return conns
}

// Drain implements gateway.Server: lame duck mode tells clients to reconnect
// elsewhere (INFO with ldm, NATS client protocol).
func (s *Server) Drain(ctx context.Context) {
	s.stopping()
	s.mu.Lock()
	s.mu.draining = true
	s.mu.Unlock()
	conns := s.list()
	for _, c := range conns {
		c.lameDuck()
	}
	for _, c := range conns {
		c.out.wait(ctx, 0)
	}
}

func (s *Server) draining() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mu.draining
}

// stallPublisher makes a publisher wait, before it reads on, for a subscriber
// that its messages congest. Others who publish are not ours to stop.
func (s *Server) stallPublisher(origin shard.Origin, o *outbox) {
	s.mu.RLock()
	c := s.mu.conns[origin]
	s.mu.RUnlock()
	if c != nil {
		c.stall.Store(o)
	}
}

// inbox tells whether a subject is below one of the configured inbox prefixes.
func (s *Server) inbox(subject string) bool {
	for _, p := range s.cfg.InboxPrefixes {
		if strings.HasPrefix(subject, p) {
			return true
		}
	}
	return false
}

// complaintInterval keeps clients from filling the log.
const complaintInterval = 5 * time.Second

// slow logs a slow consumer, and how many more there were since the last line.
func (s *Server) slow(info gateway.ConnInfo) {
	s.complaints.Lock()
	defer s.complaints.Unlock()
	if time.Since(s.complaints.lastSlow) < complaintInterval {
		s.complaints.silentSlow++
		return
	}
	s.env.Log.Warn("slow consumer", "remote", info.Remote, "name", info.ClientID, "user", info.User, "more_since_last", s.complaints.silentSlow)
	s.complaints.lastSlow, s.complaints.silentSlow = time.Now(), 0
}

// complain logs messages that were dropped, and how many more were since the
// last line.
func (s *Server) complain(subject string, n int, err error) {
	s.say("messages dropped", subject, n, err)
}

func (s *Server) say(what, subject string, n int, err error) {
	s.complaints.Lock()
	defer s.complaints.Unlock()
	if time.Since(s.complaints.last) < complaintInterval {
		s.complaints.silent += n
		return
	}
	s.env.Log.Warn(what, "subject", subject, "count", n, "more_since_last", s.complaints.silent, "error", err)
	s.complaints.last, s.complaints.silent = time.Now(), 0
}
