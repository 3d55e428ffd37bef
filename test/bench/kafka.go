package main

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/robustmq-go/test/harness"
)

func kafkaPort(p harness.Ports) int { return p.Kafka }

func kafkaDefault() server {
	return kafkaServer("Kafka", "KRaft, one node, default flushing (left to the system), heap 1 GiB, Kafka's own JVM flags")
}

func kafkaSynced() server {
	return kafkaServer("Kafka, synced", "as Kafka, with log.flush.interval.messages=1", "log.flush.interval.messages=1")
}

func kafkaRows(b *bench) []row {
	ours, plain, sync := robustmq(kafkaPort), kafkaDefault(), kafkaSynced()
	// The Java servers compile as they go: nobody's first messages count.
	warm := b.kafkaFill(b.name("warm"), 1024, 100_000)
	row3 := func(name, note string, bar, syncBar float64, load func(context.Context, *running) (figure, error)) row {
		return row{name: name, note: note, unit: "msg/s", sides: []side{
			{server: ours, durability: synced, prepare: warm, load: load},
			{server: plain, durability: notSync, bar: bar, prepare: warm, load: load},
			{server: sync, durability: synced, bar: syncBar, prepare: warm, load: load},
		}}
	}
	note := "kafka-producer-perf-test, acks=all, its defaults otherwise (16 KiB batches, linger 5 ms), one producer, one partition. Every server has taken 100,000 messages before the first row."
	rows := []row{
		row3("produce 1 KiB", note, 1, 2, b.kafkaProduce(1024, 200_000, -1)),
		row3("produce 100 B", note, 1, 2, b.kafkaProduce(100, 1_000_000, -1)),
	}
	paced := row3("latency of produce 1 KiB at 5,000 msg/s, p99", "kafka-producer-perf-test --throughput 5000, acks=all; the first quarter of the messages warms the client up and is not in the latency.", 1, 1, b.kafkaProduce(1024, 20_000, 5000))
	paced.unit, paced.less = "ms", true
	for i := range paced.sides {
		load := paced.sides[i].load
		paced.sides[i].load = func(ctx context.Context, r *running) (figure, error) {
			f, err := load(ctx, r)
			f.value, f.extra = f.extra["ms p99"], map[string]float64{"msg/s": f.value, "ms p50": f.extra["ms p50"]}
			return f, err
		}
	}
	consume := func(name string, size, n int) row {
		topic := b.name("consume")
		fill, load := b.kafkaFill(topic, size, n), b.kafkaConsume(topic, n)
		return row{name: name, unit: "msg/s", note: "kafka-consumer-perf-test, one consumer, one partition, read again from the start in each round (from memory on both sides); the rate is that of fetching, without joining the group.", sides: []side{
			{server: ours, durability: "reads", prepare: fill, load: load}, {server: plain, durability: "reads", bar: 1, prepare: fill, load: load},
		}}
	}
	return append(rows, paced, consume("consume 1 KiB", 1024, 300_000), consume("consume 100 B", 100, 1_500_000))
}

// kafkaTopic makes a topic with one partition.
func kafkaTopic(ctx context.Context, r *running, topic string) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(harness.Addr(r.port)))
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = kadm.NewClient(c).CreateTopic(ctx, 1, 1, nil, topic)
	return err
}

func kafkaTool(ctx context.Context, r *running, tool string, args ...string) (string, error) {
	path, err := harness.Tool(tool)
	if err != nil {
		return "", err
	}
	return harness.Run(ctx, harness.Command{Name: tool, Path: path, Args: append([]string{"--bootstrap-server", harness.Addr(r.port)}, args...)})
}

var producerLine = regexp.MustCompile(`(\d+)(?: steady state)? records sent, ([\d.]+) records/sec .*, (\d+) ms 50th, \d+ ms 95th, (\d+) ms 99th`)

func produce(ctx context.Context, r *running, topic string, size, n, throughput int) (figure, error) {
	args := []string{"--topic", topic, "--num-records", strconv.Itoa(n), "--record-size", strconv.Itoa(size),
		"--throughput", strconv.Itoa(throughput), "--command-property", "acks=all"}
	if throughput > 0 { // a latency is that of a warm client
		args = append(args, "--warmup-records", strconv.Itoa(n/4))
	}
	out, err := kafkaTool(ctx, r, "kafka-producer-perf-test.sh", args...)
	if err != nil {
		return figure{}, err
	}
	m := producerLine.FindAllStringSubmatch(out, -1)
	// The total of all comes first, then that of the steady state where there was a warm-up.
	if len(m) == 0 || m[0][1] != strconv.Itoa(n) {
		return figure{}, fmt.Errorf("read producer's output: no total of %d records in %q", n, out)
	}
	last := m[len(m)-1]
	var v [3]float64
	for i := range v {
		if v[i], err = strconv.ParseFloat(last[i+2], 64); err != nil {
			return figure{}, err
		}
	}
	return figure{value: v[0], messages: n, extra: map[string]float64{"ms p50": v[1], "ms p99": v[2]}}, nil
}

func (b *bench) kafkaProduce(size, n, throughput int) func(context.Context, *running) (figure, error) {
	n = b.n(n)
	return func(ctx context.Context, r *running) (figure, error) {
		topic := b.name("produce")
		if err := kafkaTopic(ctx, r, topic); err != nil {
			return figure{}, err
		}
		return produce(ctx, r, topic, size, n, throughput)
	}
}

// kafkaFill writes what is to be consumed, once to each server.
func (b *bench) kafkaFill(topic string, size, n int) func(context.Context, *running) error {
	n = b.n(n)
	return func(ctx context.Context, r *running) error {
		if r.memo[topic] {
			return nil
		}
		if err := kafkaTopic(ctx, r, topic); err != nil {
			return err
		}
		_, err := produce(ctx, r, topic, size, n, -1)
		r.memo[topic] = err == nil
		return err
	}
}

func (b *bench) kafkaConsume(topic string, n int) func(context.Context, *running) (figure, error) {
	n = b.n(n)
	return func(ctx context.Context, r *running) (figure, error) {
		out, err := kafkaTool(ctx, r, "kafka-consumer-perf-test.sh", "--topic", topic, "--num-records", strconv.Itoa(n),
			"--group", b.name("group"), "--timeout", "20000", "--hide-header")
		if err != nil {
			return figure{}, err
		}
		// start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec,
		// rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec
		lines := strings.Split(strings.TrimSpace(out), "\n")
		f := strings.Split(lines[len(lines)-1], ", ")
		if len(f) != 10 {
			return figure{}, fmt.Errorf("read consumer's output: %q", out)
		}
		got, err := strconv.Atoi(f[4])
		if err != nil || got < n {
			return figure{}, fmt.Errorf("read consumer's output: %d of %d messages: %q", got, n, out)
		}
		v, err := strconv.ParseFloat(f[9], 64)
		return figure{value: v, messages: got}, err
	}
}
