package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/robustmq/robustmq-go/test/harness"
)

// row is one workload.
type row struct {
	name string
	note string // what has to be known to read the figures
	unit string // of the value
	less bool   // the smaller value is the better one
	// limits are bounds on our own figures, whatever the peers show: on the value under its unit, on
	// further figures under their name.
	limits map[string]float64
	within time.Duration // bounds one run and its preparation; runWithin when zero
	once   bool          // one round is enough
	sides  []side        // ours first
}

// side is one server under the load of a row.
type side struct {
	server     server
	label      string  // in the report; the server's name when empty
	durability string  // what an acknowledgement means there
	bar        float64 // ratio ours/peer that is aimed at; 0: none set
	cpuBar     float64 // the same of CPU per message, at most
	memBar     float64 // and of peak memory, at most
	fresh      bool    // a new server for every run; the load starts it itself
	// prepare is what the load needs and is not measured; may be nil.
	prepare func(ctx context.Context, r *running) error
	load    func(ctx context.Context, r *running) (figure, error)
	// watch are the processes whose counters are read; nil: the server's.
	watch func(r *running) []*harness.Proc
}

// figure is what a load saw.
type figure struct {
	value    float64
	messages int                // handled by the server, for CPU per message
	extra    map[string]float64 // further figures, named with their unit
}

// server says how to start a broker.
type server struct {
	name     string
	version  string
	settings string
	// keep leaves the server running from row to row: it is slow to start. Others are new in each
	// row, so that the memory shown is that of the row.
	keep  bool
	start func(ctx context.Context, b *bench, dir string) (*running, error)
}

// running is a started server.
type running struct {
	port int // of the protocol under load
	ours harness.Ports
	user string
	pass string
	proc *harness.Proc
	also []*harness.Proc // further servers that are measured with it and end with it
	more []*harness.Proc // helpers that end with it
	// parts are the servers of a server that is several, by name.
	parts map[string]*running
	end   func() // what else is to be done at the end; may be nil
	dir   string // its data, removed at the end
	// memo is what loads prepared on this server, by name.
	memo map[string]bool
}

// url of the server with the scheme given, with user and password where it wants them.
func (r *running) url(scheme string) string {
	login := ""
	if r.user != "" {
		login = r.user + ":" + r.pass + "@"
	}
	return scheme + "://" + login + harness.Addr(r.port)
}

// stop kills the server: what it stored is not needed any more.
func (r *running) stop() {
	for _, p := range slices.Concat([]*harness.Proc{r.proc}, r.also, r.more) {
		p.Kill()
	}
	if r.end != nil {
		r.end()
	}
	if r.dir != "" {
		_ = os.RemoveAll(r.dir) // what is left goes with the scratch directory
	}
}

// pids of what is measured.
func (s *side) pids(r *running) []int {
	procs := append([]*harness.Proc{r.proc}, r.also...)
	if s.watch != nil {
		procs = s.watch(r)
	}
	out := make([]int, len(procs))
	for i, p := range procs {
		out[i] = p.Pid()
	}
	return out
}

// bench is the state of the whole run.
type bench struct {
	plan    plan
	log     *slog.Logger
	scratch string
	binary  string
	running map[string]*running
	started int
	names   int
	// medians of the sides of the rows that ran, by row and label.
	medians map[[2]string]float64
}

// skipped is the error of a load that cannot run on this machine: told, and not a failure.
type skipped string

func (s skipped) Error() string { return skippedPrefix + string(s) }

const skippedPrefix = "skipped: "

// n scales a number of messages.
func (b *bench) n(messages int) int { return max(messages*b.plan.times/b.plan.scale, 20) }

// name makes a topic, queue or subject that nobody used before.
func (b *bench) name(prefix string) string {
	b.names++
	return prefix + "-" + strconv.FormatInt(time.Now().UnixNano()%1e9, 36) + strconv.Itoa(b.names)
}

// startServer starts a server in a directory of its own.
func (b *bench) startServer(ctx context.Context, s server) (*running, error) {
	b.started++
	dir := filepath.Join(b.scratch, strconv.Itoa(b.started))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("start %s: %w", s.name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	r, err := s.start(ctx, b, dir)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.name, err)
	}
	r.memo, r.dir = map[string]bool{}, dir
	return r, nil
}

// get returns the running server of that name, started when it does not run.
func (b *bench) get(ctx context.Context, s server) (*running, error) {
	if r := b.running[s.name]; r != nil {
		select {
		case <-r.proc.Done():
			r.stop()
			delete(b.running, s.name)
		default:
			return r, nil
		}
	}
	r, err := b.startServer(ctx, s)
	if err != nil {
		return nil, err
	}
	b.running[s.name] = r
	return r, nil
}

func (b *bench) stopAll() {
	for name, r := range b.running {
		r.stop()
		delete(b.running, name)
	}
	if err := os.RemoveAll(b.scratch); err != nil {
		b.log.Warn("remove data", "error", err)
	}
}

// endRow stops the servers that are not kept.
func (b *bench) endRow(r row) {
	for i := range r.sides {
		s := &r.sides[i].server
		if got := b.running[s.name]; got != nil && !s.keep {
			got.stop()
			delete(b.running, s.name)
		}
	}
}

// runRow runs every round of a row.
func (b *bench) runRow(ctx context.Context, r row) rowResult {
	if b.plan.alone {
		r.sides = r.sides[:1] // ours
	}
	defer b.endRow(r)
	res := rowResult{Name: r.name, Note: r.note, Unit: r.unit, LessIsBetter: r.less, Limits: r.limits}
	for i := range r.sides {
		s := &r.sides[i]
		res.Sides = append(res.Sides, sideResult{Server: cmp.Or(s.label, s.server.name), Version: s.server.version,
			Settings: s.server.settings, Durability: s.durability, Bar: s.bar, CPUBar: s.cpuBar, MemBar: s.memBar})
	}
	rounds := b.plan.rounds
	if r.once {
		rounds = 1
	}
	for round := range rounds {
		for i := range r.sides {
			if ctx.Err() != nil {
				return res
			}
			one := b.runSide(ctx, &r, &r.sides[i], i == 0)
			res.Sides[i].Runs = append(res.Sides[i].Runs, one)
			b.log.Info(r.name, "round", round+1, "server", r.sides[i].server.name, "value", int64(one.Value),
				"unit", r.unit, "cpu", one.CPU, "error", one.Error)
		}
	}
	for i := range res.Sides {
		b.medians[[2]string{r.name, res.Sides[i].Server}] = res.Sides[i].median(value)
	}
	return res
}

// runSide is one run: the server's counters before and after the load.
func (b *bench) runSide(ctx context.Context, of *row, s *side, ours bool) runResult {
	within := cmp.Or(of.within, runWithin)
	ctx, cancel := context.WithTimeout(ctx, within+startWithin)
	defer cancel()
	if s.fresh {
		fig, err := s.load(ctx, nil)
		return newRun(fig, usage{}, err)
	}
	r, err := b.get(ctx, s.server)
	if err != nil {
		return newRun(figure{}, usage{}, err)
	}
	ctx, cancel2 := context.WithTimeout(ctx, within)
	defer cancel2()
	if s.prepare != nil {
		if err := s.prepare(ctx, r); err != nil {
			return newRun(figure{}, usage{}, fmt.Errorf("prepare: %w", err))
		}
	}
	pids := s.pids(r)
	before, err := startWatch(pids)
	if err != nil {
		return newRun(figure{}, usage{}, err)
	}
	began := time.Now()
	var fig figure
	if ours && b.plan.profiles != "" {
		fig, err = profiled(ctx, b.plan.profiles, of.name, r, s.load)
	} else {
		fig, err = s.load(ctx, r)
	}
	if err != nil {
		return newRun(fig, usage{}, err)
	}
	took := time.Since(began)
	time.Sleep(settle)
	used, err := before.since(pids)
	used.wall = took
	return newRun(fig, used, err)
}
