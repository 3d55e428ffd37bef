// Command bench puts the same load on RobustMQ and on the brokers that users run today, in turn in
// one run, and writes what it saw to test/bench/results/<date>.md and .json.
//
// Nouns: a row is one workload; a side is one server under that load with the durability that its
// acknowledgement has there; a round is one run of every side of a row, one after the other, and a
// row has several rounds (A B A B). Figures are medians over the rounds, ratios are ours to the
// peer's. Loads come from each ecosystem's own tool or official client library.
//
//	bench                     every row, 3 rounds
//	bench -quick              a tenth of the messages, 1 round: does everything run?
//	bench -times 5            five times the messages: longer runs, steadier figures
//	bench -alone              our server only: $ROBUSTMQ_BIN of one build after the other compares builds
//	bench -profile            CPU profiles of our server, as text in test/bench/profiles
//	bench -only nats,kafka    some groups: nats, kafka, mqtt, amqp, four, cold, start
//
// A row that fails is reported and does not stop the others. Servers listen on loopback only, on
// random ports, and end with this process.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/robustmq/robustmq-go/test/harness"
)

// runWithin bounds one run of one side.
const runWithin = 60 * time.Second

// startWithin bounds the start of one server.
const startWithin = 60 * time.Second

// settle is how long after a load its server is still watched, so that the end of its work counts.
const settle = 300 * time.Millisecond

// plan is what the command line asks for.
type plan struct {
	rounds int
	scale  int // message counts are divided by it
	times  int // and multiplied by it
	groups []string
	match  string
	dir    string // of the results
	alone  bool   // our server only
	// profiles is where CPU profiles of our server go; none when empty.
	profiles string
}

// groups in the order they run.
func groups() map[string]func(*bench) []row {
	return map[string]func(*bench) []row{
		"nats": natsRows, "kafka": kafkaRows, "mqtt": mqttRows, "amqp": amqpRows,
		"four": fourRows, "cold": coldRows, "start": startRows,
	}
}

var groupOrder = []string{"nats", "kafka", "mqtt", "amqp", "four", "cold", "start"}

func main() {
	os.Exit(realMain())
}

func realMain() int {
	rounds := flag.Int("pairs", 3, "rounds of each row; figures are their medians")
	quick := flag.Bool("quick", false, "a tenth of the messages and one round")
	only := flag.String("only", strings.Join(groupOrder, ","), "groups to run, comma-separated")
	match := flag.String("match", "", "run only rows whose name contains this")
	out := flag.String("out", "", "directory of the results; test/bench/results, or test/bench/out with -quick, -only or -match")
	alone := flag.Bool("alone", false, "run our server only, to compare builds ($ROBUSTMQ_BIN) in turns")
	profile := flag.Bool("profile", false, "profile our server with perf into test/bench/profiles; the figures are not kept as results")
	times := flag.Int("times", 1, "multiply the messages of every row: longer runs, steadier figures")
	flag.Parse()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	p := plan{rounds: max(1, *rounds), scale: 1, times: max(1, *times), groups: strings.Split(*only, ","), match: *match, dir: *out}
	if *quick {
		p.scale, p.rounds = 10, 1
	}
	for _, g := range p.groups {
		if !slices.Contains(groupOrder, g) {
			log.Error("no such group", "group", g, "groups", groupOrder)
			return 2
		}
	}
	root, err := harness.Root()
	if err != nil {
		log.Error("find repository", "error", err)
		return 1
	}
	p.alone = *alone || *profile
	if *profile {
		p.profiles = filepath.Join(root, "test", "bench", "profiles")
	}
	if p.dir == "" {
		p.dir = filepath.Join(root, "test", "bench", "results")
		if *quick || p.alone || *match != "" || len(p.groups) < len(groupOrder) {
			p.dir = filepath.Join(root, "test", "bench", "out")
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	failed, err := runAll(ctx, p, log)
	if err != nil {
		log.Error("bench", "error", err)
		return 1
	}
	if failed > 0 {
		log.Error("some runs failed, the report says which", "runs", failed)
		return 1
	}
	return 0
}

// runAll runs every group and writes the report; it returns how many runs failed.
func runAll(ctx context.Context, p plan, log *slog.Logger) (int, error) {
	scratch, err := os.MkdirTemp("", "robustmq-bench-")
	if err != nil {
		return 0, fmt.Errorf("make scratch directory: %w", err)
	}
	defer os.RemoveAll(scratch)
	binary, err := harness.Binary(ctx, false)
	if err != nil {
		return 0, err
	}
	b := &bench{plan: p, log: log, scratch: scratch, binary: binary, running: map[string]*running{}, medians: map[[2]string]float64{}}
	defer b.stopAll()
	rep := newReport(p)
	for _, g := range p.groups {
		for _, r := range groups()[g](b) {
			if ctx.Err() != nil {
				break
			}
			if !strings.Contains(r.name, p.match) {
				continue
			}
			rep.add(g, b.runRow(ctx, r))
		}
		b.stopAll()
	}
	rep.finish()
	at, err := rep.write(p.dir)
	if err != nil {
		return rep.failures(), err
	}
	log.Info("written", "report", at)
	return rep.failures(), nil
}
