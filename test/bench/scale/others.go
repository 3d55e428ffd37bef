package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/robustmq-go/test/e2e/clients"
	"github.com/robustmq/robustmq-go/test/harness"
)

// settled bounds how long a crowd may take to be ready.
const settled = 3 * time.Minute

// startKafka starts groups of one member, each with a client of its own.
func startKafka(ctx context.Context, p harness.Ports, n int, count *counter) (func(), error) {
	ctx, cancel := context.WithCancel(ctx)
	var all []*kgo.Client
	var running sync.WaitGroup
	stop := func() {
		cancel()
		running.Wait()
		for _, c := range all {
			c.CloseAllowingRebalance()
		}
	}
	admin, err := clients.DialKafka(p.Kafka)
	if err != nil {
		return stop, err
	}
	defer admin.Close()
	if _, err := kadm.NewClient(admin).CreateTopic(ctx, 1, 1, nil, subject); err != nil {
		return stop, fmt.Errorf("create topic: %w", err)
	}
	assigned := make(chan struct{}, n)
	for i := range n {
		var once sync.Once
		c, err := clients.DialKafka(p.Kafka, kgo.ConsumerGroup(fmt.Sprintf("group-%d", i)), kgo.ConsumeTopics(subject),
			kgo.FetchMaxWait(30*time.Second), kgo.SessionTimeout(2*time.Minute), kgo.HeartbeatInterval(20*time.Second),
			kgo.MetadataMaxAge(time.Hour), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
			kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, of map[string][]int32) {
				if len(of) > 0 {
					once.Do(func() { assigned <- struct{}{} })
				}
			}))
		if err != nil {
			stop()
			return nil, err
		}
		all = append(all, c)
		running.Go(func() {
			for ctx.Err() == nil {
				c.PollFetches(ctx).EachRecord(func(*kgo.Record) { count.add() })
			}
		})
	}
	for i := range n {
		select {
		case <-assigned:
		case <-time.After(settled):
			stop()
			return nil, fmt.Errorf("%d of %d groups have their partition", i, n)
		case <-ctx.Done():
			stop()
			return nil, ctx.Err()
		}
	}
	return stop, nil
}

// startNATS subscribes on ten connections; one filter in ten matches.
func startNATS(_ context.Context, p harness.Ports, n int, count *counter) (func(), error) {
	var conns []*nats.Conn
	stop := func() {
		for _, nc := range conns {
			nc.Close()
		}
	}
	const connections = 10
	in := make(chan *nats.Msg, n+1)
	for k := range connections {
		nc, err := clients.DialNATS(p.NATS)
		if err != nil {
			stop()
			return nil, err
		}
		conns = append(conns, nc)
		for i := k; i < n; i += connections {
			filter := fmt.Sprintf("scale.miss%d.*", i)
			if i/connections%10 == 0 {
				filter = []string{"scale.*.x", "scale.>", "*.hit.*", "scale.hit.>"}[i%4]
			}
			if _, err := nc.ChanSubscribe(filter, in); err != nil {
				stop()
				return nil, err
			}
		}
		if err := nc.FlushTimeout(settled); err != nil {
			stop()
			return nil, err
		}
	}
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-in:
				count.add()
			case <-done:
				return
			}
		}
	}()
	return func() { stop(); close(done) }, nil
}

// startAMQP declares durable queues, binds each to amq.topic and consumes it, by ten connections.
func startAMQP(_ context.Context, p harness.Ports, n int, count *counter) (func(), error) {
	var mu sync.Mutex
	var closers []func() error
	stop := func() {
		for _, c := range closers {
			_ = c()
		}
	}
	const connections = 10
	err := each(connections, connections, func(k int) error {
		conn, ch, err := clients.DialAMQP(p.AMQP)
		if err != nil {
			return err
		}
		mu.Lock()
		closers = append(closers, conn.Close)
		mu.Unlock()
		for i := k; i < n; i += connections {
			name := fmt.Sprintf("queue-%d", i)
			if _, err := ch.QueueDeclare(name, true, false, false, false, nil); err != nil {
				return fmt.Errorf("declare %s: %w", name, err)
			}
			if err := ch.QueueBind(name, "scale.hit.#", "amq.topic", false, nil); err != nil {
				return fmt.Errorf("bind %s: %w", name, err)
			}
			in, err := ch.Consume(name, "", false, false, false, false, nil)
			if err != nil {
				return fmt.Errorf("consume %s: %w", name, err)
			}
			go func() {
				for d := range in {
					count.add()
					_ = d.Ack(false)
				}
			}()
		}
		return nil
	})
	if err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}
