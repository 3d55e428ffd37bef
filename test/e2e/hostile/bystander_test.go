package hostile

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/test/e2e/clients"
	"github.com/robustmq/robustmq-go/test/harness"
)

// bystander is a well-behaved client: it publishes and receives, over and over.
type bystander struct {
	protocol string
	w        clients.Writer
	r        clients.Reader

	mu   sync.Mutex
	took []time.Duration
	err  error
}

func newBystander(t *testing.T, protocol string, p harness.Ports) *bystander {
	t.Helper()
	w, err := clients.NewWriter(t.Context(), protocol, p)
	if err != nil {
		t.Fatal(err)
	}
	b := &bystander{protocol: protocol, w: w}
	if b.r, err = clients.NewReader(t.Context(), protocol, p, "bystander-"+protocol); err != nil {
		t.Fatal(err)
	}
	return b
}

// run ends with ctx.
func (b *bystander) run(ctx context.Context) {
	for n := 1; ctx.Err() == nil; n++ {
		began := time.Now()
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
		err := b.w.Write(within, clients.Message{Name: "bystander-" + b.protocol, Value: fmt.Appendf(nil, "%d", n)})
		if err == nil {
			_, err = b.r.Wait(within, n)
		}
		cancel()
		b.mu.Lock()
		if b.err == nil && err != nil {
			b.err = fmt.Errorf("message %d: %w", n, err)
		}
		b.took = append(b.took, time.Since(began))
		b.mu.Unlock()
		if err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// take gives what happened since the last call.
func (b *bystander) take() ([]time.Duration, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	took := b.took
	b.took = nil
	return took, b.err
}

// watch samples a process' resident memory.
type watch struct {
	pid  int
	mu   sync.Mutex
	peak int
}

func (w *watch) run(ctx context.Context) {
	for ctx.Err() == nil {
		if now, err := rss(w.pid); err == nil {
			w.mu.Lock()
			w.peak = max(w.peak, now)
			w.mu.Unlock()
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// take gives the peak since the last call, in bytes.
func (w *watch) take() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.peak
	w.peak = 0
	return p
}

func rss(pid int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	f := strings.Fields(rest)
	if len(f) == 0 {
		return 0, fmt.Errorf("no VmRSS of process %d", pid)
	}
	kib, err := strconv.Atoi(f[0])
	return kib << 10, err
}

func summary(took []time.Duration) string {
	if len(took) == 0 {
		return "none"
	}
	slices.Sort(took)
	at := func(q float64) time.Duration {
		return took[int(q*float64(len(took)-1))].Round(100 * time.Microsecond)
	}
	return fmt.Sprintf("%d, p50 %v, p99 %v, max %v", len(took), at(.5), at(.99), at(1))
}
