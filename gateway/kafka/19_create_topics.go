package kafka

import (
	"context"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// CreateTopics (19): v2-7.
//
// Any replication factor is taken and comes back as 1: copies are the object
// store's business. Replica assignments say how many partitions there are, and
// nothing else. v5+: the configuration is in the answer. v7+: the topic's id.
func createTopics(ctx context.Context, c *conn, q *kmsg.CreateTopicsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.CreateTopicsResponse)
	seen := make(map[string]int, len(q.Topics))
	for i := range q.Topics {
		seen[q.Topics[i].Topic]++
	}
	for i := range q.Topics {
		from := &q.Topics[i]
		out := kmsg.NewCreateTopicsResponseTopic()
		out.Topic, out.NumPartitions, out.ReplicationFactor = from.Topic, -1, -1
		var t *shard.Topic
		err := error(&coded{codeInvalidRequest, "the topic is named twice"})
		if seen[from.Topic] == 1 {
			t, err = c.createTopic(ctx, from, q.ValidateOnly)
		}
		if err != nil {
			out.ErrorCode, out.ErrorMessage = errorCode(err), message(err)
		} else {
			out.NumPartitions, out.ReplicationFactor = int32(t.Shards), 1
			if t.Num != 0 {
				out.TopicID = c.srv.ids.of(t)
			}
			out.Configs = c.srv.createdConfigs(t)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func (c *conn) createTopic(ctx context.Context, from *kmsg.CreateTopicsRequestTopic, dry bool) (*shard.Topic, error) {
	name, _, ok := topicName(from.Topic)
	if !ok || name == "" || shard.CheckSubject(name) != nil || shard.Relayed(name) {
		return nil, &coded{codeInvalidTopic, "the topic's name is not legal"}
	}
	if !c.mayCreate(name) {
		return nil, c.denied(codeTopicAuthorizationFailed, "create the topic")
	}
	n, err := c.srv.wantedPartitions(from)
	if err != nil {
		return nil, err
	}
	t := shard.Topic{Name: name, Shards: n}
	err = c.captureCheck(func(t *shard.Topic) error {
		for i := range from.Configs {
			if err := c.srv.setConfig(t, from.Configs[i].Name, from.Configs[i].Value); err != nil {
				return err
			}
		}
		return nil
	})(&t)
	if err != nil {
		return nil, err
	}
	topics := c.srv.broker.Topics
	if old, exists := topics.ByName(name); exists {
		if old.Internal {
			return nil, &coded{codeInvalidTopic, "the topic's name is not legal"}
		}
		return nil, &coded{codeTopicAlreadyExists, "topic '" + from.Topic + "' already exists"}
	}
	if dry {
		t.Shards = max(t.Shards, 1)
		return &t, nil
	}
	return topics.Create(ctx, t)
}

// wantedPartitions gives the number of partitions asked for; 0: the cluster's default.
func (s *Server) wantedPartitions(from *kmsg.CreateTopicsRequestTopic) (uint32, error) {
	n := from.NumPartitions
	if len(from.ReplicaAssignment) > 0 {
		if from.NumPartitions != -1 || from.ReplicationFactor != -1 {
			return 0, &coded{codeInvalidRequest, "give replica assignments or numbers, not both"}
		}
		seen := make(map[int32]bool)
		n = int32(len(from.ReplicaAssignment))
		for i := range from.ReplicaAssignment {
			a := &from.ReplicaAssignment[i]
			if a.Partition < 0 || a.Partition >= n || seen[a.Partition] || len(a.Replicas) == 0 {
				return 0, &coded{codeInvalidReplicaAssignment, "the assignments do not name partitions from 0 on, each with a replica"}
			}
			seen[a.Partition] = true
		}
	} else if from.ReplicationFactor == 0 || from.ReplicationFactor < -1 {
		return 0, &coded{codeInvalidReplicationFactor, "the replication factor must be larger than 0"}
	}
	switch {
	case n == -1:
		return uint32(s.cfg.DefaultPartitions), nil
	case n < 1 || n > MaxPartitions:
		return 0, &coded{codeInvalidPartitions, "the number of partitions must be between 1 and 10000"}
	}
	return uint32(n), nil
}

func (s *Server) createdConfigs(t *shard.Topic) []kmsg.CreateTopicsResponseTopicConfig {
	var out []kmsg.CreateTopicsResponseTopicConfig
	for _, st := range s.allSettings() {
		v, source := st.value(t)
		out = append(out, kmsg.CreateTopicsResponseTopicConfig{Name: st.name, Value: &v, Source: int8(source)})
	}
	return out
}

// value gives what holds for a topic and where it comes from.
func (st *setting) value(t *shard.Topic) (string, kmsg.ConfigSource) {
	if v, ok := st.get(t); ok {
		return v, kmsg.ConfigSourceDynamicTopicConfig
	}
	return st.def, kmsg.ConfigSourceDefaultConfig
}
