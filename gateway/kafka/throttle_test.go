package kafka

import (
	"math"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"
)

// throttles keeps what franz-go is told.
type throttles chan time.Duration

func (h throttles) OnBrokerThrottle(_ kgo.BrokerMetadata, d time.Duration, after bool) {
	if after { // KIP-219: the client is the one to wait
		h <- d
	}
}

func TestThrottleIsTold(t *testing.T) {
	const rate = 64 << 10
	bob, err := gateway.NewUser("bob", "bob-password")
	if err != nil {
		t.Fatal(err)
	}
	bob.BytesPerSecond, bob.Superuser = rate, true
	s := newStand(t, withMem(func(o *shardmem.Options) { o.Users = []shard.User{bob} }))
	told := make(throttles, 1000)
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.addr), kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("throttled"), kgo.WithHooks(told),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.SASL(plain.Auth{User: "bob", Pass: "bob-password"}.AsMechanism()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(t.Context(), kgo.StringRecord("small")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if len(told) > 0 {
		t.Errorf("throttled for %v within the rate", <-told)
	}
	// A second's worth comes at once, so two more are owed.
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Value: make([]byte, 3*rate)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	select {
	case d := <-told:
		if d <= 0 || d > maxThrottle {
			t.Errorf("throttled for %v", d)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the client is told nothing")
	}
	for name, want := range map[string]int{"bob": 1, "eve": 0} {
		q := kmsg.NewPtrDescribeClientQuotasRequest()
		q.Components = []kmsg.DescribeClientQuotasRequestComponent{{EntityType: "user", Match: &name}}
		r, err := q.RequestWith(t.Context(), cl)
		if err != nil || r.ErrorCode != 0 || len(r.Entries) != want {
			t.Fatalf("quotas of %s: %+v, %v", name, r, err)
		}
		if want == 1 && (r.Entries[0].Values[0].Value != rate || *r.Entries[0].Entity[0].Name != name) {
			t.Errorf("quota of %s: %+v", name, r.Entries)
		}
	}
}

func TestAlterClientQuotas(t *testing.T) {
	s := newStand(t, withUsers(t, map[string]string{"admin": "admin", "bob": "bob"},
		shard.ACL{Principal: "bob", Resource: "subject", Filter: "bobs", Operation: shard.OpAll}))
	as := func(name string) *kgo.Client {
		return s.client(kgo.SASL(plain.Auth{User: name, Pass: name}.AsMechanism()))
	}
	alter := func(cl *kgo.Client, kind string, name *string, validateOnly bool, ops ...kmsg.AlterClientQuotasRequestEntryOp) int16 {
		t.Helper()
		q := kmsg.NewPtrAlterClientQuotasRequest()
		q.ValidateOnly = validateOnly
		q.Entries = []kmsg.AlterClientQuotasRequestEntry{{Entity: []kmsg.AlterClientQuotasRequestEntryEntity{{Type: kind, Name: name}}, Ops: ops}}
		r, err := q.RequestWith(t.Context(), cl)
		if err != nil || len(r.Entries) != 1 || r.Entries[0].Entity[0].Type != kind {
			t.Fatalf("%+v, %v", r, err)
		}
		return r.Entries[0].ErrorCode
	}
	admin := as("admin")
	rate := func(v float64) kmsg.AlterClientQuotasRequestEntryOp {
		return kmsg.AlterClientQuotasRequestEntryOp{Key: producerByteRate, Value: v}
	}
	for _, x := range []struct {
		what         string
		cl           *kgo.Client
		kind         string
		name         *string
		validateOnly bool
		op           kmsg.AlterClientQuotasRequestEntryOp
		code         int16
		then         int64 // bob's
	}{
		{"validate", admin, "user", ptr("bob"), true, rate(5000), 0, 0},
		{"set", admin, "user", ptr("bob"), false, rate(5000.7), 0, 5000},
		{"not allowed", as("bob"), "user", ptr("bob"), false, rate(1e9), codeClusterAuthorizationFailed, 5000},
		{"unknown user", admin, "user", ptr("eve"), false, rate(5000), codeInvalidRequest, 5000},
		{"default user", admin, "user", nil, false, rate(5000), codeInvalidRequest, 5000},
		{"client id", admin, "client-id", ptr("bob"), false, rate(5000), codeInvalidRequest, 5000},
		{"consumers", admin, "user", ptr("bob"), false, kmsg.AlterClientQuotasRequestEntryOp{Key: "consumer_byte_rate", Value: 1}, codeInvalidRequest, 5000},
		{"nothing", admin, "user", ptr("bob"), false, rate(0), codeInvalidRequest, 5000},
		{"no number", admin, "user", ptr("bob"), false, rate(math.NaN()), codeInvalidRequest, 5000},
		{"remove", admin, "user", ptr("bob"), false, kmsg.AlterClientQuotasRequestEntryOp{Key: producerByteRate, Remove: true}, 0, 0},
	} {
		if code := alter(x.cl, x.kind, x.name, x.validateOnly, x.op); code != x.code {
			t.Errorf("%s: code %d, want %d", x.what, code, x.code)
		}
		if u, _ := s.mem.Broker().Users.User("bob"); u.BytesPerSecond != x.then {
			t.Errorf("%s: the rate is %d, want %d", x.what, u.BytesPerSecond, x.then)
		}
	}
}
