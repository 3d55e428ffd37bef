package kafka

import (
	"context"
	"slices"
	"strconv"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeConfigs (32): v1-4, of topics and of this broker (read only).
func describeConfigs(_ context.Context, c *conn, q *kmsg.DescribeConfigsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.DescribeConfigsResponse)
	for i := range q.Resources {
		from := &q.Resources[i]
		out := kmsg.DescribeConfigsResponseResource{ResourceType: from.ResourceType, ResourceName: from.ResourceName}
		var err error
		switch from.ResourceType {
		case kmsg.ConfigResourceTypeTopic:
			out.Configs, err = c.topicConfigs(from.ResourceName, q)
		case kmsg.ConfigResourceTypeBroker:
			out.Configs, err = c.brokerConfigs(from.ResourceName)
		default:
			err = &coded{codeInvalidRequest, "only topics and brokers have configurations here"}
		}
		if err != nil {
			out.ErrorCode, out.ErrorMessage = errorCode(err), message(err)
		}
		if from.ConfigNames != nil {
			out.Configs = slices.DeleteFunc(out.Configs, func(x kmsg.DescribeConfigsResponseResourceConfig) bool {
				return !slices.Contains(from.ConfigNames, x.Name)
			})
		}
		resp.Resources = append(resp.Resources, out)
	}
	return resp
}

func (c *conn) topicConfigs(name string, q *kmsg.DescribeConfigsRequest) ([]kmsg.DescribeConfigsResponseResourceConfig, error) {
	t, code := c.srv.lookup(name, topicID{}, false)
	switch {
	case !legalName(name):
		return nil, &coded{codeInvalidTopic, "the topic's name is not legal"}
	case code != codeNone:
		return nil, &coded{code, "unknown topic"}
	case !c.mayDescribe(t.Name):
		return nil, c.denied(codeTopicAuthorizationFailed, "describe the topic")
	}
	var out []kmsg.DescribeConfigsResponseResourceConfig
	for _, st := range c.srv.allSettings() {
		v, source := st.value(t)
		x := kmsg.DescribeConfigsResponseResourceConfig{
			Name: st.name, Value: &v, Source: source, ConfigType: st.kind,
			IsDefault: source == kmsg.ConfigSourceDefaultConfig,
		}
		if q.IncludeSynonyms {
			if !x.IsDefault {
				x.ConfigSynonyms = append(x.ConfigSynonyms, kmsg.DescribeConfigsResponseResourceConfigConfigSynonym{Name: st.name, Value: &v, Source: source})
			}
			x.ConfigSynonyms = append(x.ConfigSynonyms, kmsg.DescribeConfigsResponseResourceConfigConfigSynonym{Name: st.name, Value: ptr(st.def), Source: kmsg.ConfigSourceDefaultConfig})
		}
		if q.IncludeDocumentation {
			x.Documentation = ptr(st.doc)
		}
		out = append(out, x)
	}
	return out, nil
}

func (c *conn) brokerConfigs(name string) ([]kmsg.DescribeConfigsResponseResourceConfig, error) {
	if !c.allowed(shard.OpDescribe, gateway.ResourceCluster, clusterName) {
		return nil, c.denied(codeClusterAuthorizationFailed, "describe the cluster")
	}
	if name == "" {
		return nil, nil // nothing is set for all brokers at run time
	}
	self := c.srv.broker.Cluster.Self()
	if name != strconv.Itoa(int(self.ID)) {
		return nil, &coded{codeInvalidRequest, "ask broker " + clip(name) + " itself"}
	}
	cfg := &c.srv.cfg
	var out []kmsg.DescribeConfigsResponseResourceConfig
	add := func(name, v string, kind kmsg.ConfigType) {
		out = append(out, kmsg.DescribeConfigsResponseResourceConfig{
			Name: name, Value: &v, ReadOnly: true, Source: kmsg.ConfigSourceStaticBrokerConfig, ConfigType: kind,
		})
	}
	ms := func(name string, v int64) { add(name, strconv.FormatInt(v, 10), kmsg.ConfigTypeLong) }
	add("auto.create.topics.enable", strconv.FormatBool(cfg.AutoCreateTopics), kmsg.ConfigTypeBoolean)
	add("broker.id", name, kmsg.ConfigTypeInt)
	add("default.replication.factor", "1", kmsg.ConfigTypeInt)
	ms("group.initial.rebalance.delay.ms", cfg.GroupInitialRebalanceDelay.Milliseconds())
	ms("group.max.session.timeout.ms", cfg.GroupMaxSessionTimeout.Milliseconds())
	ms("group.max.size", int64(cfg.GroupMaxSize))
	ms("group.min.session.timeout.ms", cfg.GroupMinSessionTimeout.Milliseconds())
	ms("message.max.bytes", int64(c.srv.env.Limits.MaxMessageBytes))
	ms("num.partitions", int64(max(cfg.DefaultPartitions, 1)))
	ms("socket.request.max.bytes", maxFrame)
	return out, nil
}
