package catalog

import (
	"cmp"
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/robustmq/robustmq-go/shard"
)

// arrivals gathers segments from their stored values, read and checked, but not
// yet in the index. The values of a segment stand together, in the order of
// their parts, as etcd lists them and as a transaction puts them.
type arrivals struct {
	entries []*entry
	edges   []edge // ref.seg counts in entries
	bad     error  // of the last segment left out

	id     ULID
	values [][]byte
	gap    error
}

// take reads the value of the next key.
func (a *arrivals) take(name string, value []byte) {
	id, part, err := parsePart(name)
	if err != nil {
		a.bad = err
		return
	}
	a.piece(id, part, value)
}

func (a *arrivals) piece(id ULID, part int, value []byte) {
	if id != a.id {
		a.end()
		a.id = id
	}
	if part != len(a.values) && a.gap == nil {
		a.gap = fmt.Errorf("%w: part %d of segment %s is missing", ErrCorrupt, len(a.values), id)
	}
	a.values = append(a.values, value)
}

// end has the segment of the last pieces read: after the last of them.
func (a *arrivals) end() {
	if len(a.values) == 0 {
		return
	}
	err, mark := a.gap, len(a.edges)
	if err == nil {
		err = a.read()
	}
	if err != nil {
		a.edges, a.bad = a.edges[:mark], err
	}
	a.id, a.values, a.gap = ULID{}, a.values[:0], nil
}

func (a *arrivals) read() error {
	value, err := joinParts(a.values)
	if err != nil {
		return err
	}
	h, err := decodeHead(a.id, value)
	if err != nil {
		return err
	}
	if h.parts != len(a.values)-1 {
		return fmt.Errorf("%w: segment %s has %d parts of %d", ErrCorrupt, a.id, len(a.values)-1, h.parts)
	}
	n := uint32(len(a.entries))
	err = h.loosen(func(x *Extent, at int) {
		a.edges = append(a.edges, edge{id: x.Shard, ref: ref{base: x.Base, seg: n, at: uint32(at)}, len: x.Len})
	})
	if err != nil {
		return err
	}
	a.entries = append(a.entries, &entry{seg: h.Segment, form: h.form, rows: h.rows, count: h.count, parts: h.parts})
	return nil
}

// loader brings a catalog's first listing of segments into its index while the
// next pages are read. Nobody looks into the index before the end.
type loader struct {
	index  *index
	pages  chan []*mvccpb.KeyValue
	done   chan error
	in     arrivals
	lists  map[shard.ID]*refs
	recent [1024]*refs // some of lists, found without hashing
}

// refs is a list of the index while it grows.
type refs struct {
	id       shard.ID
	list     []ref
	bytes    int64
	disorder bool
}

// loadAhead is how many pages may have been read that are not entered yet.
const loadAhead = 4

func (x *index) newLoader(prefix int) *loader {
	l := &loader{index: x, pages: make(chan []*mvccpb.KeyValue, loadAhead), done: make(chan error, 1), lists: map[shard.ID]*refs{}}
	go func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		for page := range l.pages {
			for _, kv := range page {
				l.in.take(string(kv.Key[prefix:]), kv.Value)
			}
			l.enter()
		}
		l.in.end()
		l.enter()
		l.install()
		l.done <- l.in.bad
	}()
	return l
}

// enter adds what has been read; a segment whose parts are still coming stays.
func (l *loader) enter() {
	l.index.enter(l.in.entries, l.in.edges)
	for i := range l.in.edges {
		e := &l.in.edges[i]
		r := l.listOf(e.id)
		if n := len(r.list); n > 0 && r.list[n-1].base > e.ref.base {
			r.disorder = true
		}
		if len(r.list) == cap(r.list) {
			r.list = slices.Grow(r.list, max(len(r.list), 4))
		}
		r.list = append(r.list, e.ref)
		r.bytes += e.len
	}
	l.in.entries, l.in.edges = l.in.entries[:0], l.in.edges[:0]
}

func (l *loader) listOf(id shard.ID) *refs {
	slot := &l.recent[(uint64(id.Topic)*31+uint64(id.Index))%uint64(len(l.recent))]
	if *slot != nil && (*slot).id == id {
		return *slot
	}
	r := l.lists[id]
	if r == nil {
		r = &refs{id: id}
		l.lists[id] = r
	}
	*slot = r
	return r
}

// install makes the lists the index's own.
func (l *loader) install() {
	for id, r := range l.lists {
		if r.disorder {
			slices.SortStableFunc(r.list, func(a, b ref) int { return cmp.Compare(a.base, b.base) })
		}
		list := r.list
		if cap(list) > len(list)+len(list)/4 {
			list = append(make([]ref, 0, len(list)+len(list)/8), list...)
		}
		st := &l.index.stripes[stripeOf(id)]
		st.mu.Lock()
		st.shards[id], st.bytes[id] = list, r.bytes
		st.mu.Unlock()
		l.index.extents.Add(int64(len(list)))
	}
	l.index.note.wake()
}

// close returns when everything is in the index, with the error of a segment that is not.
func (l *loader) close() error {
	close(l.pages)
	return <-l.done
}
