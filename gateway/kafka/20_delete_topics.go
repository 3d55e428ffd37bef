package kafka

import (
	"context"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DeleteTopics (20): v1-6. v6+: by topic id too, and by one of the two only: which
// is meant where they differ is not ours to guess.
func deleteTopics(ctx context.Context, c *conn, q *kmsg.DeleteTopicsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.DeleteTopicsResponse)
	want := q.Topics
	for i := range q.TopicNames {
		want = append(want, kmsg.DeleteTopicsRequestTopic{Topic: &q.TopicNames[i]})
	}
	for i := range want {
		out := kmsg.DeleteTopicsResponseTopic{Topic: want[i].Topic, TopicID: want[i].TopicID}
		var t *shard.Topic
		if byID := want[i].TopicID != (topicID{}); byID == (want[i].Topic != nil) {
			out.ErrorCode, out.ErrorMessage = codeInvalidRequest, ptr("give a topic's name or its id, not both")
			resp.Topics = append(resp.Topics, out)
			continue
		}
		if want[i].Topic != nil {
			t, out.ErrorCode = c.srv.lookup(*want[i].Topic, topicID{}, false)
		} else {
			t, out.ErrorCode = c.srv.lookup("", want[i].TopicID, true)
		}
		if out.ErrorCode == codeNone {
			out.Topic, out.TopicID = ptr(kafkaName(t)), c.srv.ids.of(t)
			out.ErrorCode, out.ErrorMessage = c.deleteTopic(ctx, t)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func (c *conn) deleteTopic(ctx context.Context, t *shard.Topic) (int16, *string) {
	if !c.mayManage(shard.OpDelete, t.Name) {
		return codeTopicAuthorizationFailed, message(c.denied(codeTopicAuthorizationFailed, "delete the topic"))
	}
	err := c.srv.broker.Topics.Delete(ctx, t.Name)
	return errorCode(err), message(err)
}
