package kafka

import (
	"context"
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeGroups (15): v0-6. A group that does not exist is Dead; v6+: and
// GROUP_ID_NOT_FOUND.
func describeGroups(ctx context.Context, c *conn, q *kmsg.DescribeGroupsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.DescribeGroupsResponse)
	for _, id := range q.Groups {
		out := kmsg.NewDescribeGroupsResponseGroup()
		out.Group, out.AuthorizedOperations = id, math.MinInt32
		if !c.mayDescribeGroup(id) {
			out.ErrorCode = codeGroupAuthorizationFailed
		} else {
			if q.IncludeAuthorizedOperations {
				out.AuthorizedOperations = c.groupOperations(id)
			}
			c.describeGroup(ctx, q.Version, &out)
		}
		resp.Groups = append(resp.Groups, out)
	}
	return resp
}

func (c *conn) describeGroup(ctx context.Context, version int16, out *kmsg.DescribeGroupsResponseGroup) {
	g, code := c.srv.groups.acquire(ctx, out.Group, false)
	switch {
	case code == codeGroupIDNotFound:
		out.State = groupDead.String()
		if version >= 6 {
			out.ErrorCode, out.ErrorMessage = code, ptr("Group "+out.Group+" not found.")
		}
		return
	case code != codeNone:
		out.ErrorCode = code
		return
	}
	defer c.srv.groups.release(g)
	out.State, out.ProtocolType = g.state.String(), g.protocolType
	if g.state == groupStable {
		out.Protocol = g.protocol
	}
	for _, m := range g.ordered() {
		x := kmsg.DescribeGroupsResponseGroupMember{MemberID: m.id, InstanceID: m.instance, ClientID: m.clientID, ClientHost: m.host}
		if g.state == groupStable {
			x.ProtocolMetadata, x.MemberAssignment = m.metadataFor(g.protocol), m.assignment
		}
		out.Members = append(out.Members, x)
	}
}
