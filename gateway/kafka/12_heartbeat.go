package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Heartbeat (12): v0-4. v3+: static members.
func heartbeat(ctx context.Context, c *conn, q *kmsg.HeartbeatRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.HeartbeatResponse)
	resp.ErrorCode = c.heartbeat(ctx, q)
	return resp
}

func (c *conn) heartbeat(ctx context.Context, q *kmsg.HeartbeatRequest) int16 {
	if !c.mayReadGroup(q.Group) {
		return codeGroupAuthorizationFailed
	}
	g, code := c.srv.groups.acquire(ctx, q.Group, false)
	if code == codeGroupIDNotFound {
		return codeUnknownMemberID
	}
	if code != codeNone {
		return code
	}
	defer c.srv.groups.release(g)
	m, code := g.check(q.MemberID, q.InstanceID)
	switch {
	case code != codeNone:
		return code
	case q.Generation != g.generation:
		return codeIllegalGeneration
	}
	m.touch()
	if g.state == groupPreparing {
		return codeRebalanceInProgress
	}
	return codeNone
}
