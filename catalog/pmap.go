package catalog

import (
	"hash/maphash"
	"iter"
)

// pmap is a persistent map: set and del leave the old version as it was, at the
// cost of one small path, whatever the number of entries. It is a hash trie of
// fixed depth with small buckets. Versions may be read concurrently.
//
// An edit batches changes: nodes that one edit has copied it changes in place.
type pmap[K comparable, V any] struct {
	root *[fanout]*pnode[K, V]
	edit *edit
	n    int
}

const fanout = 128

// edit is an identity; the field keeps two of them apart in memory.
type edit struct{ _ byte }

type pnode[K comparable, V any] struct {
	edit *edit
	kids [fanout]*pbucket[K, V]
}

type pbucket[K comparable, V any] struct {
	edit    *edit
	entries []pentry[K, V]
}

type pentry[K comparable, V any] struct {
	key K
	val V
}

var hashSeed = maphash.MakeSeed()

func (m pmap[K, V]) place(k K) (i, j int) {
	h := maphash.Comparable(hashSeed, k)
	return int(h % fanout), int(h / fanout % fanout)
}

func (m pmap[K, V]) get(k K) (v V, ok bool) {
	if m.root == nil {
		return v, false
	}
	i, j := m.place(k)
	if n := m.root[i]; n != nil && n.kids[j] != nil {
		for _, e := range n.kids[j].entries {
			if e.key == k {
				return e.val, true
			}
		}
	}
	return v, false
}

// bucket gives the bucket of k, copied for the edit.
func (m *pmap[K, V]) bucket(k K, ed *edit) *pbucket[K, V] {
	i, j := m.place(k)
	if m.root == nil || m.edit != ed {
		root := new([fanout]*pnode[K, V])
		if m.root != nil {
			*root = *m.root
		}
		m.root, m.edit = root, ed
	}
	n := m.root[i]
	if n == nil || n.edit != ed {
		c := &pnode[K, V]{edit: ed}
		if n != nil {
			c.kids = n.kids
		}
		m.root[i], n = c, c
	}
	b := n.kids[j]
	if b == nil || b.edit != ed {
		c := &pbucket[K, V]{edit: ed}
		if b != nil {
			c.entries = append(make([]pentry[K, V], 0, len(b.entries)+1), b.entries...)
		}
		n.kids[j], b = c, c
	}
	return b
}

func (m *pmap[K, V]) set(k K, v V, ed *edit) {
	b := m.bucket(k, ed)
	for i := range b.entries {
		if b.entries[i].key == k {
			b.entries[i].val = v
			return
		}
	}
	b.entries = append(b.entries, pentry[K, V]{k, v})
	m.n++
}

func (m *pmap[K, V]) del(k K, ed *edit) {
	if _, ok := m.get(k); !ok {
		return
	}
	b := m.bucket(k, ed)
	for i := range b.entries {
		if b.entries[i].key == k {
			last := len(b.entries) - 1
			b.entries[i] = b.entries[last]
			b.entries[last] = pentry[K, V]{}
			b.entries = b.entries[:last]
			m.n--
			return
		}
	}
}

// all walks the entries in no particular order.
func (m pmap[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		if m.root == nil {
			return
		}
		for _, n := range m.root {
			if n == nil {
				continue
			}
			for _, b := range n.kids {
				if b == nil {
					continue
				}
				for _, e := range b.entries {
					if !yield(e.key, e.val) {
						return
					}
				}
			}
		}
	}
}
