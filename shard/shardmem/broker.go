package shardmem

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/robustmq/robustmq-go/engine/group"
	"github.com/robustmq/robustmq-go/engine/live"
	"github.com/robustmq/robustmq-go/shard"
)

// Options configure a broker; the zero value works.
type Options struct {
	Users []shard.User
	ACLs  []shard.ACL
	// Node is what Cluster says of this gateway; ID 1 and no address if zero.
	Node shard.Node
	// AutoShards (1) is the shard count of topics made by themselves or created
	// with 0; AutoTopics (100,000) bounds how many make themselves.
	AutoShards uint32
	AutoTopics int
	// MaxMessageBytes bounds batches of topics that set no bound (1 MiB).
	MaxMessageBytes int32
	// AppendBudget bounds what is appended and not complete, in bytes (64 MiB).
	AppendBudget int64
	// Delay holds each completion back.
	Delay time.Duration
	// FailAppend, if it gives an error, refuses an append with it.
	FailAppend func(id shard.ID, b *shard.Batch, opts shard.AppendOptions) error
	// FailState, if it gives an error, refuses changes of an owner with it.
	FailState func(owner string) error
	// Groups sets the bounds of package group; what it needs is filled in.
	Groups group.Options
	// Now tells the time (time.Now).
	Now    func() time.Time
	Logger *slog.Logger
}

// Broker is an in-memory broker. Use New and Close it.
type Broker struct {
	opts   Options
	topics *topics
	state  *state
	users  *users
	acls   *acls
	node   *cluster
	hub    *live.Hub
	groups *group.Manager
	budget *semaphore.Weighted

	logs struct {
		sync.RWMutex
		m map[shard.ID]*shardLog
	}
	queue struct {
		sync.Mutex
		wake   sync.Cond
		items  []pending
		closed bool
	}
	done sync.WaitGroup
}

// New makes a broker.
func New(opts Options) *Broker {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.AutoShards == 0 {
		opts.AutoShards = 1
	}
	if opts.AutoTopics == 0 {
		opts.AutoTopics = 100_000
	}
	if opts.MaxMessageBytes == 0 {
		opts.MaxMessageBytes = 1 << 20
	}
	if opts.AppendBudget == 0 {
		opts.AppendBudget = 64 << 20
	}
	b := &Broker{opts: opts}
	b.topics = newTopics(b)
	b.logs.m = make(map[shard.ID]*shardLog)
	b.state = newState(b)
	b.users = newUsers(opts.Users)
	b.acls = &acls{rules: opts.ACLs, changed: make(chan struct{})}
	b.node = newCluster(b, opts.Node)
	b.start()
	return b
}

func (b *Broker) start() {
	b.hub = live.NewHub(b.opts.Logger, b.opts.Now)
	b.budget = semaphore.NewWeighted(b.opts.AppendBudget)
	b.queue.wake.L = &b.queue.Mutex
	o := b.opts.Groups
	o.Log, o.State, o.Topics, o.Logger, o.Now = b, b.state, b.topics, b.opts.Logger, b.opts.Now
	b.groups = group.NewManager(o)
	b.done.Go(b.complete)
}

// Broker gives the interfaces.
func (b *Broker) Broker() shard.Broker {
	return shard.Broker{Topics: b.topics, Log: b, Live: b.hub, State: b.state, Groups: b.groups,
		Cluster: b.node, Users: b.users, ACLs: b.acls}
}

// Close completes what is queued and stops.
func (b *Broker) Close() {
	b.groups.Close()
	b.stop()
}

func (b *Broker) stop() {
	b.queue.Lock()
	b.queue.closed = true
	b.queue.wake.Broadcast()
	b.queue.Unlock()
	b.done.Wait()
	b.logs.RLock()
	defer b.logs.RUnlock()
	for _, l := range b.logs.m {
		l.close()
	}
}

// Reopen closes the broker and gives one with the same topics, records, state,
// users and rules, but with no subscriber.
func (b *Broker) Reopen() *Broker {
	b.Close()
	return b.reopen()
}

// Crash is Reopen without the time to write anything down.
func (b *Broker) Crash() *Broker {
	b.stop()
	b.groups.Close()
	return b.reopen()
}

// Groups is the manager of groups, for what is not part of shard.Groups.
func (b *Broker) Groups() *group.Manager { return b.groups }

func (b *Broker) reopen() *Broker {
	n := &Broker{opts: b.opts, topics: b.topics, state: b.state, users: b.users, acls: b.acls, node: b.node}
	n.topics.b, n.state.b, n.node.b = n, n, n
	n.logs.m = make(map[shard.ID]*shardLog)
	for id, l := range b.logs.m {
		n.logs.m[id] = l.reopen()
	}
	n.start()
	if err := n.groups.Load(context.Background()); err != nil {
		n.opts.Logger.Error("groups are not restored", "err", err)
	}
	return n
}

// Settle waits until no append is under way.
func (b *Broker) Settle(ctx context.Context) error {
	if err := b.budget.Acquire(ctx, b.opts.AppendBudget); err != nil {
		return err
	}
	b.budget.Release(b.opts.AppendBudget)
	return nil
}
