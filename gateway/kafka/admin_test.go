package kafka

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func createReq(name string, n int32, configs ...string) *kmsg.CreateTopicsRequest {
	q := kmsg.NewPtrCreateTopicsRequest()
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, n, 3
	for i := 0; i < len(configs); i += 2 {
		t.Configs = append(t.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: configs[i], Value: ptr(configs[i+1])})
	}
	q.Topics = append(q.Topics, t)
	return q
}

func (w *wire) create(name string, n int32, configs ...string) kmsg.CreateTopicsResponseTopic {
	w.t.Helper()
	return ask[*kmsg.CreateTopicsResponse](w, createReq(name, n, configs...), 7).Topics[0]
}

func TestCreateTopics(t *testing.T) {
	s := newStand(t)
	w := s.dial()
	r := w.create("t", 3, "retention.ms", "5000", "cleanup.policy", "compact", "max.message.bytes", "1000", "message.timestamp.type", "LogAppendTime", "robustmq.durability", "object", "segment.bytes", "100")
	if r.ErrorCode != 0 || r.NumPartitions != 3 || r.ReplicationFactor != 1 || len(r.Configs) == 0 {
		t.Fatalf("created as %+v", r)
	}
	top, _ := s.mem.Broker().Topics.ByName("t")
	c := top.Config
	if top.Shards != 3 || c.RetentionMs != 5000 || !c.Compact || c.Delete || c.MaxMessageBytes != 1000 || !c.AppendTime || c.Durability != shard.DurabilityObject || c.Extra["segment.bytes"] != "100" {
		t.Errorf("the topic is %+v", top)
	}
	for _, x := range []struct {
		name    string
		n       int32
		configs []string
		code    int16
	}{
		{"t", 1, nil, codeTopicAlreadyExists}, {"a/b", 1, nil, codeInvalidTopic}, {"", 1, nil, codeInvalidTopic}, {"_INBOX.x", 1, nil, codeInvalidTopic},
		{"n0", 0, nil, codeInvalidPartitions}, {"n1", -2, nil, codeInvalidPartitions}, {"n2", MaxPartitions + 1, nil, codeInvalidPartitions},
		{"c0", 1, []string{"no.such", "1"}, codeInvalidConfig}, {"c2", 1, []string{"retention.ms", "x"}, codeInvalidConfig},
		{"c3", 1, []string{"cleanup.policy", "burn"}, codeInvalidConfig}, {"c4", 1, []string{"compression.type", "zip"}, codeInvalidConfig},
		{"c5", 1, []string{"max.compaction.lag.ms", "1"}, codeInvalidConfig}, {"c6", 1, []string{"robustmq.captures", "a..b"}, codeInvalidConfig}, {"c7", 1, []string{"max.message.bytes", "99999999999"}, codeInvalidConfig},
		{"ok1", -1, nil, 0}, {"ok2", 1, []string{"robustmq.captures", "x.>,y"}, 0}, {"robustmq-x.a-2fb", 1, nil, 0},
	} {
		if r := w.create(x.name, x.n, x.configs...); r.ErrorCode != x.code {
			t.Errorf("%s: %d %v, want %d", x.name, r.ErrorCode, r.ErrorMessage, x.code)
		}
	}
	if r := w.create("ok3", 1, "robustmq.captures", "x.>"); r.ErrorCode != codePolicyViolation {
		t.Errorf("a conflicting capture gets %d", r.ErrorCode)
	}
	if _, ok := s.mem.Broker().Topics.ByName("a/b"); !ok {
		t.Error("an escaped name does not make the topic it stands for")
	}
	twice := createReq("twice", 1)
	twice.Topics = append(twice.Topics, twice.Topics[0])
	if r := ask[*kmsg.CreateTopicsResponse](w, twice, 7); r.Topics[0].ErrorCode != codeInvalidRequest || r.Topics[1].ErrorCode != codeInvalidRequest {
		t.Errorf("a topic twice gets %+v", r.Topics)
	}
	dry := createReq("dry", 4)
	dry.ValidateOnly = true
	if r := ask[*kmsg.CreateTopicsResponse](w, dry, 7).Topics[0]; r.ErrorCode != 0 || r.NumPartitions != 4 {
		t.Errorf("a try gets %+v", r)
	}
	if _, ok := s.mem.Broker().Topics.ByName("dry"); ok {
		t.Error("a try makes the topic")
	}
	by := createReq("assigned", -1)
	by.Topics[0].ReplicationFactor = -1
	by.Topics[0].ReplicaAssignment = []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Partition: 1, Replicas: []int32{9}}, {Partition: 0, Replicas: []int32{1, 2}}}
	if r := ask[*kmsg.CreateTopicsResponse](w, by, 5).Topics[0]; r.ErrorCode != 0 || r.NumPartitions != 2 {
		t.Errorf("with assignments: %+v", r)
	}
}

func TestMetadata(t *testing.T) {
	s := newStand(t, withConfig(func(c *Config) { c.DefaultPartitions = 2 }))
	top := s.topic("here", 3, nil)
	s.topic("many", 1, func(t *shard.Topic) { t.Captures = []string{"sensors.>"} })
	w := s.dial()
	meta := func(v int16, create bool, names ...string) *kmsg.MetadataResponse {
		q := kmsg.NewPtrMetadataRequest()
		q.AllowAutoTopicCreation = create
		for _, n := range names {
			q.Topics = append(q.Topics, kmsg.MetadataRequestTopic{Topic: ptr(n)})
		}
		return ask[*kmsg.MetadataResponse](w, q, v)
	}
	for v := int16(0); v <= 13; v++ {
		r := meta(v, false, "here")
		x := r.Topics[0]
		if x.ErrorCode != 0 || len(x.Partitions) != 3 || x.Partitions[2].Leader != 1 || len(r.Brokers) != 1 || v >= 10 && x.TopicID != s.srv.ids.of(top) {
			t.Errorf("v%d: %+v", v, r)
		}
		if got := r.Brokers[0]; s.addr != got.Host+":"+itoa(got.Port) {
			t.Errorf("v%d: broker at %s:%d, want %s", v, got.Host, got.Port, s.addr)
		}
	}
	if r := meta(12, false); len(r.Topics) != 2 {
		t.Errorf("all topics: %+v", r.Topics)
	}
	if c := meta(12, false, "new").Topics[0].ErrorCode; c != codeUnknownTopicOrPartition {
		t.Errorf("unknown, not created: %d", c)
	}
	if r := meta(12, true, "new").Topics[0]; r.ErrorCode != 0 || len(r.Partitions) != 2 {
		t.Errorf("unknown, created: %+v", r)
	}
	if c := meta(12, true, "bad/name").Topics[0].ErrorCode; c != codeInvalidTopic {
		t.Errorf("illegal: %d", c)
	}
	if c := meta(12, true, "sensors.a").Topics[0].ErrorCode; c != codeUnknownTopicOrPartition {
		t.Errorf("captured by another topic: %d", c)
	}
	q := kmsg.NewPtrMetadataRequest()
	q.Topics = []kmsg.MetadataRequestTopic{{TopicID: s.srv.ids.of(top)}, {TopicID: topicID{1}}, {TopicID: s.srv.ids.of(top), Topic: ptr("")}, {TopicID: topicID{1}, Topic: ptr("")}}
	r := ask[*kmsg.MetadataResponse](w, q, 12) // Java's clients send an empty name with an id
	for i := range r.Topics {
		x, want := &r.Topics[i], i%2 == 0
		if known := x.ErrorCode == codeNone && *x.Topic == "here"; known != want || !known && (x.ErrorCode != codeUnknownTopicID || x.TopicID != (topicID{1})) {
			t.Errorf("by id, %d: %+v", i, x)
		}
	}
	off := newStand(t, withConfig(func(c *Config) { c.AutoCreateTopics = false }))
	w = off.dial()
	if c := meta(12, true, "new").Topics[0].ErrorCode; c != codeUnknownTopicOrPartition {
		t.Errorf("created although that is off: %d", c)
	}
}

func itoa(n int32) string {
	var b []byte
	for ; n > 0; n /= 10 {
		b = append(b, byte('0'+n%10))
	}
	slices.Reverse(b)
	return string(b)
}

func TestAdvertisedAddresses(t *testing.T) {
	s := newStand(t, withConfig(func(c *Config) { c.Advertised = "broker.example:1234" }))
	r := ask[*kmsg.MetadataResponse](s.dial(), kmsg.NewPtrMetadataRequest(), 9)
	if b := r.Brokers[0]; b.Host != "broker.example" || b.Port != 1234 {
		t.Errorf("configured: %s:%d", b.Host, b.Port)
	}
	s = newStand(t)
	s.mem.SetAddresses(map[string]string{"kafka": "10.0.0.1:9092"})
	d := ask[*kmsg.DescribeClusterResponse](s.dial(), kmsg.NewPtrDescribeClusterRequest(), 1)
	if b := d.Brokers[0]; b.Host != "10.0.0.1" || b.Port != 9092 {
		t.Errorf("of the cluster: %s:%d", b.Host, b.Port)
	}
	f := kmsg.NewPtrFindCoordinatorRequest()
	f.CoordinatorKey, f.CoordinatorKeys = "g", []string{"g", ""}
	for v := int16(0); v <= 6; v++ {
		r := ask[*kmsg.FindCoordinatorResponse](s.dial(), f, v)
		host := r.Host
		if v >= 4 {
			host = r.Coordinators[0].Host
			if r.Coordinators[1].ErrorCode != codeInvalidGroupID {
				t.Errorf("v%d, no id: %d", v, r.Coordinators[1].ErrorCode)
			}
		}
		if host != "10.0.0.1" || r.ErrorCode != 0 {
			t.Errorf("v%d: coordinator %+v", v, r)
		}
	}
	f.CoordinatorType = 1
	if r := ask[*kmsg.FindCoordinatorResponse](s.dial(), f, 3); r.ErrorCode != codeClusterAuthorizationFailed {
		t.Errorf("transactions: %d", r.ErrorCode)
	}
	for _, bad := range []string{"nowhere", "h:0x", "h:99999"} {
		if err := (&Config{Advertised: bad}).check(); err == nil {
			t.Errorf("%q is taken for an address", bad)
		}
	}
}

func TestDeleteTopicsAndRecords(t *testing.T) {
	s := newStand(t)
	top := s.topic("t", 1, nil)
	s.topic("both", 1, nil)
	s.topic("compact", 1, func(t *shard.Topic) { t.Config.Compact = true })
	w := s.dial()
	for range 5 {
		w.produce("t", batchOf(rec("k", "v")))
	}
	trim := func(topic string, p int32, offset int64) (int64, int16) {
		q := kmsg.NewPtrDeleteRecordsRequest()
		q.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: topic, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: p, Offset: offset}}}}
		r := ask[*kmsg.DeleteRecordsResponse](w, q, 2).Topics[0].Partitions[0]
		return r.LowWatermark, r.ErrorCode
	}
	for _, x := range []struct {
		topic  string
		p      int32
		offset int64
		low    int64
		code   int16
	}{
		{"t", 0, 2, 2, 0}, {"t", 0, 1, 2, 0}, {"t", 0, 6, -1, codeOffsetOutOfRange}, {"t", 1, 0, -1, codeUnknownTopicOrPartition},
		{"none", 0, 0, -1, codeUnknownTopicOrPartition}, {"compact", 0, 0, -1, codePolicyViolation}, {"t", 0, -1, 5, 0},
	} {
		if low, code := trim(x.topic, x.p, x.offset); low != x.low || code != x.code {
			t.Errorf("%+v: %d, %d", x, low, code)
		}
	}
	q := kmsg.NewPtrDeleteTopicsRequest()
	q.Topics = []kmsg.DeleteTopicsRequestTopic{{TopicID: s.srv.ids.of(top)}, {Topic: ptr("compact")}, {Topic: ptr("none")}, {TopicID: topicID{9}}, {}, {Topic: ptr("both"), TopicID: topicID{9}}}
	r := ask[*kmsg.DeleteTopicsResponse](w, q, 6)
	var codes []int16
	for _, x := range r.Topics {
		codes = append(codes, x.ErrorCode)
	}
	if !slices.Equal(codes, []int16{0, 0, codeUnknownTopicOrPartition, codeUnknownTopicID, codeInvalidRequest, codeInvalidRequest}) || *r.Topics[0].Topic != "t" {
		t.Errorf("deletes: %v", codes)
	}
	q.Topics, q.TopicNames = nil, []string{"t"}
	if c := ask[*kmsg.DeleteTopicsResponse](w, q, 4).Topics[0].ErrorCode; c != codeUnknownTopicOrPartition {
		t.Errorf("deleted twice: %d", c)
	}
}

func TestPartitionsGrow(t *testing.T) {
	s := newStand(t)
	s.topic("t", 2, nil)
	w := s.dial()
	grow := func(topic string, n int32, dry bool) int16 {
		q := kmsg.NewPtrCreatePartitionsRequest()
		x := kmsg.NewCreatePartitionsRequestTopic()
		x.Topic, x.Count = topic, n
		q.Topics, q.ValidateOnly = append(q.Topics, x), dry
		return ask[*kmsg.CreatePartitionsResponse](w, q, 3).Topics[0].ErrorCode
	}
	for _, x := range []struct {
		topic string
		n     int32
		dry   bool
		code  int16
	}{{"t", 2, false, codeInvalidPartitions}, {"t", 1, true, codeInvalidPartitions}, {"t", 9, true, 0}, {"t", 4, false, 0}, {"t", 4, false, codeInvalidPartitions}, {"none", 4, false, codeUnknownTopicOrPartition}} {
		if c := grow(x.topic, x.n, x.dry); c != x.code {
			t.Errorf("%+v: %d", x, c)
		}
	}
	if top, _ := s.mem.Broker().Topics.ByName("t"); top.Shards != 4 {
		t.Errorf("%d shards", top.Shards)
	}
	if p := ask[*kmsg.ProduceResponse](w, produceReq(1, "t", 3, batchOf(rec("k", "v"))), 9).Topics[0].Partitions[0]; p.ErrorCode != 0 {
		t.Errorf("produce to the new partition: %d", p.ErrorCode)
	}
}

func (w *wire) configs(topic string) map[string]string {
	w.t.Helper()
	q := kmsg.NewPtrDescribeConfigsRequest()
	q.IncludeSynonyms, q.IncludeDocumentation = true, true
	q.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: topic}}
	r := ask[*kmsg.DescribeConfigsResponse](w, q, 4).Resources[0]
	if r.ErrorCode != 0 {
		w.t.Fatalf("describe: %d", r.ErrorCode)
	}
	out := make(map[string]string)
	for _, c := range r.Configs {
		if c.Source == kmsg.ConfigSourceDynamicTopicConfig {
			out[c.Name] = *c.Value
		}
	}
	return out
}

func TestRefusedConfigurationsSayWhatIsTaken(t *testing.T) {
	s := newStand(t)
	for _, x := range [][3]string{
		{"compression.type", "zip", "producer, uncompressed"},
		{"max.compaction.lag.ms", "1", "no time by which"},
		{"compression.gzip.level", "10", "-1 to 9"},
		{"min.insync.replicas", "0", "1 to 32767"},
		{"min.cleanable.dirty.ratio", "2", "0 to 1"},
		{"preallocate", "yes", "true or false"},
		{"segment.ms", "-1", "from 0 on"},
		{"retention.ms", "-2", "or -1"},
	} {
		err := s.srv.setConfig(&shard.Topic{}, x[0], &x[1])
		if errorCode(err) != codeInvalidConfig || !strings.Contains(err.Error(), x[2]) {
			t.Errorf("%s=%s: %v", x[0], x[1], err)
		}
	}
}

func TestConfigurations(t *testing.T) {
	s := newStand(t)
	s.topic("t", 1, nil)
	w := s.dial()
	type change struct {
		name  string
		op    kmsg.IncrementalAlterConfigOp
		value *string
	}
	alter := func(changes ...change) int16 {
		q := kmsg.NewPtrIncrementalAlterConfigsRequest()
		r := kmsg.NewIncrementalAlterConfigsRequestResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, "t"
		for _, c := range changes {
			r.Configs = append(r.Configs, kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: c.name, Op: c.op, Value: c.value})
		}
		q.Resources = append(q.Resources, r)
		return ask[*kmsg.IncrementalAlterConfigsResponse](w, q, 1).Resources[0].ErrorCode
	}
	const set, del, add, sub = 0, 1, 2, 3
	for i, x := range []struct {
		changes []change
		code    int16
		want    map[string]string
	}{
		{[]change{{"retention.ms", set, ptr("9")}, {"min.insync.replicas", set, ptr("2")}}, 0, map[string]string{"retention.ms": "9", "min.insync.replicas": "2"}},
		{[]change{{"retention.bytes", set, ptr("10")}, {"nonsense", set, ptr("2")}}, codeInvalidConfig, map[string]string{"retention.ms": "9", "min.insync.replicas": "2"}},
		{[]change{{"retention.ms", del, nil}, {"min.insync.replicas", del, nil}}, 0, map[string]string{}},
		{[]change{{"cleanup.policy", add, ptr("compact")}}, 0, map[string]string{"cleanup.policy": "delete,compact"}},
		{[]change{{"cleanup.policy", sub, ptr("delete")}}, 0, map[string]string{"cleanup.policy": "compact"}},
		{[]change{{"retention.ms", add, ptr("1")}}, codeInvalidConfig, map[string]string{"cleanup.policy": "compact"}},
		{[]change{{"robustmq.captures", add, ptr("t,u.*")}, {"cleanup.policy", del, nil}}, 0, map[string]string{"robustmq.captures": "t,u.*"}},
		{[]change{{"robustmq.retention.hard", set, ptr("true")}, {"robustmq.durability", set, ptr("wal")}}, 0, map[string]string{"robustmq.captures": "t,u.*", "robustmq.retention.hard": "true", "robustmq.durability": "wal"}},
		{[]change{{"retention.ms", 9, ptr("1")}}, codeInvalidRequest, nil},
	} {
		if code := alter(x.changes...); code != x.code {
			t.Errorf("step %d: %d, want %d", i, code, x.code)
		}
		if got := w.configs("t"); x.want != nil && !equalMaps(got, x.want) {
			t.Errorf("step %d: %v, want %v", i, got, x.want)
		}
	}
	q := kmsg.NewPtrAlterConfigsRequest()
	r := kmsg.NewAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, "t"
	r.Configs = []kmsg.AlterConfigsRequestResourceConfig{{Name: "max.message.bytes", Value: ptr("500")}}
	q.Resources = append(q.Resources, r)
	if c := ask[*kmsg.AlterConfigsResponse](w, q, 2).Resources[0].ErrorCode; c != 0 {
		t.Errorf("alter: %d", c)
	}
	if got := w.configs("t"); !equalMaps(got, map[string]string{"robustmq.captures": "t,u.*", "max.message.bytes": "500"}) {
		t.Errorf("after the old way to alter: %v", got)
	}
	if p := w.produce("t", batchOf(rec("k", strings.Repeat("x", 600)))); p.ErrorCode != codeMessageTooLarge {
		t.Errorf("max.message.bytes is not enforced: %d", p.ErrorCode)
	}
	q.Resources[0].ResourceType, q.Resources[0].ResourceName = kmsg.ConfigResourceTypeBroker, "1"
	if c := ask[*kmsg.AlterConfigsResponse](w, q, 2).Resources[0].ErrorCode; c != codeInvalidConfig {
		t.Errorf("alter a broker: %d", c)
	}
	d := kmsg.NewPtrDescribeConfigsRequest()
	d.Resources = []kmsg.DescribeConfigsRequestResource{
		{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "1", ConfigNames: []string{"message.max.bytes"}},
		{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "7"}, {ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "none"}, {ResourceType: 99},
	}
	got := ask[*kmsg.DescribeConfigsResponse](w, d, 1).Resources
	if len(got[0].Configs) != 1 || !got[0].Configs[0].ReadOnly || got[1].ErrorCode != codeInvalidRequest || got[2].ErrorCode != codeUnknownTopicOrPartition || got[3].ErrorCode != codeInvalidRequest {
		t.Errorf("described: %+v", got)
	}
}

func equalMaps(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

func TestLogAppendTime(t *testing.T) {
	s := newStand(t)
	s.topic("t", 1, func(t *shard.Topic) { t.Config.AppendTime = true })
	w := s.dial()
	p := w.produce("t", batchOf(rec("k", "v")))
	if p.LogAppendTime < 1_600_000_000_000 {
		t.Errorf("append time %d", p.LogAppendTime)
	}
	cl := s.client(kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if r := poll(t, cl).Records()[0]; r.Timestamp.UnixMilli() != p.LogAppendTime || r.Attrs.TimestampType() != 1 {
		t.Errorf("read with %d, type %d", r.Timestamp.UnixMilli(), r.Attrs.TimestampType())
	}
}

func TestDescribeTopicPartitions(t *testing.T) {
	s := newStand(t)
	s.topic("a", 2, nil)
	s.topic("b", 3, nil)
	w := s.dial()
	var got []string
	var cursor *kmsg.DescribeTopicPartitionsRequestCursor
	for rounds := 0; ; rounds++ {
		q := kmsg.NewPtrDescribeTopicPartitionsRequest()
		q.ResponsePartitionLimit, q.Cursor = 2, cursor
		r := ask[*kmsg.DescribeTopicPartitionsResponse](w, q, 0)
		for _, x := range r.Topics {
			for _, p := range x.Partitions {
				got = append(got, *x.Topic+itoa(p.Partition+1))
			}
		}
		if r.NextCursor == nil {
			break
		}
		if rounds > 5 {
			t.Fatal("the cursor does not end")
		}
		cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: r.NextCursor.Topic, Partition: r.NextCursor.Partition}
	}
	if !slices.Equal(got, []string{"a1", "a2", "b1", "b2", "b3"}) {
		t.Errorf("partitions: %v", got)
	}
	q := kmsg.NewPtrDescribeTopicPartitionsRequest()
	q.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "none"}, {Topic: "a"}, {Topic: "b/d"}}
	r := ask[*kmsg.DescribeTopicPartitionsResponse](w, q, 0)
	if r.Topics[0].ErrorCode != 0 || r.Topics[1].ErrorCode != codeInvalidTopic || r.Topics[2].ErrorCode != codeUnknownTopicOrPartition {
		t.Errorf("by name: %+v", r.Topics)
	}
}

func TestTheRestOfAdmin(t *testing.T) {
	s := newStand(t, withUsers(t, map[string]string{"admin": "admin"}))
	s.topic("t", 2, nil)
	w := s.admin()
	dirs := kmsg.NewPtrDescribeLogDirsRequest()
	dirs.Topics = []kmsg.DescribeLogDirsRequestTopic{{Topic: "t", Partitions: []int32{1, 5}}, {Topic: "none", Partitions: []int32{0}}}
	for v := int16(1); v <= 4; v++ {
		r := ask[*kmsg.DescribeLogDirsResponse](w, dirs, v)
		if len(r.Dirs) != 1 || len(r.Dirs[0].Topics) != 1 || len(r.Dirs[0].Topics[0].Partitions) != 1 {
			t.Errorf("log dirs v%d: %+v", v, r)
		}
	}
	dirs.Topics = nil
	if r := ask[*kmsg.DescribeLogDirsResponse](w, dirs, 4); len(r.Dirs[0].Topics[0].Partitions) != 2 {
		t.Errorf("all log dirs: %+v", r)
	}
	if r := ask[*kmsg.ListPartitionReassignmentsResponse](w, kmsg.NewPtrListPartitionReassignmentsRequest(), 0); r.ErrorCode != 0 || len(r.Topics) != 0 {
		t.Errorf("reassignments: %+v", r)
	}
	if r := ask[*kmsg.DescribeClientQuotasResponse](w, kmsg.NewPtrDescribeClientQuotasRequest(), 1); r.ErrorCode != 0 || r.Entries == nil || len(r.Entries) != 0 {
		t.Errorf("quotas: %+v", r)
	}
	c := kmsg.NewPtrDescribeClusterRequest()
	c.IncludeClusterAuthorizedOperations = true
	for v := int16(0); v <= 2; v++ {
		if r := ask[*kmsg.DescribeClusterResponse](w, c, v); r.ErrorCode != 0 || r.ClusterID != s.mem.Broker().Cluster.ID() || r.ClusterAuthorizedOperations <= 0 {
			t.Errorf("cluster v%d: %+v", v, r)
		}
	}
	c.EndpointType = 2
	if r := ask[*kmsg.DescribeClusterResponse](w, c, 1); r.ErrorCode != codeMismatchedEndpointType {
		t.Errorf("controllers: %d", r.ErrorCode)
	}
}

func TestTopicsOfOtherProtocols(t *testing.T) {
	s := newStand(t)
	s.topic("a/b c", 1, nil)
	w := s.dial()
	r := ask[*kmsg.MetadataResponse](w, kmsg.NewPtrMetadataRequest(), 9)
	name := *r.Topics[0].Topic
	if name != "robustmq-x.a-2fb-20c" {
		t.Fatalf("the topic is %q to Kafka", name)
	}
	cl := s.client(kgo.ConsumeTopics(name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err := cl.ProduceSync(context.Background(), &kgo.Record{Topic: name, Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if got := poll(t, cl).Records()[0]; got.Topic != name {
		t.Errorf("read from %q", got.Topic)
	}
	if s.end("a/b c", 0) != 1 {
		t.Error("the record is not in the topic")
	}
}
