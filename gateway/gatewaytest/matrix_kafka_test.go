package gatewaytest

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/robustmq/robustmq-go/shard"
)

// kafka sends a request and gives its response; nil when the connection ends.
func (w *wire) kafka(q kmsg.Request, version int16) kmsg.Response {
	q.SetVersion(version)
	b := kbin.AppendInt16(make([]byte, 4), q.Key())
	b = kbin.AppendInt16(b, version)
	b = kbin.AppendInt32(b, 1)
	b = kbin.AppendNullableString(b, new("matrix"))
	if q.IsFlexible() {
		b = append(b, 0)
	}
	b = q.AppendTo(b)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	if _, err := w.Write(b); err != nil {
		return nil
	}
	body, err := w.answer()
	if err != nil {
		return nil
	}
	r := kbin.Reader{Src: body}
	resp := q.ResponseKind()
	if resp.IsFlexible() && q.Key() != 18 {
		kmsg.SkipTags(&r)
	}
	if err := resp.ReadFrom(r.Src); err != nil {
		return nil
	}
	return resp
}

// code gives the outcome of an error code; fine ones come after the question.
func code(c int16, fine ...int16) string {
	switch {
	case c == 29 || c == 30 || c == 31:
		return no
	case c == 0 || slices.Contains(fine, c):
		return yes
	}
	return fmt.Sprintf("error %d", c)
}

// kafkaTry makes a row's try of a request for a name.
func kafkaTry[R kmsg.Response](version int16, kind string, ask func(c *cell, name string) kmsg.Request, answer func(r R) string) func(c *cell) string {
	return func(c *cell) string {
		name := c.name(kind)
		q := ask(c, name)
		r, ok := c.wire("kafka").kafka(q, version).(R)
		if !ok {
			return "closed"
		}
		return answer(r)
	}
}

// onTopic is kafkaTry of a topic that is there.
func onTopic[R kmsg.Response](version int16, kind string, ask func(c *cell, name string) kmsg.Request, answer func(r R) string) func(c *cell) string {
	return kafkaTry(version, kind, func(c *cell, name string) kmsg.Request {
		if kind == "all" {
			c.mixed()
		} else {
			c.put(c.topic(name), name)
		}
		return ask(c, name)
	}, answer)
}

// objects are the rows of a verb for what is own and for what is denied.
func objects(verb string, names map[string]string, try func(kind string) func(c *cell) string) (rows []row) {
	for _, kind := range []string{"own", "den", "all"} {
		if object := names[kind]; object != "" {
			rows = append(rows, row{verb: verb, object: object, try: try(kind)})
		}
	}
	return rows
}

var (
	topics = map[string]string{"own": "own topic", "den": "denied topic"}
	groups = map[string]string{"own": "own group", "den": "another's group"}
	read   = map[string]string{"own": "own topic", "den": "denied topic", "all": "topic that captures a denied subject"}
)

func kafkaRows() protocolRows {
	p := protocolRows{name: "kafka", verbs: kafkaVerbs}
	p.rows = append(p.rows, kafkaDataRows()...)
	p.rows = append(p.rows, kafkaGroupRows()...)
	p.rows = append(p.rows, kafkaTopicRows()...)
	p.rows = append(p.rows, kafkaConfigRows()...)
	p.rows = append(p.rows, kafkaClusterRows()...)
	p.rows = append(p.rows, kafkaAccountRows()...)
	return p
}

// kafkaVerbs are what ApiVersions shows, which is what is dispatched.
func kafkaVerbs(t *testing.T) (names []string) {
	h := openWith(t, nil, nil, noOptions())
	r, ok := h.dial("kafka", nil).kafka(kmsg.NewPtrApiVersionsRequest(), 0).(*kmsg.ApiVersionsResponse)
	if !ok {
		t.Fatal("no ApiVersions")
	}
	for _, k := range r.ApiKeys {
		names = append(names, kmsg.NameForKey(k.ApiKey))
	}
	return names
}

func kafkaDataRows() (rows []row) {
	batch := shard.BatchOf(shard.Record{Timestamp: 1, Key: []byte("k"), Value: []byte("v")}).Raw()
	rows = append(rows, objects("Produce", read, func(kind string) func(c *cell) string {
		return onTopic(8, kind, func(_ *cell, name string) kmsg.Request {
			q := kmsg.NewPtrProduceRequest()
			q.Acks, q.TimeoutMillis = -1, 5000
			q.Topics = []kmsg.ProduceRequestTopic{{Topic: name, Partitions: []kmsg.ProduceRequestTopicPartition{{Records: batch}}}}
			return q
		}, func(r *kmsg.ProduceResponse) string { return code(r.Topics[0].Partitions[0].ErrorCode) })
	})...)
	for _, o := range [][2]string{{"captured subject, by a header", ".ok"}, {"denied subject that own topic captures, by a header", ".den"}} {
		rows = append(rows, row{verb: "Produce", object: o[0], try: onTopic(8, "all", func(c *cell, name string) kmsg.Request {
			h := shard.Header{Name: shard.HeaderSubject, Value: []byte(c.name("mix") + o[1])}
			q := kmsg.NewPtrProduceRequest()
			q.Acks, q.TimeoutMillis = -1, 5000
			q.Topics = []kmsg.ProduceRequestTopic{{Topic: name, Partitions: []kmsg.ProduceRequestTopicPartition{{
				Records: shard.BatchOf(shard.Record{Timestamp: 1, Key: []byte("k"), Headers: []shard.Header{h}}).Raw()}}}}
			return q
		}, func(r *kmsg.ProduceResponse) string { return code(r.Topics[0].Partitions[0].ErrorCode) })})
	}
	rows = append(rows, objects("Fetch", read, func(kind string) func(c *cell) string {
		return onTopic(11, kind, func(_ *cell, name string) kmsg.Request {
			q := kmsg.NewPtrFetchRequest()
			q.MinBytes, q.MaxBytes = 1, 1<<20
			part := kmsg.NewFetchRequestTopicPartition()
			part.PartitionMaxBytes = 1 << 20
			q.Topics = []kmsg.FetchRequestTopic{{Topic: name, Partitions: []kmsg.FetchRequestTopicPartition{part}}}
			return q
		}, func(r *kmsg.FetchResponse) string { return fetched(&r.Topics[0].Partitions[0]) })
	})...)
	rows = append(rows, objects("ListOffsets", topics, func(kind string) func(c *cell) string {
		return onTopic(5, kind, func(_ *cell, name string) kmsg.Request {
			q := kmsg.NewPtrListOffsetsRequest()
			part := kmsg.NewListOffsetsRequestTopicPartition()
			part.Timestamp = -1
			q.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: name, Partitions: []kmsg.ListOffsetsRequestTopicPartition{part}}}
			return q
		}, func(r *kmsg.ListOffsetsResponse) string { return code(r.Topics[0].Partitions[0].ErrorCode) })
	})...)
	rows = append(rows, objects("OffsetForLeaderEpoch", topics, func(kind string) func(c *cell) string {
		return onTopic(3, kind, func(_ *cell, name string) kmsg.Request {
			q := kmsg.NewPtrOffsetForLeaderEpochRequest()
			part := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
			q.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: name, Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{part}}}
			return q
		}, func(r *kmsg.OffsetForLeaderEpochResponse) string { return code(r.Topics[0].Partitions[0].ErrorCode) })
	})...)
	return append(rows, row{verb: "InitProducerID", object: "an id", try: kafkaTry(1, "own", func(*cell, string) kmsg.Request {
		q := kmsg.NewPtrInitProducerIDRequest()
		q.TransactionTimeoutMillis = 1000
		return q
	}, func(r *kmsg.InitProducerIDResponse) string { return code(r.ErrorCode) })})
}

// fetched tells whether all that is there came: the mixed topic has two records.
func fetched(p *kmsg.FetchResponseTopicPartition) string {
	if p.ErrorCode != 0 {
		return code(p.ErrorCode)
	}
	bs, err := shard.SplitBatches(p.RecordBatches)
	if err != nil || len(bs) != 1 {
		return fmt.Sprintf("%d batches, %v", len(bs), err)
	}
	if n := bs[0].Count(); n <= bs[0].LastOffsetDelta() {
		return inPart
	}
	return yes
}

func kafkaGroupRows() (rows []row) {
	add := func(verb string, fine []int16, version int16, ask func(group string) kmsg.Request, got func(r kmsg.Response) int16) {
		rows = append(rows, objects(verb, groups, func(kind string) func(c *cell) string {
			return kafkaTry(version, kind, func(_ *cell, name string) kmsg.Request { return ask(name) },
				func(r kmsg.Response) string { return code(got(r), fine...) })
		})...)
	}
	unknownMember, notFound := []int16{25}, []int16{69}
	add("FindCoordinator", nil, 2, func(g string) kmsg.Request {
		q := kmsg.NewPtrFindCoordinatorRequest()
		q.CoordinatorKey = g
		return q
	}, func(r kmsg.Response) int16 { return r.(*kmsg.FindCoordinatorResponse).ErrorCode })
	add("JoinGroup", []int16{79}, 5, func(g string) kmsg.Request { // 79 asks for the member's id again
		q := kmsg.NewPtrJoinGroupRequest()
		q.Group, q.SessionTimeoutMillis, q.RebalanceTimeoutMillis, q.ProtocolType = g, 10_000, 10_000, "consumer"
		q.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
		return q
	}, func(r kmsg.Response) int16 { return r.(*kmsg.JoinGroupResponse).ErrorCode })
	add("SyncGroup", unknownMember, 3, func(g string) kmsg.Request {
		q := kmsg.NewPtrSyncGroupRequest()
		q.Group, q.MemberID = g, "m"
		return q
	}, func(r kmsg.Response) int16 { return r.(*kmsg.SyncGroupResponse).ErrorCode })
	add("Heartbeat", unknownMember, 3, func(g string) kmsg.Request {
		q := kmsg.NewPtrHeartbeatRequest()
		q.Group, q.MemberID = g, "m"
		return q
	}, func(r kmsg.Response) int16 { return r.(*kmsg.HeartbeatResponse).ErrorCode })
	add("LeaveGroup", unknownMember, 2, func(g string) kmsg.Request {
		q := kmsg.NewPtrLeaveGroupRequest()
		q.Group, q.MemberID = g, "m"
		return q
	}, func(r kmsg.Response) int16 { return r.(*kmsg.LeaveGroupResponse).ErrorCode })
	add("DescribeGroups", nil, 4, func(g string) kmsg.Request {
		q := kmsg.NewPtrDescribeGroupsRequest()
		q.Groups = []string{g}
		return q
	}, func(r kmsg.Response) int16 { return r.(*kmsg.DescribeGroupsResponse).Groups[0].ErrorCode })
	add("DeleteGroups", notFound, 1, func(g string) kmsg.Request {
		q := kmsg.NewPtrDeleteGroupsRequest()
		q.Groups = []string{g}
		return q
	}, func(r kmsg.Response) int16 { return r.(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode })
	add("OffsetDelete", notFound, 0, func(g string) kmsg.Request {
		q := kmsg.NewPtrOffsetDeleteRequest()
		q.Group = g
		return q
	}, func(r kmsg.Response) int16 { return r.(*kmsg.OffsetDeleteResponse).ErrorCode })
	add("OffsetFetch", nil, 5, func(g string) kmsg.Request {
		q := kmsg.NewPtrOffsetFetchRequest()
		q.Group = g
		return q
	}, func(r kmsg.Response) int16 { return r.(*kmsg.OffsetFetchResponse).ErrorCode })
	return append(rows, kafkaCommitRows()...)
}

func commit(group, topic string) *kmsg.OffsetCommitRequest {
	q := kmsg.NewPtrOffsetCommitRequest()
	q.Group = group
	part := kmsg.NewOffsetCommitRequestTopicPartition()
	q.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetCommitRequestTopicPartition{part}}}
	return q
}

func kafkaCommitRows() []row {
	answer := func(r *kmsg.OffsetCommitResponse) string { return code(r.Topics[0].Partitions[0].ErrorCode) }
	try := func(group, topic string) func(c *cell) string {
		return onTopic(7, topic, func(c *cell, name string) kmsg.Request { return commit(c.name(group), name) }, answer)
	}
	list := func(kind string) func(c *cell) string {
		return func(c *cell) string {
			c.h.root(c.t, "kafka").kafka(commit(c.name(kind), c.topic(c.name("other")).Name), 7)
			r, ok := c.wire("kafka").kafka(kmsg.NewPtrListGroupsRequest(), 2).(*kmsg.ListGroupsResponse)
			return outcome(ok && slices.ContainsFunc(r.Groups, func(g kmsg.ListGroupsResponseGroup) bool { return g.Group == c.name(kind) }))
		}
	}
	return append([]row{
		{verb: "OffsetCommit", object: "own group and topic", try: try("own", "own")},
		{verb: "OffsetCommit", object: "another's group", try: try("den", "own")},
		{verb: "OffsetCommit", object: "denied topic", try: try("own", "den")},
	}, objects("ListGroups", groups, list)...)
}

func kafkaTopicRows() (rows []row) {
	create := func(kind, captures string) func(c *cell) string {
		return kafkaTry(4, kind, func(c *cell, name string) kmsg.Request {
			q := kmsg.NewPtrCreateTopicsRequest()
			x := kmsg.CreateTopicsRequestTopic{Topic: name, NumPartitions: 1, ReplicationFactor: 1}
			if captures != "" {
				x.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "robustmq.captures", Value: new(c.name(captures) + ".>")}}
			}
			q.Topics = []kmsg.CreateTopicsRequestTopic{x}
			return q
		}, func(r *kmsg.CreateTopicsResponse) string { return code(r.Topics[0].ErrorCode) })
	}
	rows = append(rows, objects("CreateTopics", topics, func(kind string) func(c *cell) string { return create(kind, "") })...)
	rows = append(rows, row{verb: "CreateTopics", object: "topic that captures own subjects", try: create("own", "own.c")},
		row{verb: "CreateTopics", object: "topic that captures a denied subject", try: create("own", "mix")})
	rows = append(rows, objects("DeleteTopics", topics, func(kind string) func(c *cell) string {
		return onTopic(3, kind, func(_ *cell, name string) kmsg.Request {
			q := kmsg.NewPtrDeleteTopicsRequest()
			q.TopicNames = []string{name}
			return q
		}, func(r *kmsg.DeleteTopicsResponse) string { return code(r.Topics[0].ErrorCode) })
	})...)
	rows = append(rows, objects("DeleteRecords", topics, func(kind string) func(c *cell) string {
		return onTopic(1, kind, func(_ *cell, name string) kmsg.Request {
			q := kmsg.NewPtrDeleteRecordsRequest()
			q.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: name, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: -1}}}}
			return q
		}, func(r *kmsg.DeleteRecordsResponse) string { return code(r.Topics[0].Partitions[0].ErrorCode) })
	})...)
	rows = append(rows, objects("CreatePartitions", topics, func(kind string) func(c *cell) string {
		return onTopic(1, kind, func(_ *cell, name string) kmsg.Request {
			q := kmsg.NewPtrCreatePartitionsRequest()
			q.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: name, Count: 3}}
			return q
		}, func(r *kmsg.CreatePartitionsResponse) string { return code(r.Topics[0].ErrorCode) })
	})...)
	for _, verb := range []string{"Metadata", "DescribeTopicPartitions"} {
		rows = append(rows, objects(verb, topics, func(kind string) func(c *cell) string {
			return func(c *cell) string { return outcome(c.listed(verb, c.topic(c.name(kind)).Name)) }
		})...)
	}
	return rows
}

// listed tells whether a topic is among those that are shown.
func (c *cell) listed(verb, name string) bool {
	w := c.wire("kafka")
	if verb == "Metadata" {
		r, ok := w.kafka(kmsg.NewPtrMetadataRequest(), 8).(*kmsg.MetadataResponse)
		return ok && slices.ContainsFunc(r.Topics, func(t kmsg.MetadataResponseTopic) bool { return *t.Topic == name })
	}
	q := kmsg.NewPtrDescribeTopicPartitionsRequest()
	q.ResponsePartitionLimit = 1000
	r, ok := w.kafka(q, 0).(*kmsg.DescribeTopicPartitionsResponse)
	return ok && slices.ContainsFunc(r.Topics, func(t kmsg.DescribeTopicPartitionsResponseTopic) bool { return *t.Topic == name })
}

func kafkaConfigRows() (rows []row) {
	describe := func(kind kmsg.ConfigResourceType, name string) kmsg.Request {
		q := kmsg.NewPtrDescribeConfigsRequest()
		q.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kind, ResourceName: name}}
		return q
	}
	described := func(r *kmsg.DescribeConfigsResponse) string { return code(r.Resources[0].ErrorCode) }
	rows = append(rows, objects("DescribeConfigs", topics, func(kind string) func(c *cell) string {
		return onTopic(3, kind, func(_ *cell, name string) kmsg.Request { return describe(kmsg.ConfigResourceTypeTopic, name) }, described)
	})...)
	rows = append(rows, row{verb: "DescribeConfigs", object: "configuration of the broker", try: kafkaTry(3, "own", func(*cell, string) kmsg.Request {
		return describe(kmsg.ConfigResourceTypeBroker, "1")
	}, described)})
	alter := func(kind, setting, value string) func(c *cell) string {
		return onTopic(0, kind, func(c *cell, name string) kmsg.Request {
			v := value
			if setting == "robustmq.captures" {
				v = c.name(value) + ".>"
			}
			q := kmsg.NewPtrIncrementalAlterConfigsRequest()
			q.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: name,
				Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: setting, Value: &v}}}}
			return q
		}, func(r *kmsg.IncrementalAlterConfigsResponse) string { return code(r.Resources[0].ErrorCode) })
	}
	rows = append(rows, objects("IncrementalAlterConfigs", topics, func(kind string) func(c *cell) string { return alter(kind, "retention.ms", "1000") })...)
	rows = append(rows, row{verb: "IncrementalAlterConfigs", object: "capture of own subjects", try: alter("own", "robustmq.captures", "own.c")},
		row{verb: "IncrementalAlterConfigs", object: "capture of a denied subject", try: alter("own", "robustmq.captures", "mix")})
	return append(rows, objects("AlterConfigs", topics, func(kind string) func(c *cell) string {
		return onTopic(1, kind, func(_ *cell, name string) kmsg.Request {
			q := kmsg.NewPtrAlterConfigsRequest()
			q.Resources = []kmsg.AlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: name}}
			return q
		}, func(r *kmsg.AlterConfigsResponse) string { return code(r.Resources[0].ErrorCode) })
	})...)
}

func kafkaClusterRows() []row {
	try := func(version int16, q func() kmsg.Request, got func(r kmsg.Response) int16) func(c *cell) string {
		return kafkaTry(version, "own", func(*cell, string) kmsg.Request { return q() }, func(r kmsg.Response) string { return code(got(r)) })
	}
	return []row{
		{verb: "ApiVersions", object: "what is served", early: true, try: func(c *cell) string {
			_, ok := c.dial("kafka").kafka(kmsg.NewPtrApiVersionsRequest(), 0).(*kmsg.ApiVersionsResponse)
			return outcome(ok)
		}},
		{verb: "DescribeCluster", object: "the cluster", try: try(0, func() kmsg.Request { return kmsg.NewPtrDescribeClusterRequest() },
			func(r kmsg.Response) int16 { return r.(*kmsg.DescribeClusterResponse).ErrorCode })},
		{verb: "DescribeLogDirs", object: "sizes of all topics", try: try(1, func() kmsg.Request { return kmsg.NewPtrDescribeLogDirsRequest() },
			func(r kmsg.Response) int16 {
				if len(r.(*kmsg.DescribeLogDirsResponse).Dirs) == 0 {
					return 31 // v1 has no code of its own
				}
				return 0
			})},
		{verb: "ElectLeaders", object: "the cluster", try: try(1, func() kmsg.Request { return kmsg.NewPtrElectLeadersRequest() },
			func(r kmsg.Response) int16 { return r.(*kmsg.ElectLeadersResponse).ErrorCode })},
		{verb: "ListPartitionReassignments", object: "the cluster", try: try(0, func() kmsg.Request { return kmsg.NewPtrListPartitionReassignmentsRequest() },
			func(r kmsg.Response) int16 { return r.(*kmsg.ListPartitionReassignmentsResponse).ErrorCode })},
	}
}

// kafkaAccountRows are about credentials, limits and rules. What they change is undone.
func kafkaAccountRows() []row {
	restoring := func(user string, try func(c *cell) string) func(c *cell) string {
		return func(c *cell) string {
			old, _ := c.h.broker.Users.User(user)
			got := try(c)
			if err := c.h.broker.Users.Put(context.Background(), *old); err != nil {
				c.t.Fatal(err)
			}
			return got
		}
	}
	alterSCRAM := func(name string) func(c *cell) string {
		return kafkaTry(0, "own", func(c *cell, _ string) kmsg.Request {
			q := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
			of := name
			if of == "own" {
				of = c.who.user
			}
			q.Upsertions = []kmsg.AlterUserSCRAMCredentialsRequestUpsertion{{Name: of}}
			u := &q.Upsertions[0]
			u.Mechanism, u.Iterations, u.Salt, u.SaltedPassword = 1, 4096, []byte("salt"), make([]byte, 32)
			return q
		}, func(r *kmsg.AlterUserSCRAMCredentialsResponse) string { return code(r.Results[0].ErrorCode) })
	}
	own := func(c *cell) string {
		if c.who.user == "" {
			return "-"
		}
		return restoring(c.who.user, alterSCRAM("own"))(c)
	}
	tryLogin := func(c *cell) string {
		if c.who.user == "" {
			return "-"
		}
		return outcome(c.wire("kafka") != nil)
	}
	return append([]row{
		{verb: "SASLHandshake", object: "a log-in", early: true, try: tryLogin},
		{verb: "SASLAuthenticate", object: "own credentials", early: true, try: tryLogin},
		{verb: "DescribeUserSCRAMCredentials", object: "credentials", try: kafkaTry(0, "own", func(*cell, string) kmsg.Request {
			return kmsg.NewPtrDescribeUserSCRAMCredentialsRequest()
		}, func(r *kmsg.DescribeUserSCRAMCredentialsResponse) string { return code(r.ErrorCode) })},
		{verb: "AlterUserSCRAMCredentials", object: "own credentials", try: own},
		{verb: "AlterUserSCRAMCredentials", object: "another's credentials", try: restoring("bob", func(c *cell) string {
			if c.who.user == "bob" {
				return restoring("eve", alterSCRAM("eve"))(c)
			}
			return alterSCRAM("bob")(c)
		})},
		{verb: "DescribeClientQuotas", object: "limits of users", try: kafkaTry(0, "own", func(*cell, string) kmsg.Request {
			return kmsg.NewPtrDescribeClientQuotasRequest()
		}, func(r *kmsg.DescribeClientQuotasResponse) string { return code(r.ErrorCode) })},
		{verb: "AlterClientQuotas", object: "limits of users", try: kafkaTry(0, "own", func(*cell, string) kmsg.Request {
			q := kmsg.NewPtrAlterClientQuotasRequest()
			q.Entries = []kmsg.AlterClientQuotasRequestEntry{{Entity: []kmsg.AlterClientQuotasRequestEntryEntity{{Type: "user", Name: new("eve")}},
				Ops: []kmsg.AlterClientQuotasRequestEntryOp{{Key: "producer_byte_rate", Remove: true}}}}
			return q
		}, func(r *kmsg.AlterClientQuotasResponse) string { return code(r.Entries[0].ErrorCode) })},
	}, kafkaRuleRows()...)
}

func kafkaRuleRows() []row {
	return []row{
		{verb: "DescribeACLs", object: "rules", try: kafkaTry(1, "own", func(*cell, string) kmsg.Request {
			q := kmsg.NewPtrDescribeACLsRequest()
			q.ResourceType, q.ResourcePatternType, q.Operation, q.PermissionType = 1, 1, 1, 1
			return q
		}, func(r *kmsg.DescribeACLsResponse) string { return code(r.ErrorCode) })},
		{verb: "CreateACLs", object: "rules", try: kafkaTry(1, "own", func(c *cell, name string) kmsg.Request {
			q := kmsg.NewPtrCreateACLsRequest()
			if c.who.column == "superuser" {
				q.Creations = []kmsg.CreateACLsRequestCreation{{ResourceType: 2, ResourceName: name, ResourcePatternType: 3, Principal: "User:nobody", Host: "*", Operation: 3, PermissionType: 3}}
			} else {
				q.Creations = []kmsg.CreateACLsRequestCreation{{ResourceType: 2, ResourceName: "*", ResourcePatternType: 3, Principal: "User:" + c.who.user, Host: "*", Operation: 2, PermissionType: 3}}
			}
			return q
		}, func(r *kmsg.CreateACLsResponse) string { return code(r.Results[0].ErrorCode) })},
		{verb: "DeleteACLs", object: "rules", try: kafkaTry(1, "own", func(*cell, string) kmsg.Request {
			q := kmsg.NewPtrDeleteACLsRequest()
			q.Filters = []kmsg.DeleteACLsRequestFilter{{ResourceType: 2, ResourceName: new("none"), ResourcePatternType: 3, Operation: 1, PermissionType: 1}}
			return q
		}, func(r *kmsg.DeleteACLsResponse) string { return code(r.Results[0].ErrorCode) })},
	}
}
