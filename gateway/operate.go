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
	// Group is its group in shard.Groups, "" when it can have none.
	Group string
}

// GroupKeeper is a Server that keeps consumer groups as offsets and lets an
// administrator change them.
type GroupKeeper interface {
	// DeleteGroup deletes a group without members, as the protocol's own verb does.
	DeleteGroup(ctx context.Context, name string) error
	// MoveGroup makes offsets those of a group, which has no members; it is made
	// where there is none.
	MoveGroup(ctx context.Context, name string, to []GroupOffset) error
}

// GroupEnder is a Server to which groups of shard.Groups belong.
type GroupEnder interface {
	// EndGroup deletes what the group of that name is to the protocol: a queue, a
	// session, a shared subscription. One that is in use is refused (KindInvalid)
	// unless force is set. KindNotFound: there is none.
	EndGroup(ctx context.Context, name string, force bool) error
}

// SessionEnder is a Server that lets an administrator end a session.
type SessionEnder interface {
	// EndSession ends a session with all it holds; its connection, if there is
	// one, is closed first. KindNotFound: there is none.
	EndSession(ctx context.Context, id string) error
}
