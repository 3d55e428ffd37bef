package kafka

import (
	"context"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DeleteGroups (42): v0-3. Groups with members are not deleted.
func deleteGroups(ctx context.Context, c *conn, q *kmsg.DeleteGroupsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.DeleteGroupsResponse)
	for _, id := range q.Groups {
		out := kmsg.DeleteGroupsResponseGroup{Group: id, ErrorCode: codeGroupAuthorizationFailed}
		if c.mayDeleteGroup(id) {
			out.ErrorCode = c.srv.deleteGroup(ctx, id)
		}
		resp.Groups = append(resp.Groups, out)
	}
	return resp
}

func (s *Server) deleteGroup(ctx context.Context, id string) int16 {
	co := s.groups
	g, code := co.acquire(ctx, id, false)
	if code != codeNone {
		return code
	}
	if len(g.members) > 0 || len(g.pending) > 0 {
		co.release(g)
		return codeNonEmptyGroup
	}
	var ops []shard.StateOp
	err := s.broker.State.Range(ctx, groupOwner(id), "", func(key string, _ shard.StateValue) bool {
		ops = append(ops, shard.StateOp{Key: key})
		return true
	})
	if err == nil && len(ops) > 0 {
		// The lock is held, so that nobody joins what is going away.
		done := make(chan error, 1)
		co.apply(id, ops, func(err error) { done <- err })
		err = <-done
	}
	if err != nil {
		co.release(g)
		return groupErrorCode(err)
	}
	g.state = groupDead
	co.discard(g)
	g.Unlock()
	return codeNone
}
