package catalog

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"iter"
	"maps"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/robustmq/robustmq-go/shard"
)

// index finds segments by shard and offset. Per extent it holds 16 bytes beside
// the segment's stored rows: the base, and where the rest is.
//
// A change of a shard's list by one revision is atomic to its readers: a swap
// never shows a hole.
type index struct {
	stripes [stripes]stripe
	// table turns the numbers in refs into segments. Entries are replaced only
	// while no list names them.
	table atomic.Pointer[[]*entry]
	note  notifier
	mu    struct {
		sync.Mutex // one writer
		byID       map[ULID]uint32
		free       []uint32
	}
	extents atomic.Int64
}

const stripes = 64

// bulk is how many list changes are made at a time while loading.
const bulk = 1 << 16

type stripe struct {
	mu     sync.RWMutex
	shards map[shard.ID][]ref
	_      [32]byte // its own cache line
}

// ref is one extent of a shard, ordered by base.
type ref struct {
	base int64
	seg  uint32 // in table
	at   uint32 // in the segment's rows
}

// entry is one segment; seg.Extents is nil.
type entry struct {
	seg   Segment
	rows  []byte
	count int
	parts int
}

// edge is one change of one shard's list.
type edge struct {
	id     shard.ID
	ref    ref
	remove bool
}

func newIndex() *index {
	x := &index{}
	for i := range x.stripes {
		x.stripes[i].shards = map[shard.ID][]ref{}
	}
	x.table.Store(&[]*entry{})
	x.mu.byID = map[ULID]uint32{}
	x.note.init()
	return x
}

func stripeOf(id shard.ID) int { return int(maphash.Comparable(hashSeed, id) % stripes) }

func (x *index) entryOf(seg uint32) *entry { return (*x.table.Load())[seg] }

func (x *index) lookup(id ULID) (*entry, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n, ok := x.mu.byID[id]
	if !ok {
		return nil, false
	}
	return x.entryOf(n), true
}

// names gives the keys of all segments, parts included.
func (x *index) names() iter.Seq[string] {
	x.mu.Lock()
	ids := maps.Clone(x.mu.byID)
	x.mu.Unlock()
	return func(yield func(string) bool) {
		for id, n := range ids {
			for part := range x.entryOf(n).parts + 1 {
				if !yield(partName(id, part)) {
					return
				}
			}
		}
	}
}

// apply implements store. Segments are never overwritten, so one that is held
// already is the same.
func (x *index) apply(evs []event) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	var edges []edge
	var freed []uint32
	var bad error
	removed := false
	pieces := map[ULID][][]byte{}
	for _, ev := range evs {
		id, part, err := parsePart(ev.name)
		if err != nil {
			bad = err
			continue
		}
		n, held := x.mu.byID[id]
		switch {
		case ev.deleted && part == 0 && held:
			edges = x.edges(edges, x.entryOf(n), n, true)
			delete(x.mu.byID, id)
			freed = append(freed, n)
			removed = true
		case !ev.deleted && !held:
			p := pieces[id]
			for len(p) <= part {
				p = append(p, nil)
			}
			p[part] = ev.value
			pieces[id] = p
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(pieces), ULID.Compare) { // older first: lists grow at their ends
		n, err := x.enter(id, pieces[id])
		if err != nil {
			bad = err
			continue
		}
		edges = x.edges(edges, x.entryOf(n), n, false)
		if len(edges) > bulk && !removed {
			x.change(edges)
			edges = edges[:0]
		}
	}
	x.change(edges)
	for _, n := range freed {
		(*x.table.Load())[n] = nil
	}
	x.mu.free = append(x.mu.free, freed...)
	x.note.wake()
	return bad
}

// enter puts a segment into the table; x.mu is held.
func (x *index) enter(id ULID, values [][]byte) (uint32, error) {
	for i, v := range values {
		if v == nil {
			return 0, fmt.Errorf("%w: part %d of segment %s is missing", ErrCorrupt, i, id)
		}
	}
	value, err := joinParts(values)
	if err != nil {
		return 0, err
	}
	h, err := decodeHead(id, value)
	if err != nil {
		return 0, err
	}
	if h.parts != len(values)-1 {
		return 0, fmt.Errorf("%w: segment %s has %d parts of %d", ErrCorrupt, id, len(values)-1, h.parts)
	}
	if err := h.walk(func(Extent, int) {}); err != nil {
		return 0, err
	}
	e := &entry{seg: h.Segment, rows: h.rows, count: h.count, parts: h.parts}
	table := *x.table.Load()
	var n uint32
	if last := len(x.mu.free) - 1; last >= 0 {
		n = x.mu.free[last]
		x.mu.free = x.mu.free[:last]
		table[n] = e
	} else {
		n = uint32(len(table))
		table = append(table, e)
		x.table.Store(&table)
	}
	x.mu.byID[id] = n
	return n, nil
}

func (x *index) edges(dst []edge, e *entry, n uint32, remove bool) []edge {
	h := segmentHead{Segment: e.seg, count: e.count, rows: e.rows}
	// The rows were read without error when they were entered.
	_ = h.walk(func(ext Extent, at int) {
		dst = append(dst, edge{id: ext.Shard, ref: ref{base: ext.Base, seg: n, at: uint32(at)}, remove: remove})
	})
	return dst
}

// change brings edges into the lists: for each shard, all under one lock.
func (x *index) change(edges []edge) {
	if len(edges) == 0 {
		return
	}
	order := make([]struct{ stripe, i int32 }, len(edges))
	for i := range edges {
		order[i].stripe, order[i].i = int32(stripeOf(edges[i].id)), int32(i)
	}
	slices.SortFunc(order, func(a, b struct{ stripe, i int32 }) int {
		ea, eb := &edges[a.i], &edges[b.i]
		return cmp.Or(cmp.Compare(a.stripe, b.stripe), ea.id.Compare(eb.id), cmp.Compare(ea.ref.base, eb.ref.base))
	})
	for i := 0; i < len(order); {
		st := &x.stripes[order[i].stripe]
		j := i
		st.mu.Lock()
		for ; j < len(order) && order[j].stripe == order[i].stripe; j++ {
			st.edit(&edges[order[j].i])
			if edges[order[j].i].remove {
				x.extents.Add(-1)
			} else {
				x.extents.Add(1)
			}
		}
		st.mu.Unlock()
		i = j
	}
}

func (st *stripe) edit(e *edge) {
	list := st.shards[e.id]
	if !e.remove {
		if n := len(list); n == 0 || list[n-1].base <= e.ref.base {
			st.shards[e.id] = append(list, e.ref)
			return
		}
		i := sort.Search(len(list), func(i int) bool { return list[i].base > e.ref.base })
		st.shards[e.id] = slices.Insert(list, i, e.ref)
		return
	}
	i := sort.Search(len(list), func(i int) bool { return list[i].base >= e.ref.base })
	for ; i < len(list) && list[i].base == e.ref.base; i++ {
		if list[i].seg == e.ref.seg {
			list = slices.Delete(list, i, i+1)
			break
		}
	}
	switch {
	case len(list) == 0:
		delete(st.shards, e.id)
		return
	case cap(list) > 64 && cap(list) > 4*len(list):
		list = append(make([]ref, 0, len(list)+len(list)/4), list...)
	}
	st.shards[e.id] = list
}

// find gives the first extent whose last offset is at or past offset.
func (x *index) find(id shard.ID, offset int64) (*Segment, Extent, bool) {
	st := &x.stripes[stripeOf(id)]
	st.mu.RLock()
	defer st.mu.RUnlock()
	list := st.shards[id]
	i := sort.Search(len(list), func(i int) bool { return list[i].base > offset })
	if i > 0 {
		e := x.entryOf(list[i-1].seg)
		if _, last := baseAndLast(e.rows, list[i-1].at); last >= offset {
			i--
		}
	}
	if i == len(list) {
		return nil, Extent{}, false
	}
	e := x.entryOf(list[i].seg)
	return &e.seg, extentAt(e.rows, list[i].at, id, e.seg.Created), true
}

// overlap gives a segment, none of those passed over, that holds an offset of
// base to last.
func (x *index) overlap(id shard.ID, base, last int64, pass map[ULID]bool) (*Segment, bool) {
	st := &x.stripes[stripeOf(id)]
	st.mu.RLock()
	defer st.mu.RUnlock()
	list := st.shards[id]
	i := sort.Search(len(list), func(i int) bool { return list[i].base > last })
	for i--; i >= 0; i-- {
		e := x.entryOf(list[i].seg)
		if pass[e.seg.ULID] {
			continue
		}
		if _, l := baseAndLast(e.rows, list[i].at); l >= base {
			return &e.seg, true
		}
		return nil, false
	}
	return nil, false
}

// SegmentExtent is an extent and the segment it is in.
type SegmentExtent struct {
	Segment *Segment // shared; without its extents
	Extent  Extent
}

func (x *index) list(id shard.ID) []SegmentExtent {
	st := &x.stripes[stripeOf(id)]
	st.mu.RLock()
	defer st.mu.RUnlock()
	list := st.shards[id]
	out := make([]SegmentExtent, 0, len(list))
	for _, r := range list {
		e := x.entryOf(r.seg)
		out = append(out, SegmentExtent{&e.seg, extentAt(e.rows, r.at, id, e.seg.Created)})
	}
	return out
}

func (x *index) bounds(id shard.ID) (base, last int64, ok bool) {
	st := &x.stripes[stripeOf(id)]
	st.mu.RLock()
	defer st.mu.RUnlock()
	list := st.shards[id]
	if len(list) == 0 {
		return 0, 0, false
	}
	end := list[len(list)-1]
	_, last = baseAndLast(x.entryOf(end.seg).rows, end.at)
	return list[0].base, last, true
}

// segments gives all, by ULID: the order in which they were made.
func (x *index) segments() []*Segment {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := make([]*Segment, 0, len(x.mu.byID))
	for _, n := range x.mu.byID {
		out = append(out, &x.entryOf(n).seg)
	}
	slices.SortFunc(out, func(a, b *Segment) int { return a.ULID.Compare(b.ULID) })
	return out
}
