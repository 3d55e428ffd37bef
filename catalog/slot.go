package catalog

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/robustmq/robustmq-go/shard"
)

// NumSlots is the number of slots of a cluster. Part of the format.
const NumSlots = 256

// claimChunk is how many slots one transaction claims: a compare and a put for
// each, beside the fence and the compares of the former owners.
const claimChunk = 100

// maxPending bounds the logs that one slot waits for. Only logs that may hold
// acknowledged records are waited for, so it takes as many crashes, each with a
// disk that did not come back, to meet it.
const maxPending = 64

// Slot is the unit of ownership: slots/{n}, persistent, overwritten and never
// deleted. It is owned when it is not released and the incarnation lives.
//
// Value, version 2: epoch (varint), released (1 byte), incarnation (varint),
// owner, WAL id (strings), pending WAL ids (count, strings), leaps (varint).
//
// Version 1 had no leaps, and named each log that its gateway had not used when
// it claimed, of gateways that had stopped in good order too; nobody waited for
// them. Its list may be longer than version 1 itself could read.
type Slot struct {
	Index       int
	Owner       string
	Incarnation int64
	// Epoch rises by one with each claim.
	Epoch    int64
	Released bool
	// WAL is the log of the owner, or of the last one.
	WAL string
	// Pending names the logs of former owners that died: they may hold
	// acknowledged records of this slot, until the WAL's record says clean or
	// abandoned.
	Pending []string
	// Leaps counts the logs that were abandoned since the owner last noted, for
	// each shard, from where on offsets go on.
	Leaps int64
	// Passed are the logs that version 1 named pending and waited for in vain: it
	// has given their offsets out again. They are not written any more.
	Passed []string
}

func encodeSlot(s Slot) ([]byte, error) {
	if len(s.Pending) > maxPending {
		return nil, fmt.Errorf("%w: slot %d waits for %d logs", ErrTooLarge, s.Index, len(s.Pending))
	}
	e := encoder{b: []byte{version2}}
	e.uvarint(uint64(s.Epoch))
	e.bool(s.Released)
	e.uvarint(uint64(s.Incarnation))
	e.str(s.Owner)
	e.str(s.WAL)
	e.strs(s.Pending)
	e.uvarint(uint64(s.Leaps))
	if _, err := decodeSlot(e.b); err != nil {
		return nil, fmt.Errorf("%w: slot %d: %w", ErrInvalid, s.Index, err)
	}
	return e.b, nil
}

func decodeSlot(b []byte) (Slot, error) {
	d, version := newDecoderOf(b, version1, version2)
	s := Slot{Epoch: d.offset(), Released: d.bool(), Incarnation: d.offset()}
	s.Owner = d.str(maxNameBytes)
	s.WAL = d.str(maxNameBytes)
	if version == version1 {
		s.Passed = d.strs(maxListLength, maxNameBytes)
	} else {
		s.Pending = d.strs(maxPending, maxNameBytes)
		s.Leaps = d.offset()
	}
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
	was := map[int]Slot{}
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
		value, err := encodeSlot(s.successor(r.val))
		if err != nil {
			return rev, false, &shard.Error{Kind: shard.KindTooLarge, Op: "claim slots", Err: err, Hint: "bring the logs back that are waited for, or abandon them: robustmq wal waiting lists them"}
		}
		was[n] = r.val
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
	s.note(was)
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
// kind, so that the next attempt starts from it. A record that is there and not
// in the view cannot be read: no attempt would end otherwise.
func (s *Session) catchUp(ctx context.Context, kind string, out outcome) error {
	var rev int64
	for key, kv := range out.found {
		if k, _ := s.c.split([]byte(key)); k == kind {
			rev = max(rev, kv.ModRevision)
		}
	}
	if err := s.c.waitApplied(ctx, rev); err != nil {
		return err
	}
	for key, kv := range out.found {
		if k, name := s.c.split([]byte(key)); k == kindSlot {
			if _, err := decodeSlotAt(name, kv.Value); err != nil {
				return err
			}
		}
	}
	return nil
}

// note keeps slots as they were before this session claimed them.
func (s *Session) note(was map[int]Slot) {
	s.former.Lock()
	defer s.former.Unlock()
	if s.former.slots == nil {
		s.former.slots = map[int]Slot{}
	}
	maps.Copy(s.former.slots, was)
}

// Former gives a slot as it was before this session claimed it; ok is false for
// one that it has not claimed.
func (s *Session) Former(n int) (sl Slot, ok bool) {
	s.former.Lock()
	defer s.former.Unlock()
	sl, ok = s.former.slots[n]
	return sl, ok
}

func (s *Session) owns(sl Slot) bool {
	return sl.Epoch > 0 && !sl.Released && sl.Owner == s.gateway.ID && sl.Incarnation == s.incarnation
}

// successor gives the slot as we claim it. A log that a dead owner left open
// stays pending; ours is not, for we have read it. One that was abandoned is
// waited for no more, and offsets leap over what it may have given out.
func (s *Session) successor(sl Slot) Slot {
	next := Slot{Index: sl.Index, Owner: s.gateway.ID, Incarnation: s.incarnation, Epoch: sl.Epoch + 1, WAL: s.gateway.WALID, Leaps: sl.Leaps}
	candidates := slices.Clone(sl.Pending)
	if sl.Epoch > 0 && !sl.Released && sl.WAL != "" && !slices.Contains(candidates, sl.WAL) {
		candidates = append(candidates, sl.WAL)
	}
	for _, id := range candidates {
		w, _ := s.c.WAL(id)
		switch {
		case id == s.gateway.WALID:
		case w.State == WALOpen:
			next.Pending = append(next.Pending, id)
		case w.State == WALAbandoned:
			next.Leaps++
		}
	}
	return next
}

// ReleaseSlots gives up slots this session owns, so that others may claim them
// at once: to be called when all they hold is in committed segments. Slots it
// does not own are left alone.
func (s *Session) ReleaseSlots(ctx context.Context, slots []int) error {
	return s.editSlots(ctx, "release slots", slots, func(sl *Slot) bool {
		sl.Released = true
		return true
	})
}

// SettleLeaps notes that offsets of the slots' shards go on above all that the
// abandoned logs may have given out, durably.
func (s *Session) SettleLeaps(ctx context.Context, slots []int) error {
	return s.editSlots(ctx, "settle leaps", slots, func(sl *Slot) bool {
		leaps := sl.Leaps
		sl.Leaps = 0
		return leaps > 0
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
				value, err := encodeSlot(r.val)
				if err != nil {
					return err
				}
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
