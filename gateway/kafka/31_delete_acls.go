package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// DeleteAcls (31): v1-3.
func deleteACLs(ctx context.Context, c *conn, q *kmsg.DeleteACLsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.DeleteACLsResponse)
	admin := c.mayAdminister()
	for i := range q.Filters {
		x := &q.Filters[i]
		out := kmsg.DeleteACLsResponseResult{ErrorCode: codeClusterAuthorizationFailed, ErrorMessage: message(c.denied(codeClusterAuthorizationFailed, "alter access rules"))}
		if admin {
			f := aclFilter{x.ResourceType, x.ResourceName, x.ResourcePatternType, x.Principal, x.Host, x.Operation, x.PermissionType}
			rules, bindings := c.matching(&f)
			err := c.srv.broker.ACLs.Delete(ctx, rules...)
			out.ErrorCode, out.ErrorMessage = errorCode(err), message(err)
			for _, b := range bindings {
				out.MatchingACLs = append(out.MatchingACLs, kmsg.DeleteACLsResponseResultMatchingACL{
					ResourceType: b.resource, ResourceName: b.name, ResourcePatternType: b.pattern,
					Principal: b.principal, Host: b.host, Operation: b.op, PermissionType: b.permit,
				})
			}
		}
		resp.Results = append(resp.Results, out)
	}
	return resp
}
