package soak

import (
	"context"
	"flag"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/test/e2e/clients"
	"github.com/robustmq/robustmq-go/test/harness"
)

var (
	length = flag.Duration("for", 4*time.Minute, "how long the broker is worked")
	full   = flag.Bool("full", false, "the sizes that a broker has out of the box; else a 64th of them")
)

// TestSoak is the test of the package comment.
func TestSoak(t *testing.T) {
	p := Scaled(*length)
	if *full {
		p = Full(*length)
	}
	s := &soak{t: t, plan: p, b: harness.NewBroker(t, harness.Options{Args: p.args()})}
	s.samples = sampler{b: s.b, began: time.Now(), before: map[string]float64{}, counters: map[string]float64{}}
	s.run()
	t.Logf("\n%s", Table(p, s.curve))
	for _, f := range Judge(p, s.curve) {
		t.Error(f)
	}
	s.starts()
}

type soak struct {
	t       *testing.T
	plan    Plan
	b       *harness.Broker
	samples sampler
	curve   []Sample
	loads   []float64 // bytes that each start read from the store
}

func (s *soak) run() {
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	l := &load{plan: s.plan, ports: s.b.Ports}
	if err := l.start(ctx); err != nil {
		s.t.Fatal(err)
	}
	end := sync.OnceFunc(func() { cancel(); l.wg.Wait() })
	defer end()
	began := time.Now()
	next := s.plan.For / time.Duration(s.plan.Restarts+1)
	for n := 1; time.Since(began) < s.plan.For; {
		time.Sleep(s.plan.Every)
		if n <= s.plan.Restarts && time.Since(began) > time.Duration(n)*next {
			s.restart(n)
			n++
			continue // a sample right after it would show an empty cache
		}
		sample, err := s.samples.take(ctx)
		if err != nil {
			s.t.Fatalf("after %v: %v", time.Since(began).Round(time.Second), err)
		}
		s.curve = append(s.curve, sample)
	}
	end()
	s.counts(l)
}

// restart ends the broker, by SIGKILL every second time, and notes what the start had to read.
func (s *soak) restart(n int) {
	if n%2 == 0 {
		s.b.Kill()
	} else if err := s.b.Stop(); err != nil {
		s.t.Fatalf("restart %d: %v", n, err)
	}
	s.samples.restarted()
	if err := s.b.Start(s.t.Context()); err != nil {
		s.t.Fatalf("restart %d: %v", n, err)
	}
	m, err := metrics(s.t.Context(), s.b)
	if err != nil {
		s.t.Fatal(err)
	}
	read := m[`robustmq_store_bytes_total{operation="get"}`]
	s.loads = append(s.loads, read)
	s.t.Logf("restart %d: ready after %v, %.1f MiB and %.0f GETs from the store", n, s.b.StartupTime().Round(time.Millisecond), read/(1<<20),
		m[`robustmq_store_requests_total{operation="get",result="ok"}`])
}

// starts judges what the starts read from the store: it may not grow with what was ever written.
func (s *soak) starts() {
	if len(s.loads) < 2 {
		return
	}
	first, last := s.loads[0], s.loads[len(s.loads)-1]
	if last > 2*first+float64(4*s.plan.SegmentBytes) {
		s.t.Errorf("the first restart read %.1f MiB from the store, the last one %.1f", first/(1<<20), last/(1<<20))
	}
}

// counts fails where a part of the load did nothing.
func (s *soak) counts(l *load) {
	figures := map[string]int64{"keyed": l.keyed.Load(), "sessions that came and went": l.sessions.Load()}
	for i, protocol := range clients.Protocols {
		figures[protocol] = l.acknowledged[i].Load()
	}
	for i, reader := range []string{"kafka group", "amqp queue", "mqtt session"} {
		figures["read by the "+reader] = l.received[i].Load()
	}
	line := ""
	for name, n := range figures {
		line += fmt.Sprintf(" %s %d;", name, n)
		if n == 0 {
			last, _ := l.last.Load(name)
			s.t.Errorf("%s: nothing; last error: %v", name, last)
		}
	}
	s.t.Logf("messages:%s", line)
}
