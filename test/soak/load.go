package soak

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/nats-io/nats.go"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/robustmq-go/test/e2e/clients"
	"github.com/robustmq/robustmq-go/test/harness"
)

const (
	plainTopic   = "soak.kafka"
	keyedTopic   = "soak.keyed"
	group        = "soak-group"
	queue        = "soak-queue"
	session      = "soak-session"
	retryEvery   = 100 * time.Millisecond
	tick         = 20 * time.Millisecond
	stepWithin   = 30 * time.Second
	sessionsLive = 5 // seconds that a session outlives its connection
)

// load is everything that works the broker, and what it counted.
type load struct {
	plan  Plan
	ports harness.Ports
	wg    sync.WaitGroup

	acknowledged [4]atomic.Int64 // messages, by the index of clients.Protocols
	keyed        atomic.Int64
	received     [3]atomic.Int64 // by the Kafka group, the queue, the session
	sessions     atomic.Int64
	last         sync.Map // role to the last error that interrupted it
}

// start starts all roles; they end with the context.
func (l *load) start(ctx context.Context) error {
	if err := l.topics(ctx); err != nil {
		return err
	}
	share := l.plan.Rate / len(clients.Protocols)
	for name, role := range map[string]func(context.Context) error{
		"kafka": func(ctx context.Context) error { return l.kafka(ctx, share) },
		"keyed": l.keyedKafka,
		"mqtt":  func(ctx context.Context) error { return l.mqtt(ctx, share) },
		"nats":  func(ctx context.Context) error { return l.nats(ctx, share) },
		"amqp":  func(ctx context.Context) error { return l.amqp(ctx, share) },

		"group": l.group, "queue": l.queue, "session": l.session, "sessions": l.comeAndGo,
	} {
		l.wg.Go(func() { l.keep(ctx, name, role) })
	}
	return nil
}

// keep runs a role again whenever a restart of the broker ends it.
func (l *load) keep(ctx context.Context, name string, role func(context.Context) error) {
	for ctx.Err() == nil {
		if err := role(ctx); err != nil && ctx.Err() == nil {
			l.last.Store(name, err)
		}
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
		}
	}
}

func (l *load) topics(ctx context.Context) error {
	c, err := clients.DialKafka(l.ports.Kafka)
	if err != nil {
		return err
	}
	defer c.Close()
	adm := kadm.NewClient(c)
	compact := "compact"
	for name, config := range map[string]map[string]*string{plainTopic: nil, keyedTopic: {"cleanup.policy": &compact}} {
		r, err := adm.CreateTopic(ctx, 4, 1, config, name)
		if err == nil {
			err = r.Err
		}
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("create topic %s: %w", name, err)
		}
	}
	return nil
}

// paced calls send often enough for so many bytes a second.
func (l *load) paced(ctx context.Context, rate, size int, send func() error) error {
	t := time.NewTicker(tick)
	defer t.Stop()
	owed := 0.0
	for {
		for owed += float64(rate) * tick.Seconds() / float64(size); owed >= 1; owed-- {
			if err := send(); err != nil {
				return err
			}
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// value makes a message that does not compress.
func value(n int) []byte {
	b := make([]byte, n)
	for i := 0; i+8 <= n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], rand.Uint64())
	}
	return b
}

func (l *load) producer() (*kgo.Client, error) {
	return clients.DialKafka(l.ports.Kafka, kgo.ProducerLinger(5*time.Millisecond), kgo.MaxBufferedRecords(4096),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }))
}

func (l *load) kafka(ctx context.Context, rate int) error {
	c, err := l.producer()
	if err != nil {
		return err
	}
	defer c.Close()
	return l.paced(ctx, rate, l.plan.Message, func() error {
		c.Produce(ctx, &kgo.Record{Topic: plainTopic, Value: value(l.plan.Message)}, func(_ *kgo.Record, err error) {
			if err == nil {
				l.acknowledged[1].Add(1)
			}
		})
		return nil
	})
}

func (l *load) keyedKafka(ctx context.Context) error {
	c, err := l.producer()
	if err != nil {
		return err
	}
	defer c.Close()
	return l.paced(ctx, l.plan.KeyedRate, l.plan.KeyedBytes, func() error {
		key := fmt.Appendf(nil, "key-%06d", rand.IntN(l.plan.Keys))
		c.Produce(ctx, &kgo.Record{Topic: keyedTopic, Key: key, Value: value(l.plan.KeyedBytes)}, func(_ *kgo.Record, err error) {
			if err == nil {
				l.keyed.Add(1)
			}
		})
		return nil
	})
}

// mqttPublishers publish side by side, for each waits for its acknowledgement.
const mqttPublishers = 16

func (l *load) mqtt(ctx context.Context, rate int) error {
	dial, cancel := context.WithTimeout(ctx, stepWithin)
	defer cancel()
	c, err := clients.DialMQTT(dial, l.ports.MQTT, paho.ClientConfig{}, paho.Connect{CleanStart: true, ClientID: "soak-writer"})
	if err != nil {
		return err
	}
	defer func() { _ = c.Disconnect(&paho.Disconnect{}) }()
	ctx, cancel = until(ctx, c.Done())
	defer cancel()
	var wg sync.WaitGroup
	errs := make(chan error, mqttPublishers)
	for range mqttPublishers {
		wg.Go(func() {
			errs <- l.paced(ctx, rate/mqttPublishers, l.plan.Message, func() error {
				step, cancel := context.WithTimeout(ctx, stepWithin)
				defer cancel()
				_, err := c.Publish(step, &paho.Publish{Topic: "soak/mqtt", QoS: 1, Payload: value(l.plan.Message)})
				if err == nil {
					l.acknowledged[0].Add(1)
				}
				return err
			})
		})
	}
	wg.Wait()
	return <-errs
}

func (l *load) nats(ctx context.Context, rate int) error {
	nc, err := clients.DialNATS(l.ports.NATS, nats.NoReconnect())
	if err != nil {
		return err
	}
	defer nc.Close()
	return l.paced(ctx, rate, l.plan.Message, func() error {
		err := nc.Publish("soak.nats", value(l.plan.Message))
		if err == nil {
			l.acknowledged[2].Add(1)
		}
		return err
	})
}

func (l *load) amqp(ctx context.Context, rate int) error {
	c, ch, err := clients.DialAMQP(l.ports.AMQP)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := ch.Confirm(false); err != nil {
		return err
	}
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, 4096))
	go func() {
		for cf := range confirms {
			if cf.Ack {
				l.acknowledged[3].Add(1)
			}
		}
	}()
	return l.paced(ctx, rate, l.plan.Message, func() error {
		return ch.PublishWithContext(ctx, "amq.topic", "soak.amqp", false, false, amqp.Publishing{Body: value(l.plan.Message), DeliveryMode: amqp.Persistent})
	})
}

func (l *load) group(ctx context.Context) error {
	c, err := clients.DialKafka(l.ports.Kafka, kgo.ConsumerGroup(group), kgo.ConsumeTopics(plainTopic, keyedTopic),
		kgo.AutoCommitInterval(500*time.Millisecond))
	if err != nil {
		return err
	}
	defer c.Close()
	for ctx.Err() == nil {
		l.received[0].Add(int64(c.PollFetches(ctx).NumRecords()))
	}
	return nil
}

func (l *load) queue(ctx context.Context) error {
	c, ch, err := clients.DialAMQP(l.ports.AMQP)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := ch.QueueDeclare(queue, true, false, false, false, nil); err != nil {
		return err
	}
	if err := ch.QueueBind(queue, "soak.amqp", "amq.topic", false, nil); err != nil {
		return err
	}
	if err := ch.Qos(200, 0, false); err != nil {
		return err
	}
	ds, err := ch.ConsumeWithContext(ctx, queue, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	for d := range ds {
		if err := d.Ack(false); err != nil {
			return err
		}
		l.received[1].Add(1)
	}
	return nil
}

func (l *load) session(ctx context.Context) error {
	return l.connected(ctx, session, 24*3600, &l.received[2], func(ctx context.Context) error {
		<-ctx.Done()
		return nil
	})
}

// comeAndGo makes sessions that nobody comes back for.
func (l *load) comeAndGo(ctx context.Context) error {
	for ctx.Err() == nil {
		n := l.sessions.Add(1)
		var got atomic.Int64
		if err := l.connected(ctx, fmt.Sprintf("soak-%d", n), sessionsLive, &got, func(ctx context.Context) error {
			select {
			case <-time.After(l.plan.Sessions):
			case <-ctx.Done():
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// connected is a session that subscribes with QoS 1 for as long as during runs.
func (l *load) connected(ctx context.Context, id string, expiry uint32, got *atomic.Int64, during func(context.Context) error) error {
	dial, cancel := context.WithTimeout(ctx, stepWithin)
	defer cancel()
	c, err := clients.DialMQTT(dial, l.ports.MQTT, paho.ClientConfig{
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(paho.PublishReceived) (bool, error) {
			got.Add(1)
			return true, nil
		}},
	}, paho.Connect{ClientID: id, Properties: &paho.ConnectProperties{SessionExpiryInterval: &expiry}})
	if err != nil {
		return err
	}
	if _, err := c.Subscribe(dial, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "soak/mqtt", QoS: 1}}}); err != nil {
		return err
	}
	while, end := until(ctx, c.Done())
	defer end()
	if err := during(while); err != nil {
		return err
	}
	return c.Disconnect(&paho.Disconnect{})
}

// until is a context that ends with a connection too.
func until(ctx context.Context, gone <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-gone:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
