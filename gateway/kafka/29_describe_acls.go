package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeAcls (29): v1-3.
func describeACLs(_ context.Context, c *conn, q *kmsg.DescribeACLsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.DescribeACLsResponse)
	if !c.maySeeAccounts() {
		err := c.denied(codeClusterAuthorizationFailed, "see access rules")
		resp.ErrorCode, resp.ErrorMessage = err.code, message(err)
		return resp
	}
	f := aclFilter{q.ResourceType, q.ResourceName, q.ResourcePatternType, q.Principal, q.Host, q.Operation, q.PermissionType}
	type resource struct {
		kind    kmsg.ACLResourceType
		name    string
		pattern kmsg.ACLResourcePatternType
	}
	at := make(map[resource]int)
	_, bindings := c.matching(&f)
	for _, b := range bindings {
		key := resource{b.resource, b.name, b.pattern}
		i, ok := at[key]
		if !ok {
			i = len(resp.Resources)
			at[key] = i
			resp.Resources = append(resp.Resources, kmsg.DescribeACLsResponseResource{ResourceType: b.resource, ResourceName: b.name, ResourcePatternType: b.pattern})
		}
		resp.Resources[i].ACLs = append(resp.Resources[i].ACLs, kmsg.DescribeACLsResponseResourceACL{Principal: b.principal, Host: b.host, Operation: b.op, PermissionType: b.permit})
	}
	return resp
}
