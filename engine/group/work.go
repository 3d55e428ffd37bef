package group

import (
	"container/heap"
	"sync"
	"time"
)

// work is the queue of groups that workers have to look after.
type work struct {
	sync.Mutex
	wake   sync.Cond
	queue  []*group
	closed bool
}

// kick has a worker look after g: deliver, write, read on, time out.
func (g *group) kick() {
	if g.queued.Swap(true) {
		return
	}
	w := &g.m.work
	w.Lock()
	w.queue = append(w.queue, g)
	w.Unlock()
	w.wake.Signal()
}

func (m *Manager) worker() {
	w := &m.work
	for {
		w.Lock()
		for len(w.queue) == 0 && !w.closed {
			w.wake.Wait()
		}
		if w.closed {
			w.Unlock()
			return
		}
		g := w.queue[0]
		w.queue[0] = nil
		if w.queue = w.queue[1:]; len(w.queue) == 0 {
			w.queue = nil
		}
		w.Unlock()
		g.queued.Store(false)
		g.serve()
	}
}

// timer wakes groups; there is one for all.
type timer struct {
	mu      sync.Mutex
	heap    wakes
	t       *time.Timer
	stopped bool
}

// wake is when a group is to be served. Each has one at most.
type wake struct {
	at time.Time
	g  *group
}

// wakes is a heap of them by time; each group knows its place, plus one.
type wakes []wake

func (w wakes) Len() int           { return len(w) }
func (w wakes) Less(i, j int) bool { return w[i].at.Before(w[j].at) }
func (w wakes) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].g.timed, w[j].g.timed = i+1, j+1
}

// Push implements heap.Interface.
func (w *wakes) Push(x any) {
	*w = append(*w, x.(wake))
	(*w)[len(*w)-1].g.timed = len(*w)
}

// Pop implements heap.Interface.
func (w *wakes) Pop() any {
	old := *w
	x := old[len(old)-1]
	old[len(old)-1] = wake{}
	*w = old[:len(old)-1]
	x.g.timed = 0
	return x
}

// wakeAtLocked has g served at a time, unless it is sooner anyway. g is locked.
func (g *group) wakeAtLocked(at time.Time) {
	if g.over || !g.wakeAt.IsZero() && !at.Before(g.wakeAt) {
		return
	}
	g.wakeAt = at
	t := &g.m.timer
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.stopped:
		return
	case g.timed > 0:
		t.heap[g.timed-1].at = at
		heap.Fix(&t.heap, g.timed-1)
	default:
		heap.Push(&t.heap, wake{at, g})
	}
	if g.timed == 1 {
		t.arm(g.m)
	}
}

// forget drops the wake-up of a group that ended.
func (t *timer) forget(g *group) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if g.timed > 0 && !t.stopped {
		heap.Remove(&t.heap, g.timed-1)
	}
}

// arm sets the timer for the first in the heap. t is locked.
func (t *timer) arm(m *Manager) {
	d := max(t.heap[0].at.Sub(m.opts.Now()), 0)
	if t.t == nil {
		t.t = time.AfterFunc(d, func() { t.fire(m) })
		return
	}
	t.t.Reset(d)
}

func (t *timer) fire(m *Manager) {
	t.mu.Lock()
	now := m.opts.Now()
	var due []*group
	for len(t.heap) > 0 && !t.heap[0].at.After(now) {
		due = append(due, heap.Pop(&t.heap).(wake).g)
	}
	if len(t.heap) > 0 && !t.stopped {
		t.arm(m)
	}
	t.mu.Unlock()
	for _, g := range due {
		g.kick()
	}
}

func (t *timer) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	t.heap = nil
	if t.t != nil {
		t.t.Stop()
	}
}
