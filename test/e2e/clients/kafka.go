package clients

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/robustmq/robustmq-go/test/harness"
)

// maxKafkaBatch lets messages of a MiB and more through the client.
const maxKafkaBatch = 16 << 20

// DialKafka makes a Kafka client that creates topics on first use.
func DialKafka(port int, opts ...kgo.Opt) (*kgo.Client, error) {
	c, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(harness.Addr(port)), kgo.AllowAutoTopicCreation(), kgo.ProducerBatchMaxBytes(maxKafkaBatch),
	}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("connect by kafka: %w", err)
	}
	return c, nil
}

// DialKafkaAdmin logs in as the superuser: who has no login creates topics, publishes and reads.
func DialKafkaAdmin(port int, opts ...kgo.Opt) (*kgo.Client, error) {
	admin := plain.Auth{User: harness.User, Pass: harness.Password}
	return DialKafka(port, append([]kgo.Opt{kgo.SASL(admin.AsMechanism())}, opts...)...)
}

type kafkaWriter struct{ c *kgo.Client }

func newKafkaWriter(port int) (Writer, error) {
	c, err := DialKafka(port)
	if err != nil {
		return nil, err
	}
	return kafkaWriter{c}, nil
}

func (w kafkaWriter) Close() { w.c.Close() }

func (w kafkaWriter) Write(ctx context.Context, m Message) error {
	r := &kgo.Record{Topic: m.Name, Key: m.Key, Value: m.Value, Timestamp: m.Time}
	for _, h := range headersAndFields(m) {
		if h.Typed != nil {
			return errTyped
		}
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Name, Value: h.Value})
	}
	if err := w.c.ProduceSync(ctx, r).FirstErr(); err != nil {
		return fmt.Errorf("produce: %w", err)
	}
	return nil
}

type kafkaReader struct {
	*inbox
	c    *kgo.Client
	done chan struct{}
}

func newKafkaReader(port int, filter string) (Reader, error) {
	opts := []kgo.Opt{kgo.ConsumeTopics(filter), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(500 * time.Millisecond)}
	if strings.HasPrefix(filter, "^") {
		opts = append(opts, kgo.ConsumeRegex())
	}
	c, err := DialKafka(port, opts...)
	if err != nil {
		return nil, err
	}
	r := &kafkaReader{newInbox(), c, make(chan struct{})}
	go r.poll()
	return r, nil
}

func (r *kafkaReader) poll() {
	defer close(r.done)
	for {
		fs := r.c.PollFetches(context.Background())
		if fs.IsClientClosed() {
			return
		}
		fs.EachRecord(func(rec *kgo.Record) { r.put(kafkaMessage(rec)) })
	}
}

func (r *kafkaReader) Close() {
	r.c.Close()
	<-r.done
	r.end()
}

func kafkaMessage(rec *kgo.Record) Message {
	m := Message{Name: rec.Topic, Key: rec.Key, Value: rec.Value, Time: rec.Timestamp}
	for _, h := range rec.Headers {
		m.Headers = append(m.Headers, Header{Name: h.Key, Value: h.Value})
	}
	return m
}

// ReadRange reads a partition's records from one offset up to, not including, another.
func ReadRange(ctx context.Context, port int, topic string, partition int32, from, to int64) ([]*kgo.Record, error) {
	if from >= to {
		return nil, nil
	}
	c, err := DialKafka(port, kgo.FetchMaxWait(500*time.Millisecond), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		topic: {partition: kgo.NewOffset().At(from)},
	}))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var all []*kgo.Record
	for {
		fs := c.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return all, fmt.Errorf("read %s/%d from %d to %d: have %d records: %w", topic, partition, from, to, len(all), err)
		}
		for _, e := range fs.Errors() {
			return all, fmt.Errorf("read %s/%d: %w", topic, partition, e.Err)
		}
		for it := fs.RecordIter(); !it.Done(); {
			if r := it.Next(); r.Offset < to {
				all = append(all, r)
			}
		}
		if n := len(all); n > 0 && all[n-1].Offset >= to-1 {
			return all, nil
		}
	}
}
