package catalog

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/robustmq/robustmq-go/shard"
)

// oldSlot is a slot as version 1 wrote it, whose list had no bound.
func oldSlot(s Slot) []byte {
	e := encoder{b: []byte{version1}}
	e.uvarint(uint64(s.Epoch))
	e.bool(s.Released)
	e.uvarint(uint64(s.Incarnation))
	e.str(s.Owner)
	e.str(s.WAL)
	e.strs(s.Pending)
	return e.b
}

// oldWAL is a log's record as version 1 wrote it.
func oldWAL(w WAL) []byte {
	e := encoder{b: []byte{version1, byte(w.State)}}
	e.str(w.Owner)
	return e.b
}

// TestRepairOfOldSlots: a catalog that earlier versions have made unreadable to
// themselves, with a log for each of a hundred starts, opens, and the next claim
// writes slots that wait for the last one alone.
func TestRepairOfOldSlots(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	c := openEmbedded(t, dir)
	old := Slot{Epoch: 101, Owner: "a", Incarnation: 7, WAL: "last"}
	put := func(kind, name string, value []byte) {
		t.Helper()
		if _, err := c.client.Put(ctx, c.key(kind, name), string(value)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 100 {
		id := fmt.Sprint("wal-", i)
		old.Pending = append(old.Pending, id)
		put(kindWAL, id, oldWAL(WAL{State: WALOpen, Owner: "a"}))
	}
	put(kindWAL, "last", oldWAL(WAL{State: WALOpen, Owner: "a"}))
	for n := range NumSlots {
		put(kindSlot, slotName(n), oldSlot(old))
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = openEmbedded(t, dir)
	if err := c.Health(); err != nil {
		t.Fatal(err)
	}
	s, err := c.Join(ctx, Gateway{ID: "b", WALID: "new"}, true)
	if err != nil {
		t.Fatal(err)
	}
	all := make([]int, NumSlots)
	for i := range all {
		all[i] = i
	}
	if got, err := s.ClaimSlots(ctx, all); err != nil || len(got) != NumSlots || got[3] != 102 {
		t.Fatalf("claimed %d: %v", len(got), err)
	}
	sl := c.Slots()[3]
	if len(sl.Pending) != 1 || sl.Pending[0] != "last" || sl.WAL != "new" || len(sl.Passed) != 0 {
		t.Fatalf("slot %+v", sl)
	}
	if f, ok := s.Former(3); !ok || len(f.Passed) != 100 || f.WAL != "last" {
		t.Fatalf("former %+v", f)
	}
	if h := c.Holders("last", true); len(h) != NumSlots {
		t.Fatalf("%d slots wait", len(h))
	}
	if err := c.AbandonWAL(ctx, "last", true); err != nil {
		t.Fatal(err)
	}
	if err := s.Leave(); err != nil {
		t.Fatal(err)
	}
	if s, err = c.Join(ctx, Gateway{ID: "b", WALID: "new"}, true); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ClaimSlots(ctx, all); err != nil {
		t.Fatal(err)
	}
	if sl := c.Slots()[3]; len(sl.Pending) != 0 || sl.Leaps != 1 {
		t.Fatalf("slot %+v", sl)
	}
	if err := s.SettleLeaps(ctx, all); err != nil || c.Slots()[3].Leaps != 0 {
		t.Fatalf("settled: %v", err)
	}
	if _, err := s.ClaimSlots(ctx, []int{NumSlots}); !errors.Is(err, ErrInvalid) {
		t.Fatalf("claimed a slot that there is not: %v", err)
	}
}

// TestTooManyLogsToWaitFor: what cannot be read is not written.
func TestTooManyLogsToWaitFor(t *testing.T) {
	s := Slot{Epoch: 1, WAL: "w"}
	for i := range maxPending + 1 {
		if b, err := encodeSlot(s); err != nil {
			t.Fatal(err)
		} else if _, err := decodeSlot(b); err != nil {
			t.Fatal(err)
		}
		s.Pending = append(s.Pending, fmt.Sprint(i))
	}
	if _, err := encodeSlot(s); shard.KindOf(err) != shard.KindTooLarge {
		t.Fatalf("encoded %d logs: %v", len(s.Pending), err)
	}
}

// TestSlotThatCannotBeRead: a claim tells of it instead of trying for ever.
func TestSlotThatCannotBeRead(t *testing.T) {
	ctx := context.Background()
	c := openEmbedded(t, t.TempDir())
	if _, err := c.client.Put(ctx, c.key(kindSlot, slotName(5)), "\x01\x80"); err != nil {
		t.Fatal(err)
	}
	s, err := c.Join(ctx, Gateway{ID: "a", WALID: "w"}, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.ClaimSlots(ctx, []int{4, 5}); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("claim: %v", err)
	}
}
