package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/nats-io/nats.go"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/robustmq-go/test/e2e/clients"
	"github.com/robustmq/robustmq-go/test/harness"
)

// TestAnswersAcrossProtocols: a responder of each protocol answers where its library
// tells it to, and the requester of another one gets the answer.
func TestAnswersAcrossProtocols(t *testing.T) {
	b := harness.NewBroker(t, harness.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	answers := make(chan string, 16)
	m := newMQTTPeer(ctx, t, b, answers)
	n, err := clients.DialNATS(b.Ports.NATS)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	ch := newAMQPPeer(ctx, t, b, answers)
	newKafkaPeer(ctx, t, b)
	if _, err := n.Subscribe("rpc.nats", func(m *nats.Msg) { _ = m.Respond([]byte("nats answers " + string(m.Data))) }); err != nil {
		t.Fatal(err)
	}
	if err := n.Flush(); err != nil {
		t.Fatal(err)
	}
	want := func(what string) {
		t.Helper()
		select {
		case got := <-answers:
			if got != what {
				t.Errorf("got %q, want %q", got, what)
			}
		case <-ctx.Done():
			t.Fatalf("no %q", what)
		}
	}
	for _, to := range []string{"nats", "amqp", "kafka"} {
		props := &paho.PublishProperties{ResponseTopic: "rpc/resp/1", CorrelationData: []byte("c")}
		if _, err := m.Publish(ctx, &paho.Publish{Topic: "rpc/" + to, QoS: 1, Payload: []byte("mqtt"), Properties: props}); err != nil {
			t.Fatal(err)
		}
		want(to + " answers mqtt")
	}
	for _, to := range []string{"nats", "mqtt", "kafka"} {
		msg := amqp.Publishing{Body: []byte("amqp"), ReplyTo: "amq.rabbitmq.reply-to"}
		if err := ch.PublishWithContext(ctx, "", "rpc."+to, false, false, msg); err != nil {
			t.Fatal(err)
		}
		want(to + " answers amqp")
	}
	for _, to := range []string{"amqp", "mqtt"} {
		r, err := n.RequestWithContext(ctx, "rpc."+to, []byte("nats"))
		if err != nil || string(r.Data) != to+" answers nats" {
			t.Errorf("nats asks %s: %+v, %v", to, r, err)
		}
	}
}

// newMQTTPeer answers at rpc/mqtt, and hands on what comes to rpc/resp.
func newMQTTPeer(ctx context.Context, t *testing.T, b *harness.Broker, answers chan<- string) *paho.Client {
	t.Helper()
	c, err := clients.DialMQTT(ctx, b.Ports.MQTT, paho.ClientConfig{OnPublishReceived: []func(paho.PublishReceived) (bool, error){
		func(r paho.PublishReceived) (bool, error) {
			p := r.Packet
			if p.Topic != "rpc/mqtt" {
				answers <- string(p.Payload)
				return true, nil
			}
			go func() {
				_, _ = r.Client.Publish(ctx, &paho.Publish{Topic: p.Properties.ResponseTopic, Payload: append([]byte("mqtt answers "), p.Payload...)})
			}()
			return true, nil
		},
	}}, paho.Connect{CleanStart: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Disconnect(&paho.Disconnect{}) })
	subs := []paho.SubscribeOptions{{Topic: "rpc/mqtt", QoS: 1}, {Topic: "rpc/resp/+", QoS: 1}}
	if _, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: subs}); err != nil {
		t.Fatal(err)
	}
	return c
}

// newAMQPPeer answers at rpc.amqp, and hands on what comes to its direct reply-to.
func newAMQPPeer(ctx context.Context, t *testing.T, b *harness.Broker, answers chan<- string) *amqp.Channel {
	t.Helper()
	c, ch, err := clients.DialAMQP(b.Ports.AMQP)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	replies, err := ch.Consume("amq.rabbitmq.reply-to", "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare("rpc.amqp", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	requests, err := ch.Consume("rpc.amqp", "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for d := range replies {
			answers <- string(d.Body)
		}
	}()
	go func() {
		for d := range requests {
			_ = ch.PublishWithContext(ctx, "", d.ReplyTo, false, false, amqp.Publishing{Body: append([]byte("amqp answers "), d.Body...)})
		}
	}()
	return ch
}

// newKafkaPeer answers at rpc.kafka: it produces to the name in the header reply-to.
func newKafkaPeer(ctx context.Context, t *testing.T, b *harness.Broker) {
	t.Helper()
	c, err := clients.DialKafka(b.Ports.Kafka, kgo.ConsumeTopics("rpc.kafka"), kgo.AllowAutoTopicCreation(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done; c.Close() })
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			c.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
				for _, h := range r.Headers {
					if h.Key == "reply-to" {
						answer := &kgo.Record{Topic: string(h.Value), Value: append([]byte("kafka answers "), r.Value...)}
						_ = c.ProduceSync(ctx, answer).FirstErr()
					}
				}
			})
		}
	}()
}
