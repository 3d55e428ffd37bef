package kafka

import (
	"context"
	"fmt"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// CreatePartitions (37): v0-3. Of assignments only the number is looked at.
func createPartitions(ctx context.Context, c *conn, q *kmsg.CreatePartitionsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.CreatePartitionsResponse)
	for i := range q.Topics {
		out := kmsg.CreatePartitionsResponseTopic{Topic: q.Topics[i].Topic}
		if err := c.addPartitions(ctx, &q.Topics[i], q.ValidateOnly); err != nil {
			out.ErrorCode, out.ErrorMessage = errorCode(err), message(err)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func (c *conn) addPartitions(ctx context.Context, from *kmsg.CreatePartitionsRequestTopic, dry bool) error {
	t, code := c.srv.lookup(from.Topic, topicID{}, false)
	if code != codeNone {
		return &coded{code, "unknown topic"}
	}
	if !c.mayManage(shard.OpAlter, t.Name) {
		return c.denied(codeTopicAuthorizationFailed, "alter the topic")
	}
	grow := func(t *shard.Topic) error {
		if from.Count <= int32(t.Shards) || from.Count > MaxPartitions {
			return &coded{codeInvalidPartitions, fmt.Sprintf("the topic currently has %d partition(s); %d is not an increase up to %d", t.Shards, from.Count, MaxPartitions)}
		}
		if a := from.Assignment; len(a) > 0 && len(a) != int(from.Count)-int(t.Shards) {
			return &coded{codeInvalidReplicaAssignment, fmt.Sprintf("%d assignments for %d new partitions", len(a), int(from.Count)-int(t.Shards))}
		}
		t.Shards = uint32(from.Count)
		return nil
	}
	if dry {
		return grow(t.Clone())
	}
	_, err := c.srv.broker.Topics.Update(ctx, t.Name, grow)
	return err
}
