package group

import (
	"container/heap"
	"slices"
	"strconv"

	"github.com/robustmq/robustmq-go/shard"
)

// A group with priorities has all that is ready in the heap of returned entries,
// the highest priority first, and of one priority the oldest. It reads on before
// it delivers while there is room, so that the best of Options.ReadyMessages comes
// first; what lies behind those in the log waits its turn.

// before tells which of two ready entries comes first.
func before(a, b *entry) bool {
	if a.priority != b.priority {
		return a.priority > b.priority
	}
	return a.seq < b.seq
}

// priorityOf gives a record's priority, within the group's bound.
func (g *group) priorityOf(r *shard.Record) uint8 {
	v, ok := r.Header(shard.HeaderPriority)
	if !ok {
		return 0
	}
	n, err := strconv.ParseUint(string(v), 10, 64)
	if err != nil {
		return 0
	}
	return uint8(min(n, uint64(g.limits.MaxPriority)))
}

// line puts a new entry in line. It is counted by readied.
func (g *group) line(e *entry) {
	if g.limits.MaxPriority == 0 {
		g.ring.push(e)
		return
	}
	e.priority = g.priorityOf(e.msg.Record)
	if n := g.returned.len(); n > 8 && n > 2*g.readyN { // most left memory
		g.returned.keep(func(e *entry) bool { return e.state == queued })
	}
	g.returned.push(e)
}

// prioritise sorts what is in line when the limits have changed.
func (g *group) prioritise() {
	if g.limits.MaxPriority == 0 {
		return
	}
	for g.ring.len() > 0 {
		g.returned.es = append(g.returned.es, g.ring.first())
		g.ring.pop()
	}
	for _, e := range g.returned.es {
		if e.state == queued {
			e.priority = g.priorityOf(e.msg.Record)
		}
	}
	heap.Init((*heapImpl)(&g.returned))
}

// reading tells that what is yet to be read may come before what is ready.
func (g *group) reading() bool { return g.limits.MaxPriority > 0 && g.filling }

// keep drops entries from a heap.
func (h *heapOf) keep(good func(*entry) bool) {
	h.es = slices.DeleteFunc(h.es, func(e *entry) bool { return !good(e) })
	heap.Init((*heapImpl)(h))
}
