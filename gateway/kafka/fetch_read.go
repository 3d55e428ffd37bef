package kafka

import (
	"cmp"
	"container/heap"
	"context"
	"math"

	"github.com/robustmq/robustmq-go/shard"
)

// readAll reads each partition's fair share, then lets those that have more
// take what is left.
func (f *fetch) readAll(ctx context.Context) {
	n := 0
	for _, p := range f.parts {
		if p.code == codeNone {
			n++
		}
	}
	if n == 0 {
		return
	}
	share := max(f.budget/n, 1)
	if ager, ok := f.c.srv.broker.Log.(shard.Ager); ok && n > maxAheadParts {
		f.readByAge(ctx, ager, 4*share)
		f.readByAge(ctx, ager, math.MaxInt)
		for _, p := range f.parts { // for which there was no room
			if p.code == codeNone && !p.known {
				f.readBounds(ctx, p)
			}
		}
		return
	}
	for _, p := range f.parts {
		f.read(ctx, p, share, false)
	}
	if n > 1 {
		f.readMore(ctx)
	}
}

// readMore lets partitions that have more take what is left, and tells whether
// they took any: a read may find less than there is.
func (f *fetch) readMore(ctx context.Context) bool {
	before := f.bytes
	for _, p := range f.parts {
		if f.budget <= 0 {
			break
		}
		if p.code == codeNone && p.next < p.bounds.End {
			f.read(ctx, p, f.budget, false)
		}
	}
	return f.bytes > before
}

// byAge is a heap of partitions, those first whose next record is in the oldest
// segment, in it as they lie there.
type byAge []agedPart

type agedPart struct {
	p     *fetchPart
	age   int64
	order int
}

// Len implements heap.Interface.
func (h byAge) Len() int { return len(h) }

// Less implements heap.Interface.
func (h byAge) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(h[i].age, h[j].age), cmp.Compare(h[i].order, h[j].order)) < 0
}

// Swap implements heap.Interface.
func (h byAge) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *byAge) Push(x any) { *h = append(*h, x.(agedPart)) }

// Pop implements heap.Interface.
func (h *byAge) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}

// readByAge reads a fetch of many partitions segment by segment, up to limit bytes
// of each but one batch if there is one. One partition after the other, each would
// want a little of so many objects that these push one another out of the cache,
// and are read again for the next one.
func (f *fetch) readByAge(ctx context.Context, ager shard.Ager, limit int) {
	h := make(byAge, 0, len(f.parts))
	for i, p := range f.parts {
		if p.code == codeNone && (!p.known || p.next < p.bounds.End) {
			h = append(h, agedPart{p, ager.Age(p.id, p.next), i})
		}
	}
	heap.Init(&h)
	for len(h) > 0 && f.budget > 0 {
		top := &h[0]
		p, before := top.p, top.p.bytes
		f.read(ctx, p, limit-p.bytes, true)
		if p.code != codeNone || p.bytes == before || p.bytes >= limit || p.next >= p.bounds.End {
			heap.Pop(&h)
			continue
		}
		top.age = ager.Age(p.id, p.next)
		heap.Fix(&h, 0)
	}
}

// read takes up to limit bytes more of a partition, of one segment or of all. The
// first batch of a fetch is taken whatever its size (KIP-74), another only if it
// fits. Where nothing fits the partition's bounds are found out alone.
func (f *fetch) read(ctx context.Context, p *fetchPart, limit int, one bool) {
	limit = min(limit, p.maxBytes-p.bytes, f.budget)
	if p.code != codeNone || limit <= 0 && p.known {
		return
	}
	if limit <= 0 && f.bytes > 0 {
		f.readBounds(ctx, p)
		return
	}
	p.limit = max(p.limit, limit)
	if r := f.c.ahead.take(p.id, p.next); r != nil {
		took, ok := f.takeAhead(ctx, p, r, limit)
		if ok && (took == 0 || took >= limit/2) {
			return
		}
		limit -= took
	}
	opts := shard.ReadOptions{MaxBytes: max(limit, 1), OneSegment: one}
	if f.q.IsolationLevel == 1 && p.known {
		opts.Until = p.bounds.Stable
	}
	res, err := f.readPast(ctx, p, opts)
	if res.Bounds != (shard.Bounds{}) || err == nil {
		p.bounds, p.known = res.Bounds, true
	}
	if err != nil {
		f.readFailed(p, err)
		return
	}
	if code := checkLeaderEpoch(p.epoch, p.bounds.Epoch); code != codeNone {
		f.fail(p, code)
		return
	}
	if one && p.bytes == 0 && len(res.Batches) > 0 {
		limit = max(limit, min(res.Batches[0].Size(), p.maxBytes))
	}
	f.add(p, res.Batches, nil, limit)
}

// readBounds is read of no records.
func (f *fetch) readBounds(ctx context.Context, p *fetchPart) {
	b, err := f.c.srv.broker.Log.Bounds(ctx, p.id)
	if err == nil {
		p.bounds, p.known = b, true
	}
	if err == nil && (p.next < b.Start || p.next > b.End) {
		err = shard.ErrOffsetOutOfRange
	}
	if err != nil {
		f.readFailed(p, err)
		return
	}
	if code := checkLeaderEpoch(p.epoch, b.Epoch); code != codeNone {
		f.fail(p, code)
	}
}
