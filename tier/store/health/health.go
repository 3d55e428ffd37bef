// Package health is a Store that notices when the Store below it fails: it says so
// in the log, at a bounded rate, and to who asks (Trouble). It sees each try, so
// it belongs below package retry: a caller who gives up hides nothing.
package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/robustmq/robustmq-go/tier/store"
)

const (
	// patience is how many tries of an operation in a row may fail unnoticed:
	// what one more try cures is no trouble.
	patience = 3
	// logEvery is the time between two log lines of an operation that fails.
	logEvery = 10 * time.Second
	// forget is after how long without any try what failed is no news.
	forget = 2 * time.Minute
)

// Options configure New. Zero values take the defaults.
type Options struct {
	Log *slog.Logger     // nil: none
	Now func() time.Time // default time.Now
}

// Store watches a store.Store. All methods may be called concurrently.
type Store struct {
	s  store.Store
	o  Options
	mu struct {
		sync.Mutex
		ops map[string]*trouble
	}
}

// trouble is what is wrong with one operation.
type trouble struct {
	op                  string
	failed              int // in a row
	since, last, saidAt time.Time
	said                bool
	unsaid              int
	err                 error
}

// New watches s.
func New(s store.Store, o Options) *Store {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	h := &Store{s: s, o: o}
	h.mu.ops = make(map[string]*trouble)
	return h
}

// Trouble says which operations fail, nil when none does.
func (h *Store) Trouble() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.o.Now()
	var all []*trouble
	for _, t := range h.mu.ops {
		if t.failed >= patience && now.Sub(t.last) < forget {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b *trouble) int { return a.since.Compare(b.since) })
	errs := make([]error, len(all))
	for i, t := range all {
		errs[i] = fmt.Errorf("the object store fails: %s requests since %s, %d in a row: %w", t.op, now.Sub(t.since).Round(time.Second), t.failed, t.err)
	}
	return errors.Join(errs...)
}

// is tells whether an error says that the store does not work.
func is(err error) bool {
	for _, fine := range []error{store.ErrNotFound, store.ErrExists, store.ErrRange, store.ErrKey, store.ErrTooLarge, context.Canceled} {
		if errors.Is(err, fine) {
			return false
		}
	}
	return err != nil
}

// saw notes the outcome of a try.
func (h *Store) saw(op, key string, err error) {
	if errors.Is(err, context.Canceled) {
		return // it tells nothing
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.mu.ops[op]
	if !is(err) {
		if t != nil && t.said {
			h.o.Log.Info("the object store works again", "operation", op, "failed", t.failed, "for", h.o.Now().Sub(t.since).Round(time.Second).String())
		}
		delete(h.mu.ops, op)
		return
	}
	now := h.o.Now()
	if t == nil || now.Sub(t.last) >= forget {
		t = &trouble{op: op, since: now}
		h.mu.ops[op] = t
	}
	t.failed++
	t.last, t.err = now, err
	if t.failed < patience || t.said && now.Sub(t.saidAt) < logEvery {
		t.unsaid++
		return
	}
	h.o.Log.Error("the object store fails", "operation", op, "object", key, "in_a_row", t.failed, "not_logged", t.unsaid, "error", err)
	t.said, t.saidAt, t.unsaid = true, now, 0
}

// Get implements store.Store.
func (h *Store) Get(ctx context.Context, key string, off, n int64) ([]byte, error) {
	b, err := h.s.Get(ctx, key, off, n)
	h.saw("get", key, err)
	return b, err
}

// Put implements store.Store.
func (h *Store) Put(ctx context.Context, key string, data []byte) error {
	err := h.s.Put(ctx, key, data)
	h.saw("put", key, err)
	return err
}

// PutFrom implements store.FromPutter.
func (h *Store) PutFrom(ctx context.Context, key string, body io.ReaderAt, size int64, sum uint32) error {
	err := store.PutFrom(ctx, h.s, key, body, size, sum)
	h.saw("put", key, err)
	return err
}

// Head implements store.Store.
func (h *Store) Head(ctx context.Context, key string) (store.Info, error) {
	i, err := h.s.Head(ctx, key)
	h.saw("head", key, err)
	return i, err
}

// Delete implements store.Store.
func (h *Store) Delete(ctx context.Context, keys ...string) error {
	err := h.s.Delete(ctx, keys...)
	key := ""
	if len(keys) > 0 {
		key = keys[0]
	}
	h.saw("delete", key, err)
	return err
}

// List implements store.Store.
func (h *Store) List(ctx context.Context, prefix, after string, max int) ([]store.Info, error) {
	l, err := h.s.List(ctx, prefix, after, max)
	h.saw("list", prefix, err)
	return l, err
}
