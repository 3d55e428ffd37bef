package kafka

import (
	"context"
	"math"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What a ListOffsets timestamp below zero asks for.
const (
	offsetLatest        = -1
	offsetEarliest      = -2
	offsetMaxTimestamp  = -3 // v7+
	offsetEarliestLocal = -4 // v8+: what is local here is all there is
	offsetLatestTiered  = -5 // v9+: tiers are not the client's business: none
	offsetPendingUpload = -6 // v11+: as above
)

// ListOffsets (2): v1-11.
func listOffsets(ctx context.Context, c *conn, q *kmsg.ListOffsetsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.ListOffsetsResponse)
	for i := range q.Topics {
		from := &q.Topics[i]
		out := kmsg.ListOffsetsResponseTopic{Topic: from.Topic}
		t, code := c.srv.lookup(from.Topic, topicID{}, false)
		if code == codeNone && !c.mayDescribe(t.Name) {
			code = codeTopicAuthorizationFailed
		}
		for j := range from.Partitions {
			p := kmsg.NewListOffsetsResponseTopicPartition()
			p.Partition, p.ErrorCode = from.Partitions[j].Partition, code
			if code == codeNone {
				c.listOffset(ctx, q, t, &from.Partitions[j], &p)
			}
			out.Partitions = append(out.Partitions, p)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func (c *conn) listOffset(ctx context.Context, q *kmsg.ListOffsetsRequest, t *shard.Topic, from *kmsg.ListOffsetsRequestTopicPartition, p *kmsg.ListOffsetsResponseTopicPartition) {
	p.Offset, p.Timestamp, p.LeaderEpoch = -1, -1, -1
	id, ok := partition(t, from.Partition)
	if !ok {
		p.ErrorCode = codeUnknownTopicOrPartition
		return
	}
	log := c.srv.broker.Log
	b, err := log.Bounds(ctx, id)
	if err != nil {
		p.ErrorCode = errorCode(err)
		return
	}
	if q.Version >= 4 {
		if p.ErrorCode = checkLeaderEpoch(from.CurrentLeaderEpoch, b.Epoch); p.ErrorCode != codeNone {
			return
		}
	}
	switch from.Timestamp {
	case offsetLatest:
		p.Offset, p.LeaderEpoch = b.End, b.Epoch
		if q.IsolationLevel == 1 {
			p.Offset = b.Stable
		}
	case offsetEarliest, offsetEarliestLocal:
		p.Offset = b.Start
	case offsetLatestTiered, offsetPendingUpload:
	case offsetMaxTimestamp:
		p.Offset, p.Timestamp, err = newestTimestamp(ctx, log, id, b)
	default:
		if from.Timestamp < 0 {
			p.ErrorCode = codeUnsupportedVersion // as Kafka: one that is not known yet
			return
		}
		var found bool
		if p.Offset, p.Timestamp, found, err = log.OffsetOf(ctx, id, from.Timestamp); !found {
			p.Offset, p.Timestamp = -1, -1
		}
	}
	p.ErrorCode = errorCode(err)
}

// newestTimestamp finds the first record of the largest timestamp: usually that
// of the last batch, else by bisection over what OffsetOf finds.
func newestTimestamp(ctx context.Context, log shard.Log, id shard.ID, b shard.Bounds) (offset, ts int64, err error) {
	if b.End == b.Start {
		return -1, -1, nil
	}
	res, err := log.Read(ctx, id, b.End-1, shard.ReadOptions{MaxBytes: 1})
	if err != nil {
		return -1, -1, err
	}
	low := int64(-1)
	if n := len(res.Batches); n > 0 {
		low = res.Batches[n-1].MaxTimestamp()
	}
	offset, ts, ok, err := log.OffsetOf(ctx, id, max(low, 0))
	if err == nil && !ok { // low may be of a record below the start
		offset, ts, ok, err = log.OffsetOf(ctx, id, 0)
	}
	if err != nil || !ok {
		return -1, -1, err
	}
	for high, step := int64(math.MaxInt64), int64(1); ts < high; {
		// Everything is at most high; some record has ts. Step up from it,
		// twice as far each time, until there is nothing above.
		probe := high
		if step <= high-ts {
			probe = ts + step
		}
		o, t, found, err := log.OffsetOf(ctx, id, probe)
		switch {
		case err != nil:
			return -1, -1, err
		case found:
			offset, ts, step = o, t, step*2
		default:
			high, step = probe-1, max((probe-1-ts)/2, 1)
		}
		if step <= 0 {
			step = math.MaxInt64
		}
	}
	return offset, ts, nil
}
