package kafka

import (
	"context"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// logSizer is what a log may tell besides: the bytes a shard takes.
type logSizer interface {
	ShardBytes(ctx context.Context, id shard.ID) (int64, error)
}

// DescribeLogDirs (35): v1-4. There is one directory, which stands for the
// store. A log that does not tell sizes has them as 0.
func describeLogDirs(ctx context.Context, c *conn, q *kmsg.DescribeLogDirsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.DescribeLogDirsResponse)
	if !c.allowed(shard.OpDescribe, gateway.ResourceCluster, clusterName) {
		resp.ErrorCode = codeClusterAuthorizationFailed
		return resp
	}
	dir := kmsg.NewDescribeLogDirsResponseDir()
	dir.Dir, dir.TotalBytes, dir.UsableBytes = "robustmq", -1, -1
	add := func(t *shard.Topic, partitions []int32) {
		out := kmsg.DescribeLogDirsResponseDirTopic{Topic: kafkaName(t)}
		for _, n := range partitions {
			id, ok := partition(t, n)
			if leader, _, led := c.srv.broker.Cluster.Leader(id); !ok || !led || leader.ID != c.srv.broker.Cluster.Self().ID {
				continue
			}
			p := kmsg.DescribeLogDirsResponseDirTopicPartition{Partition: n}
			if s, ok := c.srv.broker.Log.(logSizer); ok {
				if size, err := s.ShardBytes(ctx, id); err == nil {
					p.Size = size
				}
			}
			out.Partitions = append(out.Partitions, p)
		}
		if len(out.Partitions) > 0 {
			dir.Topics = append(dir.Topics, out)
		}
	}
	if q.Topics == nil {
		for _, t := range c.srv.broker.Topics.List() {
			add(t, partitionsOf(t))
		}
	}
	for i := range q.Topics {
		if t, ok := c.srv.topic(q.Topics[i].Topic); ok {
			add(t, q.Topics[i].Partitions)
		}
	}
	resp.Dirs = append(resp.Dirs, dir)
	return resp
}

func partitionsOf(t *shard.Topic) []int32 {
	out := make([]int32, t.Shards)
	for i := range out {
		out[i] = int32(i)
	}
	return out
}
