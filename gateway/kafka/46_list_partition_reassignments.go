package kafka

import (
	"context"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ListPartitionReassignments (46): v0. Partitions have no replicas that could
// be on their way: the list is empty.
func listPartitionReassignments(_ context.Context, c *conn, q *kmsg.ListPartitionReassignmentsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.ListPartitionReassignmentsResponse)
	if !c.mayCluster(shard.OpDescribe) {
		resp.ErrorCode = codeClusterAuthorizationFailed
	}
	return resp
}
