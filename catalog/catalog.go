package catalog

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/robustmq/robustmq-go/shard"
)

// Timings. No call to etcd is without a deadline.
const (
	dialTimeout     = 5 * time.Second
	keepaliveProbe  = 2 * time.Second
	attemptTimeout  = 3 * time.Second  // of one try
	opTimeout       = 15 * time.Second // of one operation whose caller set no deadline
	retryMin        = 10 * time.Millisecond
	retryMax        = 500 * time.Millisecond
	defaultLeaseTTL = 5 * time.Second
	minLeaseTTL     = time.Second
)

// DefaultPrefix is where a cluster's keys are unless the configuration says so.
const DefaultPrefix = "/robustmq/"

// Config says which etcd to use and how.
type Config struct {
	// Endpoints of an etcd cluster, "host:port" or URLs. When empty, etcd runs
	// inside this process on the directory Embedded.
	Endpoints []string
	Embedded  string
	// Prefix of all keys; clusters that share an etcd differ in it.
	Prefix string
	// Existing opens a cluster that is there, for those who only look: where
	// there is none, none is made and Open gives ErrNotFound.
	Existing bool
	// Username and Password for etcd's own authentication; TLS for its clients.
	Username, Password string
	TLS                *tls.Config
	// LeaseTTL is how long a gateway is believed to live without a sign of
	// life: whole seconds, default 5.
	LeaseTTL time.Duration
	// QuotaBytes bounds an embedded etcd's file, default 4 GiB; of another one it says
	// what its bound is, by default what itself says, from version 3.6 on.
	QuotaBytes int64
	// HistoryKept is how long an etcd of its own process keeps what was overwritten:
	// its history is compacted; default 5 minutes, negative: somebody else does it.
	HistoryKept time.Duration
	Logger      *slog.Logger
	// Now stamps records that say when; default time.Now. Nothing is decided by it.
	Now func() time.Time
	// WrapKV decorates every read and transaction: metrics, limits, faults.
	WrapKV func(clientv3.KV) clientv3.KV
}

func (cfg *Config) setDefaults() error {
	if len(cfg.Endpoints) == 0 && cfg.Embedded == "" {
		return fmt.Errorf("open catalog: %w: neither endpoints nor a directory", ErrInvalid)
	}
	if cfg.Prefix == "" {
		cfg.Prefix = DefaultPrefix
	}
	if !strings.HasSuffix(cfg.Prefix, "/") {
		cfg.Prefix += "/"
	}
	if cfg.LeaseTTL == 0 {
		cfg.LeaseTTL = defaultLeaseTTL
	}
	if cfg.LeaseTTL = cfg.LeaseTTL.Round(time.Second); cfg.LeaseTTL < minLeaseTTL {
		return fmt.Errorf("open catalog: %w: lease ttl is under %s", ErrInvalid, minLeaseTTL)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.QuotaBytes == 0 && len(cfg.Endpoints) == 0 {
		cfg.QuotaBytes = embedQuotaBytes
	}
	if cfg.HistoryKept == 0 {
		cfg.HistoryKept = historyKept
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Catalog is this process's view of the cluster. All methods may be called
// concurrently. What a method of this process has committed is in the view
// when the method returns; what others commit arrives by a watch.
type Catalog struct {
	cfg    Config
	log    *slog.Logger
	client *clientv3.Client
	kv     clientv3.KV
	em     *embedded
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	done   sync.WaitGroup
	closed sync.Once

	feed     feed
	stores   map[string]store
	cluster  *table[Cluster]
	gateways *table[Gateway]
	slots    *table[Slot]
	wals     *table[WAL]
	counters *table[int64]
	users    *table[*shard.User]
	acls     *table[shard.ACL]
	quotas   *table[Quota]
	features *table[Feature]
	topics   *topicStore
	segments *index
	deleted  *deletionStore

	createMu sync.Mutex // one topic creation at a time from this process
}

// Open dials etcd or starts it, checks that it is 3.5 or newer and that this
// version can read the cluster, loads everything and keeps it up to date. The
// context bounds the opening only.
func Open(ctx context.Context, cfg Config) (*Catalog, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	c := newCatalog(cfg)
	if err := c.open(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("open catalog: %w", err)
	}
	return c, nil
}

func newCatalog(cfg Config) *Catalog {
	c := &Catalog{
		cfg:      cfg,
		log:      cfg.Logger,
		cluster:  newTable(decodeCluster),
		gateways: newTable(decodeGateway),
		slots:    newTable(decodeSlotAt),
		wals:     newTable(decodeWAL),
		counters: newTable(decodeCounterAt),
		users:    newTable(decodeUser),
		acls:     newTable(decodeACL),
		quotas:   newTable(decodeQuota),
		features: newTable(decodeFeature),
		topics:   newTopicStore(),
		segments: newIndex(),
		deleted:  newDeletionStore(),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.stores = map[string]store{
		kindCluster: c.cluster, kindGateway: c.gateways, kindSlot: c.slots, kindWAL: c.wals,
		kindCounter: c.counters, kindUser: c.users, kindACL: c.acls, kindQuota: c.quotas,
		kindFeature: c.features, kindTopic: c.topics, kindSegment: c.segments, kindDeletion: c.deleted,
	}
	c.feed.init()
	return c
}

func (c *Catalog) open(ctx context.Context) error {
	ctx, cancel := c.opContext(ctx)
	defer cancel()
	if err := c.dial(ctx); err != nil {
		return err
	}
	c.kv = c.client.KV
	if c.cfg.WrapKV != nil {
		c.kv = c.cfg.WrapKV(c.kv)
	}
	if err := c.checkVersion(ctx); err != nil {
		return err
	}
	if !c.cfg.Existing {
		if err := c.makeCluster(ctx); err != nil {
			return err
		}
	}
	if err := c.list(ctx); err != nil {
		return err
	}
	if err := c.checkCluster(); err != nil {
		return err
	}
	c.done.Add(1)
	go c.follow()
	if c.em == nil && !c.cfg.Existing && c.cfg.HistoryKept > 0 {
		c.done.Add(1)
		go c.compact()
	}
	return nil
}

func (c *Catalog) dial(ctx context.Context) (err error) {
	if len(c.cfg.Endpoints) == 0 {
		c.em, c.client, err = startEmbedded(ctx, c.cfg.Embedded, c.cfg.QuotaBytes, c.log)
		return err
	}
	c.client, err = clientv3.New(clientv3.Config{
		Endpoints:            c.cfg.Endpoints,
		Username:             c.cfg.Username,
		Password:             c.cfg.Password,
		TLS:                  c.cfg.TLS,
		DialTimeout:          dialTimeout,
		DialKeepAliveTime:    keepaliveProbe,
		DialKeepAliveTimeout: keepaliveProbe,
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 5 * retryMin, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * retryMax},
			MinConnectTimeout: dialTimeout,
		})},
		Logger: zap.New(&slogCore{log: c.log.With("component", "etcd client"), closed: new(atomic.Bool)}),
	})
	if err != nil {
		return fmt.Errorf("dial etcd %s: %w", strings.Join(c.cfg.Endpoints, ","), err)
	}
	return nil
}

// checkVersion asks the members in turn, and takes the first answer that can
// be had: one that is down must not keep a gateway from starting.
func (c *Catalog) checkVersion(ctx context.Context) error {
	endpoints := c.cfg.Endpoints
	if len(endpoints) == 0 {
		endpoints = []string{"embedded"}
	}
	var errs []error
	for _, ep := range endpoints {
		actx, cancel := context.WithTimeout(ctx, attemptTimeout)
		st, err := c.client.Status(actx, ep)
		cancel()
		if err != nil {
			errs = append(errs, fmt.Errorf("ask %s for its version: %w", ep, err))
			continue
		}
		if !atLeast35(st.Version) {
			return fmt.Errorf("%w: %s has version %s", ErrOldEtcd, ep, st.Version)
		}
		return nil
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, errors.Join(errs...))
}

func atLeast35(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	x, err1 := strconv.Atoi(major)
	y, err2 := strconv.Atoi(minor)
	return err1 == nil && err2 == nil && (x > 3 || x == 3 && y >= 5)
}

// Close ends the watch and the connection, and the embedded etcd. A Session
// that was not Left runs out by itself.
func (c *Catalog) Close() error {
	c.closed.Do(func() {
		c.cancel()
		c.done.Wait()
		if c.client != nil {
			c.client.Close()
		}
		if c.em != nil {
			c.em.close()
		}
	})
	return nil
}

// opContext bounds an operation: by the caller, by Close, and by opTimeout
// where the caller set no deadline.
func (c *Catalog) opContext(ctx context.Context) (context.Context, context.CancelFunc) {
	var cancel context.CancelFunc
	if _, ok := ctx.Deadline(); ok {
		ctx, cancel = context.WithCancel(ctx)
	} else {
		ctx, cancel = context.WithTimeout(ctx, opTimeout)
	}
	stop := context.AfterFunc(c.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// key gives the etcd key of a record.
func (c *Catalog) key(kind, name string) string { return c.cfg.Prefix + kind + "/" + name }
