package kafka

import (
	"context"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// AlterConfigs (33): v0-2. What is not named goes back to its default, but for
// robustmq.captures, which says what the topic is.
func alterConfigs(ctx context.Context, c *conn, q *kmsg.AlterConfigsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.AlterConfigsResponse)
	for i := range q.Resources {
		from := &q.Resources[i]
		out := kmsg.AlterConfigsResponseResource{ResourceType: from.ResourceType, ResourceName: from.ResourceName}
		err := c.alterTopic(ctx, from.ResourceType, from.ResourceName, q.ValidateOnly, func(t *shard.Topic) error {
			for _, st := range c.srv.allSettings() {
				if st.name != "robustmq.captures" {
					st.reset(t)
				}
			}
			for j := range from.Configs {
				if err := c.srv.setConfig(t, from.Configs[j].Name, from.Configs[j].Value); err != nil {
					return err
				}
			}
			return nil
		})
		out.ErrorCode, out.ErrorMessage = errorCode(err), message(err)
		resp.Resources = append(resp.Resources, out)
	}
	return resp
}

// alterTopic changes a topic by fn, or only tries to.
func (c *conn) alterTopic(ctx context.Context, kind kmsg.ConfigResourceType, name string, dry bool, fn func(*shard.Topic) error) error {
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
	case kmsg.ConfigResourceTypeBroker:
		if !c.mayCluster(shard.OpAlter) {
			return c.denied(codeClusterAuthorizationFailed, "alter the cluster")
		}
		return &coded{codeInvalidConfig, "brokers are configured by file, environment and flags"}
	default:
		return &coded{codeInvalidRequest, "only topics have configurations that can be set"}
	}
	t, code := c.srv.lookup(name, topicID{}, false)
	switch {
	case code != codeNone:
		return &coded{code, "unknown topic"}
	case !c.mayManage(shard.OpAlter, t.Name):
		return c.denied(codeTopicAuthorizationFailed, "alter the topic")
	}
	fn = c.captureCheck(fn)
	if dry {
		return fn(t.Clone())
	}
	_, err := c.srv.broker.Topics.Update(ctx, t.Name, fn)
	return err
}
