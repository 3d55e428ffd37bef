package kafka

import (
	"context"
	"math"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Metadata (3): v0-13.
//
// v0: an empty list asks for all topics; v1+: a null one. v4+: the client says
// whether unknown topics may be created. v10+: topic ids; v12+: asking by id.
// The replica list of a partition is its leader.
func metadata(ctx context.Context, c *conn, q *kmsg.MetadataRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.MetadataResponse)
	cluster := c.srv.broker.Cluster
	for _, n := range cluster.Nodes() {
		if host, port, ok := c.addressOf(n); ok {
			resp.Brokers = append(resp.Brokers, kmsg.MetadataResponseBroker{NodeID: n.ID, Host: host, Port: port, Rack: zone(n)})
		}
	}
	resp.ClusterID = ptr(cluster.ID())
	resp.ControllerID = cluster.Self().ID
	resp.AuthorizedOperations = math.MinInt32
	if q.IncludeClusterAuthorizedOperations {
		resp.AuthorizedOperations = c.clusterOperations()
	}
	if q.Topics == nil || q.Version == 0 && len(q.Topics) == 0 {
		for _, t := range c.srv.broker.Topics.List() {
			if c.mayDescribe(t.Name) {
				resp.Topics = append(resp.Topics, c.topicMetadata(t, q))
			}
		}
		return resp
	}
	resp.Topics = make([]kmsg.MetadataResponseTopic, 0, len(q.Topics))
	for i := range q.Topics {
		resp.Topics = append(resp.Topics, c.metadataOf(ctx, q, &q.Topics[i]))
	}
	return resp
}

func zone(n shard.Node) *string {
	if n.Zone == "" {
		return nil
	}
	return &n.Zone
}

func (c *conn) metadataOf(ctx context.Context, q *kmsg.MetadataRequest, want *kmsg.MetadataRequestTopic) kmsg.MetadataResponseTopic {
	out := kmsg.MetadataResponseTopic{Topic: want.Topic, TopicID: want.TopicID, AuthorizedOperations: math.MinInt32}
	if want.TopicID != (topicID{}) || want.Topic == nil { // by id; Java's clients leave the name empty, not null
		out.Topic = nil
		t, ok := c.srv.topicByID(want.TopicID)
		if !ok || !c.mayDescribe(t.Name) {
			out.ErrorCode = codeUnknownTopicID
			return out
		}
		return c.topicMetadata(t, q)
	}
	out.TopicID = topicID{}
	name, _, legal := topicName(*want.Topic)
	if !legal {
		out.ErrorCode = codeInvalidTopic
		return out
	}
	t, ok := c.srv.topic(*want.Topic)
	if ok {
		name = t.Name
	}
	if !c.mayDescribe(name) && (ok || !c.mayCreate(name)) {
		out.ErrorCode = codeTopicAuthorizationFailed
		return out
	}
	if in, waits := c.srv.inbox(*want.Topic, topicID{}, false); !ok && waits {
		return c.inboxMetadata(in, q)
	}
	if !ok {
		var code int16
		create := c.srv.cfg.AutoCreateTopics && (q.Version < 4 || q.AllowAutoTopicCreation)
		if t, code = c.autoCreate(ctx, name, create); code != codeNone {
			out.ErrorCode = code
			return out
		}
	}
	return c.topicMetadata(t, q)
}

// autoCreate makes the topic of a subject on its first use. A subject that
// another topic captures has no topic of its own to offer.
func (c *conn) autoCreate(ctx context.Context, name string, create bool) (*shard.Topic, int16) {
	if !create || name == "" {
		return nil, codeUnknownTopicOrPartition
	}
	if !c.mayCreate(name) {
		return nil, codeTopicAuthorizationFailed
	}
	if shard.CheckSubject(name) != nil || shard.Relayed(name) {
		return nil, codeInvalidTopic
	}
	topics := c.srv.broker.Topics
	t, err := topics.Resolve(ctx, name, false)
	if shard.KindOf(err) == shard.KindNotFound {
		if n := c.srv.cfg.DefaultPartitions; n > 0 {
			t, err = topics.Create(ctx, shard.Topic{Name: name, Shards: uint32(n), Auto: true})
		}
		if n := c.srv.cfg.DefaultPartitions; n == 0 || shard.KindOf(err) == shard.KindExists {
			t, err = topics.Resolve(ctx, name, true)
		}
	}
	switch {
	case err != nil:
		return nil, errorCode(err)
	case t.Internal || t.Name != name:
		c.log.Debug("subject is captured by another topic", "subject", name, "topic", t.Name)
		return nil, codeUnknownTopicOrPartition
	}
	return t, codeNone
}

func (c *conn) topicMetadata(t *shard.Topic, q *kmsg.MetadataRequest) kmsg.MetadataResponseTopic {
	out := kmsg.MetadataResponseTopic{
		Topic: ptr(kafkaName(t)), TopicID: c.srv.ids.of(t), AuthorizedOperations: math.MinInt32,
		Partitions: make([]kmsg.MetadataResponseTopicPartition, 0, t.Shards),
	}
	if q.IncludeTopicAuthorizedOperations {
		out.AuthorizedOperations = c.topicOperations(t)
	}
	for i := range t.Shards {
		n, epoch, ok := c.srv.broker.Cluster.Leader(t.Shard(i))
		p := kmsg.MetadataResponseTopicPartition{Partition: int32(i), Leader: n.ID, LeaderEpoch: epoch}
		if ok {
			p.Replicas, p.ISR = []int32{n.ID}, []int32{n.ID}
		} else {
			p.ErrorCode, p.Leader, p.LeaderEpoch = codeLeaderNotAvailable, -1, -1
		}
		out.Partitions = append(out.Partitions, p)
	}
	return out
}

// Kafka's operation numbers, as bits of "authorized operations".
const (
	kafkaOpRead, kafkaOpWrite, kafkaOpCreate, kafkaOpDelete, kafkaOpAlter, kafkaOpDescribe = 3, 4, 5, 6, 7, 8

	kafkaOpClusterAction, kafkaOpDescribeConfigs, kafkaOpAlterConfigs, kafkaOpIdempotentWrite = 9, 10, 11, 12
)

func opBits(allowed map[shard.Operation]bool, of map[shard.Operation][]int) int32 {
	var b int32
	for op, ns := range of {
		if allowed[op] {
			for _, n := range ns {
				b |= 1 << n
			}
		}
	}
	return b
}

func (c *conn) operations(resource, name string, of map[shard.Operation][]int) int32 {
	allowed := make(map[shard.Operation]bool, len(of))
	for op := range of {
		allowed[op] = c.allowed(op, resource, name)
	}
	return opBits(allowed, of)
}

func (c *conn) clusterOperations() int32 {
	return c.operations("cluster", clusterName, map[shard.Operation][]int{
		shard.OpCreate: {kafkaOpCreate}, shard.OpAlter: {kafkaOpAlter, kafkaOpAlterConfigs},
		shard.OpDescribe: {kafkaOpDescribe, kafkaOpDescribeConfigs}, shard.OpPublish: {kafkaOpIdempotentWrite},
		shard.OpAdmin: {kafkaOpClusterAction},
	})
}

func (c *conn) topicOperations(t *shard.Topic) int32 {
	return c.operations("subject", t.Name, map[shard.Operation][]int{
		shard.OpSubscribe: {kafkaOpRead}, shard.OpPublish: {kafkaOpWrite}, shard.OpCreate: {kafkaOpCreate},
		shard.OpDelete: {kafkaOpDelete}, shard.OpAlter: {kafkaOpAlter, kafkaOpAlterConfigs},
		shard.OpDescribe: {kafkaOpDescribe, kafkaOpDescribeConfigs},
	})
}

func (c *conn) groupOperations(id string) int32 {
	return c.operations("group", id, map[shard.Operation][]int{
		shard.OpSubscribe: {kafkaOpRead}, shard.OpDelete: {kafkaOpDelete}, shard.OpDescribe: {kafkaOpDescribe},
	})
}
