package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/robustmq/robustmq-go/test/harness"
)

func natsPort(p harness.Ports) int { return p.NATS }
func amqpPort(p harness.Ports) int { return p.AMQP }

const natsCoreNote = "nats-server stores nothing here, RobustMQ stores every message; neither protocol side acknowledges."

func natsRows(b *bench) []row {
	ours := robustmq(natsPort)
	core := natsServer("nats-server core", "default", "")
	both := func(name string, bar float64, load func(context.Context, *running) (figure, error)) row {
		return row{name: name, unit: "msg/s", note: natsCoreNote, sides: []side{
			{server: ours, durability: oursNATS, load: load}, {server: core, durability: nothing, bar: bar, load: load},
		}}
	}
	rows := []row{
		both("publish 16 B", 0.6, b.natsPub(16, 1_000_000)),
		both("publish 128 B", 0.6, b.natsPub(128, 1_000_000)),
		both("publish 1 KiB", 0.6, b.natsPub(1024, 200_000)),
		both("publish + subscribe 1:1, 16 B", 0.6, b.natsPubSub(16, 1_000_000, 1)),
		both("publish + subscribe 1:1, 128 B", 0.6, b.natsPubSub(128, 1_000_000, 1)),
		both("publish + subscribe 1:1, 1 KiB", 0.6, b.natsPubSub(1024, 200_000, 1)),
		both("fan-out 1:10, 128 B, deliveries", 0.6, b.natsPubSub(128, 100_000, 10)),
		both("fan-out 1:100, 128 B, deliveries", 0.6, b.natsPubSub(128, 20_000, 100)),
		both("request/reply 16 B, 8 requesters", 0.6, b.natsService(16, 40_000, 8)),
	}
	js, jsSynced := b.natsJetStream(128, 100_000), b.natsJetStream(128, 15_000)
	persistent := func(name, driver string, load func(context.Context, *running) (figure, error)) row {
		return row{
			name: name, unit: "msg/s",
			note: "one frame and one acknowledgement per message on both sides, one publisher, 500 outstanding: JetStream by `nats bench js pub async --batch 500` (file storage, 1 replica); RobustMQ by AMQP publisher confirms (" + driver + "), the protocol of ours whose acknowledgement is per message as JetStream's is. NATS's own core publish has no acknowledgement to wait for, and a Kafka producer would batch on the client.",
			sides: []side{
				{server: robustmq(amqpPort).named("RobustMQ over AMQP"), durability: synced, load: load},
				{server: natsServer("JetStream", "file storage, sync_interval at its default of 2 m", "max_file_store: 8G"), durability: notSync, bar: 2, load: js},
				{server: natsServer("JetStream, sync always", "file storage, sync_interval: always", "max_file_store: 8G, sync_interval: always"), durability: "fsync before the acknowledgement", bar: 50, load: jsSynced},
			},
		}
	}
	return append(rows,
		persistent("persistent publish 128 B, 500 outstanding, frugal driver", "our own frugal driver, which writes what may be outstanding in one write as `nats bench js` does", b.wirePublishAMQP(128, 200_000, 500)),
		persistent("persistent publish 128 B, 500 outstanding, amqp091-go", "amqp091-go: one system call per message", b.amqpPublish(128, 100_000, 500)))
}

// named is the server under another name: a process of its own.
func (s server) named(name string) server {
	s.name = name
	return s
}

var natsRate = regexp.MustCompile(`(?m)(aggregated )?stats: ([\d,]+) msgs/sec`)

// rate reads what `nats bench` printed last, the sum over its clients where it has several.
func rate(out string) (float64, error) {
	m := natsRate.FindAllStringSubmatch(out, -1)
	if len(m) == 0 {
		return 0, fmt.Errorf("read nats bench: no rate in %q", out)
	}
	return strconv.ParseFloat(strings.ReplaceAll(m[len(m)-1][2], ",", ""), 64)
}

// natsBench runs `nats bench` with its arguments.
func natsBench(r *running, args ...string) (*harness.Proc, error) {
	path, err := harness.Tool("nats")
	if err != nil {
		return nil, err
	}
	args = append(append([]string{"bench"}, args...), "--no-progress", "--no-context", "-s", "nats://"+harness.Addr(r.port))
	if r.user != "" {
		args = append(args, "--user", r.user, "--password", r.pass)
	}
	return harness.StartProc(harness.Command{Name: "nats bench", Path: path, Args: args})
}

// finish waits for `nats bench` and reads its rate.
func finish(ctx context.Context, p *harness.Proc) (float64, error) {
	defer p.Kill()
	if err := p.Wait(ctx); err != nil {
		return 0, err
	}
	return rate(p.Output(harness.Stdout))
}

func (b *bench) natsPub(size, n int) func(context.Context, *running) (figure, error) {
	n = b.n(n)
	return func(ctx context.Context, r *running) (figure, error) {
		p, err := natsBench(r, "pub", b.name("pub"), "--msgs", strconv.Itoa(n), "--size", strconv.Itoa(size))
		if err != nil {
			return figure{}, err
		}
		v, err := finish(ctx, p)
		return figure{value: v, messages: n}, err
	}
}

// natsPubSub is one publisher and some subscribers; the figure is what the subscribers received
// per second, all together.
func (b *bench) natsPubSub(size, n, subs int) func(context.Context, *running) (figure, error) {
	n = b.n(n)
	return func(ctx context.Context, r *running) (figure, error) {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second) // lost messages would never come
		defer cancel()
		subject, msgs, bytes := b.name("sub"), strconv.Itoa(n), strconv.Itoa(size)
		sub, err := natsBench(r, "sub", subject, "--clients", strconv.Itoa(subs), "--msgs", msgs, "--size", bytes)
		if err != nil {
			return figure{}, err
		}
		defer sub.Kill()
		if err := sub.WaitLine(ctx, fmt.Sprintf("[%d] Starting Core NATS subscriber", subs)); err != nil {
			return figure{}, err
		}
		// The tool says so just before it subscribes, and nothing after.
		time.Sleep(300 * time.Millisecond)
		pub, err := natsBench(r, "pub", subject, "--msgs", msgs, "--size", bytes)
		if err != nil {
			return figure{}, err
		}
		sent, err := finish(ctx, pub)
		if err != nil {
			return figure{}, err
		}
		v, err := finish(ctx, sub)
		return figure{value: v, messages: n * subs, extra: map[string]float64{"msg/s published": sent}}, err
	}
}

var natsP99 = regexp.MustCompile(`P50:? ([\d.,]+)us.* P99:? ([\d.,]+)us`)

func (b *bench) natsService(size, n, clients int) func(context.Context, *running) (figure, error) {
	n = b.n(n)
	return func(ctx context.Context, r *running) (figure, error) {
		subject, bytes := b.name("svc"), strconv.Itoa(size)
		svc, err := natsBench(r, "service", "serve", subject, "--size", bytes)
		if err != nil {
			return figure{}, err
		}
		defer svc.Kill()
		if err := svc.WaitLine(ctx, "Starting Core NATS service server, hit"); err != nil {
			return figure{}, err
		}
		time.Sleep(300 * time.Millisecond) // as above
		req, err := natsBench(r, "service", "request", subject, "--msgs", strconv.Itoa(n), "--clients", strconv.Itoa(clients), "--size", bytes)
		if err != nil {
			return figure{}, err
		}
		v, err := finish(ctx, req)
		f := figure{value: v, messages: 2 * n}
		if m := natsP99.FindAllStringSubmatch(req.Output(harness.Stdout), -1); len(m) > 0 {
			p99, perr := strconv.ParseFloat(strings.ReplaceAll(m[len(m)-1][2], ",", ""), 64)
			f.extra, err = map[string]float64{"µs p99": p99}, errors.Join(err, perr)
		}
		return f, err
	}
}

func (b *bench) natsJetStream(size, n int) func(context.Context, *running) (figure, error) {
	n = b.n(n)
	return func(ctx context.Context, r *running) (figure, error) {
		p, err := natsBench(r, "js", "pub", "async", "bench", "--create", "--purge", "--storage", "file", "--batch", "500",
			"--msgs", strconv.Itoa(n), "--size", strconv.Itoa(size))
		if err != nil {
			return figure{}, err
		}
		v, err := finish(ctx, p)
		return figure{value: v, messages: n}, err
	}
}
