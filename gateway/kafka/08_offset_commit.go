package kafka

import (
	"context"
	"time"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const maxOffsetMetadata = 4096

// OffsetCommit (8): v2-10.
//
// v7+: static members. v9+: a group that is not there is GROUP_ID_NOT_FOUND (KIP-848).
// v10+: topic ids. The answer comes when the offsets are
// durable. Who gives no generation commits for a group without members, whoever
// it says it is: librdkafka names a static member where partitions are assigned
// by hand, too.
// Retention time (v2-4) is not observed: offsets stay until deleted.
func serveOffsetCommit(c *conn, r *request) {
	q := r.body.(*kmsg.OffsetCommitRequest)
	resp := q.ResponseKind().(*kmsg.OffsetCommitResponse)
	g, code := c.mayCommit(c.ctx, q)
	if g != nil { // stays locked until the commit has its place in the state
		defer c.srv.groups.release(g)
	}
	var ops []shard.StateOp
	var slots []*int16 // of the partitions that are committed
	for i := range q.Topics {
		from := &q.Topics[i]
		resp.Topics = append(resp.Topics, kmsg.OffsetCommitResponseTopic{Topic: from.Topic, TopicID: from.TopicID})
		out := &resp.Topics[i]
		t, topicCode := c.srv.lookup(from.Topic, from.TopicID, q.Version >= 10)
		if topicCode == codeNone && !c.mayRead(t) {
			topicCode = codeTopicAuthorizationFailed
		}
		if code != codeNone {
			topicCode = code
		}
		out.Partitions = make([]kmsg.OffsetCommitResponseTopicPartition, len(from.Partitions))
		for j := range from.Partitions {
			p, o := &from.Partitions[j], &out.Partitions[j]
			o.Partition, o.ErrorCode = p.Partition, topicCode
			if topicCode != codeNone {
				continue
			}
			op, code := commitOp(t, p)
			if o.ErrorCode = code; code == codeNone {
				ops, slots = append(ops, op), append(slots, &o.ErrorCode)
			}
		}
	}
	if len(ops) == 0 {
		r.replyAfter(resp, pauseOf(resp))
		return
	}
	c.srv.groups.apply(q.Group, ops, func(err error) {
		for _, s := range slots {
			*s = groupErrorCode(err)
		}
		r.replyAfter(resp, pauseOf(resp))
	})
}

func commitOp(t *shard.Topic, p *kmsg.OffsetCommitRequestTopicPartition) (shard.StateOp, int16) {
	id, ok := partition(t, p.Partition)
	if !ok {
		return shard.StateOp{}, codeUnknownTopicOrPartition
	}
	c := committed{offset: p.Offset, epoch: p.LeaderEpoch, time: time.Now().UnixMilli()}
	if p.Metadata != nil {
		c.metadata = *p.Metadata
	}
	if len(c.metadata) > maxOffsetMetadata {
		return shard.StateOp{}, codeOffsetMetadataTooLarge
	}
	return shard.StateOp{Key: offsetKey(id), Value: c.encode()}, codeNone
}

// mayCommit tells whether the sender of a commit may commit now. The group, if
// there is one, is locked.
func (c *conn) mayCommit(ctx context.Context, q *kmsg.OffsetCommitRequest) (*group, int16) {
	if !c.mayReadGroup(q.Group) {
		return nil, codeGroupAuthorizationFailed
	}
	g, code := c.srv.groups.acquire(ctx, q.Group, q.Generation < 0)
	if code == codeGroupIDNotFound && q.Version < 9 {
		return nil, codeIllegalGeneration
	}
	if code != codeNone {
		return nil, code
	}
	if q.Generation < 0 && len(g.members) == 0 {
		return g, codeNone
	}
	m, code := g.check(q.MemberID, q.InstanceID)
	switch {
	case code != codeNone:
		return g, code
	case q.Generation != g.generation:
		return g, codeIllegalGeneration
	case g.state == groupCompleting:
		return g, codeRebalanceInProgress
	}
	m.touch()
	return g, codeNone
}
