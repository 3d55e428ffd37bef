package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// LeaveGroup (13): v0-5. v3+: several members, static ones by instance id alone.
func leaveGroup(ctx context.Context, c *conn, q *kmsg.LeaveGroupRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.LeaveGroupResponse)
	if !c.mayReadGroup(q.Group) {
		resp.ErrorCode = codeGroupAuthorizationFailed
		return resp
	}
	who := q.Members
	if q.Version < 3 {
		who = []kmsg.LeaveGroupRequestMember{{MemberID: q.MemberID}}
	}
	g, code := c.srv.groups.acquire(ctx, q.Group, false)
	if code == codeGroupIDNotFound {
		for i := range who {
			resp.Members = append(resp.Members, kmsg.LeaveGroupResponseMember{MemberID: who[i].MemberID, InstanceID: who[i].InstanceID, ErrorCode: codeUnknownMemberID})
		}
	} else if code != codeNone {
		resp.ErrorCode = code
		return resp
	} else {
		for i := range who {
			code := g.leave(who[i].MemberID, who[i].InstanceID)
			resp.Members = append(resp.Members, kmsg.LeaveGroupResponseMember{MemberID: who[i].MemberID, InstanceID: who[i].InstanceID, ErrorCode: code})
		}
		g.rebalanceAfterLoss()
		c.srv.groups.release(g)
	}
	if q.Version < 3 {
		resp.ErrorCode = resp.Members[0].ErrorCode
	}
	return resp
}

// leave takes out one member.
func (g *group) leave(id string, instance *string) int16 {
	if instance != nil && id == "" {
		id = g.static[*instance]
	}
	if t, ok := g.pending[id]; ok && instance == nil {
		t.Stop()
		delete(g.pending, id)
		return codeNone
	}
	m, code := g.check(id, instance)
	if code == codeNone {
		g.remove(m, codeUnknownMemberID)
	}
	return code
}
