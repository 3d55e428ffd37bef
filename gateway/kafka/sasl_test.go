package kafka

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha512"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

func withUsers(t testing.TB, users map[string]string, acls ...shard.ACL) option {
	return withMem(func(o *shardmem.Options) {
		for name, pass := range users {
			u, err := gateway.NewUser(name, pass)
			if err != nil {
				t.Fatal(err)
			}
			u.Superuser = name == "admin"
			o.Users = append(o.Users, u)
		}
		o.ACLs = acls
	})
}

func mechanismOf(name, user, pass string) sasl.Mechanism {
	a := scram.Auth{User: user, Pass: pass}
	switch name {
	case mechanismScram256:
		return a.AsSha256Mechanism()
	case mechanismScram512:
		return a.AsSha512Mechanism()
	}
	return plain.Auth{User: user, Pass: pass}.AsMechanism()
}

func TestLogins(t *testing.T) {
	s := newStand(t, withUsers(t, map[string]string{"admin": "robustmq", "al,ice=": "päss"}), withConfig(func(c *Config) { c.SASLRequired = true }))
	for _, m := range mechanisms {
		for _, x := range []struct {
			user, pass string
			ok         bool
		}{{"admin", "robustmq", true}, {"al,ice=", "päss", true}, {"admin", "wrong", false}, {"nobody", "robustmq", false}, {"admin", "x", false}} {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			err := s.client(kgo.SASL(mechanismOf(m, x.user, x.pass)), kgo.RequestRetries(0)).Ping(ctx)
			cancel()
			if (err == nil) != x.ok || err != nil && !errors.Is(err, kerr.SaslAuthenticationFailed) {
				t.Errorf("%s as %s/%s: %v", m, x.user, x.pass, err)
			}
		}
	}
	w := s.dial()
	w.send(kmsg.NewPtrMetadataRequest())
	if !w.closed() {
		t.Error("a request without a login is served")
	}
	w = s.dial()
	ask[*kmsg.ApiVersionsResponse](w, newAPIVersions(), 3)
	hs := kmsg.NewPtrSASLHandshakeRequest()
	hs.Mechanism = "GSSAPI"
	if r := ask[*kmsg.SASLHandshakeResponse](w, hs, 1); r.ErrorCode != codeUnsupportedSASLMechanism || !slices.Equal(r.SupportedMechanisms, mechanisms) {
		t.Errorf("GSSAPI: %+v", r)
	}
	au := kmsg.NewPtrSASLAuthenticateRequest()
	if r := ask[*kmsg.SASLAuthenticateResponse](w, au, 2); r.ErrorCode != codeIllegalSASLState {
		t.Errorf("a token without a handshake: %d", r.ErrorCode)
	}
	if !w.closed() {
		t.Error("a failed login leaves the connection open")
	}
}

func TestLoginWhereAnonymousIsAllowed(t *testing.T) {
	s := newStand(t, withUsers(t, map[string]string{"admin": "robustmq"}), withAuth(gateway.AuthConfig{}))
	w := s.dial()
	ask[*kmsg.MetadataResponse](w, kmsg.NewPtrMetadataRequest(), 9) // anonymous
	if c := s.ln.Conns(); c[0].Info().User != "anonymous" {
		t.Errorf("the user is %q", c[0].Info().User)
	}
	hs := kmsg.NewPtrSASLHandshakeRequest()
	hs.Mechanism = mechanismPlain
	ask[*kmsg.SASLHandshakeResponse](w, hs, 1)
	au := kmsg.NewPtrSASLAuthenticateRequest()
	au.SASLAuthBytes = []byte("\x00admin\x00robustmq")
	if r := ask[*kmsg.SASLAuthenticateResponse](w, au, 1); r.ErrorCode != 0 {
		t.Fatalf("login: %d", r.ErrorCode)
	}
	if c := s.ln.Conns(); c[0].Info().User != "admin" {
		t.Errorf("the user is %q", c[0].Info().User)
	}
	// Between handshake and token nothing else is served.
	ask[*kmsg.SASLHandshakeResponse](w, hs, 1)
	w.send(kmsg.NewPtrMetadataRequest())
	if !w.closed() {
		t.Error("a request in the middle of a login is served")
	}
	off := newStand(t, withAuth(gateway.AuthConfig{AnonymousOff: true}))
	w = off.dial()
	w.send(kmsg.NewPtrMetadataRequest())
	if !w.closed() {
		t.Error("anonymous access is off, and the request is served")
	}
}

func TestAccessRulesInKafkasWords(t *testing.T) {
	acl := func(op shard.Operation, resource, filter string) shard.ACL {
		return shard.ACL{Principal: "bob", Resource: resource, Filter: filter, Operation: op}
	}
	s := newStand(t, withUsers(t, map[string]string{"bob": "bob", "admin": "admin"},
		acl(shard.OpPublish, "subject", "w"), acl(shard.OpSubscribe, "subject", "r.>"), acl(shard.OpSubscribe, "group", "g*"), acl(shard.OpCreate, "subject", "mine.>")))
	for _, n := range []string{"w", "r.x", "secret"} {
		s.topic(n, 1, nil)
	}
	w := s.dial()
	hs := kmsg.NewPtrSASLHandshakeRequest()
	hs.Mechanism = mechanismPlain
	ask[*kmsg.SASLHandshakeResponse](w, hs, 1)
	au := kmsg.NewPtrSASLAuthenticateRequest()
	au.SASLAuthBytes = []byte("\x00bob\x00bob")
	ask[*kmsg.SASLAuthenticateResponse](w, au, 1)

	for topic, want := range map[string]int16{"w": 0, "r.x": codeTopicAuthorizationFailed, "secret": codeTopicAuthorizationFailed} {
		if c := w.produce(topic, batchOf(rec("k", "v"))).ErrorCode; c != want {
			t.Errorf("produce to %s: %d", topic, c)
		}
	}
	for topic, want := range map[string]int16{"r.x": 0, "w": codeTopicAuthorizationFailed, "secret": codeTopicAuthorizationFailed} {
		if c := ask[*kmsg.FetchResponse](w, fetchReq(topic, 0, 0), 12).Topics[0].Partitions[0].ErrorCode; c != want {
			t.Errorf("fetch from %s: %d", topic, c)
		}
	}
	if c := ask[*kmsg.ListOffsetsResponse](w, listReq("secret", -1), 7).Topics[0].Partitions[0].ErrorCode; c != codeTopicAuthorizationFailed {
		t.Errorf("list offsets: %d", c)
	}
	all := ask[*kmsg.MetadataResponse](w, kmsg.NewPtrMetadataRequest(), 9)
	if len(all.Topics) != 2 {
		t.Errorf("sees %d topics", len(all.Topics))
	}
	if c := w.create("mine.a", 1).ErrorCode; c != 0 {
		t.Errorf("create: %d", c)
	}
	if c := w.create("other", 1).ErrorCode; c != codeTopicAuthorizationFailed {
		t.Errorf("create another: %d", c)
	}
	del := kmsg.NewPtrDeleteTopicsRequest()
	del.TopicNames = []string{"w"}
	if c := ask[*kmsg.DeleteTopicsResponse](w, del, 4).Topics[0].ErrorCode; c != codeTopicAuthorizationFailed {
		t.Errorf("delete: %d", c)
	}
	f := kmsg.NewPtrFindCoordinatorRequest()
	f.CoordinatorKeys = []string{"g1", "other"}
	if r := ask[*kmsg.FindCoordinatorResponse](w, f, 4); r.Coordinators[0].ErrorCode != 0 || r.Coordinators[1].ErrorCode != codeGroupAuthorizationFailed {
		t.Errorf("coordinators: %+v", r.Coordinators)
	}
	x := &fellow{wire: w, group: "other", session: 10_000, rebalance: 10_000, protocols: []string{"range"}}
	if c := x.join(); c != codeGroupAuthorizationFailed {
		t.Errorf("join: %d", c)
	}
	if _, c := w.committed("other", "w"); c != codeGroupAuthorizationFailed {
		t.Errorf("offsets: %d", c)
	}
	if r := ask[*kmsg.CreateACLsResponse](w, aclReq(aclTopic, "x", aclLiteral, kafkaOpRead), 2); r.Results[0].ErrorCode != codeClusterAuthorizationFailed {
		t.Errorf("alter rules: %d", r.Results[0].ErrorCode)
	}
	if r := ask[*kmsg.DescribeACLsResponse](w, kmsg.NewPtrDescribeACLsRequest(), 2); r.ErrorCode != codeClusterAuthorizationFailed {
		t.Errorf("see rules: %d", r.ErrorCode)
	}
}

func aclReq(kind kmsg.ACLResourceType, name string, pattern kmsg.ACLResourcePatternType, op kmsg.ACLOperation) *kmsg.CreateACLsRequest {
	q := kmsg.NewPtrCreateACLsRequest()
	q.Creations = []kmsg.CreateACLsRequestCreation{{ResourceType: kind, ResourceName: name, ResourcePatternType: pattern, Principal: "User:u", Host: "*", Operation: op, PermissionType: aclAllow}}
	return q
}

// admin is a connection that is logged in as the superuser.
func (s *stand) admin() *wire {
	s.t.Helper()
	w := s.dial()
	hs := kmsg.NewPtrSASLHandshakeRequest()
	hs.Mechanism = mechanismPlain
	ask[*kmsg.SASLHandshakeResponse](w, hs, 1)
	au := kmsg.NewPtrSASLAuthenticateRequest()
	au.SASLAuthBytes = []byte("\x00admin\x00admin")
	if r := ask[*kmsg.SASLAuthenticateResponse](w, au, 1); r.ErrorCode != 0 {
		s.t.Fatalf("login: %d", r.ErrorCode)
	}
	return w
}

func TestAccessRulesAreMadeAndSeen(t *testing.T) {
	s := newStand(t, withUsers(t, map[string]string{"admin": "admin"}))
	w := s.admin()
	for _, x := range []struct {
		kind    kmsg.ACLResourceType
		name    string
		pattern kmsg.ACLResourcePatternType
		op      kmsg.ACLOperation
		code    int16
		want    shard.ACL
	}{
		{aclTopic, "orders", aclLiteral, kafkaOpRead, 0, shard.ACL{Resource: "subject", Filter: "orders", Operation: shard.OpSubscribe}},
		{aclTopic, "*", aclLiteral, kafkaOpWrite, 0, shard.ACL{Resource: "subject", Filter: "*", Operation: shard.OpPublish}},
		{aclTopic, "a.", aclPrefixed, kafkaOpDescribe, 0, shard.ACL{Resource: "subject", Filter: "a.>", Operation: shard.OpDescribe}},
		{aclTopic, "b-", aclPrefixed, kafkaOpRead, 0, shard.ACL{Resource: "subject", Filter: "b-*", Operation: shard.OpSubscribe}},
		{aclTopic, "*", aclPrefixed, kafkaOpRead, codeInvalidRequest, shard.ACL{}},
		{aclTopic, "robustmq-x.a", aclPrefixed, kafkaOpRead, codeInvalidRequest, shard.ACL{}},
		{aclTopic, "a/b", aclLiteral, kafkaOpRead, codeInvalidRequest, shard.ACL{}},
		{aclGroup, "g", aclPrefixed, kafkaOpRead, 0, shard.ACL{Resource: "group", Filter: "g*", Operation: shard.OpSubscribe}},
		{aclCluster, "kafka-cluster", aclLiteral, kafkaOpIdempotentWrite, 0, shard.ACL{Resource: "cluster", Filter: "cluster", Operation: shard.OpPublish}},
		{aclCluster, "other", aclLiteral, kafkaOpAlter, codeInvalidRequest, shard.ACL{}},
		{5, "tx", aclLiteral, kafkaOpWrite, codeInvalidRequest, shard.ACL{}},
		{aclTopic, "x", aclLiteral, 77, codeInvalidRequest, shard.ACL{}},
		{aclTopic, "x", aclMatch, kafkaOpRead, codeInvalidRequest, shard.ACL{}},
	} {
		r := ask[*kmsg.CreateACLsResponse](w, aclReq(x.kind, x.name, x.pattern, x.op), 3)
		if r.Results[0].ErrorCode != x.code {
			t.Errorf("%+v: %d", x, r.Results[0].ErrorCode)
		}
		x.want.Principal, x.want.Host = "u", "*"
		if rules := s.mem.Broker().ACLs.Rules(); x.code == 0 && !slices.Contains(rules, x.want) {
			t.Errorf("%+v is not among %+v", x.want, rules)
		}
	}
	see := func(kind kmsg.ACLResourceType, name *string, pattern kmsg.ACLResourcePatternType) (out []string) {
		q := kmsg.NewPtrDescribeACLsRequest()
		q.ResourceType, q.ResourceName, q.ResourcePatternType, q.Operation, q.PermissionType = kind, name, pattern, aclAny, aclAny
		for _, r := range ask[*kmsg.DescribeACLsResponse](w, q, 3).Resources {
			out = append(out, r.ResourceName)
		}
		slices.Sort(out)
		return out
	}
	if got := see(aclAny, nil, aclAny); !slices.Equal(got, []string{"*", "a.", "b-", "g", "kafka-cluster", "orders"}) {
		t.Errorf("all: %v", got)
	}
	if got := see(aclTopic, ptr("a.b"), aclMatch); !slices.Equal(got, []string{"*", "a."}) {
		t.Errorf("what applies to a.b: %v", got)
	}
	if got := see(aclTopic, ptr("b-"), aclPrefixed); !slices.Equal(got, []string{"b-"}) {
		t.Errorf("the prefix b-: %v", got)
	}
	if got := see(aclTopic, ptr("b-1.x"), aclMatch); !slices.Equal(got, []string{"*", "b-"}) {
		t.Errorf("what applies to b-1.x: %v", got)
	}
	if got := see(aclTopic, ptr("orders"), aclLiteral); !slices.Equal(got, []string{"orders"}) {
		t.Errorf("of orders: %v", got)
	}
	q := kmsg.NewPtrDeleteACLsRequest()
	q.Filters = []kmsg.DeleteACLsRequestFilter{{ResourceType: aclTopic, ResourcePatternType: aclAny, Operation: aclAny, PermissionType: aclAny}}
	if r := ask[*kmsg.DeleteACLsResponse](w, q, 3); len(r.Results[0].MatchingACLs) != 4 || len(s.mem.Broker().ACLs.Rules()) != 2 {
		t.Errorf("deleted: %+v", r.Results)
	}
}

func TestCredentialsAreMadeAndUsed(t *testing.T) {
	s := newStand(t, withUsers(t, map[string]string{"admin": "admin"}))
	w := s.admin()
	salt := []byte("0123456789")
	salted, err := pbkdf2.Key(sha512.New, "secret", salt, 5000, 64)
	if err != nil {
		t.Fatal(err)
	}
	put := func(user string, mechanism int8, iterations int32, salted []byte) int16 {
		q := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
		q.Upsertions = []kmsg.AlterUserSCRAMCredentialsRequestUpsertion{{Name: user, Mechanism: mechanism, Iterations: iterations, Salt: salt, SaltedPassword: salted}}
		return ask[*kmsg.AlterUserSCRAMCredentialsResponse](w, q, 0).Results[0].ErrorCode
	}
	drop := func(user string, mechanism int8) int16 {
		q := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
		q.Deletions = []kmsg.AlterUserSCRAMCredentialsRequestDeletion{{Name: user, Mechanism: mechanism}}
		return ask[*kmsg.AlterUserSCRAMCredentialsResponse](w, q, 0).Results[0].ErrorCode
	}
	if c := put("new", scramSHA512, 100, salted); c != codeUnacceptableCredential {
		t.Errorf("few iterations: %d", c)
	}
	if c := put("new", 9, 5000, salted); c != codeUnsupportedSASLMechanism {
		t.Errorf("no such mechanism: %d", c)
	}
	if c := put("new", scramSHA512, 5000, salted[:10]); c != codeUnacceptableCredential {
		t.Errorf("short password: %d", c)
	}
	if c := drop("new", scramSHA512); c != codeResourceNotFound {
		t.Errorf("drop what is not there: %d", c)
	}
	if c := put("new", scramSHA512, 5000, salted); c != 0 {
		t.Fatalf("put: %d", c)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := s.client(kgo.SASL(mechanismOf(mechanismScram512, "new", "secret"))).Ping(ctx); err != nil {
		t.Errorf("the new user cannot log in: %v", err)
	}
	q := kmsg.NewPtrDescribeUserSCRAMCredentialsRequest()
	q.Users = []kmsg.DescribeUserSCRAMCredentialsRequestUser{{Name: "new"}, {Name: "none"}, {Name: "admin"}, {Name: "admin"}}
	r := ask[*kmsg.DescribeUserSCRAMCredentialsResponse](w, q, 0)
	if len(r.Results) != 3 || r.Results[0].CredentialInfos[0].Iterations != 5000 || r.Results[1].ErrorCode != codeResourceNotFound || r.Results[2].ErrorCode != codeDuplicateResource {
		t.Errorf("described: %+v", r.Results)
	}
	if c := drop("new", scramSHA512); c != 0 {
		t.Errorf("drop: %d", c)
	}
	if _, ok := s.mem.Broker().Users.User("new"); ok {
		t.Error("a user without credentials is still there")
	}
	anon := s.dial()
	if r := ask[*kmsg.DescribeUserSCRAMCredentialsResponse](anon, kmsg.NewPtrDescribeUserSCRAMCredentialsRequest(), 0); r.ErrorCode != codeClusterAuthorizationFailed {
		t.Errorf("anonymous sees the users: %d", r.ErrorCode)
	}
}
