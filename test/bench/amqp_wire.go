package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/robustmq/robustmq-go/test/harness"
)

// wireQueue declares a durable queue and returns what deletes it.
func wireQueue(r *running, name string, args amqp.Table) (func() error, error) {
	c, ch, err := amqpChannel(r)
	if err != nil {
		return nil, err
	}
	if _, err := ch.QueueDeclare(name, true, false, false, false, args); err != nil {
		return nil, errors.Join(fmt.Errorf("declare queue: %w", err), c.Close())
	}
	return func() error {
		_, err := ch.QueueDelete(name, false, false, false)
		return errors.Join(err, c.Close())
	}, nil
}

// wirePublishAMQP is amqpPublish by the frugal driver.
func (b *bench) wirePublishAMQP(size, n, window int) func(context.Context, *running) (figure, error) {
	n = b.n(n)
	return func(ctx context.Context, r *running) (figure, error) {
		queue := b.name("publish")
		end, err := wireQueue(r, queue, nil)
		if err != nil {
			return figure{}, err
		}
		c, err := dialAMQPWire(ctx, r)
		if err != nil {
			return figure{}, errors.Join(err, end())
		}
		defer c.Close()
		began := time.Now()
		err = c.publish("", queue, size, n, window)
		took := time.Since(began)
		return figure{value: float64(n) / took.Seconds(), messages: n}, errors.Join(err, end())
	}
}

// wireWork is a publisher and a consumer at once for each of some queues; n messages in all.
func (b *bench) wireWork(size, n, queues int, args amqp.Table) func(context.Context, *running) (figure, error) {
	each := b.n(n) / queues
	return func(ctx context.Context, r *running) (_ figure, err error) {
		pubs, subs := make([]*amqpWire, queues), make([]*amqpWire, queues)
		names := make([]string, queues)
		for i := range queues {
			names[i] = b.name("work")
			end, err := wireQueue(r, names[i], args)
			if err != nil {
				return figure{}, err
			}
			defer func() { _ = end() }()
			if pubs[i], err = dialAMQPWire(ctx, r); err != nil {
				return figure{}, err
			}
			defer pubs[i].Close()
			if subs[i], err = dialAMQPWire(ctx, r); err != nil {
				return figure{}, err
			}
			defer subs[i].Close()
			if err := subs[i].consume(names[i], 500); err != nil {
				return figure{}, err
			}
		}
		began := time.Now()
		err = atOnce(2*queues, 2*queues, func(i int) error {
			if i < queues {
				return pubs[i].publish("", names[i], size, each, 500)
			}
			return subs[i-queues].acknowledge(each)
		})
		return figure{value: float64(each*queues) / time.Since(began).Seconds(), messages: each * queues}, err
	}
}

var perfTestRates = regexp.MustCompile(`(sending|receiving) rate avg: (\d+) msg/s`)

// perfTest runs RabbitMQ's own tool with a producer and a consumer for each queue.
func (b *bench) perfTest(size, queues int, quorum bool) func(context.Context, *running) (figure, error) {
	seconds := max(2, 6*b.plan.times/b.plan.scale)
	return func(ctx context.Context, r *running) (figure, error) {
		path, err := harness.Tool("perf-test.sh")
		if err != nil {
			return figure{}, err
		}
		name, n := b.name("perf"), strconv.Itoa(queues)
		args := []string{"--uri", r.url("amqp") + "/%2f", "--flag", "persistent", "--auto-delete", "false", "--confirm", "500", "--qos", "500",
			"--size", strconv.Itoa(size), "--producers", n, "--consumers", n, "--time", strconv.Itoa(seconds), "--metrics-format", "default",
			"--queue-pattern", name + "-%d", "--queue-pattern-from", "1", "--queue-pattern-to", n}
		if quorum {
			args = append(args, "--quorum-queue")
		}
		out, err := harness.Run(ctx, harness.Command{Name: "PerfTest", Path: path, Args: args})
		if err != nil {
			return figure{}, err
		}
		rates := map[string]float64{}
		for _, m := range perfTestRates.FindAllStringSubmatch(out, -1) {
			if rates[m[1]], err = strconv.ParseFloat(m[2], 64); err != nil {
				return figure{}, err
			}
		}
		if rates["receiving"] == 0 {
			return figure{}, fmt.Errorf("read PerfTest's output: no rate in %q", out)
		}
		f := figure{value: rates["receiving"], messages: int(rates["receiving"]) * seconds, extra: map[string]float64{"msg/s sent": rates["sending"]}}
		for i := range queues {
			if err := deleteQueue(r, fmt.Sprintf("%s-%d", name, i+1)); err != nil {
				return f, err
			}
		}
		return f, nil
	}
}

func deleteQueue(r *running, name string) error {
	c, ch, err := amqpChannel(r)
	if err != nil {
		return err
	}
	_, err = ch.QueueDelete(name, false, false, false)
	return errors.Join(err, c.Close())
}
