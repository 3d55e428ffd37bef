package kafka

import (
	"context"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ListGroups (16): v0-5. Each gateway lists the groups it coordinates. v4+:
// filter by state; v5+: by type, which is "classic" for all.
func listGroups(ctx context.Context, c *conn, q *kmsg.ListGroupsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.ListGroupsResponse)
	owners, err := c.srv.broker.State.Owners(ctx, groupOwnerPrefix)
	if err != nil {
		resp.ErrorCode = groupErrorCode(err)
		return resp
	}
	ids := c.srv.groups.loaded()
	for _, o := range owners {
		ids = append(ids, strings.TrimPrefix(o, groupOwnerPrefix))
	}
	slices.Sort(ids)
	if len(q.TypesFilter) > 0 && !containsFold(q.TypesFilter, "classic") {
		return resp
	}
	for _, id := range slices.Compact(ids) {
		if !c.mayDescribeGroup(id) {
			continue
		}
		g, code := c.srv.groups.acquire(ctx, id, false)
		if code != codeNone {
			continue // gone meanwhile, or another's
		}
		out := kmsg.ListGroupsResponseGroup{Group: id, ProtocolType: g.protocolType, GroupState: g.state.String(), GroupType: "classic"}
		c.srv.groups.release(g)
		if len(q.StatesFilter) == 0 || containsFold(q.StatesFilter, out.GroupState) {
			resp.Groups = append(resp.Groups, out)
		}
	}
	return resp
}

func containsFold(list []string, s string) bool {
	return slices.ContainsFunc(list, func(x string) bool { return strings.EqualFold(x, s) })
}
