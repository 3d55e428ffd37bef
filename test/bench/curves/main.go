// Command curves runs the product's benchmarks of how cost grows (BenchmarkCurve...), keeps their output
// as benchstat reads it, and draws one SVG chart for each.
//
//	curves                  run, write test/bench/results/curves-<date>.txt, draw docs/charts/*.svg
//	curves -from FILE       draw from a file, run nothing
//	curves -out DIR         both to a directory; with -quick the default is test/bench/out
//	curves -only open       that one alone; its output is curves-<date>-open.txt
//	curves -quick           one short run: does everything run?
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robustmq/robustmq-go/test/harness"
)

// curve is one chart: a benchmark, where it is and how long each point runs.
type curve struct {
	bench, pkg, time, quick string
	title, x, y             string
	per                     float64 // figures are divided by it
}

var curves = []curve{
	{"CurveAppend", "./engine", "200000x", "2000x", "One append of ten records", "shards", "µs", 1e3},
	{"CurveFlush", "./engine", "5x", "1x", "One flush of 8 MiB or more", "shards in it", "ms", 1e6},
	{"CurveMatch", "./engine/live", "300000x", "2000x", "Matching one subject", "subscriptions", "ns", 1},
	{"CurveSubscribe", "./engine/live", "20000x", "200x", "A subscription and its end, and one message elsewhere", "subscribers of its filter", "µs", 1e3},
	{"CurveMatchAfterChange", "./engine/live", "20000x", "200x", "A message to 100 subscribers after a new filter", "filters", "µs", 1e3},
	{"CurveInterest", "./engine/group", "20000x", "200x", "Is a consumer bound to the subject", "groups", "ns", 1},
	{"CurveCursors", "./engine/group", "20000x", "200x", "One message through a group of many topics", "topics", "µs", 1e3},
	{"CurveGroup", "./engine/group", "300000x", "2000x", "One message through a group", "consumers", "ns", 1},
	{"CurveOpen", "./catalog", "3x", "1x", "Opening the catalog at start", "segments", "ms", 1e6},
}

func (c curve) name() string { return strings.ToLower(strings.TrimPrefix(c.bench, "Curve")) }

func main() {
	from := flag.String("from", "", "file of benchmark output to draw, instead of running")
	out := flag.String("out", "", "directory of output and charts")
	only := flag.String("only", "", "one curve: append, flush, match, subscribe, matchafterchange, interest, cursors, group, open")
	quick := flag.Bool("quick", false, "few iterations, one run")
	count := flag.Int("count", 3, "runs of each benchmark")
	flag.Parse()
	wanted := slices.DeleteFunc(slices.Clone(curves), func(c curve) bool { return *only != "" && c.name() != *only })
	if len(wanted) == 0 {
		fmt.Fprintf(os.Stderr, "curves: there is no curve %q\n", *only)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, wanted, *from, *out, *quick, *count); err != nil {
		fmt.Fprintln(os.Stderr, "curves:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, curves []curve, from, out string, quick bool, count int) error {
	root, err := harness.Root()
	if err != nil {
		return err
	}
	results, charts := filepath.Join(root, "test", "bench", "results"), filepath.Join(root, "docs", "charts")
	if quick {
		count, results, charts = 1, filepath.Join(root, "test", "bench", "out"), filepath.Join(root, "test", "bench", "out")
	}
	if out != "" {
		results, charts = out, out
	}
	for _, dir := range []string{results, charts} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	if from == "" {
		name := "curves-" + time.Now().UTC().Format("2006-01-02")
		if len(curves) == 1 {
			name += "-" + curves[0].name()
		}
		from = filepath.Join(results, name+".txt")
		if err := measure(ctx, curves, root, from, quick, count); err != nil {
			return err
		}
	}
	text, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("read output: %w", err)
	}
	for _, c := range curves {
		ls := c.read(string(text))
		if len(ls) == 0 {
			return fmt.Errorf("%s has no figures of Benchmark%s", from, c.bench)
		}
		file := filepath.Join(charts, c.name()+".svg")
		if err := os.WriteFile(file, c.draw(ls), 0o644); err != nil {
			return fmt.Errorf("write chart: %w", err)
		}
		fmt.Println(file)
	}
	return nil
}

// measure runs the benchmarks one after the other, into a file.
func measure(ctx context.Context, curves []curve, root, file string, quick bool, count int) error {
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		load = []byte("unknown\n")
	}
	out := bytes.NewBufferString("load-average: " + string(load))
	for _, c := range curves {
		t := c.time
		if quick {
			t = c.quick
		}
		cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^Benchmark"+c.bench+"$", "-benchtime", t, "-count", strconv.Itoa(count), "-timeout", "30m", c.pkg)
		cmd.Dir, cmd.Stderr = root, os.Stderr
		b, err := cmd.Output()
		out.Write(b)
		_, _ = os.Stdout.Write(b) // for who watches; the file has it too
		if err != nil {
			return fmt.Errorf("run Benchmark%s: %w", c.bench, err)
		}
	}
	if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// line is one line of a chart: medians over the runs, by growing x.
type line struct {
	name string
	at   []point
}

type point struct{ x, y float64 }

var figure = regexp.MustCompile(`(?m)^Benchmark(\w+)/(?:(\w+)/)?\w+=(\d+)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op`)

// read finds the figures of a curve in benchmark output.
func (c curve) read(text string) []line {
	runs := map[string]map[float64][]float64{}
	for _, m := range figure.FindAllStringSubmatch(text, -1) {
		x, errX := strconv.ParseFloat(m[3], 64)
		y, errY := strconv.ParseFloat(m[4], 64)
		if m[1] != c.bench || errX != nil || errY != nil {
			continue
		}
		if runs[m[2]] == nil {
			runs[m[2]] = map[float64][]float64{}
		}
		runs[m[2]][x] = append(runs[m[2]][x], y/c.per)
	}
	var out []line
	for name, at := range runs {
		l := line{name: name}
		for x, ys := range at {
			slices.Sort(ys)
			l.at = append(l.at, point{x, ys[len(ys)/2]})
		}
		slices.SortFunc(l.at, func(a, b point) int { return int(a.x - b.x) })
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b line) int { return strings.Compare(a.name, b.name) })
	return out
}
