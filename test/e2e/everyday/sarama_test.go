package everyday

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/robustmq/robustmq-go/test/harness"
)

// saramaConfig is what an application sets: the bounds on what a broker's absence may cost, and
// that the answers of the synchronous producer are wanted.
func saramaConfig() *sarama.Config {
	c := sarama.NewConfig()
	c.ClientID = "everyday"
	c.Version = sarama.MaxVersion
	c.Metadata.AllowAutoTopicCreation = false
	c.Metadata.Retry.Max, c.Metadata.Retry.Backoff = 50, 100*time.Millisecond
	c.Producer.Return.Successes = true
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Retry.Max, c.Producer.Retry.Backoff = 100, 100*time.Millisecond
	c.Producer.Idempotent = true
	c.Net.MaxOpenRequests = 1
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Group.Rebalance.Timeout = 10 * time.Second
	c.Consumer.Group.Heartbeat.Interval = 200 * time.Millisecond
	return c
}

// groupMember is a sarama.ConsumerGroupHandler that keeps what it gets and commits it.
type groupMember struct {
	mu   sync.Mutex
	got  []*sarama.ConsumerMessage
	came chan struct{}
}

func (*groupMember) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*groupMember) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (m *groupMember) ConsumeClaim(s sarama.ConsumerGroupSession, c sarama.ConsumerGroupClaim) error {
	for msg := range c.Messages() {
		m.mu.Lock()
		m.got = append(m.got, msg)
		m.mu.Unlock()
		s.MarkMessage(msg, "")
		select {
		case m.came <- struct{}{}:
		default:
		}
	}
	return nil
}

// values returns the distinct values so far, sorted.
func (m *groupMember) values() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []string
	for _, msg := range m.got {
		all = append(all, string(msg.Value))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// saramaGroup consumes as a member of a group until n distinct values came, or 10 s are over.
func saramaGroup(t *testing.T, addr, group, topic string, n int) *groupMember {
	t.Helper()
	g, err := sarama.NewConsumerGroup([]string{addr}, group, saramaConfig())
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	m := &groupMember{came: make(chan struct{}, 1)}
	ended := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			if err := g.Consume(ctx, []string{topic}, m); err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	for len(m.values()) < n && ctx.Err() == nil {
		select {
		case <-m.came:
		case <-ctx.Done():
		}
	}
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("consume as %s: %v", group, err)
	}
	must(t, g.Close())
	return m
}

// TestSarama: a synchronous idempotent producer with every compression, a consumer group,
// refusals, and a killed broker.
func TestSarama(t *testing.T) {
	b := harness.NewBroker(t, harness.Options{Config: "kafka:\n  auto_create_topics: false\n"})
	addr := harness.Addr(b.Ports.Kafka)
	admin, err := sarama.NewClusterAdmin([]string{addr}, saramaConfig())
	must(t, err)
	defer func() { _ = admin.Close() }()
	small := "10000"
	for topic, d := range map[string]*sarama.TopicDetail{
		"sarama":        {NumPartitions: 3, ReplicationFactor: 1},
		"sarama.ledger": {NumPartitions: 1, ReplicationFactor: 1},
		"sarama.small":  {NumPartitions: 1, ReplicationFactor: 1, ConfigEntries: map[string]*string{"max.message.bytes": &small}},
	} {
		must(t, admin.CreateTopic(topic, d, false))
	}
	if err := admin.CreateTopic("sarama", &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}, false); !errors.Is(err, sarama.ErrTopicAlreadyExists) {
		t.Errorf("create a topic twice: %v", err)
	}
	saramaProduceAndConsume(t, addr)
	saramaRefusals(t, addr)
	saramaKilled(t, b, addr)
}

func saramaProduceAndConsume(t *testing.T, addr string) {
	t.Helper()
	var want []string
	for codec := sarama.CompressionNone; codec <= sarama.CompressionZSTD; codec++ {
		c := saramaConfig()
		c.Producer.Compression = codec
		p, err := sarama.NewSyncProducer([]string{addr}, c)
		must(t, err)
		var msgs []*sarama.ProducerMessage
		for i := range 20 {
			v := fmt.Sprintf("%s-%02d-%s", codec, i, strings.Repeat("abc", 200))
			want = append(want, v)
			msgs = append(msgs, &sarama.ProducerMessage{
				Topic: "sarama", Key: sarama.StringEncoder(v[:7]), Value: sarama.StringEncoder(v),
				Headers: []sarama.RecordHeader{{Key: []byte("h"), Value: []byte("1")}, {Key: []byte("h"), Value: []byte("2")}},
			})
		}
		must(t, p.SendMessages(msgs))
		must(t, p.Close())
	}
	slices.Sort(want)
	m := saramaGroup(t, addr, "sarama-group", "sarama", len(want))
	if got := m.values(); !slices.Equal(got, want) || len(m.got) != len(want) {
		t.Fatalf("got %d messages, %d of them different, want %d", len(m.got), len(got), len(want))
	}
	for _, msg := range m.got {
		if len(msg.Headers) != 2 || string(msg.Headers[1].Value) != "2" || string(msg.Key) != string(msg.Value[:7]) {
			t.Fatalf("message changed: key %q, headers %v", msg.Key, msg.Headers)
		}
	}
	p, err := sarama.NewSyncProducer([]string{addr}, saramaConfig())
	must(t, err)
	_, _, err = p.SendMessage(&sarama.ProducerMessage{Topic: "sarama", Value: sarama.StringEncoder("more")})
	must(t, err)
	must(t, p.Close())
	if got := saramaGroup(t, addr, "sarama-group", "sarama", 1).values(); !slices.Equal(got, []string{"more"}) {
		t.Errorf("after what the group has committed come %d values", len(got))
	}
}

func saramaRefusals(t *testing.T, addr string) {
	t.Helper()
	for password, right := range map[string]bool{harness.Password: true, "wrong": false} {
		c := saramaConfig()
		c.Metadata.Retry.Max = 0
		c.Net.SASL.Enable, c.Net.SASL.Mechanism = true, sarama.SASLTypePlaintext
		c.Net.SASL.User, c.Net.SASL.Password = harness.User, password
		client, err := sarama.NewClient([]string{addr}, c)
		if right {
			must(t, err)
			must(t, client.Close())
		} else if !errors.Is(err, sarama.ErrSASLAuthenticationFailed) {
			t.Errorf("a wrong password: %v", err)
		}
	}
	c := saramaConfig()
	c.Metadata.Retry.Max, c.Producer.Retry.Max = 0, 1
	c.Producer.Idempotent = false
	p, err := sarama.NewSyncProducer([]string{addr}, c)
	must(t, err)
	defer func() { must(t, p.Close()) }()
	for topic, want := range map[string]error{"sarama.small": sarama.ErrMessageSizeTooLarge, "sarama.none": sarama.ErrUnknownTopicOrPartition} {
		_, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.ByteEncoder(make([]byte, 20_000))})
		if !errors.Is(err, want) {
			t.Errorf("send 20000 bytes to %s: %v, want %v", topic, err, want)
		}
	}
}

// saramaKilled: what was acknowledged before, while and after the broker was away is there, in
// order.
func saramaKilled(t *testing.T, b *harness.Broker, addr string) {
	t.Helper()
	p, err := sarama.NewSyncProducer([]string{addr}, saramaConfig())
	must(t, err)
	acknowledged := ledger(t, b, func(value string) error {
		_, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: "sarama.ledger", Value: sarama.StringEncoder(value)})
		if err != nil {
			t.Errorf("send %s: %v, but it retries by itself", value, err)
		}
		return err
	})
	must(t, p.Close())
	m := saramaGroup(t, addr, "sarama-ledger", "sarama.ledger", len(acknowledged))
	if got := m.values(); !slices.Equal(got, acknowledged) || len(m.got) != len(acknowledged) {
		t.Errorf("acknowledged %d, read %d, of these %d different", len(acknowledged), len(m.got), len(got))
	}
}
