package kafka

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// as is a connection of a user whose password is the name.
func (s *stand) as(user string) *wire {
	s.t.Helper()
	w := s.dial()
	if user == "" {
		return w
	}
	hs := kmsg.NewPtrSASLHandshakeRequest()
	hs.Mechanism = mechanismPlain
	ask[*kmsg.SASLHandshakeResponse](w, hs, 1)
	au := kmsg.NewPtrSASLAuthenticateRequest()
	au.SASLAuthBytes = []byte("\x00" + user + "\x00" + user)
	if r := ask[*kmsg.SASLAuthenticateResponse](w, au, 1); r.ErrorCode != 0 {
		s.t.Fatalf("login of %s: %d", user, r.ErrorCode)
	}
	return w
}

func upsert(user string) *kmsg.AlterUserSCRAMCredentialsRequest {
	q := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	q.Upsertions = []kmsg.AlterUserSCRAMCredentialsRequestUpsertion{{Name: user, Mechanism: scramSHA256, Iterations: 4096,
		Salt: []byte("0123456789"), SaltedPassword: make([]byte, 32)}}
	return q
}

// TestWithoutRules: while there is no rule, who is no superuser publishes and
// subscribes, and nothing else.
func TestWithoutRules(t *testing.T) {
	s := newStand(t, withUsers(t, map[string]string{"admin": "admin", "bob": "bob"}))
	s.topic("t", 1, nil)
	adminBefore, _ := s.mem.Broker().Users.User("admin")
	for _, user := range []string{"", "bob"} {
		w := s.as(user)
		if c := w.produce("t", batchOf(rec("k", "v"))).ErrorCode; c != 0 {
			t.Errorf("%q: produce: %d", user, c)
		}
		if c := ask[*kmsg.FetchResponse](w, fetchReq("t", 0, 0), 12).Topics[0].Partitions[0].ErrorCode; c != 0 {
			t.Errorf("%q: fetch: %d", user, c)
		}
		if c := w.create("made-"+user, 2).ErrorCode; c != 0 {
			t.Errorf("%q: create: %d", user, c)
		}
		refused := func(what string, code, want int16) {
			t.Helper()
			if code != want {
				t.Errorf("%q: %s: code %d, want %d", user, what, code, want)
			}
		}
		refused("another's password", ask[*kmsg.AlterUserSCRAMCredentialsResponse](w, upsert("admin"), 0).Results[0].ErrorCode, codeClusterAuthorizationFailed)
		refused("a new user", ask[*kmsg.AlterUserSCRAMCredentialsResponse](w, upsert("new"), 0).Results[0].ErrorCode, codeClusterAuthorizationFailed)
		refused("users", ask[*kmsg.DescribeUserSCRAMCredentialsResponse](w, kmsg.NewPtrDescribeUserSCRAMCredentialsRequest(), 0).ErrorCode, codeClusterAuthorizationFailed)
		refused("a rule", ask[*kmsg.CreateACLsResponse](w, aclReq(aclTopic, "x", aclLiteral, kafkaOpRead), 2).Results[0].ErrorCode, codeClusterAuthorizationFailed)
		refused("rules", ask[*kmsg.DescribeACLsResponse](w, kmsg.NewPtrDescribeACLsRequest(), 2).ErrorCode, codeClusterAuthorizationFailed)
		refused("quotas", ask[*kmsg.DescribeClientQuotasResponse](w, kmsg.NewPtrDescribeClientQuotasRequest(), 1).ErrorCode, codeClusterAuthorizationFailed)
		refused("retention", w.alter("t", "retention.ms", "1"), codeTopicAuthorizationFailed)
		refused("captures", w.alter("t", "robustmq.captures", ">"), codeTopicAuthorizationFailed)
		refused("a topic with captures", w.createWith("all-"+user, "robustmq.captures", ">"), codeTopicAuthorizationFailed)
		del := kmsg.NewPtrDeleteTopicsRequest()
		del.TopicNames = []string{"t"}
		refused("delete a topic", ask[*kmsg.DeleteTopicsResponse](w, del, 4).Topics[0].ErrorCode, codeTopicAuthorizationFailed)
		dg := kmsg.NewPtrDeleteGroupsRequest()
		dg.Groups = []string{"g"}
		refused("delete a group", ask[*kmsg.DeleteGroupsResponse](w, dg, 2).Groups[0].ErrorCode, codeGroupAuthorizationFailed)
		dr := kmsg.NewPtrDeleteRecordsRequest()
		dr.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: "t", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: 0, Offset: -1}}}}
		refused("delete records", ask[*kmsg.DeleteRecordsResponse](w, dr, 2).Topics[0].Partitions[0].ErrorCode, codeTopicAuthorizationFailed)
	}
	if u, _ := s.mem.Broker().Users.User("admin"); u != adminBefore {
		t.Error("admin's credentials were changed")
	}
	if c := ask[*kmsg.AlterUserSCRAMCredentialsResponse](s.as("bob"), upsert("bob"), 0).Results[0].ErrorCode; c != 0 {
		t.Errorf("one's own password: %d", c)
	}
	q := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	q.Deletions = []kmsg.AlterUserSCRAMCredentialsRequestDeletion{{Name: "admin", Mechanism: scramSHA256}, {Name: "admin", Mechanism: scramSHA512}}
	if c := ask[*kmsg.AlterUserSCRAMCredentialsResponse](s.as("admin"), q, 0).Results[0].ErrorCode; c != codeUnacceptableCredential {
		t.Errorf("the last superuser deletes itself: %d", c)
	}
}

// TestRefusalsSayToLogIn: a newcomer's tool shows the text of a refusal.
func TestRefusalsSayToLogIn(t *testing.T) {
	s := newStand(t, withUsers(t, map[string]string{"admin": "admin", "bob": "bob"}))
	s.topic("t", 1, nil)
	for user, tells := range map[string]bool{"": true, "bob": false} {
		w := s.as(user)
		del := kmsg.NewPtrDeleteTopicsRequest()
		del.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: ptr("t")}}
		for what, text := range map[string]*string{
			"delete a topic": ask[*kmsg.DeleteTopicsResponse](w, del, 6).Topics[0].ErrorMessage,
			"a rule":         ask[*kmsg.CreateACLsResponse](w, aclReq(aclTopic, "x", aclLiteral, kafkaOpRead), 2).Results[0].ErrorMessage,
			"rules":          ask[*kmsg.DescribeACLsResponse](w, kmsg.NewPtrDescribeACLsRequest(), 2).ErrorMessage,
		} {
			if text == nil || strings.Contains(*text, "has not logged in") != tells {
				t.Errorf("%q: %s: %v", user, what, text)
			}
		}
	}
}

func (w *wire) alter(topic, name, value string) int16 {
	q := kmsg.NewPtrIncrementalAlterConfigsRequest()
	q.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: topic,
		Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: name, Value: &value}}}}
	return ask[*kmsg.IncrementalAlterConfigsResponse](w, q, 1).Resources[0].ErrorCode
}

func (w *wire) createWith(topic, name, value string) int16 {
	q := kmsg.NewPtrCreateTopicsRequest()
	q.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: topic, NumPartitions: 1, ReplicationFactor: 1,
		Configs: []kmsg.CreateTopicsRequestTopicConfig{{Name: name, Value: &value}}}}
	return ask[*kmsg.CreateTopicsResponse](w, q, 7).Topics[0].ErrorCode
}

func rulesOf(user string, rules ...string) []shard.ACL {
	var out []shard.ACL
	for i := 0; i < len(rules); i += 3 {
		r := shard.ACL{Principal: user, Resource: rules[i+1], Filter: rules[i+2]}
		op := rules[i]
		if op[0] == '-' {
			r.Deny, op = true, op[1:]
		}
		r.Operation = shard.Operation(op)
		out = append(out, r)
	}
	return out
}

// TestCapturesAreWithinRights: who may manage a topic may not let it take what
// others publish.
func TestCapturesAreWithinRights(t *testing.T) {
	s := newStand(t, withUsers(t, map[string]string{"admin": "admin", "bob": "bob"}, rulesOf("bob",
		"all", "subject", "pub.>", "publish", "subject", "half.>", "all", "subject", "open.>", "-publish", "subject", "open.shut")...))
	s.topic("pub.x", 1, nil)
	s.topic("held", 1, func(t *shard.Topic) { t.Captures = []string{"pub.held.>"} })
	bob, admin := s.as("bob"), s.as("admin")
	for _, c := range []struct {
		filter string
		want   int16
	}{
		{"pub.>", 0}, {"pub.x,pub.y.*", 0}, {"pub.x", 0},
		{">", codeTopicAuthorizationFailed}, {"payroll.>", codeTopicAuthorizationFailed}, {"*.x", codeTopicAuthorizationFailed},
		{"half.>", codeTopicAuthorizationFailed}, {"open.*", codeTopicAuthorizationFailed}, {"pub.x,payroll.boss", codeTopicAuthorizationFailed},
		{"open.wide.>", 0},
	} {
		if got := bob.alter("pub.x", "robustmq.captures", c.filter); got != c.want {
			t.Errorf("alter to capture %s: %d, want %d", c.filter, got, c.want)
		}
		if got := bob.createWith("pub.new", "robustmq.captures", c.filter); (got == codeTopicAuthorizationFailed) != (c.want != 0) {
			t.Errorf("create with %s: %d", c.filter, got)
		}
		_ = s.mem.Broker().Topics.Delete(context.Background(), "pub.new")
	}
	if got := admin.alter("pub.x", "robustmq.captures", "payroll.>"); got != 0 {
		t.Errorf("a superuser captures: %d", got)
	}
	if got := bob.alter("pub.x", "retention.ms", "1000"); got != 0 {
		t.Errorf("another setting, with a capture that is there: %d", got)
	}
}

// TestReadOfCaptured: a topic shows a client the records whose subjects it may
// subscribe to, whatever the topic's name.
func TestReadOfCaptured(t *testing.T) {
	s := newStand(t, withUsers(t, map[string]string{"admin": "admin", "bob": "bob", "eve": "eve"}, append(rulesOf("bob",
		"subscribe", "subject", "all", "subscribe", "subject", "hush.>", "-subscribe", "subject", "hush.secret",
		"subscribe", "subject", "pre", "subscribe", "subject", "one.a"),
		rulesOf("eve", "subscribe", "subject", "all")...)...))
	s.topic("all", 1, func(t *shard.Topic) { t.Captures = []string{"hush.>", "all"} })
	s.topic("pre", 1, func(t *shard.Topic) { t.Captures = []string{"one.>"} })
	s.topic("none", 1, func(t *shard.Topic) { t.Captures = []string{"two.>"} })
	put := func(topic string, subjects ...string) {
		tp, _ := s.mem.Broker().Topics.ByName(topic)
		b := shard.NewBuilder(0)
		for _, x := range subjects {
			r := rec(x, "value of "+x, shard.Header{Name: shard.HeaderSubject, Value: []byte(x)})
			b.Add(&r)
		}
		if _, err := shard.AppendWait(context.Background(), s.mem.Broker().Log, tp.Shard(0), b.Build(), shard.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	put("all", "hush.a", "hush.secret", "hush.b")
	put("all", "hush.secret", "hush.secret")
	put("all", "hush.c")
	put("pre", "one.a", "one.b")
	if c := s.as("eve").produceless("all"); c != 0 { // by the name, of which nothing was published
		t.Errorf("eve: %d", c)
	}
	if c := s.as("bob").produceless("none"); c != codeTopicAuthorizationFailed {
		t.Errorf("bob and a topic of which nothing is his: %d", c)
	}
	read := func(user, topic string, n int) (values []string) {
		opts := []kgo.Opt{kgo.SASL(mechanismOf(mechanismPlain, user, user)), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50 * time.Millisecond)}
		cl := s.client(opts...)
		defer cl.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		for len(values) < n && ctx.Err() == nil {
			fs := cl.PollFetches(ctx)
			fs.EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
		}
		return values
	}
	if got := read("bob", "all", 3); !slices.Equal(got, []string{"value of hush.a", "value of hush.b", "value of hush.c"}) {
		t.Errorf("bob reads all: %q", got)
	}
	if got := read("bob", "pre", 1); !slices.Equal(got, []string{"value of one.a"}) {
		t.Errorf("bob reads pre: %q", got)
	}
	if got := read("admin", "all", 6); len(got) != 6 {
		t.Errorf("admin reads all: %q", got)
	}
	// A batch of which nothing may be seen leads past it.
	r := ask[*kmsg.FetchResponse](s.as("bob"), fetchReq("all", 0, 3), 12).Topics[0].Partitions[0]
	bs, err := shard.SplitBatches(r.RecordBatches)
	if err != nil || len(bs) != 2 || bs[0].Count() != 0 || bs[0].BaseOffset() != 3 || bs[0].LastOffset() != 4 || bs[1].Count() != 1 {
		t.Errorf("the denied batch: %v, %d batches", err, len(bs))
	}
}

// produceless fetches from the start of a topic and gives the code.
func (w *wire) produceless(topic string) int16 {
	return ask[*kmsg.FetchResponse](w, fetchReq(topic, 0, 0), 12).Topics[0].Partitions[0].ErrorCode
}

// TestRuleWithdrawnFromWaitingFetch: a fetch that waits asks again before it
// answers with what came meanwhile.
func TestRuleWithdrawnFromWaitingFetch(t *testing.T) {
	rules := rulesOf("bob", "subscribe", "subject", "t")
	s := newStand(t, withUsers(t, map[string]string{"admin": "admin", "bob": "bob"}, rules...))
	tp := s.topic("t", 1, nil)
	w := s.as("bob")
	q := fetchReq("t", 0, 0)
	q.MaxWaitMillis, q.Version = 30_000, 12
	w.send(q)
	b := s.mem.Broker()
	deadline := time.Now().Add(20 * time.Second)
	for s.ln.Conns()[0].Info().User != "bob" && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if err := b.ACLs.Put(context.Background(), rulesOf("bob", "-subscribe", "subject", "t")...); err != nil {
		t.Fatal(err)
	}
	if _, err := shard.AppendWait(context.Background(), b.Log, tp.Shard(0), shard.BatchOf(rec("k", "secret")), shard.AppendOptions{}); err != nil {
		t.Fatal(err)
	}
	resp, err := w.read(q, w.corr)
	if err != nil {
		t.Fatal(err)
	}
	if p := resp.(*kmsg.FetchResponse).Topics[0].Partitions[0]; p.ErrorCode != codeTopicAuthorizationFailed || len(p.RecordBatches) > 0 {
		t.Errorf("code %d, %d bytes", p.ErrorCode, len(p.RecordBatches))
	}
}
