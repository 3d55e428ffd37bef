package kafka

import (
	"context"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DeleteRecords (21): v0-2. Offset -1 stands for the end.
func deleteRecords(ctx context.Context, c *conn, q *kmsg.DeleteRecordsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.DeleteRecordsResponse)
	for i := range q.Topics {
		from := &q.Topics[i]
		out := kmsg.DeleteRecordsResponseTopic{Topic: from.Topic}
		t, code := c.srv.lookup(from.Topic, topicID{}, false)
		if code == codeNone && !c.mayManage(shard.OpDelete, t.Name) {
			code = codeTopicAuthorizationFailed
		}
		for j := range from.Partitions {
			p := kmsg.DeleteRecordsResponseTopicPartition{Partition: from.Partitions[j].Partition, LowWatermark: -1, ErrorCode: code}
			if code == codeNone {
				p.LowWatermark, p.ErrorCode = c.trim(ctx, t, p.Partition, from.Partitions[j].Offset)
			}
			out.Partitions = append(out.Partitions, p)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func (c *conn) trim(ctx context.Context, t *shard.Topic, p int32, offset int64) (low int64, code int16) {
	id, ok := partition(t, p)
	if !ok {
		return -1, codeUnknownTopicOrPartition
	}
	log := c.srv.broker.Log
	b, err := log.Bounds(ctx, id)
	if err != nil {
		return -1, errorCode(err)
	}
	if offset == -1 {
		offset = b.End
	}
	switch {
	case t.Config.Compact && !t.Config.Delete:
		return -1, codePolicyViolation // as Kafka: compacted topics keep their keys
	case offset < 0 || offset > b.End:
		return -1, codeOffsetOutOfRange
	case offset <= b.Start:
		return b.Start, codeNone
	}
	if err := log.TrimBefore(ctx, id, offset); err != nil {
		return -1, errorCode(err)
	}
	return offset, codeNone
}
