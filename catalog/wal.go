package catalog

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// WALState says what is known of a write-ahead log.
type WALState uint8

// The states. Part of the format.
const (
	// WALOpen: it is being written, or its writer died; it may hold
	// acknowledged records that no segment has.
	WALOpen WALState = 1
	// WALClean: all it held is in committed segments.
	WALClean WALState = 2
	// WALAbandoned: an operator gave up for lost what it held.
	WALAbandoned WALState = 3
)

// String gives the state's word.
func (s WALState) String() string {
	switch s {
	case WALOpen:
		return "open"
	case WALClean:
		return "clean"
	case WALAbandoned:
		return "abandoned"
	}
	return "unknown"
}

// WAL is a write-ahead log: wals/{id}, persistent.
//
// Value, version 1: state (1 byte), owner (string).
type WAL struct {
	ID    string
	Owner string // id of the gateway that wrote it last
	State WALState
}

func encodeWAL(w WAL) []byte {
	e := encoder{b: []byte{version1, byte(w.State)}}
	e.str(w.Owner)
	return e.b
}

func decodeWAL(name string, b []byte) (WAL, error) {
	d := newDecoder(b, version1)
	w := WAL{ID: name, State: WALState(d.byte()), Owner: d.str(maxNameBytes)}
	if d.err == nil && (w.State < WALOpen || w.State > WALAbandoned) {
		d.fail("unknown wal state")
	}
	if err := d.done(); err != nil {
		return WAL{}, fmt.Errorf("decode wal: %w", err)
	}
	return w, nil
}

// WALs gives all known write-ahead logs, ordered by id.
func (c *Catalog) WALs() []WAL { return c.wals.values() }

// WAL gives one write-ahead log.
func (c *Catalog) WAL(id string) (WAL, bool) {
	r, ok := c.wals.rows()[id]
	return r.val, ok
}

// WALsChanged gives a channel that is closed when a WAL's record changes.
func (c *Catalog) WALsChanged() <-chan struct{} { return c.wals.note.wait() }

// PutWAL writes a WAL's record for this session's gateway, which becomes its
// owner: WALClean when all it held is committed, WALOpen before writing again.
func (s *Session) PutWAL(ctx context.Context, id string, state WALState) error {
	w := WAL{ID: id, Owner: s.gateway.ID, State: state}
	if id == "" || len(id) > maxNameBytes || state < WALOpen || state > WALAbandoned {
		return fmt.Errorf("put wal %q: %w", id, ErrInvalid)
	}
	value := encodeWAL(w)
	var t txn
	t.put(s.c.key(kindWAL, id), value)
	_, err := s.commit(ctx, "put wal "+id, t, own(kindWAL, id, value))
	return err
}

// AbandonWAL gives up for lost what a WAL holds: an operator's last word, after
// which the slots that waited for it serve again. A clean WAL stays clean. It is
// refused with ErrConflict while the gateway that writes it lives.
func (c *Catalog) AbandonWAL(ctx context.Context, id string) error {
	ctx, cancel := c.opContext(ctx)
	defer cancel()
	for {
		r, ok := c.wals.rows()[id]
		if !ok {
			return fmt.Errorf("abandon wal %q: %w", id, ErrNotFound)
		}
		if r.val.State != WALOpen {
			return nil
		}
		if g, ok := c.gateways.rows()[r.val.Owner]; ok && g.val.WALID == id {
			return fmt.Errorf("abandon wal %q: %w: gateway %q is writing it", id, ErrConflict, r.val.Owner)
		}
		value := encodeWAL(WAL{ID: id, Owner: r.val.Owner, State: WALAbandoned})
		t := txn{cmps: []clientv3.Cmp{modifiedAt(c.key(kindWAL, id), r.mod)}}
		t.put(c.key(kindWAL, id), value)
		t.orGet(c.key(kindWAL, id))
		out, err := c.commit(ctx, "abandon wal "+id, t)
		if err != nil {
			return err
		}
		if out.ok {
			c.applyOwn(out.rev, ownUpdate(kindWAL, id, value, r.create, r.version))
			return nil
		}
		if kv := out.found[c.key(kindWAL, id)]; kv != nil {
			if err := c.waitApplied(ctx, kv.ModRevision); err != nil {
				return err
			}
		}
	}
}
