package ratelog

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// burst is how many lines of a kind pass at once, every is the pause between
	// those after them.
	burst = 20
	every = time.Second
	// told is how long held-back lines may wait to be counted.
	told = 10 * time.Second
	// maxKinds bounds the memory; messages are constants of the program, mostly.
	maxKinds = 4096
	// otherKinds is the message of the lines that tell of kinds beyond that.
	otherKinds = "log lines of other kinds"
)

// Handler is a slog.Handler over another one.
type Handler struct {
	next   slog.Handler
	shared *shared
}

// shared is what a handler and those made of it (With, WithGroup) count together.
type shared struct {
	mu struct {
		sync.Mutex
		kinds map[kind]*count
	}
	root slog.Handler
}

type kind struct {
	level   slog.Level
	message string
}

type count struct {
	tokens     float64
	at         time.Time
	suppressed int
	waiting    bool // to be told by a line of its own
}

// New bounds what goes to next.
func New(next slog.Handler) *Handler {
	s := &shared{root: next}
	s.mu.kinds = make(map[kind]*count)
	return &Handler{next, s}
}

// Enabled implements slog.Handler.
func (h *Handler) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(a []slog.Attr) slog.Handler {
	return &Handler{h.next.WithAttrs(a), h.shared}
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{h.next.WithGroup(name), h.shared}
}

// Handle implements slog.Handler.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	pass, before := h.shared.take(kind{r.Level, r.Message}, r.Time)
	if !pass {
		return nil
	}
	if before > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("suppressed", before))
	}
	return h.next.Handle(ctx, r)
}

// take counts a line, and tells whether it passes and how many before it did not.
func (s *shared) take(k kind, now time.Time) (pass bool, before int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.mu.kinds[k]
	if c == nil {
		if len(s.mu.kinds) >= maxKinds {
			if k = (kind{k.level, otherKinds}); s.mu.kinds[k] != nil {
				c = s.mu.kinds[k]
			}
		}
		if c == nil {
			c = &count{tokens: burst, at: now}
			s.mu.kinds[k] = c
		}
	}
	c.tokens = min(burst, c.tokens+now.Sub(c.at).Seconds()/every.Seconds())
	c.at = now
	if c.tokens < 1 {
		c.suppressed++
		if !c.waiting {
			c.waiting = true
			time.AfterFunc(told, func() { s.tell(k, c) })
		}
		return false, 0
	}
	c.tokens--
	before, c.suppressed = c.suppressed, 0
	return true, before
}

// tell writes what is still untold.
func (s *shared) tell(k kind, c *count) {
	s.mu.Lock()
	n := c.suppressed
	c.suppressed, c.waiting = 0, false
	s.mu.Unlock()
	if n == 0 {
		return
	}
	r := slog.NewRecord(time.Now(), k.level, k.message, 0)
	r.AddAttrs(slog.Int("suppressed", n))
	_ = s.root.Handle(context.Background(), r) // a log that cannot be written has nobody to tell
}
