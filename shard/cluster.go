package shard

import "context"

// Cluster tells who is there and who owns what. All methods may be called
// concurrently; only NextIDs leaves the process.
type Cluster interface {
	// ID names the cluster for ever.
	ID() string
	// Self is this gateway.
	Self() Node
	// Nodes are the live gateways, this one included, by ID.
	Nodes() []Node
	// Leader is the owner of a shard and its epoch; ok false while nobody is.
	Leader(id ID) (n Node, epoch int32, ok bool)
	// Owner is the owner of a named thing: a consumer group, a session, a queue.
	Owner(name string) (n Node, ok bool)
	// NextIDs takes n numbers that nobody else ever gets from the counter,
	// and gives the first.
	NextIDs(ctx context.Context, counter string, n int64) (int64, error)
}

// Node is one gateway.
type Node struct {
	// ID is the number Kafka clients know it by.
	ID   int32
	Name string
	Zone string
	// Addresses by protocol ("kafka", "mqtt", ...): host:port that clients reach.
	Addresses map[string]string
}
