package kafka

import (
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
