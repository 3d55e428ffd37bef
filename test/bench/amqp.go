package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Notes that several rows share.
const (
	amqpGo     = "amqp091-go, persistent messages, one publisher with confirms, 500 outstanding"
	amqpFrugal = "our own frugal driver, the same for both servers: frames encoded once and written as many at a time as may be outstanding (500), confirms and deliveries parsed in large reads, every delivery acknowledged by a frame of its own; persistent messages"
	amqpTool   = "RabbitMQ PerfTest for a fixed time: persistent messages, 500 unconfirmed, prefetch 500, every delivery acknowledged; the rate is that of messages received"
	worked     = ", one consumer with manual acks, prefetch 500; the rate is that of messages published, confirmed, delivered and acknowledged. A classic queue syncs in the background; a quorum queue of one member syncs its log before it confirms."
)

func amqpRows(b *bench) []row {
	ours, rabbit := robustmq(amqpPort), rabbitmq()
	const background = "confirmed when written to the queue's index or store; synced with others, at most 200 ms apart"
	quorum := amqp.Table{"x-queue-type": "quorum"}
	type load = func(context.Context, *running) (figure, error)
	sides := func(bar float64, classic load, quorum load) []side {
		s := []side{{server: ours, durability: synced, load: classic}, {server: rabbit, label: "RabbitMQ, classic queue", durability: background, bar: bar, load: classic}}
		if quorum != nil {
			s = append(s, side{server: rabbit, label: "RabbitMQ, quorum queue", durability: synced, bar: bar, load: quorum})
		}
		return s
	}
	return []row{
		{name: "confirms + consume with acks 128 B, 1 queue, amqp091-go", unit: "msg/s", note: amqpGo + worked,
			sides: sides(4, b.amqpWork(128, 40_000, nil), b.amqpWork(128, 40_000, quorum))},
		{name: "confirms + consume with acks 128 B, 1 queue, frugal driver", unit: "msg/s", note: amqpFrugal + worked,
			sides: sides(4, b.wireWork(128, 100_000, 1, nil), b.wireWork(128, 100_000, 1, quorum))},
		{name: "confirms + consume with acks 128 B, 1 queue, PerfTest", unit: "msg/s", note: amqpTool + "; one producer, one consumer.",
			sides: sides(4, b.perfTest(128, 1, false), b.perfTest(128, 1, true))},
		{name: "confirms + consume with acks 128 B, 10 queues, frugal driver", unit: "msg/s", note: amqpFrugal + "; a publisher and a consumer for each queue, each with connections of its own; else as with 1 queue.",
			sides: sides(4, b.wireWork(128, 100_000, 10, nil), b.wireWork(128, 100_000, 10, quorum))},
		{name: "confirms + consume with acks 128 B, 10 queues, PerfTest", unit: "msg/s", note: amqpTool + "; ten producers, ten consumers.",
			sides: sides(4, b.perfTest(128, 10, false), b.perfTest(128, 10, true))},
		{name: "confirms 128 B, 1 queue, amqp091-go", unit: "msg/s", note: amqpGo + ", nobody consumes.",
			sides: sides(4, b.amqpPublish(128, 40_000, 500), nil)},
		{name: "confirms 128 B, 1 queue, frugal driver", unit: "msg/s", note: amqpFrugal + ", nobody consumes.",
			sides: sides(4, b.wirePublishAMQP(128, 100_000, 500), nil)},
		{name: "fan-out to 20 durable queues, 1 KiB, messages published, amqp091-go", unit: "msg/s", note: amqpGo + ", a fanout exchange with 20 queues, nobody consumes. B written/msg tells how often a message is written.",
			sides: sides(10, b.amqpFanOut(1024, 20, 5_000, confirmedBy), nil)},
		{name: "fan-out to 20 durable queues, 1 KiB, messages published, frugal driver", unit: "msg/s", note: amqpFrugal + ", a fanout exchange with 20 queues, nobody consumes.",
			sides: sides(10, b.amqpFanOut(1024, 20, 5_000, wireConfirmed), nil)},
	}
}

// amqpChannel connects and opens a channel.
func amqpChannel(r *running) (*amqp.Connection, *amqp.Channel, error) {
	c, err := amqp.Dial(r.url("amqp") + "/")
	if err != nil {
		return nil, nil, fmt.Errorf("connect by amqp: %w", err)
	}
	ch, err := c.Channel()
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open amqp channel: %w", err), c.Close())
	}
	return c, ch, nil
}

// confirmed publishes n persistent messages with up to window unconfirmed, and returns when all
// are confirmed.
func confirmed(ctx context.Context, ch *amqp.Channel, exchange, key string, size, n, window int) error {
	if err := ch.Confirm(false); err != nil {
		return fmt.Errorf("select confirms: %w", err)
	}
	acks := ch.NotifyPublish(make(chan amqp.Confirmation, window))
	one := func() error {
		select {
		case a, ok := <-acks:
			if !ok || !a.Ack {
				return fmt.Errorf("message %d was not confirmed", a.DeliveryTag)
			}
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	m := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: make([]byte, size)}
	for i := range n {
		if i >= window {
			if err := one(); err != nil {
				return err
			}
		}
		if err := ch.PublishWithContext(ctx, exchange, key, false, false, m); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	for range min(n, window) {
		if err := one(); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) amqpPublish(size, n, window int) func(context.Context, *running) (figure, error) {
	n = b.n(n)
	return func(ctx context.Context, r *running) (figure, error) {
		c, ch, err := amqpChannel(r)
		if err != nil {
			return figure{}, err
		}
		defer c.Close()
		q, err := ch.QueueDeclare(b.name("publish"), true, false, false, false, nil)
		if err != nil {
			return figure{}, fmt.Errorf("declare queue: %w", err)
		}
		began := time.Now()
		if err := confirmed(ctx, ch, "", q.Name, size, n, window); err != nil {
			return figure{}, err
		}
		took := time.Since(began)
		_, err = ch.QueueDelete(q.Name, false, false, false)
		return figure{value: float64(n) / took.Seconds(), messages: n}, err
	}
}

// amqpWork is a publisher and a consumer at once.
func (b *bench) amqpWork(size, n int, args amqp.Table) func(context.Context, *running) (figure, error) {
	n = b.n(n)
	return func(ctx context.Context, r *running) (figure, error) {
		c, ch, err := amqpChannel(r)
		if err != nil {
			return figure{}, err
		}
		defer c.Close()
		q, err := ch.QueueDeclare(b.name("work"), true, false, false, false, args)
		if err != nil {
			return figure{}, fmt.Errorf("declare queue: %w", err)
		}
		c2, in, err := amqpChannel(r)
		if err != nil {
			return figure{}, err
		}
		defer c2.Close()
		if err := in.Qos(500, 0, false); err != nil {
			return figure{}, fmt.Errorf("set prefetch: %w", err)
		}
		deliveries, err := in.ConsumeWithContext(ctx, q.Name, "", false, false, false, false, nil)
		if err != nil {
			return figure{}, fmt.Errorf("consume: %w", err)
		}
		began := time.Now()
		published := make(chan error, 1)
		go func() { published <- confirmed(ctx, ch, "", q.Name, size, n, 500) }()
		if err := acknowledge(ctx, deliveries, n); err != nil {
			return figure{}, err
		}
		if err := <-published; err != nil {
			return figure{}, err
		}
		took := time.Since(began)
		_, err = in.QueueDelete(q.Name, false, false, false)
		return figure{value: float64(n) / took.Seconds(), messages: n}, err
	}
}

// acknowledge takes n messages and acknowledges each.
func acknowledge(ctx context.Context, deliveries <-chan amqp.Delivery, n int) error {
	for i := range n {
		select {
		case d, ok := <-deliveries:
			if !ok {
				return fmt.Errorf("consume: ended after %d of %d messages", i, n)
			}
			if err := d.Ack(false); err != nil {
				return fmt.Errorf("acknowledge: %w", err)
			}
		case <-ctx.Done():
			return fmt.Errorf("consume: %d of %d messages: %w", i, n, ctx.Err())
		}
	}
	return nil
}

// confirmedBy is confirmed with the arguments that amqpFanOut gives.
func confirmedBy(ctx context.Context, _ *running, ch *amqp.Channel, exchange string, size, n int) error {
	return confirmed(ctx, ch, exchange, "", size, n, 500)
}

func wireConfirmed(ctx context.Context, r *running, _ *amqp.Channel, exchange string, size, n int) error {
	c, err := dialAMQPWire(ctx, r)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.publish(exchange, "", size, n, 500)
}

// amqpFanOut publishes to an exchange with some queues, by the driver given.
func (b *bench) amqpFanOut(size, queues, n int, publish func(ctx context.Context, r *running, ch *amqp.Channel, exchange string, size, n int) error) func(context.Context, *running) (figure, error) {
	n = b.n(n)
	return func(ctx context.Context, r *running) (figure, error) {
		c, ch, err := amqpChannel(r)
		if err != nil {
			return figure{}, err
		}
		defer c.Close()
		exchange := b.name("fanout")
		if err := ch.ExchangeDeclare(exchange, "fanout", true, false, false, false, nil); err != nil {
			return figure{}, fmt.Errorf("declare exchange: %w", err)
		}
		for i := range queues {
			q := exchange + "-" + strconv.Itoa(i)
			if _, err := ch.QueueDeclare(q, true, false, false, false, nil); err != nil {
				return figure{}, fmt.Errorf("declare queue: %w", err)
			}
			if err := ch.QueueBind(q, "", exchange, false, nil); err != nil {
				return figure{}, fmt.Errorf("bind queue: %w", err)
			}
		}
		began := time.Now()
		if err := publish(ctx, r, ch, exchange, size, n); err != nil {
			return figure{}, err
		}
		took := time.Since(began)
		f := figure{value: float64(n) / took.Seconds(), messages: n}
		for i := range queues {
			got, err := ch.QueueDelete(exchange+"-"+strconv.Itoa(i), false, false, false)
			if err != nil {
				return f, fmt.Errorf("delete queue: %w", err)
			}
			if got != n {
				return f, fmt.Errorf("queue %d holds %d of %d messages", i, got, n)
			}
		}
		return f, nil
	}
}
