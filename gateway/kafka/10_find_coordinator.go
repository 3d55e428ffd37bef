package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// FindCoordinator (10): v0-6.
//
// v1+: key types; only groups (0) have coordinators, transactions (1) and share
// groups (2) are refused. v4+: several keys.
func findCoordinator(_ context.Context, c *conn, q *kmsg.FindCoordinatorRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.FindCoordinatorResponse)
	if q.Version >= 4 {
		for _, k := range q.CoordinatorKeys {
			resp.Coordinators = append(resp.Coordinators, c.coordinatorOf(k, q.CoordinatorType))
		}
		return resp
	}
	one := c.coordinatorOf(q.CoordinatorKey, q.CoordinatorType)
	resp.ErrorCode, resp.ErrorMessage, resp.NodeID, resp.Host, resp.Port = one.ErrorCode, one.ErrorMessage, one.NodeID, one.Host, one.Port
	return resp
}

func (c *conn) coordinatorOf(key string, kind int8) kmsg.FindCoordinatorResponseCoordinator {
	out := kmsg.FindCoordinatorResponseCoordinator{Key: key, NodeID: -1, Port: -1}
	fail := func(code int16, text string) kmsg.FindCoordinatorResponseCoordinator {
		out.ErrorCode, out.ErrorMessage = code, &text
		return out
	}
	switch {
	case kind == 1:
		return fail(codeClusterAuthorizationFailed, "transactions are not supported") // fatal to every client
	case kind != 0:
		return fail(codeInvalidRequest, "only consumer groups have coordinators here")
	case key == "":
		return fail(codeInvalidGroupID, "the group id is empty")
	case !c.mayDescribeGroup(key):
		return fail(codeGroupAuthorizationFailed, "not authorised for the group")
	}
	n, ok := c.srv.broker.Cluster.Owner(groupOwner(key))
	if !ok {
		return fail(codeCoordinatorNotAvailable, "the coordinator is not available")
	}
	if out.Host, out.Port, ok = c.addressOf(n); !ok {
		return fail(codeCoordinatorNotAvailable, "the coordinator has no address for this listener")
	}
	out.NodeID = n.ID
	return out
}
