package group

import "container/heap"

// fifo is a queue of entries.
type fifo struct {
	es   []*entry
	head int
}

func (q *fifo) len() int      { return len(q.es) - q.head }
func (q *fifo) first() *entry { return q.es[q.head] }
func (q *fifo) push(e *entry) { q.es = append(q.es, e) }

func (q *fifo) pop() {
	q.es[q.head] = nil
	q.head++
	switch {
	case q.head == len(q.es) && cap(q.es) > 8192:
		q.es, q.head = nil, 0
	case q.head == len(q.es):
		q.es, q.head = q.es[:0], 0
	case q.head > 1024 && q.head > len(q.es)/2:
		n := copy(q.es, q.es[q.head:])
		clear(q.es[n:])
		q.es, q.head = q.es[:n], 0
	}
}

// heapOf is a heap of entries.
type heapOf struct {
	es   []*entry
	less func(a, b *entry) bool
}

func (h *heapOf) len() int      { return len(h.es) }
func (h *heapOf) first() *entry { return h.es[0] }
func (h *heapOf) push(e *entry) { heap.Push((*heapImpl)(h), e) }
func (h *heapOf) pop() *entry   { return heap.Pop((*heapImpl)(h)).(*entry) }

type heapImpl heapOf

// Len implements heap.Interface.
func (h *heapImpl) Len() int { return len(h.es) }

// Less implements heap.Interface.
func (h *heapImpl) Less(i, j int) bool { return h.less(h.es[i], h.es[j]) }

// Swap implements heap.Interface.
func (h *heapImpl) Swap(i, j int) { h.es[i], h.es[j] = h.es[j], h.es[i] }

// Push implements heap.Interface.
func (h *heapImpl) Push(x any) { h.es = append(h.es, x.(*entry)) }

// Pop implements heap.Interface.
func (h *heapImpl) Pop() any {
	n := len(h.es) - 1
	e := h.es[n]
	h.es[n] = nil
	h.es = h.es[:n]
	return e
}
