package shard

import "sync"

// Window bounds deliveries in flight: an AMQP prefetch count, an MQTT receive
// maximum. Several consumers may share one. All methods may be called
// concurrently.
type Window struct {
	mu      sync.Mutex
	limit   int
	used    int
	waiting map[any]func()
}

// NewWindow makes a window; limit 0 means no bound.
func NewWindow(limit int) *Window { return &Window{limit: limit} }

// Acquire takes one place. When there is none it notes free, once per key, to be
// called (on another goroutine's stack, with no lock held) when there may be.
func (w *Window) Acquire(key any, free func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.limit == 0 || w.used < w.limit {
		w.used++
		return true
	}
	if w.waiting == nil {
		w.waiting = make(map[any]func())
	}
	w.waiting[key] = free
	return false
}

// Release gives n places back.
func (w *Window) Release(n int) {
	w.mu.Lock()
	w.used = max(w.used-n, 0)
	w.wake()
}

// SetLimit changes the bound; 0 means none. What is in flight stays.
func (w *Window) SetLimit(limit int) {
	w.mu.Lock()
	w.limit = limit
	w.wake()
}

// Used is the number of places taken.
func (w *Window) Used() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.used
}

// Forget drops a noted key.
func (w *Window) Forget(key any) {
	w.mu.Lock()
	delete(w.waiting, key)
	w.mu.Unlock()
}

// wake calls those that wait, after unlocking.
func (w *Window) wake() {
	var fs []func()
	if w.limit == 0 || w.used < w.limit {
		for k, f := range w.waiting {
			fs = append(fs, f)
			delete(w.waiting, k)
		}
	}
	w.mu.Unlock()
	for _, f := range fs {
		f()
	}
}
