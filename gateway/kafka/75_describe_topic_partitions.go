package kafka

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxDescribed bounds the partitions of an answer (Kafka:
// max.request.partition.size.limit).
const maxDescribed = 2000

// DescribeTopicPartitions (75): v0. Topics come in order of name, as many
// partitions as fit the limit, and a cursor to go on from.
func describeTopicPartitions(_ context.Context, c *conn, q *kmsg.DescribeTopicPartitionsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.DescribeTopicPartitionsResponse)
	names := make([]string, 0, len(q.Topics))
	for i := range q.Topics {
		names = append(names, q.Topics[i].Topic)
	}
	if len(names) == 0 {
		for _, t := range c.srv.broker.Topics.List() {
			if c.mayDescribe(t.Name) {
				names = append(names, kafkaName(t))
			}
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	left, first := maxDescribed, int32(0)
	if q.ResponsePartitionLimit > 0 {
		left = min(left, int(q.ResponsePartitionLimit))
	}
	if q.Cursor != nil {
		at, _ := slices.BinarySearch(names, q.Cursor.Topic)
		names = names[at:]
		if len(names) > 0 && names[0] == q.Cursor.Topic {
			first = max(q.Cursor.Partition, 0)
		}
	}
	for _, name := range names {
		if left <= 0 {
			resp.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: name, Partition: first}
			return resp
		}
		out, next := c.describePartitions(name, first, left)
		resp.Topics = append(resp.Topics, out)
		left -= len(out.Partitions)
		if next > 0 {
			resp.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: name, Partition: next}
			return resp
		}
		first = 0
	}
	return resp
}

// describePartitions gives up to limit partitions from first on; next is the
// one to go on with, 0 when that is all.
func (c *conn) describePartitions(name string, first int32, limit int) (out kmsg.DescribeTopicPartitionsResponseTopic, next int32) {
	out = kmsg.NewDescribeTopicPartitionsResponseTopic()
	out.Topic = &name
	t, code := c.srv.lookup(name, topicID{}, false)
	switch {
	case !legalName(name):
		out.ErrorCode = codeInvalidTopic
	case code == codeNone && !c.mayDescribe(t.Name):
		out.ErrorCode = codeTopicAuthorizationFailed
	default:
		out.ErrorCode = code
	}
	if out.ErrorCode != codeNone {
		return out, 0
	}
	m := c.topicMetadata(t, &kmsg.MetadataRequest{IncludeTopicAuthorizedOperations: true})
	out.TopicID, out.AuthorizedOperations = m.TopicID, m.AuthorizedOperations
	for i := int(first); i < len(m.Partitions); i++ {
		if len(out.Partitions) == limit {
			return out, int32(i)
		}
		p := &m.Partitions[i]
		out.Partitions = append(out.Partitions, kmsg.DescribeTopicPartitionsResponseTopicPartition{
			ErrorCode: p.ErrorCode, Partition: p.Partition, LeaderID: p.Leader, LeaderEpoch: p.LeaderEpoch,
			Replicas: p.Replicas, ISR: p.ISR, EligibleLeaderReplicas: []int32{}, LastKnownELR: []int32{},
		})
	}
	return out, 0
}
