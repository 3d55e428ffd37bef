package nats

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
)

// Config is the gateway's part of the configuration.
type Config struct {
	// MaxPayload in bytes; messages over it are refused.
	MaxPayload int `mapstructure:"max_payload"`
	// PingInterval is the time between server pings; PingMax unanswered ones
	// end the connection.
	PingInterval time.Duration `mapstructure:"ping_interval"`
	PingMax      int           `mapstructure:"ping_max"`
	// WriteDeadline bounds one write to a client.
	WriteDeadline time.Duration `mapstructure:"write_deadline"`
}

func defaultConfig(l gateway.Limits) Config {
	return Config{MaxPayload: min(1<<20, l.MaxMessageBytes), PingInterval: 2 * time.Minute, PingMax: 2, WriteDeadline: 10 * time.Second}
}

// Protocol describes the gateway.
func Protocol() gateway.Protocol {
	return gateway.Protocol{
		Name: "nats",
		Listeners: []gateway.ListenerSpec{
			{Key: "listen", Port: 4222},
			{Key: "ws_listen", Port: 9222, Subprotocols: []string{"nats"}},
		},
		New: New,
	}
}

// Server is the NATS gateway.
type Server struct {
	env gateway.Env
	cfg Config
	id  string

	mu struct {
		sync.Mutex
		conns    map[*conn]struct{}
		draining bool
	}
}

// New makes the gateway.
func New(env gateway.Env) (gateway.Server, error) {
	s := &Server{env: env, cfg: defaultConfig(env.Limits)}
	if err := env.Config(&s.cfg); err != nil {
		return nil, err
	}
	if s.cfg.MaxPayload <= 0 || s.cfg.MaxPayload > env.Limits.MaxMessageBytes || s.cfg.PingInterval <= 0 || s.cfg.PingMax <= 0 || s.cfg.WriteDeadline <= 0 {
		return nil, fmt.Errorf("nats: max_payload %d has to be within (0, %d], the intervals positive", s.cfg.MaxPayload, env.Limits.MaxMessageBytes)
	}
	var id [32]byte
	_, _ = rand.Read(id[:]) // crypto/rand does not fail
	s.id = "N" + base32.StdEncoding.EncodeToString(id[:])[:55]
	s.mu.conns = make(map[*conn]struct{})
	return s, nil
}

// protocolVersion is what clients compare to know a server's features.
const protocolVersion = "2.10.0"

// info is the INFO message (NATS client protocol).
type info struct {
	ServerID     string   `json:"server_id"`
	ServerName   string   `json:"server_name"`
	Version      string   `json:"version"`
	Proto        int      `json:"proto"`
	Go           string   `json:"go"`
	Host         string   `json:"host"`
	Port         int      `json:"port"`
	Headers      bool     `json:"headers"`
	MaxPayload   int      `json:"max_payload"`
	AuthRequired bool     `json:"auth_required,omitempty"`
	ClientID     uint64   `json:"client_id"`
	ClientIP     string   `json:"client_ip,omitempty"`
	Nonce        string   `json:"nonce,omitempty"`
	ConnectURLs  []string `json:"connect_urls,omitempty"`
	LameDuckMode bool     `json:"ldm,omitempty"`
}

func (s *Server) info(c *conn) info {
	self := s.env.Broker.Cluster.Self()
	host, port, _ := net.SplitHostPort(self.Addresses["nats"])
	n, _ := strconv.Atoi(port)
	ip, _, _ := net.SplitHostPort(c.nc.RemoteAddr().String())
	_, anonymous := s.env.Auth.Anonymous(c.nc.RemoteAddr())
	i := info{ServerID: s.id, ServerName: self.Name, Version: protocolVersion, Proto: 1, Go: "go", Host: host, Port: n,
		Headers: true, MaxPayload: s.cfg.MaxPayload, AuthRequired: anonymous != nil, ClientID: uint64(c.nc.Origin),
		ClientIP: ip, Nonce: c.nonce}
	for _, node := range s.env.Broker.Cluster.Nodes() {
		if a := node.Addresses["nats"]; a != "" && node.ID != self.ID {
			i.ConnectURLs = append(i.ConnectURLs, a)
		}
	}
	slices.Sort(i.ConnectURLs)
	return i
}

func encodeInfo(i info) []byte {
	b, err := json.Marshal(i)
	if err != nil { // a struct of plain fields
		panic("internal error: encode INFO: " + err.Error())
	}
	return append(append([]byte("INFO "), b...), "\r\n"...)
}

// ServeConn implements gateway.Server.
func (s *Server) ServeConn(ctx context.Context, nc *gateway.Conn) {
	c := newConn(s, nc)
	s.mu.Lock()
	s.mu.conns[c] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.mu.conns, c)
		s.mu.Unlock()
	}()
	c.serve(ctx)
}

// Drain implements gateway.Server: lame duck mode tells clients to reconnect
// elsewhere (INFO with ldm, NATS client protocol).
func (s *Server) Drain(ctx context.Context) {
	s.mu.Lock()
	s.mu.draining = true
	conns := make([]*conn, 0, len(s.mu.conns))
	for c := range s.mu.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		i := s.info(c)
		i.LameDuckMode = true
		c.out.send(encodeInfo(i))
	}
	for _, c := range conns {
		c.out.flushed(ctx)
	}
}
