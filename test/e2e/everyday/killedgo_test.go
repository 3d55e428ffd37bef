package everyday

import (
	"context"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	paho "github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats.go"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/robustmq-go/test/harness"
)

var errNothing = errors.New("nothing comes")

// from gives the next of what a client's callback was told.
func from(came <-chan string) func() (string, error) {
	return func() (string, error) {
		select {
		case v := <-came:
			return v, nil
		case <-time.After(scriptWithin / 2):
			return "", errNothing
		}
	}
}

// TestPahoMQTTGo: paho.mqtt.golang (MQTT 3.1.1) reconnects by itself, publisher and subscriber.
func TestPahoMQTTGo(t *testing.T) {
	b := harness.NewBroker(t, harness.Options{})
	client := func(id string) mqtt.Client {
		c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + harness.Addr(b.Ports.MQTT)).SetClientID(id).
			SetUsername(harness.User).SetPassword(harness.Password).SetCleanSession(false).SetMaxReconnectInterval(time.Second))
		token := c.Connect()
		token.Wait()
		must(t, token.Error())
		return c
	}
	came := make(chan string, 10_000)
	sub := client("go-sub")
	defer sub.Disconnect(100)
	token := sub.Subscribe("ledger/go", 1, func(_ mqtt.Client, m mqtt.Message) { came <- string(m.Payload()) })
	token.Wait()
	must(t, token.Error())
	pub := client("go-pub")
	defer pub.Disconnect(100)
	complete(t, ledger(t, b, func(value string) error {
		token := pub.Publish("ledger/go", 1, false, value)
		if !token.WaitTimeout(scriptWithin) {
			return errNothing
		}
		return token.Error()
	}), from(came))
}

// TestAutopaho: paho.golang's autopaho (MQTT 5) reconnects by itself, and subscribes again on
// every connection as its documentation shows.
func TestAutopaho(t *testing.T) {
	b := harness.NewBroker(t, harness.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 2*scriptWithin)
	defer cancel()
	server, err := url.Parse("mqtt://" + harness.Addr(b.Ports.MQTT))
	must(t, err)
	config := func(id string) autopaho.ClientConfig {
		return autopaho.ClientConfig{
			ServerUrls: []*url.URL{server}, KeepAlive: 20, SessionExpiryInterval: 600, ConnectUsername: harness.User, ConnectPassword: []byte(harness.Password),
			ReconnectBackoff: autopaho.NewConstantBackoff(200 * time.Millisecond), ClientConfig: paho.ClientConfig{ClientID: id},
		}
	}
	came, subscribed := make(chan string, 10_000), make(chan error, 100)
	c := config("autopaho-sub")
	c.OnConnectionUp = func(cm *autopaho.ConnectionManager, _ *paho.Connack) {
		_, err := cm.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "ledger/auto", QoS: 1}}})
		subscribed <- err
	}
	c.OnPublishReceived = []func(paho.PublishReceived) (bool, error){func(m paho.PublishReceived) (bool, error) {
		came <- string(m.Packet.Payload)
		return true, nil
	}}
	sub, err := autopaho.NewConnection(ctx, c)
	must(t, err)
	defer func() { must(t, sub.Disconnect(ctx)) }()
	must(t, <-subscribed)
	pub, err := autopaho.NewConnection(ctx, config("autopaho-pub"))
	must(t, err)
	defer func() { must(t, pub.Disconnect(ctx)) }()
	complete(t, ledger(t, b, func(value string) error {
		if err := pub.AwaitConnection(ctx); err != nil {
			return err
		}
		_, err := pub.Publish(ctx, &paho.Publish{Topic: "ledger/auto", QoS: 1, Payload: []byte(value)})
		return err
	}), from(came))
}

// TestFranzGo: franz-go retries by itself; a consumer that was there all along misses nothing, and
// neither does one that comes later.
func TestFranzGo(t *testing.T) {
	b := harness.NewBroker(t, harness.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 2*scriptWithin)
	defer cancel()
	client := func(opts ...kgo.Opt) *kgo.Client {
		cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(harness.Addr(b.Ports.Kafka)), kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("franz.ledger"))...)
		must(t, err)
		t.Cleanup(cl.Close)
		return cl
	}
	pub := client()
	send := func(value string) error { return pub.ProduceSync(ctx, kgo.StringRecord(value)).FirstErr() }
	must(t, send("first")) // the topic is there from here on
	read := func(cl *kgo.Client) func() (string, error) {
		var ready []*kgo.Record
		return func() (string, error) {
			for len(ready) == 0 {
				fetches := cl.PollFetches(ctx)
				if ctx.Err() != nil {
					return "", errNothing
				}
				ready = fetches.Records() // an error of a broker that is away is tried again by the library
			}
			r := ready[0]
			ready = ready[1:]
			return string(r.Value), nil
		}
	}
	here := read(client(kgo.ConsumeTopics("franz.ledger"), kgo.ConsumerGroup("franz.here"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())))
	complete(t, []string{"first"}, here)
	acknowledged := ledger(t, b, send)
	complete(t, acknowledged, here)
	complete(t, acknowledged, read(client(kgo.ConsumeTopics("franz.ledger"))))
}

// TestNATSGo: nats.go reconnects by itself and subscribes again. NATS has no acknowledgement of a
// publish; here a value counts as acknowledged once a service that stays too has answered it.
func TestNATSGo(t *testing.T) {
	b := harness.NewBroker(t, harness.Options{})
	connect := func() *nats.Conn {
		nc, err := nats.Connect("nats://"+harness.Addr(b.Ports.NATS), nats.UserInfo(harness.User, harness.Password), nats.MaxReconnects(-1), nats.ReconnectWait(200*time.Millisecond))
		must(t, err)
		t.Cleanup(nc.Close)
		return nc
	}
	here := connect()
	came := make(chan string, 10_000)
	_, err := here.Subscribe("go.ledger", func(m *nats.Msg) {
		came <- string(m.Data)
		_ = m.Respond(m.Data) // lost with the broker: it is asked again
	})
	must(t, err)
	must(t, here.Flush())
	pub := connect()
	complete(t, ledger(t, b, func(value string) error {
		m, err := pub.Request("go.ledger", []byte(value), time.Second)
		if err == nil && string(m.Data) != value {
			t.Errorf("%s is answered with %s", value, m.Data)
		}
		return err
	}), from(came))
}

// TestAMQP091Go: amqp091-go as its documentation shows it, reconnecting in the application's loop.
func TestAMQP091Go(t *testing.T) {
	b := harness.NewBroker(t, harness.Options{})
	var conn *amqp.Connection
	open := func() (*amqp.Channel, error) {
		var err error
		if conn, err = amqp.Dial("amqp://" + harness.User + ":" + harness.Password + "@" + harness.Addr(b.Ports.AMQP) + "/"); err != nil {
			return nil, err
		}
		ch, err := conn.Channel()
		if err != nil {
			return nil, err
		}
		_, err = ch.QueueDeclare("go.ledger", true, false, false, false, nil)
		return ch, errors.Join(err, ch.Confirm(false))
	}
	ch, err := open()
	must(t, err)
	acknowledged := ledger(t, b, func(value string) error {
		if ch.IsClosed() {
			next, err := open()
			if err != nil {
				return err
			}
			ch = next
		}
		confirm, err := ch.PublishWithDeferredConfirmWithContext(t.Context(), "", "go.ledger", false, false,
			amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(value)})
		if err != nil {
			return err
		}
		if ok, err := confirm.WaitContext(t.Context()); !ok || err != nil {
			return errors.Join(errNothing, err)
		}
		return nil
	})
	defer func() { must(t, conn.Close()) }()
	complete(t, acknowledged, func() (string, error) {
		m, ok, err := ch.Get("go.ledger", true)
		if !ok && err == nil {
			err = errNothing
		}
		return string(m.Body), err
	})
}
