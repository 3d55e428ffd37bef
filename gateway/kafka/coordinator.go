package kafka

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// coordinator holds the groups that are in use. A group that is empty and whose
// changes are durable is dropped from memory and read again when asked for.
type coordinator struct {
	srv *Server
	mu  struct {
		sync.Mutex
		groups map[string]*group
		closed bool
	}
	bytes  atomic.Int64 // that members' metadata takes, in all groups
	ctx    context.Context
	cancel context.CancelFunc
}

const (
	groupOwnerPrefix = "kafka/group/"
	maxGroupID       = 1024
	// maxGroupBytes and maxGroupsBytes bound what the members of a group, and
	// of all groups, make the gateway remember of their metadata.
	maxGroupBytes  = 8 << 20
	maxGroupsBytes = 512 << 20
	// stateTimeout bounds how long a change of a group may take to be durable.
	stateTimeout = 30 * time.Second
)

func groupOwner(id string) string { return groupOwnerPrefix + id }

func newCoordinator(s *Server) *coordinator {
	co := &coordinator{srv: s}
	co.mu.groups = make(map[string]*group)
	co.ctx, co.cancel = context.WithCancel(context.Background())
	return co
}

// close answers who waits with NOT_COORDINATOR and stops all timers. Nothing is
// forgotten: the next owner reads it from the state.
func (co *coordinator) close() {
	co.mu.Lock()
	co.mu.closed = true
	groups := make([]*group, 0, len(co.mu.groups))
	for _, g := range co.mu.groups {
		groups = append(groups, g)
	}
	clear(co.mu.groups)
	co.mu.Unlock()
	for _, g := range groups {
		g.Lock()
		g.abandon(codeNotCoordinator)
		g.Unlock()
	}
	co.cancel()
}

// acquire gives the group, loaded and locked. Without create a group that holds
// nothing is GROUP_ID_NOT_FOUND.
func (co *coordinator) acquire(ctx context.Context, id string, create bool) (*group, int16) {
	if id == "" || len(id) > maxGroupID {
		return nil, codeInvalidGroupID
	}
	cl := co.srv.broker.Cluster
	switch n, ok := cl.Owner(groupOwner(id)); {
	case !ok:
		return nil, codeCoordinatorNotAvailable
	case n.ID != cl.Self().ID:
		return nil, codeNotCoordinator
	}
	for {
		g, code := co.entry(id)
		if code != codeNone {
			return nil, code
		}
		g.Lock()
		if g.gone {
			g.Unlock()
			continue
		}
		found, err := g.load(ctx)
		if err != nil {
			co.discard(g)
			g.Unlock()
			co.srv.log.Error("group cannot be loaded", "group", id, "error", err)
			return nil, groupErrorCode(err)
		}
		if !found && !create && g.idle() {
			co.discard(g)
			g.Unlock()
			return nil, codeGroupIDNotFound
		}
		return g, codeNone
	}
}

func (co *coordinator) entry(id string) (*group, int16) {
	co.mu.Lock()
	defer co.mu.Unlock()
	if co.mu.closed {
		return nil, codeNotCoordinator
	}
	g := co.mu.groups[id]
	if g == nil {
		if len(co.mu.groups) >= co.srv.cfg.MaxGroups {
			return nil, codeCoordinatorNotAvailable
		}
		g = newGroup(co, id)
		co.mu.groups[id] = g
	}
	return g, codeNone
}

// release unlocks a group that was acquired, and drops it if it holds nothing
// that memory alone knows.
func (co *coordinator) release(g *group) {
	if g.idle() {
		co.discard(g)
	}
	g.Unlock()
}

// discard takes a locked group out of memory.
func (co *coordinator) discard(g *group) {
	g.gone = true
	co.mu.Lock()
	if co.mu.groups[g.id] == g {
		delete(co.mu.groups, g.id)
	}
	co.mu.Unlock()
}

// loaded gives the ids of the groups in memory.
func (co *coordinator) loaded() []string {
	co.mu.Lock()
	defer co.mu.Unlock()
	ids := make([]string, 0, len(co.mu.groups))
	for id := range co.mu.groups {
		ids = append(ids, id)
	}
	return ids
}

// apply changes the group's state and calls done, maybe at once, when that is
// durable.
func (co *coordinator) apply(id string, ops []shard.StateOp, done func(error)) {
	ctx, cancel := context.WithTimeout(co.ctx, stateTimeout)
	co.srv.broker.State.Apply(ctx, groupOwner(id), ops, func(err error) {
		cancel()
		done(err)
	})
}
