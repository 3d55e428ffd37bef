package kafka

import (
	"testing"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestOddRequests: what Apache Kafka answers to requests that make no sense.
func TestOddRequests(t *testing.T) {
	s := newStand(t)
	s.topic("t", 2, nil)
	w := s.dial()
	o := kmsg.NewPtrListOffsetsRequest()
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp = -99
	o.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "t", Partitions: []kmsg.ListOffsetsRequestTopicPartition{p}}}
	if r := ask[*kmsg.ListOffsetsResponse](w, o, 7).Topics[0].Partitions[0]; r.ErrorCode != codeUnsupportedVersion {
		t.Errorf("a timestamp that stands for nothing: %d", r.ErrorCode)
	}
	d := kmsg.NewPtrDescribeConfigsRequest()
	d.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "a b"}}
	if r := ask[*kmsg.DescribeConfigsResponse](w, d, 4).Resources[0]; r.ErrorCode != codeInvalidTopic {
		t.Errorf("configurations of an illegal name: %d", r.ErrorCode)
	}
	for _, x := range []struct {
		id    int64
		epoch int16
		code  int16
	}{{-1, 3, codeInvalidRequest}, {3, -1, codeInvalidRequest}, {3, 3, 0}, {-1, -1, 0}} {
		q := kmsg.NewPtrInitProducerIDRequest()
		q.ProducerID, q.ProducerEpoch = x.id, x.epoch
		if r := ask[*kmsg.InitProducerIDResponse](w, q, 4); r.ErrorCode != x.code {
			t.Errorf("producer %d with epoch %d: %d", x.id, x.epoch, r.ErrorCode)
		}
	}
	q := kmsg.NewPtrCreatePartitionsRequest()
	q.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "t", Count: 4, Assignment: []kmsg.CreatePartitionsRequestTopicAssignment{{Replicas: []int32{1}}}}}
	if r := ask[*kmsg.CreatePartitionsResponse](w, q, 3).Topics[0]; r.ErrorCode != codeInvalidReplicaAssignment {
		t.Errorf("one assignment for two partitions: %d", r.ErrorCode)
	}
	q.Topics[0].Assignment = append(q.Topics[0].Assignment, q.Topics[0].Assignment[0])
	if r := ask[*kmsg.CreatePartitionsResponse](w, q, 3).Topics[0]; r.ErrorCode != 0 {
		t.Errorf("two assignments for two partitions: %d", r.ErrorCode)
	}
	if top, _ := s.mem.Broker().Topics.ByName("t"); top.Shards != 4 {
		t.Errorf("%d partitions", top.Shards)
	}
	compacted := s.topic("keys", 1, func(t *shard.Topic) {
		t.Config.Compact, t.Config.Extra = true, map[string]string{"compression.type": "zstd"}
	})
	if r := w.produce(compacted.Name, batchOf(rec("", "v"))); r.ErrorCode != codeInvalidRecord {
		t.Errorf("no key in a compacted, compressed topic: %d", r.ErrorCode)
	}
}
