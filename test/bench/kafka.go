package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

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

// Notes that several rows share.
const (
	perfNote = "kafka-producer-perf-test, acks=all, its defaults otherwise (16 KiB batches, linger 5 ms)"
	kgoNote  = "franz-go with its defaults (acks of all in-sync replicas, batches up to 1 MB)"
)

// wide is how many partitions the rows of many have.
const wide = 1_000

func kafkaRows(b *bench) []row {
	ours, plain, sync := robustmq(kafkaPort), kafkaDefault(), kafkaSynced()
	// The Java servers compile as they go: nobody's first messages count.
	warm := b.kafkaFill(b.name("warm"), 1024, 100_000, 1)
	row3 := func(name, note string, load func(context.Context, *running) (figure, error)) row {
		return row{name: name, note: note, unit: "msg/s", sides: []side{
			{server: ours, durability: synced, prepare: warm, load: load},
			{server: plain, durability: notSync, bar: 1, cpuBar: 0.6, prepare: warm, load: load},
			{server: sync, durability: synced, bar: 2, prepare: warm, load: load},
		}}
	}
	rows := []row{
		row3(plainProduce, perfNote+", one producer, one partition. Every server has taken 100,000 messages by franz-go before.", b.kafkaProduce(produceJob{size: 1024, n: 200_000})),
		row3("produce 100 B", perfNote+", one producer, one partition.", b.kafkaProduce(produceJob{size: 100, n: 1_000_000})),
		row3("produce 1 KiB, 8 producers", perfNote+", one partition, eight of the tool at once; the rate is that of all their messages between the first one's start and the last one's end.", b.kafkaProduce(produceJob{size: 1024, n: 240_000, producers: 8})),
		row3("produce 1 KiB, zstd", perfNote+", one producer, one partition, compression.type=zstd. The tool's payload is random capital letters: zstd makes it some 40 % smaller, not more.", b.kafkaProduce(produceJob{size: 1024, n: 200_000, compression: "zstd"})),
		b.manyPartitions(row3),
		row3("produce 1 KiB, franz-go", kgoNote+", one client, one partition.", b.kgoProduce(1024, 300_000, 1)),
		row3("produce 1 KiB, franz-go, 8 clients", kgoNote+", eight clients, one partition.", b.kgoProduce(1024, 300_000, 8)),
		row3("produce + consume 1 KiB, franz-go", kgoNote+", a client that produces and one that consumes at the same time, one partition; the rate is that of messages consumed, from the first one's sending on.", b.kgoBoth(1024, 300_000)),
		b.paced(row3),
	}
	// Three rows have no synced line, to save its time.
	for _, i := range []int{2, 3, 4} {
		rows[i].sides = rows[i].sides[:2]
	}
	// The memory is that of a server's first row: Kafka serves the others, too.
	rows[0].sides[1].memBar = 0.25
	consume := func(name, note string, fill func(context.Context, *running) error, load func(context.Context, *running) (figure, error)) row {
		return row{name: name, unit: "msg/s", note: note + ", read again from the start in each round (from memory on both sides).", sides: []side{
			{server: ours, durability: "reads", prepare: fill, load: load}, {server: plain, durability: "reads", bar: 1, prepare: fill, load: load},
		}}
	}
	const tool = "kafka-consumer-perf-test, one consumer; the rate is that of fetching, without joining the group"
	small, big, many := b.name("consume"), b.name("consume"), b.name("consume")
	return append(rows,
		consume("consume 1 KiB", tool+"; one partition", b.kafkaFill(big, 1024, 300_000, 1), b.kafkaConsume(big, 300_000)),
		consume("consume 100 B", tool+"; one partition", b.kafkaFill(small, 100, 1_500_000, 1), b.kafkaConsume(small, 1_500_000)),
		consume("consume 1 KiB, 1,000 partitions", tool+"; 1,000 partitions", b.kafkaFill(many, 1024, 300_000, wide), b.kafkaConsume(many, 300_000)),
		consume("consume 1 KiB, franz-go", kgoNote+", one client without a group, one partition", b.kafkaFill(big+"-kgo", 1024, 300_000, 1), b.kgoConsume(big+"-kgo", 300_000)))
}

// plainProduce is the row that latency is paced by.
const plainProduce = "produce 1 KiB"

// manyPartitions produces to a topic that is made before.
func (b *bench) manyPartitions(row3 func(string, string, func(context.Context, *running) (figure, error)) row) row {
	topic := b.name("wide")
	r := row3("produce 1 KiB, 1,000 partitions", perfNote+", one producer, a topic of 1,000 partitions made before, each of which has taken a message; the client fills one partition's batch at a time.",
		b.kafkaProduce(produceJob{size: 1024, n: 200_000, topic: topic}))
	for i := range r.sides {
		warm := r.sides[i].prepare
		r.sides[i].prepare = func(ctx context.Context, r *running) error {
			if err := warm(ctx, r); err != nil || r.memo[topic] {
				return err
			}
			// A message to each first: a server that still makes partitions answers with errors.
			err := errors.Join(kafkaTopic(ctx, r, topic, wide), kgoSend(ctx, r, topic, 1, wide, kgo.RecordPartitioner(kgo.RoundRobinPartitioner())))
			r.memo[topic] = err == nil
			return err
		}
	}
	return r
}

// pacedRate is used where Kafka's own rate was not measured in this run.
const pacedRate = 5_000

// paced is the latency at a fixed load, a fifth of what Kafka took at most in this run.
func (b *bench) paced(row3 func(string, string, func(context.Context, *running) (figure, error)) row) row {
	load := func(ctx context.Context, r *running) (figure, error) {
		most := b.medians[[2]string{plainProduce, "Kafka"}]
		rate := pacedRate
		if most > 0 {
			rate = max(100, int(most/5)/100*100)
		}
		f, err := b.kafkaProduce(produceJob{size: 1024, n: 15 * rate, throughput: rate})(ctx, r)
		extra := map[string]float64{"msg/s": f.value, "msg/s asked for": float64(rate), "ms p50": f.extra["ms p50"]}
		if most > 0 {
			extra["% of Kafka's rate"] = 100 * float64(rate) / most
		}
		f.value, f.extra = f.extra["ms p99"], extra
		return f, err
	}
	r := row3("latency of produce 1 KiB at 20 % load, p99", fmt.Sprintf("kafka-producer-perf-test --throughput, acks=all, at a fifth of the median that Kafka (default flushing) reached in `%s` of this run (%d msg/s where that row was not run); 15 s, of which the first half warms the client up and is not in the latency; before each round sync(2), so that no page of an earlier row is written meanwhile.", plainProduce, pacedRate), load)
	r.unit, r.less = "ms", true
	for i := range r.sides {
		warm := r.sides[i].prepare
		r.sides[i].prepare = func(ctx context.Context, r *running) error {
			err := warm(ctx, r)
			syscall.Sync() // nobody writes what an earlier row or another server left
			return err
		}
		r.sides[i].cpuBar = 0
		if r.sides[i].bar > 0 {
			r.sides[i].bar = 1
		}
	}
	return r
}

// kafkaTopic makes a topic.
func kafkaTopic(ctx context.Context, r *running, topic string, partitions int32) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(harness.Addr(r.port)))
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = kadm.NewClient(c).CreateTopic(ctx, partitions, 1, nil, topic)
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

// produceJob is what the producers of a row do.
type produceJob struct {
	topic       string // a new one of one partition when empty
	size, n     int    // of all producers together
	throughput  int    // messages per second; as fast as they can when 0
	producers   int    // 1 when 0
	compression string
}

// args of the tool for one producer.
func (j produceJob) args(r *running, n int) []string {
	rate := -1
	if j.throughput > 0 {
		rate = j.throughput
	}
	args := []string{"--bootstrap-server", harness.Addr(r.port), "--topic", j.topic, "--num-records", strconv.Itoa(n), "--record-size", strconv.Itoa(j.size),
		"--throughput", strconv.Itoa(rate), "--command-property", "acks=all"}
	if j.compression != "" {
		args = append(args, "compression.type="+j.compression)
	}
	if j.throughput > 0 { // a latency is that of a warm client
		args = append(args, "--warmup-records", strconv.Itoa(n/2))
	}
	return args
}

// produced reads what the tool printed: its rate and latencies, and when it ended.
func produced(p *harness.Proc, n int) (v [3]float64, end time.Time, err error) {
	out := p.Output(harness.Stdout)
	m := producerLine.FindAllStringSubmatch(out, -1)
	// The total of all comes first, then that of the steady state where there was a warm-up.
	if len(m) == 0 || m[0][1] != strconv.Itoa(n) {
		return v, end, fmt.Errorf("read producer's output: no total of %d records in %q", n, out)
	}
	last := m[len(m)-1]
	for i := range v {
		if v[i], err = strconv.ParseFloat(last[i+2], 64); err != nil {
			return v, end, err
		}
	}
	for _, l := range p.Lines() {
		if l.From == harness.Stdout && producerLine.MatchString(l.Text) {
			end = l.At
		}
	}
	return v, end, nil
}

func produce(ctx context.Context, r *running, j produceJob) (figure, error) {
	path, err := harness.Tool("kafka-producer-perf-test.sh")
	if err != nil {
		return figure{}, err
	}
	producers := max(1, j.producers)
	each := j.n / producers
	ps := make([]*harness.Proc, producers)
	for i := range ps {
		if ps[i], err = harness.StartProc(harness.Command{Path: path, Args: j.args(r, each)}); err != nil {
			return figure{}, err
		}
		defer ps[i].Kill()
	}
	var first, last time.Time
	f := figure{messages: each * producers, extra: map[string]float64{}}
	for _, p := range ps {
		if err := p.Wait(ctx); err != nil {
			return figure{}, err
		}
		v, end, err := produced(p, each)
		if err != nil {
			return figure{}, err
		}
		f.value = v[0]
		f.extra["ms p50"], f.extra["ms p99"] = max(f.extra["ms p50"], v[1]), max(f.extra["ms p99"], v[2])
		began := end.Add(-time.Duration(float64(each) / v[0] * float64(time.Second)))
		if first.IsZero() || began.Before(first) {
			first = began
		}
		if end.After(last) {
			last = end
		}
	}
	if producers > 1 {
		f.value = float64(f.messages) / last.Sub(first).Seconds()
	}
	return f, nil
}

func (b *bench) kafkaProduce(j produceJob) func(context.Context, *running) (figure, error) {
	j.n = b.n(j.n)
	return func(ctx context.Context, r *running) (figure, error) {
		j := j
		if j.topic == "" {
			j.topic = b.name("produce")
			if err := kafkaTopic(ctx, r, j.topic, 1); err != nil {
				return figure{}, err
			}
		}
		return produce(ctx, r, j)
	}
}

func (b *bench) kafkaConsume(topic string, n int) func(context.Context, *running) (figure, error) {
	return b.kafkaConsumeN(topic, b.n(n))
}

// kafkaConsumeN consumes n messages, not scaled.
func (b *bench) kafkaConsumeN(topic string, n int) func(context.Context, *running) (figure, error) {
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
