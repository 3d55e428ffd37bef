package main

import (
	"context"
	"fmt"
	"syscall"
	"time"
)

const (
	// idleClients is how many connections are aimed at.
	idleClients = 100_000
	// idleSpare is how many file descriptors a process needs besides.
	idleSpare = 1_000
)

// fileLimit raises the limit of open files as far as wanted and allowed, and returns it. Servers started
// afterwards inherit it.
func fileLimit(want uint64) (uint64, error) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("read limit of open files: %w", err)
	}
	// It is set even where it suffices: the Go runtime raises its own limit, and hides that from the
	// processes it starts until the program sets one itself.
	cur, hard := l.Cur, l.Max
	for _, try := range []uint64{max(hard, want), hard} {
		l.Cur, l.Max = min(max(cur, want), try), try
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l) == nil {
			return l.Cur, nil
		}
	}
	return 0, fmt.Errorf("the limit of open files cannot be set to %d", l.Cur)
}

// idleRow is the memory of an idle connection, of as many as this machine allows up to idleClients.
func idleRow(b *bench) row {
	n, why := idleClients, ""
	if b.plan.scale > 1 {
		n = 5_000
	}
	limit, err := fileLimit(uint64(n + idleSpare))
	switch {
	case err != nil:
		why = err.Error()
	case int(limit) < n+idleSpare:
		n = int(limit) - idleSpare
		why = fmt.Sprintf(" **Not 100,000**: the limit of open files is %d for a process here and may not be raised; a full run wants ulimit -Hn %d.", limit, idleClients+idleSpare)
	}
	r := mqttRow("idle connection, memory", "KiB", fmt.Sprintf("a fresh server; %s clients of MQTT 3.1.1 connected 64 at a time from %d loopback addresses, without subscriptions; growth of the resident set 1 s after the last, divided by their number.%s",
		short(float64(n)), mqttSources, why), "none is asked for", "none is asked for", 0, nil, mosquitto())
	r.less, r.once, r.within, r.limits = true, b.plan.times == 1, 5*time.Minute, map[string]float64{"KiB": 15}
	for i := range r.sides {
		s := &r.sides[i]
		s.fresh, s.load = true, b.mqttIdle(s.server, n)
		if n < 1_000 {
			s.load = func(context.Context, *running) (figure, error) { return figure{}, skipped(why) }
		}
	}
	return r
}

func (b *bench) mqttIdle(s server, n int) func(context.Context, *running) (figure, error) {
	return func(ctx context.Context, _ *running) (figure, error) {
		r, err := b.startServer(ctx, s)
		if err != nil {
			return figure{}, err
		}
		defer r.stop()
		before, err := rss(r.proc.Pid())
		if err != nil {
			return figure{}, err
		}
		began := time.Now()
		_, end, err := wireClients(ctx, r, b.name("idle"), n, 16)
		defer end()
		if err != nil {
			return figure{}, err
		}
		took := time.Since(began)
		time.Sleep(time.Second)
		after, err := rss(r.proc.Pid())
		return figure{value: float64(after-before) / 1024 / float64(n), messages: n,
			extra: map[string]float64{"connections": float64(n), "connects/s": float64(n) / took.Seconds(), "MiB in all": float64(after) / (1 << 20)}}, err
	}
}
