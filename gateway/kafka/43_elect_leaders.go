package kafka

import (
	"context"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ElectLeaders (43): v0-2. A partition's one gateway is its leader: no election
// is needed. Who asks for all partitions is told of those that failed: none.
func electLeaders(_ context.Context, c *conn, q *kmsg.ElectLeadersRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.ElectLeadersResponse)
	refused := codeNone
	if !c.mayCluster(shard.OpAlter) {
		refused = codeClusterAuthorizationFailed
		resp.ErrorCode = refused
	}
	for i := range q.Topics {
		from := &q.Topics[i]
		out := kmsg.ElectLeadersResponseTopic{Topic: from.Topic}
		t, code := c.srv.lookup(from.Topic, topicID{}, false)
		for _, n := range from.Partitions {
			p := kmsg.ElectLeadersResponseTopicPartition{Partition: n, ErrorCode: refused}
			if refused == codeNone {
				if p.ErrorCode = codeElectionNotNeeded; code != codeNone {
					p.ErrorCode = code
				} else if _, ok := partition(t, n); !ok {
					p.ErrorCode = codeUnknownTopicOrPartition
				}
			}
			out.Partitions = append(out.Partitions, p)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}
