package catalog

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/oklog/ulid/v2"
)

// Deletion is the plan to delete the object of a segment that was removed:
// deletions/{ulid}, written in the transaction that removed the segment, kept
// until the object is gone.
//
// Value, version 1: size (varint), when (signed varint, ms), key (string).
type Deletion struct {
	ULID ULID
	Key  string
	Size int64
	// When the segment was removed, in milliseconds since the epoch.
	When int64
}

func encodeDeletion(r Deletion) []byte {
	e := encoder{b: []byte{version1}}
	e.uvarint(uint64(r.Size))
	e.varint(r.When)
	e.str(r.Key)
	return e.b
}

func decodeDeletion(name string, b []byte) (Deletion, error) {
	id, err := ulid.ParseStrict(name)
	if err != nil || id.String() != name {
		return Deletion{}, fmt.Errorf("%w: deletion name %q", ErrCorrupt, name)
	}
	d := newDecoder(b, version1)
	r := Deletion{ULID: id, Size: d.offset(), When: d.varint(), Key: d.str(maxObjectKey)}
	if err := d.done(); err != nil {
		return Deletion{}, fmt.Errorf("decode deletion: %w", err)
	}
	return r, nil
}

// deletionStore holds the open deletions; there may be many, so it is changed in place.
type deletionStore struct {
	note notifier
	mu   struct {
		sync.Mutex
		rows map[ULID]Deletion
	}
}

func newDeletionStore() *deletionStore {
	s := &deletionStore{}
	s.note.init()
	s.mu.rows = map[ULID]Deletion{}
	return s
}

func (s *deletionStore) names() iter.Seq[string] {
	s.mu.Lock()
	ids := slices.Collect(maps.Keys(s.mu.rows))
	s.mu.Unlock()
	return func(yield func(string) bool) {
		for _, id := range ids {
			if !yield(id.String()) {
				return
			}
		}
	}
}

func (s *deletionStore) apply(evs []event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var bad error
	for _, ev := range evs {
		if ev.deleted {
			if id, err := ulid.ParseStrict(ev.name); err == nil {
				delete(s.mu.rows, id)
			}
			continue
		}
		r, err := decodeDeletion(ev.name, ev.value)
		if err != nil {
			bad = err
			continue
		}
		s.mu.rows[r.ULID] = r
	}
	s.note.wake()
	return bad
}

func (s *deletionStore) has(id ULID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.mu.rows[id]
	return ok
}

// Deletions gives the objects that are to be deleted, the oldest segments first.
func (c *Catalog) Deletions() []Deletion {
	s := c.deleted
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.mu.rows), func(a, b Deletion) int { return a.ULID.Compare(b.ULID) })
}

// DeletionsChanged gives a channel that is closed when one is added or finished.
func (c *Catalog) DeletionsChanged() <-chan struct{} { return c.deleted.note.wait() }

// FinishDeletion forgets deletions whose objects are gone. It may be repeated.
func (c *Catalog) FinishDeletion(ctx context.Context, ids ...ULID) error {
	for part := range slices.Chunk(ids, maxTxnOps-8) {
		names := map[string]bool{}
		for _, id := range part {
			names[id.String()] = true
		}
		if err := c.remove(ctx, kindDeletion, slices.Sorted(maps.Keys(names))...); err != nil {
			return fmt.Errorf("finish deletions: %w", err)
		}
	}
	return nil
}
