package kafka

import (
	"context"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// CreateAcls (30): v1-3.
func createACLs(ctx context.Context, c *conn, q *kmsg.CreateACLsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.CreateACLsResponse)
	admin := c.mayAdminister()
	for i := range q.Creations {
		x := &q.Creations[i]
		err := error(c.denied(codeClusterAuthorizationFailed, "alter access rules"))
		if admin {
			b := aclBinding{x.ResourceType, x.ResourceName, x.ResourcePatternType, x.Principal, x.Host, x.Operation, x.PermissionType}
			var r shard.ACL
			if r, err = b.rule(); err == nil {
				err = c.srv.broker.ACLs.Put(ctx, r)
			}
		}
		resp.Results = append(resp.Results, kmsg.CreateACLsResponseResult{ErrorCode: errorCode(err), ErrorMessage: message(err)})
	}
	return resp
}
