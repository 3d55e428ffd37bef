package everyday

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/eclipse/paho.golang/packets"
	paho "github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats.go"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/robustmq/robustmq-go/test/harness"
)

// mqttGoRefused: paho.mqtt.golang (3.1.1) and paho.golang (5).
func mqttGoRefused(t *testing.T, b *harness.Broker, got chan<- refusal) {
	lost := make(chan error, 4)
	old := func(password string) (mqtt.Client, error) {
		o := mqtt.NewClientOptions().AddBroker("tcp://" + harness.Addr(b.Ports.MQTT)).SetUsername(limitedUser).SetPassword(password).
			SetAutoReconnect(false).SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- fmt.Errorf("connection lost: %w", err) })
		c := mqtt.NewClient(o)
		token := c.Connect()
		token.WaitTimeout(answeredWithin)
		return c, token.Error()
	}
	attempt(got, "paho.mqtt.golang", "wrong password", func() error { _, err := old("wrong"); return err })
	c, err := old(limitedPassword)
	must(t, err)
	attempt(got, "paho.mqtt.golang", "subscribe", func() error {
		token := c.Subscribe("closed/#", 1, nil).(*mqtt.SubscribeToken)
		token.WaitTimeout(answeredWithin)
		return fmt.Errorf("%w %v", token.Error(), token.Result())
	})
	attempt(got, "paho.mqtt.golang", "publish", func() error { c.Publish("closed/x", 1, false, "x"); return wait(lost) })
	c, err = old(limitedPassword)
	must(t, err)
	attempt(got, "paho.mqtt.golang", "too large", func() error { c.Publish("open/x", 1, false, large); return wait(lost) })

	v5 := func(password string) (*paho.Client, error) {
		conn, err := net.DialTimeout("tcp", harness.Addr(b.Ports.MQTT), answeredWithin)
		must(t, err)
		c := paho.NewClient(paho.ClientConfig{Conn: conn, OnServerDisconnect: func(d *paho.Disconnect) {
			lost <- errors.New((&packets.Disconnect{ReasonCode: d.ReasonCode}).Reason())
		}})
		ack, err := c.Connect(t.Context(), &paho.Connect{ClientID: "v5-" + password, CleanStart: true, KeepAlive: 30,
			Username: limitedUser, UsernameFlag: true, Password: []byte(password), PasswordFlag: true})
		if ack != nil && ack.ReasonCode == 0x86 {
			err = fmt.Errorf("bad user name or password: %w", err)
		}
		return c, err
	}
	attempt(got, "paho.golang", "wrong password", func() error { _, err := v5("wrong"); return err })
	c5, err := v5(limitedPassword)
	must(t, err)
	defer func() { _ = c5.Disconnect(&paho.Disconnect{}) }()
	attempt(got, "paho.golang", "publish", func() error {
		_, err := c5.Publish(t.Context(), &paho.Publish{Topic: "closed/x", QoS: 1})
		return err
	})
	attempt(got, "paho.golang", "too large", func() error {
		go func() { _, _ = c5.Publish(t.Context(), &paho.Publish{Topic: "open/x", QoS: 1, Payload: large}) }() // waits on
		return wait(lost)
	})
	c5, err = v5(limitedPassword)
	must(t, err)
	attempt(got, "paho.golang", "subscribe", func() error {
		_, err := c5.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "closed/#", QoS: 1}}})
		return err
	})
}

func wait(ch <-chan error) error {
	select {
	case err := <-ch:
		return err
	case <-time.After(answeredWithin):
		return nil
	}
}

// kafkaGoRefused: franz-go and sarama.
func kafkaGoRefused(t *testing.T, b *harness.Broker, got chan<- refusal) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*answeredWithin)
	defer cancel()
	franz := func(password string, opts ...kgo.Opt) *kgo.Client {
		cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(harness.Addr(b.Ports.Kafka)), kgo.UnknownTopicRetries(1),
			kgo.SASL(plain.Auth{User: limitedUser, Pass: password}.AsMechanism()))...)
		must(t, err)
		return cl
	}
	wrong := franz("wrong")
	defer wrong.Close()
	attempt(got, "franz-go", "wrong password", func() error { return wrong.Ping(ctx) })
	cl := franz(limitedPassword)
	defer cl.Close()
	for name, topic := range map[string]string{"publish": "closed.topic", "unknown": "unknown.topic"} {
		attempt(got, "franz-go", name, func() error { return cl.ProduceSync(ctx, &kgo.Record{Topic: topic}).FirstErr() })
	}
	attempt(got, "franz-go", "too large", func() error {
		return cl.ProduceSync(ctx, &kgo.Record{Topic: "open.topic", Value: large}).FirstErr()
	})
	r := franz(limitedPassword, kgo.ConsumeTopics("closed.topic"))
	defer r.Close()
	attempt(got, "franz-go", "subscribe", func() error { return r.PollFetches(ctx).Err() })
	u := franz(limitedPassword, kgo.KeepRetryableFetchErrors(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"unknown.topic": {0: kgo.NewOffset().AtStart()}}))
	defer u.Close()
	attempt(got, "franz-go", "read unknown", func() error { return u.PollFetches(ctx).Err() })
	saramaRefused(t, b, got)
}

func saramaRefused(t *testing.T, b *harness.Broker, got chan<- refusal) {
	t.Helper()
	config := func(password string) *sarama.Config {
		c := saramaConfig()
		c.Metadata.Retry.Max, c.Producer.Retry.Max, c.Producer.Idempotent, c.Consumer.Return.Errors = 0, 1, false, true
		c.Net.SASL.Enable, c.Net.SASL.User, c.Net.SASL.Password = true, limitedUser, password
		return c
	}
	addrs := []string{harness.Addr(b.Ports.Kafka)}
	attempt(got, "sarama", "wrong password", func() error { _, err := sarama.NewClient(addrs, config("wrong")); return err })
	p, err := sarama.NewSyncProducer(addrs, config(limitedPassword))
	must(t, err)
	defer func() { must(t, p.Close()) }()
	r, err := sarama.NewConsumer(addrs, config(limitedPassword))
	must(t, err)
	defer func() { must(t, r.Close()) }()
	attempt(got, "sarama", "too large", func() error {
		_, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: "open.topic", Value: sarama.ByteEncoder(large)})
		return err
	})
	for _, c := range []struct{ send, read, topic string }{{"publish", "subscribe", "closed.topic"}, {"unknown", "read unknown", "unknown.topic"}} {
		attempt(got, "sarama", c.send, func() error {
			_, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: c.topic, Value: sarama.StringEncoder("x")})
			return err
		})
		attempt(got, "sarama", c.read, func() error {
			p, err := r.ConsumePartition(c.topic, 0, sarama.OffsetOldest)
			if err != nil {
				return err
			}
			defer p.AsyncClose()
			select {
			case err := <-p.Errors():
				return err
			case <-time.After(answeredWithin):
				return nil
			}
		})
	}
}

// natsGoRefused: nats.go.
func natsGoRefused(t *testing.T, b *harness.Broker, got chan<- refusal) {
	told := make(chan error, 4)
	client := func(password string) (*nats.Conn, error) {
		return nats.Connect("nats://"+harness.Addr(b.Ports.NATS), nats.UserInfo(limitedUser, password), nats.NoReconnect(),
			nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { told <- err }))
	}
	attempt(got, "nats.go", "wrong password", func() error { _, err := client("wrong"); return err })
	nc, err := client(limitedPassword)
	must(t, err)
	defer nc.Close()
	attempt(got, "nats.go", "publish", func() error { return errors.Join(nc.Publish("closed.x", nil), wait(told)) })
	attempt(got, "nats.go", "subscribe", func() error {
		_, err := nc.SubscribeSync("closed.>")
		return errors.Join(err, nc.Flush(), wait(told))
	})
	attempt(got, "nats.go", "too large", func() error { return nc.Publish("open.x", large) })
	attempt(got, "nats.go", "unknown", func() error { _, err := nc.Request("unknown.service", nil, answeredWithin); return err })
}

// amqpGoRefused: amqp091-go.
func amqpGoRefused(t *testing.T, b *harness.Broker, got chan<- refusal) {
	dial := func(password string) (*amqp.Connection, error) {
		return amqp.Dial("amqp://" + limitedUser + ":" + password + "@" + harness.Addr(b.Ports.AMQP) + "/")
	}
	attempt(got, "amqp091-go", "wrong password", func() error { _, err := dial("wrong"); return err })
	conn, err := dial(limitedPassword)
	must(t, err)
	defer conn.Close()
	publish := func(exchange, key string, body []byte) func() error {
		return func() error {
			ch, err := conn.Channel()
			must(t, err)
			closed, back := ch.NotifyClose(make(chan *amqp.Error, 1)), ch.NotifyReturn(make(chan amqp.Return, 1))
			must(t, ch.PublishWithContext(t.Context(), exchange, key, true, false, amqp.Publishing{Body: body}))
			select {
			case err := <-closed:
				return err
			case r := <-back:
				return errors.Join(errors.New(r.ReplyText), ch.Close())
			case <-time.After(answeredWithin):
				return nil
			}
		}
	}
	attempt(got, "amqp091-go", "publish", publish("", "closed.queue", nil))
	attempt(got, "amqp091-go", "too large", publish("", "open.queue", large))
	attempt(got, "amqp091-go", "unknown", publish("unknown.exchange", "x", nil))
	attempt(got, "amqp091-go", "unknown queue", publish("", "unknown.queue", nil))
	for name, queue := range map[string]string{"subscribe": "closed.queue", "read unknown": "unknown.queue"} {
		attempt(got, "amqp091-go", name, func() error {
			ch, err := conn.Channel()
			must(t, err)
			if name == "subscribe" {
				_, err = ch.Consume(queue, "", true, false, false, false, nil)
			} else {
				_, err = ch.QueueDeclarePassive(queue, false, false, false, false, nil)
			}
			return err
		})
	}
}
