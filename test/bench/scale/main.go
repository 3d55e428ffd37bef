// Command scale puts many clients of each protocol on one gateway at once: persistent MQTT
// sessions, Kafka groups, NATS wildcard subscriptions and AMQP queues. It prints what each step took
// and what it costs the broker in memory, the CPU that all of it takes while idle, and then how long
// one publish takes to reach all that match, counted.
//
// It is a measurement: nothing is asserted but that every message arrives. It needs some 16,000
// file descriptors for itself and as many for the broker.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/robustmq/robustmq-go/test/harness"
)

// The subject of all publishes, in each protocol's spelling.
const (
	subject = "scale.hit.x"
	topic   = "scale/hit/x"
)

// plan is how much of each there is.
type plan struct {
	mqtt, kafka, nats, amqp int
	idle, within            time.Duration
	rounds                  int
}

func main() {
	var p plan
	flag.IntVar(&p.mqtt, "mqtt", 10_000, "MQTT connections with persistent sessions, all matching")
	flag.IntVar(&p.kafka, "kafka", 1_000, "Kafka groups of one member, all matching")
	flag.IntVar(&p.nats, "nats", 10_000, "NATS wildcard subscriptions, one in ten matching")
	flag.IntVar(&p.amqp, "amqp", 1_000, "AMQP queues with a consumer, all matching")
	flag.DurationVar(&p.idle, "idle", 20*time.Second, "how long to look at it idle")
	flag.DurationVar(&p.within, "within", time.Minute, "bound on one publish reaching everybody")
	flag.IntVar(&p.rounds, "rounds", 3, "publishes, one after another")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, p); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

// crowd is the clients of one protocol.
type crowd struct {
	what    string
	n       int
	matches int // of n
	start   func(context.Context, harness.Ports, int, *counter) (stop func(), err error)
}

func run(ctx context.Context, p plan) (err error) {
	b, err := harness.StartBroker(ctx, harness.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	pid := b.Proc().Pid()
	before, err := rss(pid)
	if err != nil {
		return err
	}
	fmt.Printf("one gateway, started: VmRSS %s\n\n%-34s %8s %8s %10s %12s\n", mib(before), "", "took", "VmRSS", "grown by", "each")
	crowds := []crowd{
		{"MQTT persistent sessions", p.mqtt, p.mqtt, startMQTT},
		{"Kafka groups", p.kafka, p.kafka, startKafka},
		{"NATS wildcard subscriptions", p.nats, (p.nats + 9) / 10, startNATS},
		{"AMQP queues", p.amqp, p.amqp, startAMQP},
	}
	counts := make([]*counter, len(crowds))
	for i, c := range crowds {
		counts[i] = newCounter()
		began := time.Now()
		stop, err := c.start(ctx, b.Ports, c.n, counts[i])
		if err != nil {
			return fmt.Errorf("start %d %s: %w", c.n, c.what, err)
		}
		defer stop()
		took := time.Since(began)
		now, err := rss(pid)
		if err != nil {
			return err
		}
		fmt.Printf("%6d %-27s %8s %8s %10s %8.1f KiB\n", c.n, c.what, took.Round(100*time.Millisecond), mib(now), mib(now-before),
			float64(now-before)/1024/float64(max(1, c.n)))
		before = now
	}
	if err := idle(ctx, pid, p.idle); err != nil {
		return err
	}
	for round := 1; round <= p.rounds; round++ {
		if err := publish(ctx, b.Ports, round, p.within, crowds, counts); err != nil {
			return err
		}
	}
	after, err := rss(pid)
	if err != nil {
		return err
	}
	fmt.Printf("\nat the end: VmRSS %s\n", mib(after))
	return nil
}

// idle prints what the broker takes with nothing published.
func idle(ctx context.Context, pid int, d time.Duration) error {
	if err := sleep(ctx, 5*time.Second); err != nil { // what the start left to do
		return err
	}
	first, err := cpu(pid)
	if err != nil {
		return err
	}
	if err := sleep(ctx, d); err != nil {
		return err
	}
	last, err := cpu(pid)
	if err != nil {
		return err
	}
	now, err := rss(pid)
	if err != nil {
		return err
	}
	fmt.Printf("\nidle, with all of them, %v: VmRSS %s, CPU %.1f %% of one core\n\n", d, mib(now), 100*float64(last-first)/float64(d))
	return nil
}

// publish sends one message and waits until everybody has it.
func publish(ctx context.Context, p harness.Ports, round int, within time.Duration, crowds []crowd, counts []*counter) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	total := 0
	for i, c := range crowds {
		counts[i].expect(c.matches)
		total += c.matches
	}
	began := time.Now()
	if err := publishMQTT(ctx, p, topic, []byte("round "+strconv.Itoa(round))); err != nil {
		return err
	}
	acked := time.Since(began)
	var all time.Duration
	var parts []string
	for i, c := range crowds {
		last, err := counts[i].wait(ctx)
		if err != nil {
			return fmt.Errorf("publish %d reached %d of %d %s: %w", round, counts[i].seen(), c.matches, c.what, err)
		}
		all = max(all, last.Sub(began))
		parts = append(parts, fmt.Sprintf("%d %s %v", c.matches, strings.Fields(c.what)[0], last.Sub(began).Round(time.Millisecond)))
	}
	fmt.Printf("publish %d: acknowledged after %v, reached all %d after %v (%s)\n", round, acked.Round(time.Millisecond), total,
		all.Round(time.Millisecond), strings.Join(parts, ", "))
	if err := sleep(ctx, 500*time.Millisecond); err != nil {
		return err
	}
	for i, c := range crowds {
		if n := counts[i].seen(); n != c.matches {
			return fmt.Errorf("publish %d reached %d %s, more than the %d that match", round, n, c.what, c.matches)
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func mib(n int) string { return fmt.Sprintf("%d MiB", n>>20) }

func rss(pid int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	f := strings.Fields(rest)
	if len(f) == 0 {
		return 0, fmt.Errorf("read memory: no VmRSS of process %d", pid)
	}
	kib, err := strconv.Atoi(f[0])
	return kib << 10, err
}

// cpu is the time the process has had, user and system; proc(5) counts it in ticks of 10 ms.
func cpu(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read CPU time: %w", err)
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 13 {
		return 0, fmt.Errorf("read CPU time: %q", b)
	}
	var ticks int
	for _, s := range f[11:13] {
		n, err := strconv.Atoi(s)
		if err != nil {
			return 0, fmt.Errorf("read CPU time: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}
