// Command demo shows one message read by four ecosystems' own tools.
//
// It starts a fresh broker without configuration and plays five rounds. In each of the first four
// a tool of another protocol publishes one message to robustmq.multi.protocol, while MQTT.js,
// Kafka's console consumer, the nats CLI and scripts/amqp_consumer.py wait for it. In the fifth a
// message is published, retained, before any of them is started. It prints who received what and
// when, and exits with 1 unless everyone received exactly what its protocol promises, once.
//
//	demo [-v] [-random-ports]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/robustmq/robustmq-go/test/harness"
)

const topic = "robustmq.multi.protocol"

// Bounds of one round's steps, wide enough for a busy machine.
const (
	readyWithin   = 60 * time.Second
	publishWithin = 60 * time.Second
	receiveWithin = 30 * time.Second
	// quiet is how long each round listens for what must not come: a second copy.
	quiet = 500 * time.Millisecond
)

func main() {
	verbose := flag.Bool("v", false, "show the broker's output")
	random := flag.Bool("random-ports", false, "use random ports even where the standard ones are free")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var log io.Writer
	if *verbose {
		log = os.Stderr
	}
	if err := run(ctx, os.Stdout, log, *random); err != nil {
		fmt.Fprintf(os.Stderr, "demo: FAILED: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out, log io.Writer, random bool) (err error) {
	o := harness.Options{Ports: harness.StandardPorts, Log: log}
	if random || !o.Ports.Free() {
		if o.Ports, err = harness.RandomPorts(); err != nil {
			return err
		}
		fmt.Fprintln(out, "Not all standard ports are free: using random ones.")
	}
	fmt.Fprintln(out, "Building the broker where needed ...")
	b, err := harness.StartBroker(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	p := b.Ports
	fmt.Fprintf(out, "A fresh broker, ready %d ms after its start: mqtt %d, kafka %d, nats %d, amqp %d.\n",
		b.StartupTime().Milliseconds(), p.MQTT, p.Kafka, p.NATS, p.AMQP)

	var history []string // what was published before the round at hand
	var failed []error
	for i, pub := range publishers(p) {
		text := fmt.Sprintf("robustmq multi protocol success (%d: %s)", i+1, pub.protocol)
		r := round{ports: p, pub: pub, text: text, history: history}
		if err := r.play(ctx, out); err != nil {
			failed = append(failed, fmt.Errorf("round %d (%s): %w\nthe broker's last lines:\n%s", i+1, pub.protocol, err, b.Proc().Tail(20)))
		}
		if ctx.Err() != nil {
			break
		}
		history = append(history, text)
	}
	if err := errors.Join(failed...); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nEveryone received what its protocol promises, once: %d messages, %d readers.\n", len(history), 4)
	return nil
}

// publisher publishes one message with a protocol's own tool and returns when it is acknowledged,
// as far as the protocol has that.
type publisher struct {
	protocol string
	shown    string // the command line; %s is the message
	publish  func(ctx context.Context, text string) error
	note     string // said in the heading
	first    bool   // publish before the consumers are started
}

func publishers(p harness.Ports) []publisher {
	mqtt := fmt.Sprintf("npx mqtt pub -t %s -h 127.0.0.1 -p %d -q 1 -u admin -P robustmq -m '%%s'", topic, p.MQTT)
	return []publisher{
		{protocol: "mqtt", shown: mqtt, publish: func(ctx context.Context, text string) error {
			return harness.MQTTPub(ctx, p.MQTT, topic, 1, text)
		}},
		{
			protocol: "kafka",
			shown:    fmt.Sprintf("echo '%%s' | kafka-console-producer.sh --bootstrap-server 127.0.0.1:%d --topic %s --sync --timeout 0", p.Kafka, topic),
			publish: func(ctx context.Context, text string) error {
				return harness.KafkaProduce(ctx, p.Kafka, topic, []string{text})
			},
		},
		{
			protocol: "nats", shown: fmt.Sprintf("nats pub %s '%%s' --server nats://admin:robustmq@127.0.0.1:%d", topic, p.NATS),
			publish: func(ctx context.Context, text string) error {
				return harness.NATSPub(ctx, p.NATS, topic, text)
			},
		},
		{
			protocol: "amqp", shown: fmt.Sprintf("pika: basic_publish('', '%s', b'%%s') with confirms, port %d", topic, p.AMQP),
			publish: func(ctx context.Context, text string) error {
				return harness.PikaPublish(ctx, p.AMQP, topic, text)
			},
		},
		{
			protocol: "mqtt -r", note: ", retained, before any reader was started", shown: mqtt + " -r", first: true,
			publish: func(ctx context.Context, text string) error {
				return harness.MQTTPub(ctx, p.MQTT, topic, 1, text, "-r")
			},
		},
	}
}
