package engine

import (
	"context"
	"hash/fnv"
	"slices"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
)

// cluster implements shard.Cluster.
type cluster struct{ e *Engine }

// ID implements shard.Cluster.
func (c cluster) ID() string { return c.e.cat.ClusterID() }

// Self implements shard.Cluster.
func (c cluster) Self() shard.Node { return c.e.opts.Node }

// Nodes implements shard.Cluster.
func (c cluster) Nodes() []shard.Node {
	var out []shard.Node
	for _, g := range c.e.cat.Gateways() {
		if g.ID == c.e.opts.Node.Name {
			continue
		}
		out = append(out, shard.Node{ID: nodeID(g.ID), Name: g.ID, Zone: g.Zone, Addresses: g.Addresses})
	}
	out = append(out, c.e.opts.Node)
	slices.SortFunc(out, func(a, b shard.Node) int { return int(a.ID) - int(b.ID) })
	return out
}

// nodeID is the number Kafka clients know a gateway by.
func nodeID(name string) int32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return int32(h.Sum32()&0x3fffffff) + 1
}

// Leader implements shard.Cluster.
func (c cluster) Leader(id shard.ID) (shard.Node, int32, bool) {
	slot := slotOf(id)
	if ep := c.e.epochs[slot]; ep > 0 {
		return c.e.opts.Node, ep, true
	}
	return c.remote(slot)
}

// Owner implements shard.Cluster.
func (c cluster) Owner(name string) (shard.Node, bool) {
	slot := slotOfName(name)
	if c.e.epochs[slot] > 0 {
		return c.e.opts.Node, true
	}
	n, _, ok := c.remote(slot)
	return n, ok
}

func (c cluster) remote(slot int) (shard.Node, int32, bool) {
	s := c.e.cat.Slots()[slot]
	for _, n := range c.Nodes() {
		if n.Name == s.Owner {
			return n, int32(s.Epoch), true
		}
	}
	return shard.Node{}, 0, false
}

// NextIDs implements shard.Cluster.
func (c cluster) NextIDs(ctx context.Context, counter string, n int64) (int64, error) {
	first, err := c.e.cat.NextIDs(ctx, counter, n)
	return first, catalogError(err)
}

// users implements shard.Users.
type users struct{ cat *catalog.Catalog }

// User implements shard.Users.
func (u users) User(name string) (*shard.User, bool) { return u.cat.User(name) }

// List implements shard.Users.
func (u users) List() []*shard.User { return u.cat.Users() }

// Changed implements shard.Users.
func (u users) Changed() <-chan struct{} { return u.cat.UsersChanged() }

// Put implements shard.Users.
func (u users) Put(ctx context.Context, x shard.User) error {
	return catalogError(u.cat.PutUser(ctx, x))
}

// Delete implements shard.Users.
func (u users) Delete(ctx context.Context, name string) error {
	return catalogError(u.cat.DeleteUser(ctx, name))
}

// acls implements shard.ACLs.
type acls struct{ cat *catalog.Catalog }

// Rules implements shard.ACLs.
func (a acls) Rules() []shard.ACL { return a.cat.ACLs() }

// Changed implements shard.ACLs.
func (a acls) Changed() <-chan struct{} { return a.cat.ACLsChanged() }

// Put implements shard.ACLs.
func (a acls) Put(ctx context.Context, rules ...shard.ACL) error {
	return catalogError(a.cat.PutACLs(ctx, rules...))
}

// Delete implements shard.ACLs.
func (a acls) Delete(ctx context.Context, rules ...shard.ACL) error {
	return catalogError(a.cat.DeleteACLs(ctx, rules...))
}
