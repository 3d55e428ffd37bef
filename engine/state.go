package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/robustmq/robustmq-go/shard"
)

// stateStore implements shard.State: a map per slot, rebuilt from the slot's
// state shard at start. A record's key is the owner's length, the owner and the
// key; a null value is a deletion; the revision is the record's offset plus one.
type stateStore struct {
	e     *Engine
	cache *stateCache
	slots [Slots]stateSlot
}

type stateSlot struct {
	st     *stateStore
	n      int
	mu     sync.RWMutex
	owners map[string]*stateOwner
	// damaged says which of the slot's records are lost. What they changed is not
	// known, so nobody is given what may be older.
	damaged error
	// flight holds, by full key, the revision of the newest change that is not
	// durable yet (NoRev for a deletion), and how many there are.
	flight map[string]flightRev
	// flying are the changes that are queued, in the order of the log.
	flying []flight
	// shelf is where the last snapshot has the large values, by revision: the log need
	// not have them any more.
	shelf map[int64]int64
	// nextShelf is that of the snapshot which may take its place.
	nextShelf map[int64]int64
	// tail is the bytes of the log since the last snapshot, snapshot those of that.
	tail, snapshot int64
}

type flightRev struct {
	rev int64
	n   int
}

type stateOwner struct {
	values map[string]shard.StateValue // without data where it is large: see stateCache
	sorted []string                    // keys in order; nil when it has to be made again
}

func newStateStore(e *Engine) *stateStore {
	st := &stateStore{e: e, cache: newStateCache(e.opts.StateBytes)}
	for i := range st.slots {
		st.slots[i].st, st.slots[i].n = st, i
		st.slots[i].owners = make(map[string]*stateOwner)
		st.slots[i].flight = make(map[string]flightRev)
		st.slots[i].shelf = make(map[int64]int64)
	}
	return st
}

const maxStateName = 64 << 10

func stateKey(owner, key string) []byte {
	b := binary.AppendUvarint(make([]byte, 0, len(owner)+len(key)+3), uint64(len(owner)))
	b = append(b, owner...)
	return append(b, key...)
}

func splitStateKey(b []byte) (owner, key string, err error) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return "", "", shard.Errorf(shard.KindCorrupt, "state record has a malformed key")
	}
	b = b[w:]
	return string(b[:n]), string(b[n:]), nil
}

// Get implements shard.State.
func (st *stateStore) Get(ctx context.Context, owner, key string) (shard.StateValue, bool, error) {
	if err := st.e.stateWaits(); err != nil {
		return shard.StateValue{}, false, err
	}
	slot := slotOfName(owner)
	sl := &st.slots[slot]
	sl.mu.RLock()
	damaged := sl.damaged
	var v shard.StateValue
	ok := false
	if o := sl.owners[owner]; o != nil {
		v, ok = o.values[key]
	}
	sl.mu.RUnlock()
	if damaged != nil || !ok {
		return shard.StateValue{}, false, damaged
	}
	return st.whole(ctx, slot, owner, key, v)
}

// Range implements shard.State.
func (st *stateStore) Range(ctx context.Context, owner, prefix string, fn func(string, shard.StateValue) bool) error {
	if err := st.e.stateWaits(); err != nil {
		return err
	}
	slot := slotOfName(owner)
	found, err := st.slots[slot].list(owner, prefix)
	if err != nil {
		return err
	}
	return st.each(ctx, slot, owner, found, fn)
}

// each calls fn for values that were listed, with their data.
func (st *stateStore) each(ctx context.Context, slot int, owner string, found []listedState, fn func(string, shard.StateValue) bool) error {
	for _, f := range found {
		v, ok, err := st.whole(ctx, slot, owner, f.key, f.v)
		if err != nil {
			return err
		}
		if ok && !fn(f.key, v) {
			break
		}
	}
	return nil
}

// walk calls fn for the values of an owner of the engine's own, damaged slot or not.
func (sl *stateSlot) walk(owner, prefix string, fn func(string, shard.StateValue) bool) {
	for _, f := range sl.listAll(owner, prefix) {
		if !fn(f.key, f.v) {
			break
		}
	}
}

type listedState struct {
	key string
	v   shard.StateValue
}

// list gives an owner's values in order, where the slot is not damaged.
func (sl *stateSlot) list(owner, prefix string) ([]listedState, error) {
	sl.mu.RLock()
	damaged := sl.damaged
	sl.mu.RUnlock()
	if damaged != nil {
		return nil, damaged
	}
	return sl.listAll(owner, prefix), nil
}

// listAll is list, damaged or not.
func (sl *stateSlot) listAll(owner, prefix string) (found []listedState) {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	o := sl.owners[owner]
	if o == nil {
		return nil
	}
	if o.sorted == nil {
		o.sorted = make([]string, 0, len(o.values))
		for k := range o.values {
			o.sorted = append(o.sorted, k)
		}
		slices.Sort(o.sorted)
	}
	from, _ := slices.BinarySearch(o.sorted, prefix)
	for _, k := range o.sorted[from:] {
		if !strings.HasPrefix(k, prefix) {
			break
		}
		found = append(found, listedState{k, o.values[k]})
	}
	return found
}

// Owners implements shard.State.
func (st *stateStore) Owners(_ context.Context, prefix string) ([]string, error) {
	if err := st.e.stateWaits(); err != nil {
		return nil, err
	}
	var out []string
	for i := range st.slots {
		sl := &st.slots[i]
		sl.mu.RLock()
		for o := range sl.owners {
			if sl.damaged == nil && strings.HasPrefix(o, prefix) {
				out = append(out, o)
			}
		}
		sl.mu.RUnlock()
	}
	slices.Sort(out)
	return out, nil
}

// Apply implements shard.State.
func (st *stateStore) Apply(ctx context.Context, owner string, ops []shard.StateOp, done func(error)) {
	if err := st.e.stateWaits(); err != nil {
		done(err)
		return
	}
	slot := slotOfName(owner)
	sl := &st.slots[slot]
	sl.mu.RLock()
	damaged := sl.damaged
	sl.mu.RUnlock()
	if damaged != nil {
		done(damaged)
		return
	}
	st.write(ctx, slot, owner, ops, st.e.opts.Durability == shard.DurabilityObject, done)
}

// keep makes notes of the engine's own durable in the WAL, where the damage
// that they speak of is, also in a damaged slot.
func (st *stateStore) keep(ctx context.Context, slot int, owner string, ops ...shard.StateOp) error {
	return st.writeWait(ctx, slot, owner, false, ops)
}

// note makes notes of the engine's own durable as all state is, also in a damaged slot.
func (st *stateStore) note(ctx context.Context, owner string, ops ...shard.StateOp) error {
	if err := st.e.stateWaits(); err != nil {
		return err
	}
	return st.writeWait(ctx, slotOfName(owner), owner, st.e.opts.Durability == shard.DurabilityObject, ops)
}

func (st *stateStore) writeWait(ctx context.Context, slot int, owner string, object bool, ops []shard.StateOp) error {
	ch := make(chan error, 1)
	st.write(ctx, slot, owner, ops, object, func(err error) { ch <- err })
	select {
	case err := <-ch:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// write applies changes; with object they are done when their segment is committed.
func (st *stateStore) write(ctx context.Context, slot int, owner string, ops []shard.StateOp, object bool, done func(error)) {
	if len(ops) == 0 {
		done(nil)
		return
	}
	b, err := encodeState(owner, ops, st.e.opts.Now().UnixMilli())
	if err != nil {
		done(err)
		return
	}
	sl := &st.slots[slot]
	p, err := st.e.pend(shard.ID{Topic: stateTopicNum, Index: uint32(slot)}, b, shard.CompletionFunc(func(r shard.AppendResult) {
		sl.commit(owner, ops, r.Base, r.Err)
		done(r.Err)
	}), 0)
	if err == nil {
		p.object, p.own = object, engines(owner)
		err = p.admit(ctx)
	}
	if err != nil {
		done(err)
		return
	}
	if err := sl.apply(owner, ops, p); err != nil {
		p.unbudget()
		p.release()
		done(err)
	}
	st.e.tails.evict()
}

// engines tells whether an owner's values are the engine's own notes.
func engines(owner string) bool { return strings.HasPrefix(owner, "engine/") }

func encodeState(owner string, ops []shard.StateOp, now int64) (*shard.Batch, error) {
	size := 0
	for i := range ops {
		o := &ops[i]
		if len(o.Value) > shard.MaxStateValue || len(o.Key)+len(owner) > maxStateName {
			return nil, shard.Errorf(shard.KindTooLarge, "state value of %d bytes for %q", len(o.Value), owner)
		}
		size += len(owner) + len(o.Key) + len(o.Value) + 32
	}
	if size > shard.MaxBatchBytes-shard.BatchHeaderBytes {
		return nil, shard.Errorf(shard.KindTooLarge, "state change of %d bytes for %q", size, owner)
	}
	bl := shard.NewBuilder(size)
	for i := range ops {
		bl.Add(&shard.Record{Timestamp: now, Key: stateKey(owner, ops[i].Key), Value: ops[i].Value})
	}
	return bl.Build(), nil
}

// apply checks the conditions against what is newest, in flight or not, and
// queues the batch under the slot's lock, so that checks and log order agree.
func (sl *stateSlot) apply(owner string, ops []shard.StateOp, p *pending) error {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	for i := range ops {
		if err := sl.check(owner, &ops[i]); err != nil {
			return err
		}
	}
	r, queued := p.append(&shard.AppendOptions{})
	if !queued {
		return r.Err
	}
	base := p.result.Base
	sl.flying = append(sl.flying, flight{base: base})
	sl.tail += p.size
	for i := range ops {
		k := string(stateKey(owner, ops[i].Key))
		f := sl.flight[k]
		f.n++
		f.rev = base + int64(i) + 1
		if ops[i].Value == nil {
			f.rev = shard.NoRev
		}
		sl.flight[k] = f
	}
	return nil
}

func (sl *stateSlot) check(owner string, op *shard.StateOp) error {
	if op.If == shard.AnyRev {
		return nil
	}
	cur := shard.NoRev
	if f, ok := sl.flight[string(stateKey(owner, op.Key))]; ok {
		cur = f.rev
	} else if o := sl.owners[owner]; o != nil {
		if v, ok := o.values[op.Key]; ok {
			cur = v.Rev
		}
	}
	if cur != op.If {
		return &shard.Error{Kind: shard.KindStale, Op: "apply state", Msg: fmt.Sprintf("%s %q", owner, op.Key), Err: shard.ErrRevision}
	}
	return nil
}

// commit makes durable changes visible.
func (sl *stateSlot) commit(owner string, ops []shard.StateOp, base int64, err error) {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	sl.land(base)
	for i := range ops {
		k := string(stateKey(owner, ops[i].Key))
		if f := sl.flight[k]; f.n > 1 {
			f.n--
			sl.flight[k] = f
		} else {
			delete(sl.flight, k)
		}
		if err == nil {
			sl.put(owner, ops[i].Key, ops[i].Value, base+int64(i)+1)
		}
	}
}

func (sl *stateSlot) put(owner, key string, value []byte, rev int64) {
	o := sl.owners[owner]
	if value == nil {
		if o == nil {
			return
		}
		if old, ok := o.values[key]; ok {
			sl.forget(old)
			delete(o.values, key)
			o.sorted = nil
		}
		if len(o.values) == 0 {
			delete(sl.owners, owner)
		}
		return
	}
	if o == nil {
		o = &stateOwner{values: make(map[string]shard.StateValue)}
		sl.owners[owner] = o
	}
	if old, ok := o.values[key]; !ok {
		o.sorted = nil
	} else if old.Data == nil {
		sl.forget(old)
	}
	o.values[key] = sl.shelve(owner, value, rev)
}

// refused gives why nobody is given what a slot holds; nil: it serves.
func (sl *stateSlot) refused() error {
	sl.mu.RLock()
	defer sl.mu.RUnlock()
	return sl.damaged
}

// load brings into one slot what its shard has after the snapshot.
func (st *stateStore) load(ctx context.Context, slot int) error {
	id := shard.ID{Topic: stateTopicNum, Index: uint32(slot)}
	sl := &st.slots[slot]
	b, err := st.e.Bounds(ctx, id)
	if err != nil {
		return err
	}
	for from := max(b.Start, st.e.kept.start(id)); from < b.End; {
		r, err := st.e.Read(ctx, id, from, shard.ReadOptions{MaxBytes: 8 << 20})
		if err != nil && shard.KindOf(err) == shard.KindCorrupt && r.Resume > from {
			st.e.log.Error("state is damaged: what this slot keeps is refused, all else is served", "slot", slot, "error", err)
			sl.damaged = errors.Join(sl.damaged, fmt.Errorf("load state of slot %d: %w", slot, err))
			from = r.Resume
			continue
		}
		if err != nil {
			return fmt.Errorf("load state of slot %d: %w", slot, err)
		}
		if len(r.Batches) == 0 {
			break
		}
		for _, batch := range r.Batches {
			recs, err := batch.Records()
			if err != nil {
				return fmt.Errorf("load state of slot %d: %w", slot, err)
			}
			if n := sl.replay(recs); n > 0 {
				st.e.log.Error("records that are no state lie in the state log: passed over", "slot", slot, "records", n, "after", batch.BaseOffset())
			}
			sl.tail += int64(batch.Size())
			batch.Forget()
			from = batch.LastOffset() + 1
		}
	}
	st.noted(slot)
	if sl.damaged != nil && st.e.opts.AcceptDamage {
		st.e.log.Warn("damaged state is served as it is, as the configuration says", "slot", slot, "error", sl.damaged)
		sl.damaged = nil
	}
	return nil
}

// lostOwner keeps, in each state shard, what of that very shard was lost.
const lostOwner = "engine/lost"

// noted takes up the damage of a former run, whose evidence is gone.
func (st *stateStore) noted(slot int) {
	id := shard.ID{Topic: stateTopicNum, Index: uint32(slot)}
	sl := &st.slots[slot]
	sl.walk(lostOwner, "lost/", func(_ string, v shard.StateValue) bool {
		s, _, err := st.e.shardFor(id)
		if err != nil {
			return false
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, l := range decodeSpans(v.Data) {
			s.lose(l.from, l.to)
			if sl.damaged == nil {
				sl.damaged = fmt.Errorf("load state of slot %d: %w", slot, s.checkLost(l.from))
			}
		}
		return true
	})
}

// replay applies records, and tells how many are none of State's: earlier
// versions stored there what was published to the subject "robustmq.state".
func (sl *stateSlot) replay(recs []shard.Record) (foreign int) {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	for i := range recs {
		owner, key, err := splitStateKey(recs[i].Key)
		if err != nil {
			foreign++
			continue
		}
		// The value outlives the batch: a copy frees the rest of it.
		sl.put(owner, key, slices.Clone(recs[i].Value), recs[i].Offset+1)
	}
	return foreign
}
