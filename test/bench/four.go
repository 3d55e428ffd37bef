package main

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	fourSize   = 256
	fourWindow = 100
)

// fourRows is one job: what one MQTT client publishes is read by clients of four protocols.
func fourRows(b *bench) []row {
	ours := robustmq(mqttPort)
	ours.name = "RobustMQ, four protocols"
	start := ours.start
	ours.start = func(ctx context.Context, b *bench, dir string) (*running, error) {
		r, err := start(ctx, b, dir)
		if err != nil {
			return nil, err
		}
		r.parts = map[string]*running{}
		for name, port := range map[string]int{"mqtt": r.ours.MQTT, "kafka": r.ours.Kafka, "nats": r.ours.NATS, "amqp": r.ours.AMQP} {
			part := *r
			part.port = port
			r.parts[name] = &part
		}
		return r, nil
	}
	peers := server{name: "four brokers and a bridge", version: "the versions of the rows above", start: startFour,
		settings: "mosquitto with max_inflight_messages 500, Kafka, nats-server with JetStream, RabbitMQ, each else as above; a bridge in the driver copies every message from MQTT to the others and acknowledges it when all three have"}
	n := b.n(50_000)
	return []row{{
		name: "one message to readers of four protocols, 256 B", unit: "msg/s",
		note: "published by QoS 1 (our frugal driver, 100 outstanding), read by MQTT QoS 1 (frugal driver), franz-go, nats.go and amqp091-go with acks; the rate is that of messages that all four have. CPU, memory and bytes written are of all servers together; the driver's own CPU, in which the bridge runs, is told beside it.",
		sides: []side{
			{server: ours, durability: synced, load: b.four(n, false)},
			{server: peers, durability: "mosquitto: in memory; Kafka, JetStream: page cache; RabbitMQ: synced within 200 ms", load: b.four(n, true)},
		},
	}}
}

// startFour starts the four peers.
func startFour(ctx context.Context, b *bench, dir string) (*running, error) {
	r := &running{parts: map[string]*running{}}
	for name, s := range map[string]server{
		"mqtt": mosquitto("max_inflight_messages 500"), "kafka": kafkaDefault(),
		"nats": natsServer("JetStream", "", "max_file_store: 8G"), "amqp": rabbitmq(),
	} {
		part, err := b.startServer(ctx, s)
		if err != nil {
			for _, p := range r.parts {
				p.stop()
			}
			return nil, fmt.Errorf("%s in %s: %w", name, filepath.Base(dir), err)
		}
		r.parts[name] = part
	}
	first := r.parts["mqtt"]
	r.port, r.proc = first.port, first.proc
	for _, name := range []string{"kafka", "nats", "amqp"} {
		r.also = append(r.also, r.parts[name].proc)
	}
	r.more = r.parts["amqp"].more
	return r, nil
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// four runs the job; bridged: with copies between four brokers.
func (b *bench) four(n int, bridged bool) func(context.Context, *running) (figure, error) {
	return func(ctx context.Context, r *running) (figure, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		subject := b.name("four")
		rs, err := startReaders(ctx, r, subject, n)
		defer rs.close()
		if err != nil {
			return figure{}, err
		}
		if bridged {
			br, err := startBridge(ctx, r, subject)
			defer br.close()
			if err != nil {
				return figure{}, err
			}
		}
		pub, err := dialMQTTWire(ctx, r.parts["mqtt"], subject+"-pub", 0, 4<<10)
		if err != nil {
			return figure{}, err
		}
		defer pub.Close()
		cpu, began := ownCPU(), time.Now()
		if err := pub.publishAcked(subject, fourSize, n, fourWindow); err != nil {
			return figure{}, err
		}
		if err := rs.wait(ctx); err != nil {
			return figure{}, err
		}
		return figure{value: float64(n) / time.Since(began).Seconds(), messages: n,
			extra: map[string]float64{"ms driver CPU/1k": (ownCPU() - cpu).Seconds() * 1e6 / float64(n)}}, nil
	}
}

// readers count what each protocol has received.
type readers struct {
	n    int64
	got  [4]atomic.Int64 // mqtt, kafka, nats, amqp
	done chan struct{}   // gets one of each that has all
	ends []func()
}

func (rs *readers) add(i, k int) {
	if now := rs.got[i].Add(int64(k)); now >= rs.n && now-int64(k) < rs.n {
		rs.done <- struct{}{}
	}
}

func (rs *readers) wait(ctx context.Context) error {
	for range rs.got {
		select {
		case <-rs.done:
		case <-ctx.Done():
			return fmt.Errorf("of %d messages mqtt, kafka, nats, amqp got %d, %d, %d, %d: %w", rs.n,
				rs.got[0].Load(), rs.got[1].Load(), rs.got[2].Load(), rs.got[3].Load(), ctx.Err())
		}
	}
	return nil
}

func (rs *readers) close() {
	for _, end := range rs.ends {
		end()
	}
}

// startReaders starts one reader of each protocol, subscribed before it returns.
func startReaders(ctx context.Context, r *running, subject string, n int) (*readers, error) {
	rs := &readers{n: int64(n), done: make(chan struct{}, 4)}
	m, err := dialMQTTWire(ctx, r.parts["mqtt"], subject+"-sub", 1, 64<<10)
	if err != nil {
		return rs, err
	}
	rs.ends = append(rs.ends, func() { m.Close() })
	if err := m.subscribe(subject, 1); err != nil {
		return rs, err
	}
	go func() { _ = m.count(func(k int) { rs.add(0, k) }) }()
	if err := kafkaTopic(ctx, r.parts["kafka"], subject, 1); err != nil {
		return rs, err
	}
	k, err := kgoClient(r.parts["kafka"], kgo.ConsumeTopics(subject), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return rs, err
	}
	rs.ends = append(rs.ends, k.Close)
	go func() {
		for ctx.Err() == nil {
			rs.add(1, k.PollFetches(ctx).NumRecords())
		}
	}()
	nc, err := nats.Connect(r.parts["nats"].url("nats"))
	if err != nil {
		return rs, err
	}
	rs.ends = append(rs.ends, nc.Close)
	if _, err := nc.Subscribe(subject, func(*nats.Msg) { rs.add(2, 1) }); err != nil {
		return rs, err
	}
	if err := nc.FlushWithContext(ctx); err != nil {
		return rs, err
	}
	c, ch, err := amqpChannel(r.parts["amqp"])
	if err != nil {
		return rs, err
	}
	rs.ends = append(rs.ends, func() { _ = c.Close() })
	if _, err := ch.QueueDeclare(subject, true, false, false, false, nil); err != nil {
		return rs, err
	}
	if err := ch.Qos(500, 0, false); err != nil {
		return rs, err
	}
	ds, err := ch.ConsumeWithContext(ctx, subject, "", false, false, false, false, nil)
	if err != nil {
		return rs, err
	}
	go func() {
		for d := range ds {
			if d.Ack(false) == nil {
				rs.add(3, 1)
			}
		}
	}()
	return rs, nil
}
