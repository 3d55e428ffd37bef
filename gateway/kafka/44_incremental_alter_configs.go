package kafka

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// IncrementalAlterConfigs (44): v0-1. Append and subtract are for lists.
func incrementalAlterConfigs(ctx context.Context, c *conn, q *kmsg.IncrementalAlterConfigsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
	for i := range q.Resources {
		from := &q.Resources[i]
		out := kmsg.IncrementalAlterConfigsResponseResource{ResourceType: from.ResourceType, ResourceName: from.ResourceName}
		if done, err := c.resetBroker(from); done {
			out.ErrorCode, out.ErrorMessage = errorCode(err), message(err)
			resp.Resources = append(resp.Resources, out)
			continue
		}
		err := c.alterTopic(ctx, from.ResourceType, from.ResourceName, q.ValidateOnly, func(t *shard.Topic) error {
			for j := range from.Configs {
				if err := c.srv.alterOne(t, &from.Configs[j]); err != nil {
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

// resetBroker takes the deletion of settings that a broker was given while it ran: it
// never has any. kafka-reassign-partitions deletes its throttles in any case.
func (c *conn) resetBroker(from *kmsg.IncrementalAlterConfigsRequestResource) (done bool, err error) {
	if from.ResourceType != kmsg.ConfigResourceTypeBroker || slices.ContainsFunc(from.Configs, func(x kmsg.IncrementalAlterConfigsRequestResourceConfig) bool {
		return x.Op != kmsg.IncrementalAlterConfigOpDelete
	}) {
		return false, nil
	}
	if !c.mayCluster(shard.OpAlter) {
		return true, c.denied(codeClusterAuthorizationFailed, "alter the cluster")
	}
	return true, nil
}

func (s *Server) alterOne(t *shard.Topic, x *kmsg.IncrementalAlterConfigsRequestResourceConfig) error {
	st, err := s.setting(x.Name)
	if err != nil && x.Op == kmsg.IncrementalAlterConfigOpDelete {
		return nil // as Kafka: MirrorMaker deletes whatever its source has at the default
	}
	if err != nil {
		return err
	}
	switch x.Op {
	case kmsg.IncrementalAlterConfigOpSet:
		return s.setConfig(t, x.Name, x.Value)
	case kmsg.IncrementalAlterConfigOpDelete:
		st.reset(t)
		return nil
	case kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract:
	default:
		return &coded{codeInvalidRequest, "unknown operation " + strconv.Itoa(int(x.Op))}
	}
	if st.kind != kmsg.ConfigTypeList || x.Value == nil {
		return &coded{codeInvalidConfig, "append and subtract are for lists"}
	}
	now, _ := st.value(t)
	var items []string
	if now != "" {
		items = strings.Split(now, ",")
	}
	for v := range strings.SplitSeq(*x.Value, ",") {
		at := slices.Index(items, v)
		switch {
		case x.Op == kmsg.IncrementalAlterConfigOpAppend && at < 0:
			items = append(items, v)
		case x.Op == kmsg.IncrementalAlterConfigOpSubtract && at >= 0:
			items = slices.Delete(items, at, at+1)
		}
	}
	return st.set(t, strings.Join(items, ","))
}
