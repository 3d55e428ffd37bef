package kafka

import (
	"context"
	"sort"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// OffsetForLeaderEpoch (23): v2-4. Epochs rise with offsets, so the end of an
// epoch is found by bisection over the stored batches.
func offsetForLeaderEpoch(ctx context.Context, c *conn, q *kmsg.OffsetForLeaderEpochRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	for i := range q.Topics {
		from := &q.Topics[i]
		out := kmsg.OffsetForLeaderEpochResponseTopic{Topic: from.Topic}
		t, code := c.srv.lookup(from.Topic, topicID{}, false)
		if code == codeNone && !c.mayDescribe(t.Name) {
			code = codeTopicAuthorizationFailed
		}
		for j := range from.Partitions {
			p := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			p.Partition, p.ErrorCode, p.LeaderEpoch, p.EndOffset = from.Partitions[j].Partition, code, -1, -1
			if code == codeNone {
				c.epochEnd(ctx, t, &from.Partitions[j], &p)
			}
			out.Partitions = append(out.Partitions, p)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func (c *conn) epochEnd(ctx context.Context, t *shard.Topic, from *kmsg.OffsetForLeaderEpochRequestTopicPartition, p *kmsg.OffsetForLeaderEpochResponseTopicPartition) {
	id, ok := partition(t, from.Partition)
	if !ok {
		p.ErrorCode = codeUnknownTopicOrPartition
		return
	}
	b, err := c.srv.broker.Log.Bounds(ctx, id)
	if err != nil {
		p.ErrorCode = errorCode(err)
		return
	}
	if p.ErrorCode = checkLeaderEpoch(from.CurrentLeaderEpoch, b.Epoch); p.ErrorCode != codeNone {
		return
	}
	switch {
	case from.LeaderEpoch < 0 || from.LeaderEpoch > b.Epoch: // undefined, as Kafka
	case from.LeaderEpoch == b.Epoch:
		p.LeaderEpoch, p.EndOffset = b.Epoch, b.End
	default:
		p.LeaderEpoch, p.EndOffset, err = endOfEpoch(ctx, c.srv.broker.Log, id, b, from.LeaderEpoch)
		p.ErrorCode = errorCode(err)
	}
}

// endOfEpoch gives the largest epoch up to e and the offset after its last record.
func endOfEpoch(ctx context.Context, log shard.Log, id shard.ID, b shard.Bounds, e int32) (epoch int32, end int64, err error) {
	epochAt := func(offset int64) int32 {
		res, rerr := log.Read(ctx, id, offset, shard.ReadOptions{MaxBytes: 1})
		if rerr != nil || len(res.Batches) == 0 {
			err = rerr
			return b.Epoch
		}
		return res.Batches[0].Epoch()
	}
	n := sort.Search(int(b.End-b.Start), func(i int) bool { return epochAt(b.Start+int64(i)) > e })
	if err != nil {
		return -1, -1, err
	}
	end = b.Start + int64(n)
	if n == 0 {
		return e, end, nil
	}
	return epochAt(end - 1), end, err
}
