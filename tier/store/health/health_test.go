package health_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/tier/store/fault"
	"github.com/robustmq/robustmq-go/tier/store/health"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// TestTrouble: reads that fail are told of, in the log at a bounded rate, until
// they work again; what is merely not there is no trouble, nor who gives up.
func TestTrouble(t *testing.T) {
	ctx := context.Background()
	below := mem.New(nil)
	if err := below.Put(ctx, "a", []byte("x")); err != nil {
		t.Fatal(err)
	}
	f := fault.New(below, fault.Options{Choose: func(c fault.Call) fault.Fault {
		if c.Op == "get" {
			return fault.Unavailable
		}
		return fault.None
	}})
	var log bytes.Buffer
	now := time.Unix(1000, 0)
	h := health.New(f, health.Options{Log: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return now }})
	get := func(n int) {
		for range n {
			_, _ = h.Get(ctx, "a", 0, -1)
			now = now.Add(10 * time.Millisecond)
		}
	}
	get(2)
	if err := h.Trouble(); err != nil {
		t.Errorf("two tries: %v", err)
	}
	get(500)
	if err := h.Trouble(); !errors.Is(err, store.ErrTemporary) || !strings.Contains(err.Error(), "get") {
		t.Errorf("trouble is %v", err)
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d lines in five seconds:\n%s", n, log.String())
	}
	if _, err := h.Head(ctx, "a"); err != nil || h.Trouble() == nil {
		t.Errorf("a head that works hides gets that fail: %v", err)
	}
	f.Off(true)
	if _, err := h.Get(ctx, "nothing", 0, -1); !errors.Is(err, store.ErrNotFound) || h.Trouble() != nil {
		t.Errorf("%v; still trouble: %v", err, h.Trouble())
	}
	if !strings.Contains(log.String(), "works again") {
		t.Errorf("the end is not told:\n%s", log.String())
	}
	f.Off(false)
	get(10)
	now = now.Add(3 * time.Minute)
	if err := h.Trouble(); err != nil {
		t.Errorf("nobody asked for three minutes: %v", err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	for range 10 {
		_, _ = h.List(gone, "", "", 0)
	}
	if err := h.Trouble(); err != nil {
		t.Errorf("who gives up: %v", err)
	}
}
