package catalog

import (
	"context"
	"fmt"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/robustmq/robustmq-go/shard"
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
	// WALAbandoned: an operator gave up for lost what it held. A gateway does not
	// join with it any more.
	WALAbandoned WALState = 3
	// WALIdle: a gateway has joined with it, and has acknowledged nothing on the
	// strength of it yet; nobody has to wait for it.
	WALIdle WALState = 4
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
	case WALIdle:
		return "idle"
	}
	return "unknown"
}

// WALPos is a place in a log, as package wal has it.
type WALPos struct {
	File uint64
	Off  int64
}

// WAL is a write-ahead log: wals/{id}, persistent.
//
// Value, version 2: state (1 byte), owner (string), mark (bytes), durability of
// its writer's topics by default (1 byte), flushed: file, offset (varints).
// Version 1 ended after the owner.
type WAL struct {
	ID    string
	Owner string // id of the gateway that wrote it last
	State WALState
	// Mark is what the gateway has noted in the log's directory before it joined
	// last: a directory without it is another state of the log.
	Mark []byte
	// Default is the durability of its writer's topics that have none of their
	// own, 0 where it is not known.
	Default shard.Durability
	// Flushed is the place of an entry that the catalog names the records of: a
	// directory that ends before it is older than the catalog.
	Flushed WALPos
}

func encodeWAL(w WAL) ([]byte, error) {
	e := encoder{b: []byte{version2, byte(w.State)}}
	e.str(w.Owner)
	e.str(string(w.Mark))
	e.byte(byte(w.Default))
	e.uvarint(w.Flushed.File)
	e.uvarint(uint64(w.Flushed.Off))
	if _, err := decodeWAL(w.ID, e.b); err != nil {
		return nil, fmt.Errorf("%w: wal %q: %w", ErrInvalid, w.ID, err)
	}
	return e.b, nil
}

func decodeWAL(name string, b []byte) (WAL, error) {
	d, version := newDecoderOf(b, version1, version2)
	w := WAL{ID: name, State: WALState(d.byte()), Owner: d.str(maxNameBytes)}
	if d.err == nil && (w.State < WALOpen || w.State > WALIdle || version == version1 && w.State == WALIdle) {
		d.fail("unknown wal state")
	}
	if version == version2 {
		w.Mark = slices.Clone(d.bytes(maxMarkBytes))
		if w.Default = shard.Durability(d.byte()); w.Default > shard.DurabilityObject {
			d.fail("unknown durability")
		}
		w.Flushed = WALPos{d.uvarint(), d.offset()}
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

// WALRevision gives the revision of a WAL's record, 0 if there is none.
func (c *Catalog) WALRevision(id string) int64 { return c.wals.rows()[id].mod }

// WALsChanged gives a channel that is closed when a WAL's record changes.
func (c *Catalog) WALsChanged() <-chan struct{} { return c.wals.note.wait() }

// SalvageSuffix ends the id under which somebody joins who brings a gateway's log
// back: it is no gateway that clients could go to.
const SalvageSuffix = ".salvage"

// maxWALID bounds the id of a log: it is a key.
const maxWALID = 128

// PutWAL writes the state of the session's own log: WALOpen before the first
// acknowledgement that stands on it, WALClean when all it held is committed. An
// abandoned log stays so: ErrConflict.
func (s *Session) PutWAL(ctx context.Context, state WALState) error {
	if state != WALOpen && state != WALClean && state != WALIdle {
		return fmt.Errorf("put wal %s: %w", state, ErrInvalid)
	}
	return s.editWAL(ctx, func(w *WAL) { w.State = state })
}

// MarkWAL writes the mark of the session's own log, once it is known that its
// directory is of the state that the catalog knows.
func (s *Session) MarkWAL(ctx context.Context, mark []byte) error {
	return s.editWAL(ctx, func(w *WAL) { w.Mark = mark })
}

func (s *Session) editWAL(ctx context.Context, edit func(*WAL)) error {
	id := s.gateway.WALID
	ctx, cancel := s.context(ctx)
	defer cancel()
	for {
		r, ok := s.c.wals.rows()[id]
		if !ok || r.val.State == WALAbandoned {
			return fmt.Errorf("put wal %q: %w: it is abandoned, or was never joined with", id, ErrConflict)
		}
		w := r.val
		edit(&w)
		value, err := encodeWAL(w)
		if err != nil {
			return err
		}
		key := s.c.key(kindWAL, id)
		t := txn{cmps: []clientv3.Cmp{modifiedAt(key, r.mod)}}
		t.put(key, value)
		t.orGet(key)
		out, err := s.run(ctx, "put wal "+id, t)
		if err != nil {
			return err
		}
		if out.ok {
			s.c.applyOwn(out.rev, ownUpdate(kindWAL, id, value, r.create, r.version))
			return nil
		}
		if err := s.catchUp(ctx, kindWAL, out); err != nil {
			return err
		}
	}
}

// ForgetWALs deletes the records of logs that nobody has to wait for and no living
// gateway writes: each start with an empty directory leaves one. Those that were
// abandoned stay for ever, so that their directories never start.
func (s *Session) ForgetWALs(ctx context.Context) error {
	ctx, cancel := s.context(ctx)
	defer cancel()
	named := map[string]bool{s.gateway.WALID: true}
	for _, g := range s.c.Gateways() {
		named[g.WALID] = true
	}
	for _, sl := range s.c.Slots() {
		named[sl.WAL] = true
		for _, id := range sl.Pending {
			named[id] = true
		}
	}
	var t txn
	var chs []change
	for id, r := range s.c.wals.rows() {
		if named[id] || r.val.State != WALClean && r.val.State != WALIdle || len(chs) == claimChunk {
			continue
		}
		key := s.c.key(kindWAL, id)
		t.iff(modifiedAt(key, r.mod))
		t.do(clientv3.OpDelete(key))
		chs = append(chs, ownDelete(kindWAL, id))
	}
	if len(chs) == 0 {
		return nil
	}
	out, err := s.run(ctx, "forget wals", t)
	if err == nil && out.ok { // else somebody has one of them in use: the next start looks again
		s.c.applyOwn(out.rev, chs...)
	}
	return err
}

// NoteFlushed has the commits that follow say up to which entry the log is in
// committed segments.
func (s *Session) NoteFlushed(at WALPos) { s.flushed.Store(&at) }

// planFlushed adds the place that NoteFlushed told to a commit. The session is
// the log's only writer but for AbandonWAL, which is refused while it lives.
func (s *Session) planFlushed(p *swapPlan) error {
	at, id := s.flushed.Load(), s.gateway.WALID
	r, ok := s.c.wals.rows()[id]
	if at == nil || !ok || r.val.Flushed == *at || r.val.State == WALAbandoned {
		return nil
	}
	r.val.Flushed = *at
	value, err := encodeWAL(r.val)
	if err != nil {
		return err
	}
	p.txn.iff(modifiedAt(s.c.key(kindWAL, id), r.mod))
	p.txn.put(s.c.key(kindWAL, id), value)
	p.changes = append(p.changes, ownUpdate(kindWAL, id, value, r.create, r.version))
	return nil
}

// AbandonWAL gives up for lost what a WAL holds: an operator's last word, after
// which the slots that waited for it serve again, once their gateway has started
// over. A clean WAL stays clean. It is refused with ErrConflict while the gateway
// that writes it lives; alone says that none does, whatever their leases say.
func (c *Catalog) AbandonWAL(ctx context.Context, id string, alone bool) error {
	ctx, cancel := c.opContext(ctx)
	defer cancel()
	for {
		r, ok := c.wals.rows()[id]
		if !ok {
			return fmt.Errorf("abandon wal %q: %w", id, ErrNotFound)
		}
		if r.val.State == WALClean || r.val.State == WALAbandoned {
			return nil
		}
		g := c.gateways.rows()[r.val.Owner]
		if g.mod != 0 && g.val.WALID == id && !alone {
			return fmt.Errorf("abandon wal %q: %w: gateway %q is writing it", id, ErrConflict, r.val.Owner)
		}
		w := r.val
		w.State = WALAbandoned
		value, err := encodeWAL(w)
		if err != nil {
			return err
		}
		key, owner := c.key(kindWAL, id), c.key(kindGateway, r.val.Owner)
		t := txn{cmps: []clientv3.Cmp{modifiedAt(key, r.mod), modifiedAt(owner, g.mod)}}
		t.put(key, value)
		t.orGet(key, owner)
		out, err := c.commit(ctx, "abandon wal "+id, t)
		if err != nil {
			return err
		}
		if out.ok {
			c.applyOwn(out.rev, ownUpdate(kindWAL, id, value, r.create, r.version))
			return nil
		}
		var rev int64
		for _, kv := range out.found {
			rev = max(rev, kv.ModRevision)
		}
		if err := c.waitApplied(ctx, rev); err != nil {
			return err
		}
	}
}

// Holders gives the slots that wait for a log, or whose dead owner wrote it: an
// open log may hold acknowledged records of them. alone says that no gateway lives.
func (c *Catalog) Holders(id string, alone bool) []int {
	var out []int
	for _, s := range c.Slots() {
		if slices.Contains(s.Pending, id) || s.Epoch > 0 && !s.Released && s.WAL == id && (alone || c.SlotFree(s)) {
			out = append(out, s.Index)
		}
	}
	return out
}
