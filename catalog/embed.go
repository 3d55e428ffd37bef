package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Settings of the embedded etcd. A single member has nobody to wait for, so
// its ticks are short; history is kept five minutes, which bounds its size and
// is what a watch may fall behind by before it lists again.
const (
	embedTickMs     = 10
	embedElectionMs = 100
	embedRetention  = "5m"
	embedQuotaBytes = 4 << 30
	// Nobody catches up from a lone member's raft log: keep little of it in
	// memory and to replay at start.
	embedSnapshotCount = 2000
	embedCatchUp       = 100
	// A start reads the log from the beginning of the file that holds the last
	// snapshot's place, so files are smaller than etcd's own 64 MB.
	embedLogFileBytes = 8 << 20
)

// setLogFileBytes changes a variable of etcd's, of which there is one in a process.
var setLogFileBytes = sync.OnceFunc(func() { wal.SegmentSizeBytes = embedLogFileBytes })

// embedded is an etcd server inside this process.
type embedded struct {
	server *embed.Etcd
	quota  int64
	closed *atomic.Bool
}

// startEmbedded starts etcd on dir, without any client listener: calls go
// through memory. Its one listener, which a lone member needs but never uses,
// is on a random loopback port. It returns when the server can be written to.
func startEmbedded(ctx context.Context, dir string, quota int64, log *slog.Logger) (*embedded, *clientv3.Client, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("start embedded etcd: %w", err)
	}
	setLogFileBytes()
	var em *embedded
	var err error
	// A busy machine may have no free port left on one address.
	for _, host := range []string{"127.0.0.1:0", "127.0.0.2:0", "127.0.0.3:0"} {
		if em, err = startEmbeddedAt(ctx, dir, host, quota, log); !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	if err != nil {
		return nil, nil, err
	}
	client := v3client.New(em.server.Server)
	if err := em.pack(ctx, client); err != nil {
		log.Warn("embedded etcd cannot be packed", "err", err)
	}
	return em, client, nil
}

func startEmbeddedAt(ctx context.Context, dir, host string, quota int64, log *slog.Logger) (*embedded, error) {
	loopback := url.URL{Scheme: "http", Host: host}
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir = "robustmq", dir
	cfg.TickMs, cfg.ElectionMs = embedTickMs, embedElectionMs
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{loopback}, []url.URL{loopback}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = nil, []url.URL{loopback}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.AutoCompactionMode, cfg.AutoCompactionRetention = "periodic", embedRetention
	cfg.QuotaBackendBytes = quota
	cfg.SnapshotCount, cfg.SnapshotCatchUpEntries = embedSnapshotCount, embedCatchUp
	cfg.EnableGRPCGateway = false
	closed := new(atomic.Bool)
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(&slogCore{log: log.With("component", "etcd"), closed: closed}))
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, fmt.Errorf("start embedded etcd in %s: %w", dir, err)
	}
	em := &embedded{server: e, quota: quota, closed: closed}
	select {
	case <-e.Server.ReadyNotify():
	case <-e.Server.StopNotify():
		em.close()
		return nil, fmt.Errorf("start embedded etcd in %s: it stopped", dir)
	case <-ctx.Done():
		em.close()
		return nil, fmt.Errorf("start embedded etcd in %s: %w", dir, ctx.Err())
	}
	return em, nil
}

func (e *embedded) close() {
	e.closed.Store(true)
	e.server.Close()
}

// slogCore hands etcd's own log to slog: its warnings are our debug lines, its
// errors our warnings, and what it says while it is being closed is dropped.
type slogCore struct {
	log    *slog.Logger
	closed *atomic.Bool
}

func (c *slogCore) level(l zapcore.Level) slog.Level {
	if l >= zapcore.ErrorLevel {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// Enabled implements zapcore.Core.
func (c *slogCore) Enabled(l zapcore.Level) bool {
	return l >= zapcore.WarnLevel && !c.closed.Load() && c.log.Enabled(context.Background(), c.level(l))
}

// With implements zapcore.Core.
func (c *slogCore) With(fields []zapcore.Field) zapcore.Core {
	return &slogCore{log: c.log.With(attrs(fields)...), closed: c.closed}
}

// Check implements zapcore.Core.
func (c *slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write implements zapcore.Core.
func (c *slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := c.level(e.Level)
	if e.Message == storageVersionNotice {
		level = slog.LevelDebug
	}
	c.log.Log(context.Background(), level, e.Message, attrs(fields)...)
	return nil
}

// storageVersionNotice is what every new etcd says before its first snapshot;
// nobody can do anything about it.
const storageVersionNotice = "failed to update storage version"

// Sync implements zapcore.Core.
func (c *slogCore) Sync() error { return nil }

func attrs(fields []zapcore.Field) []any {
	m := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(m)
	}
	out := make([]any, 0, 2*len(m.Fields))
	for k, v := range m.Fields {
		out = append(out, k, v)
	}
	return out
}
