// Command conform runs the test suites that come with outside client libraries against a fresh
// broker, and compares with a list of the failures that are known.
//
// Each suite has a file known/<suite>.txt: lines of "TestName  reason". The command fails when a
// test fails that is not listed, and when a listed test passes: it must leave the list then.
//
//	conform [suite ...]     all suites when none is named
//	conform -hanging        also the tests whose reason begins with "hangs:", which are left out otherwise
//	conform -at HOST        against servers that run already on the standard ports of HOST
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/robustmq/robustmq-go/test/harness"
)

// suite is one library's own tests.
type suite struct {
	name   string
	module string
	args   []string // of go test
	env    func(p harness.Ports, host string) []string
}

var suites = []suite{
	{
		name: "kgo", module: "github.com/twmb/franz-go",
		args: []string{"-timeout", "9m", "./pkg/kgo"},
		env: func(p harness.Ports, host string) []string {
			return []string{fmt.Sprintf("KGO_SEEDS=%s:%d", host, p.Kafka), "KGO_TEST_RF=1", "KGO_TEST_RECORDS=50000", "KGO_LOG_LEVEL=none"}
		},
	},
	{
		name: "amqp091", module: "github.com/rabbitmq/amqp091-go",
		args: []string{"-timeout", "5m", "-tags", "integration", "-run", "TestIntegration|TestConnection|TestChannel", "."},
		env: func(p harness.Ports, host string) []string {
			return []string{fmt.Sprintf("AMQP_URL=amqp://admin:robustmq@%s:%d/", host, p.AMQP)}
		},
	},
}

// hanging tests are run too.
var hanging bool

// leftOut gives go test's flags that leave out what is known to hang, which would take the tests
// after it along, and takes it off the list.
func leftOut(known map[string]string) []string {
	var names []string
	for name, reason := range known {
		if strings.HasPrefix(reason, "hangs:") && !hanging {
			names = append(names, name)
			delete(known, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	fmt.Printf("   left out, as they hang: %s\n", strings.Join(names, ", "))
	return []string{"-skip", "^(" + strings.Join(names, "|") + ")$"}
}

// suiteWithin bounds one suite, its compilation included.
const suiteWithin = 15 * time.Minute

func main() {
	at := flag.String("at", "", "test a server that runs already on the standard ports of this loopback host")
	flag.BoolVar(&hanging, "hanging", false, "run also the tests that are known to hang")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *at, flag.Args()); err != nil {
		fmt.Fprintf(os.Stderr, "conform: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, at string, names []string) error {
	for _, name := range names {
		if !slices.ContainsFunc(suites, func(s suite) bool { return s.name == name }) {
			return fmt.Errorf("no suite is called %q", name)
		}
	}
	var failed []error
	for _, s := range suites {
		if len(names) > 0 && !slices.Contains(names, s.name) {
			continue
		}
		if err := s.run(ctx, at); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", s.name, err))
		}
	}
	return errors.Join(failed...)
}

// run gives each suite a broker of its own, so that none sees what another left behind.
func (s suite) run(ctx context.Context, at string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, suiteWithin)
	defer cancel()
	host, ports := at, harness.StandardPorts
	if at == "" {
		b, err := harness.StartBroker(ctx, harness.Options{})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, b.Close()) }()
		host, ports = "127.0.0.1", b.Ports
	}
	dir, err := harness.Run(ctx, harness.Command{Path: "go", Args: []string{"list", "-m", "-f", "{{.Dir}}", s.module}})
	if err != nil {
		return fmt.Errorf("find module %s: %w", s.module, err)
	}
	dir = strings.TrimSpace(dir)
	known, err := readKnown(filepath.Join("conform", "known", s.name+".txt"))
	if err != nil {
		return err
	}
	fmt.Printf("== %s: %s\n", s.name, s.module)
	args := append([]string{"test", "-count=1", "-json", "-mod=mod"}, leftOut(known)...)
	began := time.Now()
	p, err := harness.StartProc(harness.Command{
		Name: s.name, Path: "go", Dir: dir, Env: s.env(ports, host),
		Args: append(args, s.args...),
	})
	if err != nil {
		return err
	}
	// A failing suite ends with a status other than 0; what counts is in its lines.
	waitErr := p.Wait(ctx)
	if ctx.Err() != nil {
		p.Kill()
		return waitErr
	}
	results, err := parse(p.Lines())
	if err != nil {
		return err
	}
	return judge(results, known, time.Since(began), p)
}

// result is a test's outcome and the last things it printed.
type result struct {
	action string // pass, fail, skip; run when it never ended
	output []string
}

// parse reads the events of go test -json. Only top-level tests count: their parts follow them.
func parse(lines []harness.Line) (map[string]*result, error) {
	results := map[string]*result{}
	for _, l := range lines {
		if l.From != harness.Stdout || !strings.HasPrefix(l.Text, "{") {
			continue
		}
		var e struct{ Action, Test, Output string }
		if err := json.Unmarshal([]byte(l.Text), &e); err != nil {
			return nil, fmt.Errorf("read go test -json: %w", err)
		}
		name, _, part := strings.Cut(e.Test, "/")
		if name == "" {
			continue
		}
		r := results[name]
		if r == nil {
			r = &result{}
			results[name] = r
		}
		switch e.Action {
		case "output":
			if r.output = append(r.output, e.Output); len(r.output) > 20 {
				r.output = r.output[1:]
			}
		case "run", "pass", "fail", "skip":
			if !part {
				r.action = e.Action
			}
		}
	}
	return results, nil
}

func readKnown(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read known failures: %w", err)
	}
	defer f.Close()
	known := map[string]string{}
	s := bufio.NewScanner(f)
	for s.Scan() {
		line := strings.TrimSpace(s.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, reason, _ := strings.Cut(line, " ")
		if reason = strings.TrimSpace(reason); reason == "" {
			return nil, fmt.Errorf("%s: %s is listed without a reason", path, name)
		}
		known[name] = reason
	}
	return known, s.Err()
}

func judge(results map[string]*result, known map[string]string, took time.Duration, p *harness.Proc) error {
	counts := map[string]int{}
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(results)) {
		r := results[name]
		counts[r.action]++
		_, listed := known[name]
		delete(known, name)
		switch {
		case r.action == "pass" && listed:
			wrong = append(wrong, fmt.Errorf("%s passes now: take it off the list", name))
		case r.action != "pass" && r.action != "skip" && !listed:
			wrong = append(wrong, fmt.Errorf("%s fails (%s):\n    %s", name, r.action, strings.Join(r.output, "    ")))
		}
	}
	for name := range known {
		wrong = append(wrong, fmt.Errorf("%s is listed, but is no longer a test", name))
	}
	fmt.Printf("   %d passed, %d failed, %d skipped, %d never ended, in %.0f s\n",
		counts["pass"], counts["fail"], counts["skip"], counts["run"], took.Seconds())
	if counts["pass"] == 0 {
		wrong = append(wrong, fmt.Errorf("no test passed:\n%s", p.Tail(30)))
	}
	return errors.Join(wrong...)
}
