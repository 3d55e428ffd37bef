package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/robustmq/robustmq-go/internal/vfs"
	"github.com/robustmq/robustmq-go/shard"
)

const testDir = "/wal"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// seeded is a deterministic source of tags.
type seeded struct{ *rand.Rand }

func (s seeded) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(s.Uint32())
	}
	return len(p), nil
}

// settled waits until the cut has followed the telling of all waiters.
func settled(w *WAL) Pos {
	for {
		w.mu.Lock()
		cut, done := w.pos, len(w.queue)+w.inflight == 0 || w.err != nil
		w.mu.Unlock()
		if done {
			return cut
		}
		runtime.Gosched()
	}
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) }

func testOptions(fsys vfs.FS) Options {
	return Options{Dir: testDir, FS: fsys, FileBytes: minFileBytes, FreeFiles: 2, Rand: seeded{newRand(1)}}
}

// batch makes the data of one entry: the base offset, then bytes that follow
// from shard and offset.
func batch(id shard.ID, off int64, n int) []byte {
	b := make([]byte, max(n, 8))
	binary.BigEndian.PutUint64(b, uint64(off))
	r := rand.New(rand.NewPCG(uint64(id.Topic)<<32|uint64(id.Index), uint64(off)))
	for i := 8; i < len(b); i++ {
		b[i] = byte(r.Uint32())
	}
	return b
}

// ticket is a Waiter that remembers.
type ticket struct {
	l    *ledger
	e    Entry
	pos  Pos
	err  error
	done bool
}

func (t *ticket) WALDone(pos Pos, err error) {
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	if t.done {
		t.l.wrong("waiter of %s/%d called twice", t.e.Shard, baseOffset(t.e.Data))
	}
	t.pos, t.err, t.done = pos, err, true
	t.l.open--
	if t.l.next != nil && t.l.next != t {
		t.l.wrong("waiters called out of order")
	}
	t.l.next = nil
	for i, o := range t.l.tickets {
		if o == t && i+1 < len(t.l.tickets) {
			t.l.next = t.l.tickets[i+1]
		}
	}
	t.l.cond.Broadcast()
}

// ledger keeps what was appended and acknowledged, and what was seen to be wrong.
type ledger struct {
	mu      sync.Mutex
	cond    *sync.Cond
	tickets []*ticket
	next    *ticket
	open    int
	offs    map[shard.ID]int64
	trimmed Pos // confirmed
	asked   Pos
	id      [16]byte
	opened  bool
	bad     []string
}

func newLedger() *ledger {
	l := &ledger{offs: map[shard.ID]int64{}}
	l.cond = sync.NewCond(&l.mu)
	return l
}

func (l *ledger) wrong(f string, a ...any) { l.bad = append(l.bad, fmt.Sprintf(f, a...)) }

func (l *ledger) append(w *WAL, id shard.ID, n int) error {
	l.mu.Lock()
	t := &ticket{l: l, e: Entry{Shard: id, Epoch: 3, Data: batch(id, l.offs[id], n)}}
	l.tickets = append(l.tickets, t)
	l.open++
	l.mu.Unlock()
	if err := w.Append(t.e, t); err != nil {
		l.mu.Lock()
		l.tickets = l.tickets[:len(l.tickets)-1]
		if l.next == t { // the one before was told meanwhile
			l.next = nil
		}
		l.open--
		l.mu.Unlock()
		return err
	}
	l.offs[id]++
	return nil
}

// wait returns when all waiters have been called.
func (l *ledger) wait() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.open > 0 {
		l.cond.Wait()
	}
}

func (l *ledger) trim(w *WAL, p Pos) error {
	l.asked = p
	err := w.Trim(p)
	if err == nil && l.trimmed.Less(p) {
		l.trimmed = p
	}
	return err
}

// replayed is one entry a replay gave.
type replayed struct {
	pos Pos
	e   Entry
}

func collect(w *WAL) (out []replayed, rec Recovery, err error) {
	rec, err = w.Replay(func(p Pos, e Entry) error {
		e.Data = bytes.Clone(e.Data)
		out = append(out, replayed{p, e})
		return nil
	})
	return out, rec, err
}

// check compares a replay with the ledger: acknowledged and not trimmed means
// replayed, trimmed means not replayed, nothing is damaged, order holds, and
// each shard's offsets follow one another.
func (l *ledger) check(got []replayed, rec Recovery) (bad []string) {
	wrong := func(f string, a ...any) { bad = append(bad, fmt.Sprintf(f, a...)) }
	bad = append(bad, l.bad...)
	if len(rec.Damaged) > 0 || rec.MarkLost {
		wrong("damage %v, mark lost %v", rec.Damaged, rec.MarkLost)
	}
	at := map[Pos]Entry{}
	next := map[shard.ID]int64{}
	var last Pos
	for _, r := range got {
		at[r.pos] = r.e
		if !last.Less(r.pos) {
			wrong("order: %s after %s", r.pos, last)
		}
		last = r.pos
		if r.pos.Less(l.trimmed) {
			wrong("trimmed entry %s replayed, trim mark %s", r.pos, l.trimmed)
		}
		off := baseOffset(r.e.Data)
		if want, ok := next[r.e.Shard]; ok && off != want {
			wrong("shard %s: offset %d after %d", r.e.Shard, off, want-1)
		}
		next[r.e.Shard] = off + 1
		if !bytes.Equal(r.e.Data, batch(r.e.Shard, off, len(r.e.Data))) || r.e.Epoch != 3 {
			wrong("shard %s: offset %d: other bytes than were written", r.e.Shard, off)
		}
	}
	for _, t := range l.tickets {
		if !t.done || t.err != nil || t.pos.Less(l.asked) {
			continue
		}
		e, ok := at[t.pos]
		if !ok || e.Shard != t.e.Shard || !bytes.Equal(e.Data, t.e.Data) {
			wrong("acknowledged entry %s/%d at %s is gone", t.e.Shard, baseOffset(t.e.Data), t.pos)
		}
	}
	return bad
}

// script drives a WAL through appends, trims, rolls, and a reopening.
func script(opt Options, l *ledger, rounds int, r *rand.Rand) error {
	w, err := Open(opt)
	if err != nil {
		return err
	}
	defer w.Close()
	if l.opened && w.ID() != l.id {
		l.wrong("id changed")
	}
	l.opened, l.id = true, w.ID()
	got, rec, err := collect(w)
	if err != nil {
		return err
	}
	l.bad = append(l.bad, l.check(got, rec)...)
	l.resume(got)
	for range rounds {
		for range r.IntN(4) + 1 {
			id := shard.ID{Topic: shard.TopicNum(r.IntN(2) + 1), Index: uint32(r.IntN(2))}
			if err := l.append(w, id, 8+r.IntN(9000)); err != nil {
				return err
			}
		}
		if r.IntN(3) > 0 {
			l.wait()
		}
		if r.IntN(6) == 0 {
			if err := l.trim(w, w.Position()); err != nil {
				return err
			}
		}
	}
	l.wait()
	return w.Close()
}

// resume makes the ledger agree with what a replay served: that is now promised
// too, and the offsets go on from there.
func (l *ledger) resume(got []replayed) {
	known := map[Pos]bool{}
	kept := l.tickets[:0]
	for _, t := range l.tickets {
		if t.done && t.err == nil {
			known[t.pos] = true
			kept = append(kept, t)
		}
	}
	l.tickets = kept
	for _, t := range kept {
		l.offs[t.e.Shard] = baseOffset(t.e.Data) + 1
	}
	for _, r := range got {
		if !known[r.pos] {
			l.tickets = append(l.tickets, &ticket{l: l, e: r.e, pos: r.pos, done: true})
		}
		l.offs[r.e.Shard] = max(l.offs[r.e.Shard], baseOffset(r.e.Data)+1)
	}
	l.next = nil
}

// openReplay opens what fsys holds and replays it.
func openReplay(t testing.TB, opt Options) (*WAL, []replayed, Recovery) {
	t.Helper()
	w, err := Open(opt)
	must(t, err)
	got, rec, err := collect(w)
	must(t, err)
	return w, got, rec
}

var errCrash = errors.New("power cut")

// crashAfter lets n writes, syncs and directory changes through, and then
// nothing at all.
func crashAfter(n int64) (vfs.Injector, func() int64) {
	var mu sync.Mutex
	var seen int64
	return func(op vfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			switch op.Kind {
			case vfs.OpRead, vfs.OpList, vfs.OpClose:
			default:
				seen++
			}
			if seen > n && op.Kind != vfs.OpClose {
				return errCrash
			}
			return nil
		}, func() int64 {
			mu.Lock()
			defer mu.Unlock()
			return seen
		}
}
