package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats.go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/robustmq-go/test/harness"
)

// idleFor is how long a server is left alone before its memory is read.
const idleFor = time.Second

func startRows(b *bench) []row {
	first := func(name, note string, peer server, port func(harness.Ports) int, size int64, send func(context.Context, *running) error) row {
		ours := robustmq(port)
		return row{name: name, unit: "s", less: true, limits: map[string]float64{"s": 2, "MiB idle": 150}, sides: []side{
			{server: ours, durability: "as in the rows above", fresh: true, load: b.firstMessage(ours, fileSize(b.binary), send)},
			{server: peer, durability: "as in the rows above", fresh: true, load: b.firstMessage(peer, size, send)},
		}, note: note}
	}
	note := "from the execution of an empty server to the acknowledgement of the first message (RobustMQ: after all its listeners are up); resident memory 1 s later; size of the program"
	return []row{
		first("start to first message, NATS", note+".", natsServer("nats-server core", "default", ""), natsPort, toolSize("nats-server"), firstNATS),
		first("start to first message, Kafka", note+" (Kafka: its jars, without the Java runtime); formatting of Kafka's storage is included, a topic is made first.", kafkaDefault(), kafkaPort, kafkaSize(), firstKafka),
		first("start to first message, MQTT QoS 1", note+".", mosquitto(), mqttPort, toolSize("mosquitto"), firstMQTT),
		first("start to first message, AMQP", note+" (RabbitMQ: with Erlang); a durable queue is declared first.", rabbitmq(), amqpPort, treeSize("/usr/lib/rabbitmq")+treeSize("/usr/lib/erlang"), firstAMQP),
	}
}

// firstMessage starts the server itself: the side is fresh.
func (b *bench) firstMessage(s server, size int64, send func(context.Context, *running) error) func(context.Context, *running) (figure, error) {
	return func(ctx context.Context, _ *running) (figure, error) {
		began := time.Now()
		r, err := b.startServer(ctx, s)
		if err != nil {
			return figure{}, err
		}
		defer r.stop()
		if err := again(ctx, r.proc, func() error { return send(ctx, r) }); err != nil {
			return figure{}, err
		}
		took := time.Since(began)
		time.Sleep(idleFor)
		idle, err := rss(r.proc.Pid())
		return figure{value: took.Seconds(), messages: 1, extra: map[string]float64{
			"MiB idle": float64(idle) / (1 << 20), "MiB program": float64(size) / (1 << 20),
		}}, err
	}
}

func firstNATS(ctx context.Context, r *running) error {
	c, err := nats.Connect(r.url("nats"))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Publish("first", []byte("x")); err != nil {
		return err
	}
	return c.FlushWithContext(ctx)
}

func firstKafka(ctx context.Context, r *running) error {
	if err := kafkaTopic(ctx, r, "first", 1); err != nil {
		return err
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(harness.Addr(r.port)))
	if err != nil {
		return err
	}
	defer c.Close()
	return c.ProduceSync(ctx, &kgo.Record{Topic: "first", Value: []byte("x")}).FirstErr()
}

func firstMQTT(ctx context.Context, r *running) error {
	c, err := mqttClient(ctx, r, "first", true)
	if err != nil {
		return err
	}
	defer func(c mqtt.Client) { c.Disconnect(0) }(c)
	return await(ctx, c.Publish("first", 1, false, "x"))
}

func firstAMQP(ctx context.Context, r *running) error {
	c, ch, err := amqpChannel(r)
	if err != nil {
		return err
	}
	defer c.Close()
	q, err := ch.QueueDeclare("first", true, false, false, false, nil)
	if err != nil {
		return fmt.Errorf("declare queue: %w", err)
	}
	return confirmed(ctx, ch, "", q.Name, 1, 1, 1)
}

func fileSize(path string) int64 {
	st, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return st.Size()
}

func toolSize(tool string) int64 {
	path, err := harness.Tool(tool)
	if err != nil {
		return 0
	}
	return fileSize(path)
}

func kafkaSize() int64 {
	dir, err := harness.ToolsDir()
	if err != nil {
		return 0
	}
	return treeSize(filepath.Join(dir, "kafka", "libs"))
}

// treeSize is the size of the files below dir; what cannot be read counts nothing.
func treeSize(dir string) int64 {
	var n int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // counts nothing
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
		return nil
	})
	return n
}
