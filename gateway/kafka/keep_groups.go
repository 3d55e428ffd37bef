package kafka

import (
	"context"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

var _ gateway.GroupKeeper = (*Server)(nil)

// DeleteGroup implements gateway.GroupKeeper.
func (s *Server) DeleteGroup(ctx context.Context, name string) error {
	return groupRefusal(s.deleteGroup(ctx, name))
}

// MoveGroup implements gateway.GroupKeeper.
func (s *Server) MoveGroup(ctx context.Context, name string, to []gateway.GroupOffset) error {
	g, code := s.groups.acquire(ctx, name, true)
	if code != codeNone {
		return groupRefusal(code)
	}
	defer s.groups.release(g)
	if len(g.members) > 0 || len(g.pending) > 0 {
		return groupRefusal(codeNonEmptyGroup)
	}
	ops := make([]shard.StateOp, len(to))
	for i, o := range to {
		c := committed{offset: o.Offset, epoch: -1, time: time.Now().UnixMilli()}
		ops[i] = shard.StateOp{Key: offsetKey(o.Shard), Value: c.encode()}
	}
	if len(ops) == 0 {
		return nil
	}
	// The lock is held, so that nobody joins meanwhile.
	done := make(chan error, 1)
	s.groups.apply(name, ops, func(err error) { done <- err })
	return <-done
}

// groupRefusal is an administrator's error for a code.
func groupRefusal(code int16) error {
	switch code {
	case codeNone:
		return nil
	case codeGroupIDNotFound:
		return shard.ErrGroupNotFound
	case codeNonEmptyGroup:
		return shard.Errorf(shard.KindInvalid, "the group has members: stop them first, as Kafka's own tools ask for")
	case codeInvalidGroupID:
		return shard.Errorf(shard.KindInvalid, "that is no name of a group")
	case codeNotCoordinator, codeCoordinatorNotAvailable:
		return shard.Errorf(shard.KindUnavailable, "this gateway does not serve the group now")
	}
	return shard.Errorf(shard.KindUnavailable, "the group was not changed: code %d", code)
}
