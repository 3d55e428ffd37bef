package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/robustmq-go/test/harness"
)

// kgoClient is a client of franz-go.
func kgoClient(r *running, opts ...kgo.Opt) (*kgo.Client, error) {
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(harness.Addr(r.port))}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("make kafka client: %w", err)
	}
	return c, nil
}

// kgoSend produces n messages of random bytes, some of them at once, and waits for all acknowledgements.
func kgoSend(ctx context.Context, r *running, topic string, size, n int, opts ...kgo.Opt) error {
	c, err := kgoClient(r, append([]kgo.Opt{kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(kgo.NoCompression())}, opts...)...)
	if err != nil {
		return err
	}
	defer c.Close()
	noise := make([]byte, size+1024)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	var mu sync.Mutex
	var failed error
	done := func(_ *kgo.Record, err error) {
		if err != nil {
			mu.Lock()
			failed = err
			mu.Unlock()
		}
	}
	for i := range n {
		c.Produce(ctx, &kgo.Record{Value: noise[i%1024:][:size]}, done)
	}
	if err := c.Flush(ctx); err != nil {
		return fmt.Errorf("produce: %w", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if failed != nil {
		return fmt.Errorf("produce: %w", failed)
	}
	return nil
}

// kgoReceive consumes n messages from the start of a topic, and returns their bytes.
func kgoReceive(ctx context.Context, r *running, topic string, n int) (size int64, err error) {
	c, err := kgoClient(r, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return 0, err
	}
	defer c.Close()
	for got := 0; got < n; {
		fs := c.PollFetches(ctx)
		for _, e := range fs.Errors() {
			return size, fmt.Errorf("consume: %d of %d messages: %w", got, n, e.Err)
		}
		fs.EachRecord(func(rec *kgo.Record) {
			got++
			size += int64(len(rec.Value))
		})
	}
	return size, nil
}

func (b *bench) kgoProduce(size, n, clients int) func(context.Context, *running) (figure, error) {
	n = b.n(n) / clients
	return func(ctx context.Context, r *running) (figure, error) {
		topic := b.name("kgo")
		if err := kafkaTopic(ctx, r, topic, 1); err != nil {
			return figure{}, err
		}
		began := time.Now()
		err := atOnce(clients, clients, func(int) error { return kgoSend(ctx, r, topic, size, n) })
		return figure{value: float64(n*clients) / time.Since(began).Seconds(), messages: n * clients}, err
	}
}

func (b *bench) kgoConsume(topic string, n int) func(context.Context, *running) (figure, error) {
	n = b.n(n)
	return func(ctx context.Context, r *running) (figure, error) {
		began := time.Now()
		_, err := kgoReceive(ctx, r, topic, n)
		return figure{value: float64(n) / time.Since(began).Seconds(), messages: n}, err
	}
}

// kgoBoth produces and consumes at once.
func (b *bench) kgoBoth(size, n int) func(context.Context, *running) (figure, error) {
	n = b.n(n)
	return func(ctx context.Context, r *running) (figure, error) {
		topic := b.name("kgo")
		if err := kafkaTopic(ctx, r, topic, 1); err != nil {
			return figure{}, err
		}
		began := time.Now()
		var sent atomic.Int64
		err := atOnce(2, 2, func(i int) error {
			if i == 0 {
				err := kgoSend(ctx, r, topic, size, n)
				sent.Store(int64(time.Since(began)))
				return err
			}
			_, err := kgoReceive(ctx, r, topic, n)
			return err
		})
		return figure{value: float64(n) / time.Since(began).Seconds(), messages: n,
			extra: map[string]float64{"msg/s produced": float64(n) / time.Duration(sent.Load()).Seconds()}}, err
	}
}

// kafkaFill writes what is to be consumed, once to each server.
func (b *bench) kafkaFill(topic string, size, n int, partitions int32) func(context.Context, *running) error {
	n = b.n(n)
	return func(ctx context.Context, r *running) error {
		if r.memo[topic] {
			return nil
		}
		if err := kafkaTopic(ctx, r, topic, partitions); err != nil {
			return err
		}
		// Batches as the Java client makes them by default, spread over the partitions.
		err := kgoSend(ctx, r, topic, size, n, kgo.ProducerBatchMaxBytes(16<<10))
		r.memo[topic] = err == nil
		return err
	}
}
