package catalog

import (
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
	extents  atomic.Int64
	rowBytes atomic.Int64
}

const stripes = 64

type stripe struct {
	mu     sync.RWMutex
	shards map[shard.ID][]ref
	bytes  map[shard.ID]int64 // of all extents of a shard
	_      [24]byte           // its own cache line
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
	form  rowForm
	rows  []byte
	count int
	parts int
}

// edge is one change of one shard's list.
type edge struct {
	id     shard.ID
	ref    ref
	len    int64 // of the extent
	remove bool
}

func newIndex() *index {
	x := &index{}
	for i := range x.stripes {
		x.stripes[i].shards, x.stripes[i].bytes = map[shard.ID][]ref{}, map[shard.ID]int64{}
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
	var removals []edge
	var freed []uint32
	var in arrivals
	for _, ev := range evs {
		id, part, err := parsePart(ev.name)
		if err != nil {
			in.bad = err
			continue
		}
		n, held := x.mu.byID[id]
		switch {
		case ev.deleted && part == 0 && held:
			removals = x.removals(removals, x.entryOf(n), n)
			x.rowBytes.Add(-x.entryOf(n).stored())
			delete(x.mu.byID, id)
			freed = append(freed, n)
		case !ev.deleted && !held:
			in.piece(id, part, ev.value)
		}
	}
	in.end()
	x.enter(in.entries, in.edges)
	x.change(append(removals, in.edges...))
	for _, n := range freed {
		(*x.table.Load())[n] = nil
	}
	x.mu.free = append(x.mu.free, freed...)
	x.note.wake()
	return in.bad
}

// enter puts segments into the table and gives the edges, which number them
// from 0, the numbers they have there; x.mu is held.
func (x *index) enter(entries []*entry, edges []edge) {
	if len(entries) == 0 {
		return
	}
	table := *x.table.Load()
	at := make([]uint32, len(entries))
	for i, e := range entries {
		if last := len(x.mu.free) - 1; last >= 0 {
			at[i] = x.mu.free[last]
			x.mu.free = x.mu.free[:last]
			table[at[i]] = e
		} else {
			at[i] = uint32(len(table))
			table = append(table, e)
		}
		x.mu.byID[e.seg.ULID] = at[i]
		x.rowBytes.Add(e.stored())
	}
	x.table.Store(&table)
	for i := range edges {
		edges[i].ref.seg = at[edges[i].ref.seg]
	}
}

func (x *index) removals(dst []edge, e *entry, n uint32) []edge {
	h := e.head()
	// The rows were read without error when they arrived.
	_ = h.walk(func(ext *Extent, at int) {
		dst = append(dst, edge{id: ext.Shard, ref: ref{base: ext.Base, seg: n, at: uint32(at)}, len: ext.Len, remove: true})
	})
	return dst
}

// change brings edges into the lists in the order given, those of a stripe, and
// so of a shard, all under one lock.
func (x *index) change(edges []edge) {
	var ends [stripes]int
	in := make([]uint8, len(edges))
	for i := range edges {
		in[i] = uint8(stripeOf(edges[i].id))
		ends[in[i]]++
	}
	for i := 1; i < stripes; i++ {
		ends[i] += ends[i-1]
	}
	order := make([]int32, len(edges))
	for i := len(edges) - 1; i >= 0; i-- {
		ends[in[i]]--
		order[ends[in[i]]] = int32(i)
	}
	for i := 0; i < len(order); {
		n := in[order[i]]
		st := &x.stripes[n]
		st.mu.Lock()
		for ; i < len(order) && in[order[i]] == n; i++ {
			st.edit(&edges[order[i]])
			if edges[order[i]].remove {
				x.extents.Add(-1)
			} else {
				x.extents.Add(1)
			}
		}
		st.mu.Unlock()
	}
}

func (st *stripe) edit(e *edge) {
	list := st.shards[e.id]
	if !e.remove {
		st.bytes[e.id] += e.len
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
			st.bytes[e.id] -= e.len
			break
		}
	}
	switch {
	case len(list) == 0:
		delete(st.shards, e.id)
		delete(st.bytes, e.id)
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
	return &e.seg, e.extentAt(list[i].at, id), true
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

// ShardExtents is what a look at all shards tells of one.
type ShardExtents struct {
	First Extent
	Bytes int64 // of all its extents
}

// eachShard calls fn for each shard that has extents. fn runs under a lock: it is not to
// come back to the index.
func (x *index) eachShard(fn func(id shard.ID, s ShardExtents)) {
	for i := range x.stripes {
		st := &x.stripes[i]
		st.mu.RLock()
		for id, list := range st.shards {
			fn(id, ShardExtents{x.entryOf(list[0].seg).extentAt(list[0].at, id), st.bytes[id]})
		}
		st.mu.RUnlock()
	}
}

// walk calls fn for the extents of a shard, in order, while it gives true. fn runs
// under a lock: it is not to come back to the index.
func (x *index) walk(id shard.ID, fn func(*Segment, *Extent) bool) {
	st := &x.stripes[stripeOf(id)]
	st.mu.RLock()
	defer st.mu.RUnlock()
	for _, r := range st.shards[id] {
		e := x.entryOf(r.seg)
		ext := e.extentAt(r.at, id)
		if !fn(&e.seg, &ext) {
			return
		}
	}
}

func (x *index) list(id shard.ID) []SegmentExtent {
	st := &x.stripes[stripeOf(id)]
	st.mu.RLock()
	defer st.mu.RUnlock()
	list := st.shards[id]
	out := make([]SegmentExtent, 0, len(list))
	for _, r := range list {
		e := x.entryOf(r.seg)
		out = append(out, SegmentExtent{&e.seg, e.extentAt(r.at, id)})
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
