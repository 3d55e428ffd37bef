package kafka

import (
	"context"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeClientQuotas (48): v0-1. There are no quotas in Kafka's sense, so
// none is described; tools ask when they describe users.
func describeClientQuotas(_ context.Context, c *conn, q *kmsg.DescribeClientQuotasRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.DescribeClientQuotasResponse)
	resp.Entries = []kmsg.DescribeClientQuotasResponseEntry{}
	if !c.mayCluster(shard.OpDescribe) {
		resp.ErrorCode, resp.Entries = codeClusterAuthorizationFailed, nil
	}
	return resp
}
