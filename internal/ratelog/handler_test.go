package ratelog

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// lines counts what is written: passed lines, and those that they speak for.
type lines struct {
	mu              sync.Mutex
	passed, spokeOf map[string]int
}

func (l *lines) Enabled(context.Context, slog.Level) bool { return true }
func (l *lines) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *lines) WithGroup(string) slog.Handler            { return l }
func (l *lines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.passed[r.Message]++
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "suppressed" {
			l.spokeOf[r.Message] += int(a.Value.Int64())
		}
		return true
	})
	return nil
}

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &lines{passed: map[string]int{}, spokeOf: map[string]int{}}
		log := slog.New(New(out))
		const n, seconds = 500, 20
		for range seconds {
			for i := range n {
				log.With("client", i).Error("refused", "attempt", i)
				time.Sleep(time.Second / n)
			}
		}
		log.Info("another line")
		time.Sleep(2 * told) // and nothing more: the last ones are told all the same
		out.mu.Lock()
		defer out.mu.Unlock()
		if p := out.passed["refused"]; p < burst+seconds-2 || p > burst+seconds+3 {
			t.Errorf("%d lines passed", p)
		}
		own := out.passed["refused"] + out.spokeOf["refused"]
		if own < n*seconds || own > n*seconds+3 { // lines of their own are no client's
			t.Errorf("%d lines are accounted for, %d were written", own, n*seconds)
		}
		if out.passed["another line"] != 1 {
			t.Error("a line of another kind did not pass")
		}
	})
}

func TestKindsAreBounded(t *testing.T) {
	out := &lines{passed: map[string]int{}, spokeOf: map[string]int{}}
	h := New(out)
	log := slog.New(h)
	for i := range 3 * maxKinds {
		log.Info(fmt.Sprint("line ", i))
	}
	if n := len(h.shared.mu.kinds); n > maxKinds+4 {
		t.Errorf("%d kinds are kept", n)
	}
}
