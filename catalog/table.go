package catalog

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// The kinds: the first part of a key below the prefix. Part of the format.
const (
	kindCluster  = "cluster"
	kindGateway  = "gateways"
	kindSlot     = "slots"
	kindWAL      = "wals"
	kindTopic    = "topics"
	kindSegment  = "segments"
	kindDeletion = "deletions"
	kindCounter  = "counters"
	kindUser     = "users"
	kindACL      = "acls"
	kindQuota    = "quotas"
	kindFeature  = "features"
)

// event is one change of one key.
type event struct {
	name    string // the key below prefix and kind
	value   []byte
	create  int64
	mod     int64
	version int64
	deleted bool
}

// store holds the records of one kind in memory. apply gets events of one
// revision, in order; the feed never calls it concurrently. An error is that
// of one bad value; the others have been applied.
type store interface {
	apply(evs []event) error
	names() iter.Seq[string]
}

// row is a record and the revisions etcd keeps of its key.
type row[T any] struct {
	val                  T
	create, mod, version int64
}

// table is the store of a kind with few records: an immutable map, replaced as
// a whole by each change.
type table[T any] struct {
	decode func(name string, b []byte) (T, error)
	snap   atomic.Pointer[map[string]row[T]]
	note   notifier
}

func newTable[T any](decode func(name string, b []byte) (T, error)) *table[T] {
	t := &table[T]{decode: decode}
	t.snap.Store(&map[string]row[T]{})
	t.note.init()
	return t
}

func (t *table[T]) rows() map[string]row[T] { return *t.snap.Load() }

func (t *table[T]) names() iter.Seq[string] { return maps.Keys(t.rows()) }

func (t *table[T]) apply(evs []event) error {
	next := maps.Clone(t.rows())
	var bad error
	for _, ev := range evs {
		if ev.deleted {
			delete(next, ev.name)
			continue
		}
		v, err := t.decode(ev.name, ev.value)
		if err != nil {
			bad = fmt.Errorf("decode %q: %w", ev.name, err)
			continue
		}
		next[ev.name] = row[T]{val: v, create: ev.create, mod: ev.mod, version: ev.version}
	}
	t.snap.Store(&next)
	t.note.wake()
	return bad
}

// values gives the records ordered by name.
func (t *table[T]) values() []T {
	rows := t.rows()
	out := make([]T, 0, len(rows))
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		out = append(out, rows[name].val)
	}
	return out
}

// notifier hands out a channel that is closed at the next change.
type notifier struct {
	mu sync.Mutex
	ch chan struct{}
}

func (n *notifier) init() { n.ch = make(chan struct{}) }

func (n *notifier) wait() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ch
}

func (n *notifier) wake() {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.ch)
	n.ch = make(chan struct{})
}
