package kafka

import (
	"context"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// OffsetDelete (47): v0. Offsets of a topic that a consumer of the group
// subscribes to stay (GROUP_SUBSCRIBED_TO_TOPIC).
func offsetDelete(ctx context.Context, c *conn, q *kmsg.OffsetDeleteRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.OffsetDeleteResponse)
	if !c.mayDeleteGroup(q.Group) {
		resp.ErrorCode = codeGroupAuthorizationFailed
		return resp
	}
	g, code := c.srv.groups.acquire(ctx, q.Group, false)
	if code != codeNone {
		resp.ErrorCode = code
		return resp
	}
	subscribed, consumers := g.subscriptions()
	c.srv.groups.release(g)
	if !consumers {
		resp.ErrorCode = codeNonEmptyGroup
		return resp
	}
	var ops []shard.StateOp
	for i := range q.Topics {
		from := &q.Topics[i]
		out := kmsg.OffsetDeleteResponseTopic{Topic: from.Topic}
		t, code := c.srv.lookup(from.Topic, topicID{}, false)
		switch {
		case code == codeNone && !c.mayRead(t):
			code = codeTopicAuthorizationFailed
		case code == codeNone && subscribed[from.Topic]:
			code = codeGroupSubscribedToTopic
		}
		for j := range from.Partitions {
			p := kmsg.OffsetDeleteResponseTopicPartition{Partition: from.Partitions[j].Partition, ErrorCode: code}
			if code == codeNone {
				if id, ok := partition(t, p.Partition); ok {
					ops = append(ops, shard.StateOp{Key: offsetKey(id)})
				} else {
					p.ErrorCode = codeUnknownTopicOrPartition
				}
			}
			out.Partitions = append(out.Partitions, p)
		}
		resp.Topics = append(resp.Topics, out)
	}
	if len(ops) > 0 {
		if err := shard.ApplyWait(ctx, c.srv.broker.State, groupOwner(q.Group), ops...); err != nil {
			resp.Topics, resp.ErrorCode = nil, groupErrorCode(err)
		}
	}
	return resp
}

// subscriptions gives the topics the members subscribe to; ok is false when
// there are members that are not consumers.
func (g *group) subscriptions() (topics map[string]bool, ok bool) {
	topics = make(map[string]bool)
	if len(g.members) > 0 && g.protocolType != "consumer" {
		return nil, false
	}
	for _, m := range g.members {
		for _, p := range m.protocols {
			var meta kmsg.ConsumerMemberMetadata
			if meta.ReadFrom(p.metadata) != nil {
				continue
			}
			for _, t := range meta.Topics {
				topics[t] = true
			}
		}
	}
	return topics, true
}
