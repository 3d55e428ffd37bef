package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/engine"
	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/admin"
	"github.com/robustmq/robustmq-go/internal/vfs"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/tier/store/health"
	"github.com/robustmq/robustmq-go/tier/store/limit"
	"github.com/robustmq/robustmq-go/tier/store/metrics"
	"github.com/robustmq/robustmq-go/tier/store/open"
	"github.com/robustmq/robustmq-go/tier/store/retry"
)

// storage is the part of the process below the gateways.
type storage struct {
	lock   *os.File
	cat    *catalog.Catalog
	store  store.Store
	closer io.Closer
	// storeStats are of the requests that were sent, each try counted.
	storeStats   *metrics.Store
	storeRetries atomic.Int64
	live         *live         // nil but in serve
	trouble      *health.Store // notices when they fail
	bare         store.Store   // without retries and limits
	clock        store.Clock   // the store's
	engine       *engine.Engine
	durability   shard.Durability // of topics, by default
}

// openStorage joins catalog, store and engine. The data directory is locked:
// two processes on one WAL would each believe it theirs.
func openStorage(ctx context.Context, c *Config, log *slog.Logger, addresses map[string]string) (_ *storage, err error) {
	s := &storage{live: c.live}
	defer func() {
		if err != nil {
			s.close(ctx, log)
		}
	}()
	if err := os.MkdirAll(c.DataDir, 0o755); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	if err := vfs.Soon(ctx, func() (err error) { s.lock, err = lockDir(c.DataDir); return err }); err != nil {
		return nil, err
	}
	if err := c.catalogGone(); err != nil {
		return nil, err
	}
	if s.cat, err = catalog.Open(ctx, c.catalogConfig(log)); err != nil {
		return nil, err
	}
	if s.cat.Topics().Len() == 0 { // new: a gateway makes its internal topic first of all
		if err := c.recordsWithout(c.etcdText()+" is new", false); err != nil {
			return nil, err
		}
	}
	if err = s.openStore(ctx, c, c.storeConfig(), log); err != nil {
		return nil, err
	}
	known := s.cat.Topics().Len() > 0
	s.durability, _ = shard.ParseDurability(c.Topics.Durability)
	opts := c.engineOptions(log, addresses)
	opts.Witnesses = s.witnesses(c)
	if s.engine, err = engine.Open(ctx, s.cat, s.store, opts); err != nil {
		return nil, c.foreignStore(err, known)
	}
	return s, nil
}

// openStore opens the object store and puts counters, retries and limits around
// it: a request that is tried again keeps its place, so that a failing store is
// not asked by more and more callers.
func (s *storage) openStore(ctx context.Context, c *Config, cfg open.Config, log *slog.Logger) error {
	cfg.Clock = &s.clock
	var bare store.Store
	err := vfs.Soon(ctx, func() (err error) { bare, s.closer, err = open.Open(ctx, cfg); return err })
	if err != nil {
		return fmt.Errorf("open object store: %w", err)
	}
	s.bare = bare
	s.storeStats = metrics.New(bare)
	s.trouble = health.New(s.storeStats, health.Options{Log: log})
	tried := retry.New(s.trouble, retry.Options{Tries: c.Store.Tries, Base: c.Store.RetryBase, Max: c.Store.RetryMax,
		Timeout: c.Store.Timeout, OnRetry: func(string, string, int, error) { s.storeRetries.Add(1) }})
	s.store = limit.New(tried, limit.Options{Concurrency: c.Store.Concurrency, BytesPerSec: c.Store.BytesPerSecond})
	return nil
}

func (s *storage) close(ctx context.Context, log *slog.Logger) {
	if s.engine != nil {
		if err := s.engine.Close(ctx); err != nil {
			log.Warn("close engine", "error", err)
		}
	}
	if s.cat != nil {
		if err := s.cat.Close(); err != nil {
			log.Warn("close catalog", "error", err)
		}
	}
	if s.closer != nil {
		if err := s.closer.Close(); err != nil {
			log.Warn("close object store", "error", err)
		}
	}
	if s.lock != nil {
		_ = s.lock.Close()
	}
}

// embeddedLeaseTTL is generous: nobody else can take over from a gateway whose
// etcd lives inside it, and a paused machine should go on where it was.
const embeddedLeaseTTL = time.Minute

func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = vfs.ErrLocked
		}
		return nil, fmt.Errorf("lock data directory %s: another process uses it: %w", dir, err)
	}
	return f, nil
}

func (c *Config) catalogConfig(log *slog.Logger) catalog.Config {
	cfg := catalog.Config{Endpoints: c.Etcd.Endpoints, Prefix: c.Etcd.Prefix, Username: c.Etcd.Username,
		Password: c.Etcd.Password, TLS: c.etcdTLS, LeaseTTL: c.Etcd.LeaseTTL, QuotaBytes: c.Etcd.Quota, HistoryKept: c.Etcd.History, Logger: log}
	if len(cfg.Endpoints) == 0 {
		cfg.Embedded = filepath.Join(c.DataDir, "etcd")
		cfg.LeaseTTL = max(cfg.LeaseTTL, embeddedLeaseTTL)
	}
	return cfg
}

func (c *Config) walDir() string {
	if c.WAL.Dir != "" {
		return c.WAL.Dir
	}
	return filepath.Join(c.DataDir, "wal")
}

func (c *Config) storeConfig() open.Config {
	s := c.Store
	if s.Dir == "" {
		s.Dir = filepath.Join(c.DataDir, "objects")
	}
	return open.Config{Kind: s.Kind, Dir: s.Dir, Keep: c.WAL.KeepFree / 2, Endpoint: s.Endpoint, Bucket: s.Bucket, Prefix: s.Prefix,
		Region: s.Region, AccessKey: s.AccessKey, SecretKey: s.SecretKey, PathStyle: s.PathStyle || s.Endpoint != "", TLS: c.storeTLS}
}

func (c *Config) engineOptions(log *slog.Logger, addresses map[string]string) engine.Options {
	durability, _ := shard.ParseDurability(c.Topics.Durability) // checked when read
	retention := c.Topics.Retention.Milliseconds()
	if c.Topics.Retention < 0 {
		retention = -1
	}
	return engine.Options{
		FS: vfs.KeepFree(vfs.OS{}, c.WAL.KeepFree), WALDir: c.walDir(), WALMaxBytes: c.WAL.MaxBytes, WALFileBytes: c.WAL.FileBytes, AcceptDamage: c.WAL.AcceptDamage, AcceptForeign: c.Store.AcceptForeign,
		FlushBytes: c.Flush.Bytes, FlushInterval: c.Flush.Interval, ObjectFlushInterval: c.Flush.ObjectInterval,
		SegmentBytes: c.Flush.SegmentBytes, FlushParallel: c.Flush.Parallel,
		TailBytes: c.Memory.TailBytes, AppendBytes: c.Memory.AppendBytes, CacheBytes: c.Memory.CacheBytes,
		GroupBytes: c.Memory.GroupBytes, StateBytes: c.Memory.StateBytes,
		Durability: durability, RetentionMs: retention, RetentionBytes: c.Topics.RetentionBytes,
		MaxMessageBytes: c.Topics.MaxMessageBytes, AutoShards: c.Topics.AutoCreate.Shards, AutoTopics: c.Topics.AutoCreate.Max,
		RetentionInterval: c.Background.RetentionInterval, MergeInterval: c.Background.MergeInterval,
		MergeSegments: c.Background.MergeSegments, DeleteGrace: c.Background.DeleteGrace,
		Node:   shard.Node{Name: c.nodeName(), Zone: c.Node.Zone, Addresses: addresses},
		Logger: log,
	}
}

func (c *Config) nodeName() string {
	if c.Node.ID != "" {
		return c.Node.ID
	}
	return "robustmq-1"
}

// endpoint is one listener as configured.
type endpoint struct {
	protocol gateway.Protocol
	spec     gateway.ListenerSpec
	addr     string
	tls      bool
}

// endpoints reads the listeners of a protocol from its part of the
// configuration, and takes their keys out of it: what is left is the gateway's.
// "listen: off" turns one off; "tls_listen" adds one with TLS.
func (c *Config) endpoints(p gateway.Protocol) ([]endpoint, map[string]any, error) {
	rest := make(map[string]any)
	own, _ := c.protocols[p.Name].(map[string]any)
	for k, v := range own {
		rest[k] = v
	}
	var out []endpoint
	for _, spec := range p.Listeners {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(spec.Port))
		if spec.Off {
			addr = "off"
		}
		if v, ok := rest[spec.Key]; ok {
			addr = fmt.Sprint(v)
			delete(rest, spec.Key)
		}
		if addr != "off" && addr != "" {
			out = append(out, endpoint{protocol: p, spec: spec, addr: addr})
		}
		if v, ok := rest["tls_"+spec.Key]; ok {
			delete(rest, "tls_"+spec.Key)
			if addr := fmt.Sprint(v); addr != "off" && addr != "" {
				out = append(out, endpoint{protocol: p, spec: spec, addr: addr, tls: true})
			}
		}
	}
	for _, e := range out {
		if _, _, err := net.SplitHostPort(e.addr); err != nil {
			return nil, nil, fmt.Errorf("configuration: %s.%s: %w", p.Name, e.spec.Key, err)
		}
	}
	return out, rest, nil
}

// advertised is where clients reach an endpoint.
func (c *Config) advertised(e endpoint) string {
	host, port, _ := net.SplitHostPort(e.addr)
	if c.Node.AdvertisedHost != "" {
		host = c.Node.AdvertisedHost
	} else if host == "" || net.ParseIP(host) != nil && net.ParseIP(host).IsUnspecified() {
		host, _ = os.Hostname()
	}
	return net.JoinHostPort(host, port)
}

// checkExposure refuses to listen beyond loopback while the default password or
// anonymous access would be good there, unless the configuration says so in so
// many words. Refused logins are the second line: this is the first.
func (c *Config) checkExposure(es []endpoint, defaultPassword bool) error {
	var wide []string
	for _, e := range es {
		host, _, _ := net.SplitHostPort(e.addr)
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			wide = append(wide, e.addr)
		}
	}
	if len(wide) == 0 {
		return nil
	}
	list := strings.Join(wide, ", ")
	if defaultPassword && !c.Security.AllowDefaultPasswordRemotely {
		return fmt.Errorf("refusing to listen on %s while user admin has the default password: change it, or set security.allow_default_password_remotely", list)
	}
	if c.Security.Anonymous && !c.Security.AllowAnonymousRemotely {
		return fmt.Errorf("refusing to listen on %s with anonymous access on: set security.anonymous to false, or security.allow_anonymous_remotely", list)
	}
	return nil
}

// ensureAdmin makes the account that ships with the broker in a new cluster, and
// tells whether it still has its first password.
func ensureAdmin(ctx context.Context, users shard.Users) (defaultPassword bool, err error) {
	if len(users.List()) == 0 {
		u, err := gateway.NewUser("admin", "robustmq")
		if err != nil {
			return false, err
		}
		u.Superuser, u.DefaultPassword = true, true
		if err := users.Put(ctx, u); err != nil {
			return false, fmt.Errorf("create user admin: %w", err)
		}
	}
	return slices.ContainsFunc(users.List(), func(u *shard.User) bool { return u.DefaultPassword }), nil
}

// server runs the gateways.
type server struct {
	cfg       *Config
	log       *slog.Logger
	storage   *storage
	listeners []*gateway.Listener
	servers   map[string]gateway.Server
	stats     map[string]*gateway.Stats
	auth      *gateway.Auth
	memory    *gateway.Memory
	unwatch   context.CancelFunc // of the memory
	admin     *admin.Server
	front     *admin.Front
	drained   sync.Once
}

// startGateways makes every protocol's server and opens its listeners.
func (s *server) startGateways(ctx context.Context, es []endpoint, own map[string]map[string]any, tlsConfig *tls.Config) error {
	b := s.storage.engine.Broker()
	s.auth = gateway.NewAuth(b.Users, b.ACLs, gateway.AuthConfig{
		AnonymousRemotely:       s.cfg.Security.AllowAnonymousRemotely,
		DefaultPasswordRemotely: s.cfg.Security.AllowDefaultPasswordRemotely,
		AnonymousOff:            !s.cfg.Security.Anonymous,
		Origins:                 s.cfg.Security.AllowedOrigins,
		Log:                     s.log,
	})
	s.memory = gateway.NewMemory(s.cfg.Memory.ConnectionBytes, s.log)
	s.memory.BoundConnections(s.cfg.Memory.Connections)
	watched, unwatch := context.WithCancel(ctx)
	s.unwatch = unwatch
	go s.memory.Watch(watched, s.cfg.processMemory, gateway.LiveMemory)
	l := s.cfg.Limits
	for _, p := range protocols() {
		env := gateway.Env{Broker: b, Auth: s.auth, Log: s.log.With("protocol", p.Name), Stats: &gateway.Stats{},
			Limits: gateway.Limits{MaxMessageBytes: l.MaxMessageBytes, MaxConnections: l.MaxConnections,
				MaxSubscriptions: l.MaxSubscriptions, MaxInflightBytes: l.MaxInflightBytes, MaxOutboundBytes: l.MaxOutboundBytes},
			Decode: func(dst any) error {
				if err := strictDecode(own[p.Name], dst, p.Name+"."); err != nil {
					return fmt.Errorf("configuration: %s: %w", p.Name, err)
				}
				return nil
			}}
		srv, err := p.New(env)
		if err != nil {
			return fmt.Errorf("start %s: %w", p.Name, err)
		}
		s.servers[p.Name], s.stats[p.Name] = srv, env.Stats
	}
	for _, e := range es {
		ln := &gateway.Listener{Protocol: e.protocol.Name, Addr: e.addr, Subprotocols: e.spec.Subprotocols,
			Server: s.servers[e.protocol.Name], Auth: s.auth, Log: s.log, Stats: s.stats[e.protocol.Name],
			MaxConnections: l.MaxConnections, LoginTimeout: l.LoginTimeout, OwnTLS: e.spec.OwnTLS, Memory: s.memory}
		if hs, ok := ln.Server.(gateway.HTTPServer); ok && e.spec.HTTP {
			ln.HTTP = hs.HTTPHandler(e.spec.Key)
		}
		if e.tls {
			if tlsConfig == nil {
				return errors.New("configuration: a tls listener needs tls.cert_file and tls.key_file")
			}
			ln.TLS = tlsConfig
		}
		if err := ln.Start(ctx); err != nil {
			return err
		}
		s.listeners = append(s.listeners, ln)
		s.log.Info("listening", "protocol", e.protocol.Name, "address", ln.Address().String(),
			"websocket", len(e.spec.Subprotocols) > 0, "tls", e.tls)
	}
	if s.cfg.live != nil {
		s.cfg.live.attach(s.listeners)
	}
	return nil
}

// drainTime bounds how long clients are told to go elsewhere.
const drainTime = 5 * time.Second

// drain stops accepting and tells all clients to go elsewhere, once.
func (s *server) drain(ctx context.Context) {
	s.drained.Do(func() {
		for _, l := range s.listeners {
			l.StopAccepting()
		}
		ctx, cancel := context.WithTimeout(ctx, drainTime)
		defer cancel()
		for _, srv := range s.servers {
			srv.Drain(ctx)
		}
	})
}

// stop drains and closes everything, newest first. Health is answered until the
// clients are gone.
func (s *server) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if s.admin != nil {
		s.admin.SetDraining()
	}
	s.drain(ctx)
	for _, l := range s.listeners {
		l.Close()
	}
	if s.unwatch != nil {
		s.unwatch()
	}
	s.front.Away(errStopping)
	s.storage.close(ctx, s.log)
}
