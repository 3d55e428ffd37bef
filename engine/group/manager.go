package group

import (
	"context"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/robustmq-go/engine/live"
	"github.com/robustmq/robustmq-go/shard"
)

// Topics is what the manager has to know of topics.
type Topics interface {
	ByNum(n shard.TopicNum) (*shard.Topic, bool)
	// Overlapping calls fn for each topic that can hold what the filter matches.
	Overlapping(f shard.Filter, fn func(*shard.Topic))
}

// Options configure a manager. Log, State and Topics must be set.
type Options struct {
	Log    shard.Log
	State  shard.State
	Topics Topics
	Logger *slog.Logger
	Now    func() time.Time
	// ReadyMessages (4096) and ReadyBytes (8 MiB) bound what a group with
	// consumers holds in memory ready to deliver; IdleMessages (128) bounds one
	// without. TotalBytes (256 MiB) bounds all together, and as much again what all
	// have delivered.
	ReadyMessages int
	ReadyBytes    int64
	IdleMessages  int
	TotalBytes    int64
	// UnackedBytes (16 MiB) of delivered messages a group keeps; more are read
	// again should they come back.
	UnackedBytes int64
	// Fills (16) bounds how many groups read the log at a time.
	Fills int
	// LazyWrite (250 ms) is how long a delivery may wait to be noted.
	LazyWrite time.Duration
}

func (o *Options) defaults() {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def64 := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.LazyWrite <= 0 {
		o.LazyWrite = 250 * time.Millisecond
	}
	def(&o.ReadyMessages, 4096)
	def(&o.IdleMessages, 128)
	def(&o.Fills, 16)
	def64(&o.ReadyBytes, 8<<20)
	def64(&o.TotalBytes, 256<<20)
	def64(&o.UnackedBytes, 16<<20)
}

// sweepEvery is how often idle cursors note how far they are.
const sweepEvery = 30 * time.Second

// Manager is a shard.Groups. Use NewManager, Load and Close.
type Manager struct {
	opts   Options
	ctx    context.Context
	cancel context.CancelFunc
	index  *live.Index[*binding, match]
	// killed: the manager before was not closed.
	killed bool
	// attended has the bindings of groups with steady consumers.
	attended *live.Index[*binding, match]
	// queued is the bytes that all groups hold ready, unacked those of what is
	// delivered.
	queued, unacked atomic.Int64
	fills           chan struct{}
	wg              sync.WaitGroup
	sweep           *time.Timer

	mu struct {
		sync.Mutex
		groups map[string]*group
		closed bool
	}
	feeds struct {
		sync.RWMutex
		m map[shard.ID]*feed
	}
	work  work
	timer timer
}

// NewManager makes a manager without groups.
func NewManager(opts Options) *Manager {
	opts.defaults()
	m := &Manager{opts: opts, fills: make(chan struct{}, opts.Fills)}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.index, m.attended = live.NewIndex(buildMatch), live.NewIndex(buildMatch)
	m.mu.groups = make(map[string]*group)
	m.feeds.m = make(map[shard.ID]*feed)
	m.work.wake.L = &m.work.Mutex
	for range min(max(runtime.GOMAXPROCS(0), 2), 8) {
		m.wg.Go(m.worker)
	}
	m.sweep = time.AfterFunc(sweepEvery, m.sweepIdle)
	return m
}

// Create implements shard.Groups.
func (m *Manager) Create(ctx context.Context, c shard.GroupConfig) (shard.Group, error) {
	if c.Name == "" || len(c.Name) > maxName {
		return nil, shard.Errorf(shard.KindInvalid, "create group: name of %d bytes", len(c.Name))
	}
	if err := checkConfig(&c); err != nil {
		return nil, err
	}
	for {
		g, fresh, err := m.claim(c)
		if err != nil {
			return nil, err
		}
		if fresh {
			return m.create(ctx, g)
		}
		select {
		case <-g.ready:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if gone := g.ended(); gone != nil { // being deleted, or its creation failed
			select {
			case <-gone:
				continue
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		if h := g.Config(); h.Durable != c.Durable || h.AckTimeout != c.AckTimeout ||
			h.MaxDeliver != c.MaxDeliver || h.ExpireAfter != c.ExpireAfter {
			return nil, shard.Errorf(shard.KindExists, "create group: %q exists with another configuration", c.Name)
		}
		return g, nil
	}
}

// claim gives the group of that name, or puts a fresh one there.
func (m *Manager) claim(c shard.GroupConfig) (g *group, fresh bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.closed {
		return nil, false, shard.ErrClosed
	}
	if g := m.mu.groups[c.Name]; g != nil {
		return g, false, nil
	}
	g = newGroup(m, c)
	m.mu.groups[c.Name] = g
	return g, true, nil
}

func (m *Manager) create(ctx context.Context, g *group) (shard.Group, error) {
	g.mu.Lock()
	g.idleSince = m.opts.Now()
	g.configDirty = true
	wait := g.markLocked()
	g.rescheduleLocked()
	g.mu.Unlock()
	if err := g.written(ctx, wait); err != nil {
		g.end(nil)
		close(g.ready)
		go func() { // the write may yet happen
			if err := g.erase(m.ctx); err != nil && m.ctx.Err() == nil {
				m.opts.Logger.Warn("a group whose creation failed may come back after a restart", "group", g.name, "err", err)
			}
			m.forget(g)
		}()
		return nil, err
	}
	close(g.ready)
	return g, nil
}

func (m *Manager) forget(g *group) {
	m.mu.Lock()
	if m.mu.groups[g.name] == g {
		delete(m.mu.groups, g.name)
	}
	m.mu.Unlock()
	close(g.gone)
}

// Get implements shard.Groups.
func (m *Manager) Get(name string) (shard.Group, error) {
	m.mu.Lock()
	g := m.mu.groups[name]
	m.mu.Unlock()
	if g == nil || !g.usable() {
		return nil, shard.ErrGroupNotFound
	}
	return g, nil
}

// Interest implements shard.Groups.
func (m *Manager) Interest(subject string) bool { return m.attended.Has(subject) }

// List implements shard.Groups.
func (m *Manager) List(prefix string) []shard.Group {
	var out []shard.Group
	for _, g := range m.all() {
		if strings.HasPrefix(g.name, prefix) && g.usable() {
			out = append(out, g)
		}
	}
	return out
}

// all gives the groups by name.
func (m *Manager) all() []*group {
	m.mu.Lock()
	gs := slices.Collect(maps.Values(m.mu.groups))
	m.mu.Unlock()
	slices.SortFunc(gs, func(a, b *group) int { return strings.Compare(a.name, b.name) })
	return gs
}

// Delete implements shard.Groups.
func (m *Manager) Delete(ctx context.Context, name string) error {
	m.mu.Lock()
	g := m.mu.groups[name]
	m.mu.Unlock()
	if g == nil || !g.usable() || !g.end(shard.ErrGroupNotFound) {
		return shard.ErrGroupNotFound
	}
	err := g.erase(ctx)
	m.forget(g)
	return err
}

// Pinned gives the lowest offset of a shard that some durable group still needs;
// ok is false when none needs any.
func (m *Manager) Pinned(id shard.ID) (offset int64, ok bool) {
	f := m.feed(id)
	if f == nil {
		return 0, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.cursors {
		if !c.g.durable {
			continue
		}
		c.g.mu.Lock()
		floor, needs := c.floor(), !c.live || c.head < len(c.out)
		c.g.mu.Unlock()
		if needs && (!ok || floor < offset) {
			offset, ok = floor, true
		}
	}
	return offset, ok
}

// TopicDeleted drops the cursors of a topic that is gone, with what they hold.
func (m *Manager) TopicDeleted(n shard.TopicNum) {
	m.feeds.Lock()
	var gone []*feed
	for id, f := range m.feeds.m {
		if id.Topic == n {
			gone = append(gone, f)
			delete(m.feeds.m, id)
		}
	}
	m.feeds.Unlock()
	for _, f := range gone {
		f.mu.Lock()
		cs := slices.Collect(maps.Keys(f.cursors))
		f.mu.Unlock()
		for _, c := range cs {
			c.g.dropCursor(c)
		}
	}
}

// Close writes what is not yet written and stops. Consumers hear nothing.
func (m *Manager) Close() {
	m.mu.Lock()
	closed := m.mu.closed
	m.mu.closed = true
	m.mu.Unlock()
	if closed {
		return
	}
	m.sweep.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	gs := m.all()
	waits := make([]uint64, len(gs))
	for i, g := range gs {
		waits[i] = g.touch(1)
	}
	all := true
	for i, g := range gs {
		if err := g.written(ctx, waits[i]); err != nil {
			all = false
			m.opts.Logger.Error("a group's cursors are not written; messages may come again", "group", g.name, "err", err)
		}
	}
	if all && slices.ContainsFunc(gs, func(g *group) bool { return g.durable }) {
		m.stopped(ctx)
	}
	m.cancel()
	m.work.Lock()
	m.work.closed = true
	m.work.wake.Broadcast()
	m.work.Unlock()
	m.timer.stop()
	m.wg.Wait()
}

// sweepIdle notes how far idle cursors are, so that a restart reads little.
func (m *Manager) sweepIdle() {
	for _, g := range m.all() {
		g.touch(sweepBehind)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.mu.closed {
		m.sweep.Reset(sweepEvery)
	}
}
