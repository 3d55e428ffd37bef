package catalog

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// NumSlots is the number of slots of a cluster. Part of the format.
const NumSlots = 256

// claimChunk is how many slots one transaction claims: a compare and a put for
// each, beside the fence and the compares of the former owners.
const claimChunk = 100

const maxPending = 64

// Slot is the unit of ownership: slots/{n}, persistent, overwritten and never
// deleted. It is owned when it is not released and the incarnation lives.
//
// Value, version 1: epoch (varint), released (1 byte), incarnation (varint),
// owner, WAL id (strings), pending WAL ids (count, strings).
type Slot struct {
	Index       int
	Owner       string
	Incarnation int64
	// Epoch rises with each claim, by one unless RaiseEpochs asks for more.
	Epoch    int64
	Released bool
	// WAL is the log of the owner, or of the last one.
	WAL string
	// Pending names the logs of former owners that died: they may hold
	// acknowledged records of this slot, until the WAL's record says clean or
	// abandoned, or the owner has settled it (SettleWAL).
	Pending []string
}

func encodeSlot(s Slot) []byte {
	e := encoder{b: []byte{version1}}
	e.uvarint(uint64(s.Epoch))
	e.bool(s.Released)
	e.uvarint(uint64(s.Incarnation))
	e.str(s.Owner)
	e.str(s.WAL)
	e.strs(s.Pending)
	return e.b
}

func decodeSlot(b []byte) (Slot, error) {
	d := newDecoder(b, version1)
	s := Slot{Epoch: d.offset(), Released: d.bool(), Incarnation: d.offset()}
	s.Owner = d.str(maxNameBytes)
	s.WAL = d.str(maxNameBytes)
	s.Pending = d.strs(maxPending, maxNameBytes)
	if err := d.done(); err != nil {
		return Slot{}, fmt.Errorf("decode slot: %w", err)
	}
	return s, nil
}

func decodeSlotAt(name string, b []byte) (Slot, error) {
	n, err := strconv.Atoi(name)
	if err != nil || n < 0 || n >= NumSlots || slotName(n) != name {
		return Slot{}, fmt.Errorf("decode slot: %w: index %q", ErrCorrupt, name)
	}
	s, err := decodeSlot(b)
	s.Index = n
	return s, err
}

func slotName(n int) string { return fmt.Sprintf("%03d", n) }

// Slots gives all slots, by index; one that was never claimed has epoch 0.
func (c *Catalog) Slots() [NumSlots]Slot {
	var out [NumSlots]Slot
	for i := range out {
		out[i].Index = i
	}
	for _, r := range c.slots.rows() {
		out[r.val.Index] = r.val
	}
	return out
}

// SlotsChanged gives a channel that is closed when a slot changes.
func (c *Catalog) SlotsChanged() <-chan struct{} { return c.slots.note.wait() }

// SlotFree tells whether a slot can be claimed, as far as this gateway knows.
func (c *Catalog) SlotFree(s Slot) bool {
	return s.Epoch == 0 || s.Released || !c.alive(s.Owner, s.Incarnation)
}

// ClaimSlots makes this session the owner of those of the slots that are free,
// each under a new epoch, and gives the epochs of all of them that it owns then;
// slots of living owners are left out. When it returns, the view holds
// everything the former owners committed, and they can commit nothing more.
func (s *Session) ClaimSlots(ctx context.Context, slots []int) (map[int]int64, error) {
	ctx, cancel := s.context(ctx)
	defer cancel()
	owned := make(map[int]int64, len(slots))
	var newest int64
	todo := slices.Clone(slots)
	for _, n := range todo {
		if n < 0 || n >= NumSlots {
			return nil, fmt.Errorf("claim slot %d: %w", n, ErrInvalid)
		}
	}
	slices.Sort(todo)
	for todo = slices.Compact(todo); len(todo) > 0; {
		part := todo[:min(claimChunk, len(todo))]
		rev, again, err := s.claim(ctx, part, owned)
		if err != nil {
			return nil, fmt.Errorf("claim slots: %w", err)
		}
		newest = max(newest, rev)
		if !again {
			todo = todo[len(part):]
		}
	}
	if err := s.c.waitApplied(ctx, newest); err != nil {
		return nil, fmt.Errorf("claim slots: %w", err)
	}
	return owned, nil
}

// claim claims the free ones of a few slots in one transaction. again says
// that another writer was there first, and that the view has caught up with it.
func (s *Session) claim(ctx context.Context, slots []int, owned map[int]int64) (rev int64, again bool, err error) {
	if s.fenced() {
		return 0, false, ErrFenced
	}
	c := s.c
	rows := c.slots.rows()
	var t txn
	var chs []change
	former := map[string]int64{}
	for _, n := range slots {
		name := slotName(n)
		r := rows[name]
		if s.owns(r.val) {
			owned[n], rev = r.val.Epoch, max(rev, r.mod)
			continue
		}
		if !c.SlotFree(r.val) {
			continue
		}
		if r.mod != 0 && !r.val.Released {
			former[r.val.Owner] = r.val.Incarnation
		}
		if len(former) > maxTxnOps-claimChunk-1 {
			return rev, false, fmt.Errorf("%w: slots of %d former owners", ErrTooLarge, len(former))
		}
		next := s.successor(r.val)
		value := encodeSlot(next)
		t.iff(modifiedAt(c.key(kindSlot, name), r.mod))
		t.put(c.key(kindSlot, name), value)
		t.orGet(c.key(kindSlot, name))
		chs = append(chs, ownUpdate(kindSlot, name, value, r.create, r.version))
	}
	if len(chs) == 0 {
		return rev, false, nil
	}
	for id, inc := range former {
		if id != s.gateway.ID { // a former run of ours is gone: the fence says so
			t.iff(notCreatedAt(c.key(kindGateway, id), inc))
		}
	}
	out, err := s.run(ctx, "claim", t)
	if err != nil {
		return rev, false, err
	}
	if !out.ok {
		return rev, true, s.catchUp(ctx, kindSlot, out)
	}
	c.applyOwn(out.rev, chs...)
	for _, ch := range chs {
		sl, err := decodeSlotAt(ch.name, ch.value)
		if err != nil {
			return rev, false, err
		}
		owned[sl.Index] = sl.Epoch
	}
	return out.rev, false, nil
}

// catchUp waits until the view has what a failed transaction has found of a
// kind, so that the next attempt starts from it.
func (s *Session) catchUp(ctx context.Context, kind string, out outcome) error {
	var rev int64
	for key, kv := range out.found {
		if k, _ := s.c.split([]byte(key)); k == kind {
			rev = max(rev, kv.ModRevision)
		}
	}
	return s.c.waitApplied(ctx, rev)
}

func (s *Session) owns(sl Slot) bool {
	return sl.Epoch > 0 && !sl.Released && sl.Owner == s.gateway.ID && sl.Incarnation == s.incarnation
}

// successor gives the slot as we claim it. A log that a dead owner left open
// stays pending; ours is not, for we have read it.
func (s *Session) successor(sl Slot) Slot {
	pending := make([]string, 0, len(sl.Pending)+1)
	candidates := sl.Pending
	if sl.Epoch > 0 && !sl.Released && sl.WAL != "" {
		candidates = append(slices.Clone(candidates), sl.WAL)
	}
	for _, id := range candidates {
		w, ok := s.c.WAL(id)
		if id != s.gateway.WALID && ok && w.State == WALOpen && !slices.Contains(pending, id) {
			pending = append(pending, id)
		}
	}
	return Slot{
		Index: sl.Index, Owner: s.gateway.ID, Incarnation: s.incarnation, Epoch: max(sl.Epoch, s.epochFloor.Load()) + 1,
		WAL: s.gateway.WALID, Pending: pending,
	}
}

// RaiseEpochs makes all later claims give epochs above floor: after etcd was
// restored from an old snapshot, the highest epoch that objects speak of.
func (s *Session) RaiseEpochs(floor int64) { s.epochFloor.Store(floor) }

// ReleaseSlots gives up slots this session owns, so that others may claim them
// at once: to be called when all they hold is in committed segments. Slots it
// does not own are left alone.
func (s *Session) ReleaseSlots(ctx context.Context, slots []int) error {
	return s.editSlots(ctx, "release slots", slots, func(sl *Slot) bool {
		sl.Released = true
		return true
	})
}

// SettleWAL notes that what a former owner's log held of the slots has been
// recovered, for those of them that this session owns.
func (s *Session) SettleWAL(ctx context.Context, walID string, slots []int) error {
	return s.editSlots(ctx, "settle wal", slots, func(sl *Slot) bool {
		n := len(sl.Pending)
		sl.Pending = slices.DeleteFunc(slices.Clone(sl.Pending), func(id string) bool { return id == walID })
		return len(sl.Pending) != n
	})
}

// editSlots overwrites slots of ours, few transactions for many slots. It may
// write a slot that does not change again, which does no harm.
func (s *Session) editSlots(ctx context.Context, what string, slots []int, edit func(*Slot) bool) error {
	ctx, cancel := s.context(ctx)
	defer cancel()
	todo := map[int]bool{}
	for _, n := range slots {
		todo[n] = true
	}
	for part := range slices.Chunk(slices.Sorted(maps.Keys(todo)), claimChunk) {
		for again := true; again; {
			var t txn
			var chs []change
			rows := s.c.slots.rows()
			for _, n := range part {
				name := slotName(n)
				r := rows[name]
				if !s.owns(r.val) || !edit(&r.val) {
					continue
				}
				value := encodeSlot(r.val)
				t.iff(modifiedAt(s.c.key(kindSlot, name), r.mod))
				t.put(s.c.key(kindSlot, name), value)
				t.orGet(s.c.key(kindSlot, name))
				chs = append(chs, ownUpdate(kindSlot, name, value, r.create, r.version))
			}
			if len(chs) == 0 {
				break
			}
			out, err := s.run(ctx, what, t)
			if err != nil {
				return err
			}
			if again = !out.ok; again {
				err = s.catchUp(ctx, kindSlot, out)
				if err != nil {
					return err
				}
				continue
			}
			s.c.applyOwn(out.rev, chs...)
		}
	}
	return nil
}
