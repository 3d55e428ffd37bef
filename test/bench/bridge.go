package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kgo"
)

// bridge copies messages from MQTT to Kafka, JetStream and RabbitMQ, many at a time, and acknowledges
// each in order when all three have it: what people run today to have a message read by four protocols.
type bridge struct {
	in   *mqttWire
	k    *kgo.Client
	js   jetstream.JetStream
	ch   *amqp.Channel
	ends []func()
}

// copied is a message on its way.
type copied struct {
	id     [2]byte
	kafka  chan error
	nats   jetstream.PubAckFuture
	rabbit *amqp.DeferredConfirmation
}

func (br *bridge) close() {
	for _, end := range br.ends {
		end()
	}
}

// startBridge connects everywhere and starts to copy.
func startBridge(ctx context.Context, r *running, subject string) (*bridge, error) {
	br := &bridge{}
	nc, err := nats.Connect(r.parts["nats"].url("nats"))
	if err != nil {
		return br, err
	}
	br.ends = append(br.ends, nc.Close)
	if br.js, err = jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(1_000)); err != nil {
		return br, err
	}
	if _, err = br.js.CreateStream(ctx, jetstream.StreamConfig{Name: subject, Subjects: []string{subject}}); err != nil {
		return br, fmt.Errorf("create stream: %w", err)
	}
	if br.k, err = kgoClient(r.parts["kafka"], kgo.DefaultProduceTopic(subject), kgo.ProducerLinger(0)); err != nil {
		return br, err
	}
	br.ends = append(br.ends, br.k.Close)
	c, ch, err := amqpChannel(r.parts["amqp"])
	if err != nil {
		return br, err
	}
	br.ch = ch
	br.ends = append(br.ends, func() { _ = c.Close() })
	if err := ch.Confirm(false); err != nil {
		return br, fmt.Errorf("select confirms: %w", err)
	}
	if br.in, err = dialMQTTWire(ctx, r.parts["mqtt"], subject+"-bridge", 2, 64<<10); err != nil {
		return br, err
	}
	br.ends = append(br.ends, func() { br.in.Close() })
	if err := br.in.subscribe(subject, 1); err != nil {
		return br, err
	}
	under := make(chan copied, 1_000)
	go br.read(ctx, subject, under)
	go br.acknowledge(ctx, under)
	return br, nil
}

// read hands every message to the three; it ends with the connection, and the row fails then for
// want of messages.
func (br *bridge) read(ctx context.Context, subject string, under chan<- copied) {
	defer close(under)
	for {
		err := br.in.receive(func(head byte, body []byte) error {
			if head>>4 != mqttPublish {
				return nil
			}
			at := 2 + int(binary.BigEndian.Uint16(body))
			value := bytes.Clone(body[at+2:])
			m := copied{id: [2]byte(body[at:]), kafka: make(chan error, 1)}
			br.k.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) { m.kafka <- err })
			var err error
			if m.nats, err = br.js.PublishAsync(subject, value); err != nil {
				return err
			}
			m.rabbit, err = br.ch.PublishWithDeferredConfirmWithContext(ctx, "", subject, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: value})
			if err != nil {
				return err
			}
			under <- m
			return nil
		})
		if err != nil {
			return
		}
	}
}

// acknowledge acknowledges to MQTT what all three have, what is ready in one write.
func (br *bridge) acknowledge(ctx context.Context, under <-chan copied) {
	var acks []byte
	for m := range under {
		if err := <-m.kafka; err != nil {
			return
		}
		select {
		case <-m.nats.Ok():
		case err := <-m.nats.Err():
			if err != nil {
				return
			}
		case <-ctx.Done():
			return
		}
		if ok, err := m.rabbit.WaitContext(ctx); err != nil || !ok {
			return
		}
		acks = append(acks, 0x40, 2, m.id[0], m.id[1])
		if len(under) == 0 || len(acks) >= 400 {
			if _, err := br.in.Write(acks); err != nil {
				return
			}
			acks = acks[:0]
		}
	}
}
