package kafka

import (
	"context"
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeCluster (60): v0-2. v1+: only the brokers' endpoints are offered.
func describeCluster(_ context.Context, c *conn, q *kmsg.DescribeClusterRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.DescribeClusterResponse)
	resp.EndpointType = q.EndpointType
	resp.ClusterAuthorizedOperations = math.MinInt32
	cluster := c.srv.broker.Cluster
	if q.Version >= 1 && q.EndpointType != 1 {
		resp.ErrorCode = codeUnsupportedEndpointType
		if q.EndpointType == 2 {
			resp.ErrorCode = codeMismatchedEndpointType
		}
		return resp
	}
	resp.ClusterID, resp.ControllerID = cluster.ID(), cluster.Self().ID
	for _, n := range cluster.Nodes() {
		if host, port, ok := c.addressOf(n); ok {
			resp.Brokers = append(resp.Brokers, kmsg.DescribeClusterResponseBroker{NodeID: n.ID, Host: host, Port: port, Rack: zone(n)})
		}
	}
	if q.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = c.clusterOperations()
	}
	return resp
}
