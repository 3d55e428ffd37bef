package shardmem

import (
	"context"
	"slices"
	"sync"

	"github.com/robustmq/robustmq-go/shard"
)

// cluster implements shard.Cluster for one node.
type cluster struct {
	b *Broker

	mu       sync.Mutex
	self     shard.Node
	counters map[string]int64
}

func newCluster(b *Broker, n shard.Node) *cluster {
	if n.ID == 0 && n.Name == "" {
		n.ID, n.Name = 1, "mem"
	}
	return &cluster{b: b, self: n, counters: make(map[string]int64)}
}

// SetAddresses replaces the node's addresses, by protocol.
func (b *Broker) SetAddresses(addresses map[string]string) {
	c := b.node
	c.mu.Lock()
	defer c.mu.Unlock()
	c.self.Addresses = make(map[string]string, len(addresses))
	for k, v := range addresses {
		c.self.Addresses[k] = v
	}
}

// ID implements shard.Cluster.
func (c *cluster) ID() string { return "shardmem-cluster-0000" }

// Self implements shard.Cluster.
func (c *cluster) Self() shard.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.self
}

// Nodes implements shard.Cluster.
func (c *cluster) Nodes() []shard.Node { return []shard.Node{c.Self()} }

// Leader implements shard.Cluster.
func (c *cluster) Leader(id shard.ID) (shard.Node, int32, bool) {
	t, ok := c.b.topics.ByNum(id.Topic)
	return c.Self(), 0, ok && id.Index < t.Shards
}

// Owner implements shard.Cluster.
func (c *cluster) Owner(string) (shard.Node, bool) { return c.Self(), true }

// NextIDs implements shard.Cluster.
func (c *cluster) NextIDs(ctx context.Context, counter string, n int64) (int64, error) {
	if n <= 0 {
		return 0, shard.Errorf(shard.KindInvalid, "take %d ids", n)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	first := c.counters[counter]
	c.counters[counter] = first + n
	return first, ctx.Err()
}

// users implements shard.Users.
type users struct {
	mu      sync.RWMutex
	m       map[string]*shard.User
	changed chan struct{}
}

func newUsers(us []shard.User) *users {
	u := &users{m: make(map[string]*shard.User), changed: make(chan struct{})}
	for _, x := range us {
		u.m[x.Name] = &x
	}
	return u
}

// User implements shard.Users.
func (u *users) User(name string) (*shard.User, bool) {
	u.mu.RLock()
	defer u.mu.RUnlock()
	x, ok := u.m[name]
	return x, ok
}

// List implements shard.Users.
func (u *users) List() []*shard.User {
	u.mu.RLock()
	defer u.mu.RUnlock()
	out := make([]*shard.User, 0, len(u.m))
	for _, x := range u.m {
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b *shard.User) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}

// Changed implements shard.Users.
func (u *users) Changed() <-chan struct{} {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.changed
}

// note tells who waits that an account changed; u.mu is held.
func (u *users) note() {
	close(u.changed)
	u.changed = make(chan struct{})
}

// Put implements shard.Users.
func (u *users) Put(ctx context.Context, x shard.User) error {
	if x.Name == "" {
		return shard.Errorf(shard.KindInvalid, "user without a name")
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.m[x.Name] = &x
	u.note()
	return ctx.Err()
}

// Delete implements shard.Users.
func (u *users) Delete(ctx context.Context, name string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.m[name] == nil {
		return shard.Errorf(shard.KindNotFound, "unknown user %q", name)
	}
	delete(u.m, name)
	u.note()
	return ctx.Err()
}

// acls implements shard.ACLs.
type acls struct {
	mu      sync.RWMutex
	rules   []shard.ACL
	changed chan struct{}
}

// Rules implements shard.ACLs.
func (a *acls) Rules() []shard.ACL {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.rules
}

// Changed implements shard.ACLs.
func (a *acls) Changed() <-chan struct{} {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.changed
}

// set replaces the rules; a.mu is held.
func (a *acls) set(rules []shard.ACL) {
	a.rules = rules
	close(a.changed)
	a.changed = make(chan struct{})
}

// Put implements shard.ACLs.
func (a *acls) Put(ctx context.Context, rules ...shard.ACL) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := slices.Clone(a.rules)
	for _, r := range rules {
		if !slices.Contains(n, r) {
			n = append(n, r)
		}
	}
	a.set(n)
	return ctx.Err()
}

// Delete implements shard.ACLs.
func (a *acls) Delete(ctx context.Context, rules ...shard.ACL) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var n []shard.ACL
	for _, r := range a.rules {
		if !slices.Contains(rules, r) {
			n = append(n, r)
		}
	}
	a.set(n)
	return ctx.Err()
}
