package kafka

import (
	"context"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// OffsetFetch (9): v1-10.
//
// v2+: null topics ask for all. v8+: several groups. v9+: a member id and epoch
// of KIP-848 groups, which there are none of here: not looked at. v10+: topic ids.
func offsetFetch(ctx context.Context, c *conn, q *kmsg.OffsetFetchRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.OffsetFetchResponse)
	if q.Version >= 8 {
		for i := range q.Groups {
			resp.Groups = append(resp.Groups, c.fetchOffsets(ctx, &q.Groups[i], q.Version))
		}
		return resp
	}
	ask := kmsg.OffsetFetchRequestGroup{Group: q.Group}
	if q.Topics != nil {
		ask.Topics = make([]kmsg.OffsetFetchRequestGroupTopic, 0, len(q.Topics))
	}
	for i := range q.Topics {
		ask.Topics = append(ask.Topics, kmsg.OffsetFetchRequestGroupTopic{Topic: q.Topics[i].Topic, Partitions: q.Topics[i].Partitions})
	}
	got := c.fetchOffsets(ctx, &ask, q.Version)
	resp.ErrorCode = got.ErrorCode
	for i := range got.Topics {
		t := &got.Topics[i]
		out := kmsg.OffsetFetchResponseTopic{Topic: t.Topic}
		for _, p := range t.Partitions {
			code := p.ErrorCode
			if q.Version < 2 && got.ErrorCode != codeNone {
				code = got.ErrorCode
			}
			out.Partitions = append(out.Partitions, kmsg.OffsetFetchResponseTopicPartition{Partition: p.Partition, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch, Metadata: p.Metadata, ErrorCode: code})
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func (c *conn) fetchOffsets(ctx context.Context, q *kmsg.OffsetFetchRequestGroup, version int16) kmsg.OffsetFetchResponseGroup {
	out := kmsg.OffsetFetchResponseGroup{Group: q.Group}
	if !c.mayDescribeGroup(q.Group) {
		out.ErrorCode = codeGroupAuthorizationFailed
	} else if g, code := c.srv.groups.acquire(ctx, q.Group, true); code != codeNone {
		out.ErrorCode = code
	} else {
		c.srv.groups.release(g)
	}
	if out.ErrorCode != codeNone && version >= 2 {
		return out
	}
	if q.Topics == nil {
		if err := c.allOffsets(ctx, &out); err != nil {
			out.ErrorCode = groupErrorCode(err)
		}
		return out
	}
	for i := range q.Topics {
		from := &q.Topics[i]
		to := kmsg.OffsetFetchResponseGroupTopic{Topic: from.Topic, TopicID: from.TopicID}
		t, code := c.srv.lookup(from.Topic, from.TopicID, version >= 10)
		switch {
		case code == codeNone && !c.mayDescribe(t.Name):
			code = codeTopicAuthorizationFailed
		case version < 10 && code == codeUnknownTopicOrPartition:
			code = codeNone // as Kafka: no offset, no error
		}
		for _, n := range from.Partitions {
			p := kmsg.OffsetFetchResponseGroupTopicPartition{Partition: n, Offset: -1, LeaderEpoch: -1, Metadata: ptr(""), ErrorCode: code}
			if code == codeNone && t != nil && out.ErrorCode == codeNone {
				c.fetchOffset(ctx, q.Group, t, &p)
			}
			to.Partitions = append(to.Partitions, p)
		}
		out.Topics = append(out.Topics, to)
	}
	return out
}

func (c *conn) fetchOffset(ctx context.Context, group string, t *shard.Topic, p *kmsg.OffsetFetchResponseGroupTopicPartition) {
	id, ok := partition(t, p.Partition)
	if !ok {
		return
	}
	v, ok, err := c.srv.broker.State.Get(ctx, groupOwner(group), offsetKey(id))
	var o committed
	if err == nil && ok {
		o, err = decodeCommitted(v.Data)
	}
	switch {
	case err != nil:
		p.ErrorCode = groupErrorCode(err)
	case ok:
		p.Offset, p.LeaderEpoch, p.Metadata = o.offset, o.epoch, &o.metadata
	}
}

func (c *conn) allOffsets(ctx context.Context, out *kmsg.OffsetFetchResponseGroup) error {
	at := make(map[shard.TopicNum]int)
	return c.srv.offsetsOf(ctx, out.Group, func(t *shard.Topic, id shard.ID, o committed) {
		if !c.mayDescribe(t.Name) {
			return
		}
		i, ok := at[t.Num]
		if !ok {
			i = len(out.Topics)
			at[t.Num] = i
			out.Topics = append(out.Topics, kmsg.OffsetFetchResponseGroupTopic{Topic: kafkaName(t), TopicID: c.srv.ids.of(t)})
		}
		out.Topics[i].Partitions = append(out.Topics[i].Partitions, kmsg.OffsetFetchResponseGroupTopicPartition{
			Partition: int32(id.Index), Offset: o.offset, LeaderEpoch: o.epoch, Metadata: &o.metadata,
		})
	})
}
