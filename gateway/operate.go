package gateway

import (
	"context"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// GroupLister is a Server that keeps consumer groups of its own, as offsets, for
// the admin gateway to show beside shard.Groups.
type GroupLister interface {
	// ListGroups gives all groups, by name.
	ListGroups(ctx context.Context) ([]GroupInfo, error)
}

// GroupInfo is a consumer group that a protocol keeps by itself.
type GroupInfo struct {
	Name string
	// State in the protocol's own word.
	State   string
	Members int
	// Offsets are committed: the next offset to be read of each shard.
	Offsets []GroupOffset
}

// GroupOffset is a group's position in a shard.
type GroupOffset struct {
	Shard  shard.ID
	Offset int64
}

// SessionLister is a Server whose clients have sessions that outlive their
// connections.
type SessionLister interface {
	// ListSessions gives all sessions, by ID.
	ListSessions(ctx context.Context) ([]SessionInfo, error)
}

// SessionInfo is a client's session.
type SessionInfo struct {
	ID        string
	Connected bool
	// Left is when its connection ended; zero while it has one.
	Left time.Time
	// Expires is when it ends unless the client comes back; zero: never, or not
	// while it is connected.
	Expires       time.Time
	Subscriptions int
}
