package engine

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/robustmq/robustmq-go/shard"
)

// largeState is from how many bytes on a value of State lies in the log alone, with
// its newest readers' copies in a cache: millions of retained messages are names in
// memory, not payloads. A value's revision tells where its record is.
const largeState = 512

// stateCache keeps the large values that were written or read last, within a bound.
type stateCache struct {
	limit int64
	mu    struct {
		sync.Mutex
		bytes int64
		byKey map[stateRev]*list.Element
		order list.List // of *cachedState, newest first
	}
}

// stateRev names a value: a revision is an offset of its slot's shard.
type stateRev struct {
	slot int
	rev  int64
}

type cachedState struct {
	key  stateRev
	data []byte
}

func newStateCache(limit int64) *stateCache {
	c := &stateCache{limit: limit}
	c.mu.byKey = make(map[stateRev]*list.Element)
	return c
}

func (c *stateCache) get(k stateRev) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.mu.byKey[k]
	if e == nil {
		return nil
	}
	c.mu.order.MoveToFront(e)
	return e.Value.(*cachedState).data
}

// add keeps a value, unless it is most of the cache; data is the cache's then.
func (c *stateCache) add(k stateRev, data []byte) {
	if int64(len(data)) > c.limit/4 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.byKey[k] != nil {
		return
	}
	c.mu.byKey[k] = c.mu.order.PushFront(&cachedState{k, data})
	for c.mu.bytes += cachedBytes(data); c.mu.bytes > c.limit; {
		c.drop(c.mu.order.Back())
	}
}

func (c *stateCache) forget(k stateRev) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.mu.byKey[k]; e != nil {
		c.drop(e)
	}
}

func (c *stateCache) drop(e *list.Element) {
	v := c.mu.order.Remove(e).(*cachedState)
	delete(c.mu.byKey, v.key)
	c.mu.bytes -= cachedBytes(v.data)
}

// cachedBytes is what a value takes in the cache.
func cachedBytes(data []byte) int64 { return int64(len(data)) + 200 }

// large tells whether a value lies in the log, or in a snapshot, alone.
func (sl *stateSlot) large(owner string, value []byte) bool {
	return len(value) >= largeState && !engines(owner)
}

// forget drops what is kept of a value that was replaced; mu is held.
func (sl *stateSlot) forget(v shard.StateValue) {
	if v.Data == nil {
		sl.st.cache.forget(stateRev{sl.n, v.Rev})
		delete(sl.shelf, v.Rev)
	}
}

// shelve gives what a slot keeps of a value: all of it, or where it lies.
// The engine's own is read while the log cannot be.
func (sl *stateSlot) shelve(owner string, value []byte, rev int64) shard.StateValue {
	if !sl.large(owner, value) {
		return shard.StateValue{Data: value, Rev: rev}
	}
	sl.st.cache.add(stateRev{sl.n, rev}, value)
	return shard.StateValue{Rev: rev}
}

// whole gives a value with its data. One that was changed meanwhile, so that the log
// need not have it any more, is given as it is now; ok is false for one that is gone.
func (st *stateStore) whole(ctx context.Context, slot int, owner, key string, v shard.StateValue) (_ shard.StateValue, ok bool, err error) {
	for v.Data == nil {
		at := stateRev{slot, v.Rev}
		if data := st.cache.get(at); data != nil {
			v.Data = data
			break
		}
		data, err := st.find(ctx, slot, owner, key, v.Rev)
		if err == nil {
			st.cache.add(at, data)
			v.Data = data
			break
		}
		now, ok := st.slots[slot].value(owner, key)
		switch {
		case !ok:
			return v, false, nil
		case now.Rev == v.Rev:
			return v, false, fmt.Errorf("read state %s %q: %w", owner, key, err)
		}
		v = now
	}
	return v, true, nil
}

// value gives what a slot keeps of a value.
func (sl *stateSlot) value(owner, key string) (v shard.StateValue, ok bool) {
	sl.mu.RLock()
	defer sl.mu.RUnlock()
	if o := sl.owners[owner]; o != nil {
		v, ok = o.values[key]
	}
	return v, ok
}

// find reads the value of a revision where it lies: in the last snapshot, in the one
// that takes its place just now, or in the log. One of the three has it at any time.
func (st *stateStore) find(ctx context.Context, slot int, owner, key string, rev int64) (data []byte, err error) {
	for places := []int64(nil); ; {
		now := st.slots[slot].places(rev)
		if slices.Equal(now, places) { // nothing has moved since they were tried
			return nil, err
		}
		places = now
		for _, at := range places {
			if at == inLog {
				data, err = st.readState(ctx, slot, owner, key, rev)
			} else {
				data, err = st.readShelf(ctx, slot, owner, key, rev, at)
			}
			if err == nil {
				return data, nil
			}
		}
	}
}

// inLog stands for the place of a revision in the log.
const inLog = -1

// places gives where a revision may lie: offsets of snapshots, or inLog. The error of
// the last counts, so that comes last which should have it.
func (sl *stateSlot) places(rev int64) []int64 {
	sl.mu.RLock()
	defer sl.mu.RUnlock()
	old, was := sl.shelf[rev]
	next, will := sl.nextShelf[rev]
	switch {
	case was && will:
		return []int64{old, next, old}
	case was:
		return []int64{old}
	case will:
		return []int64{next, inLog, next}
	}
	return []int64{inLog}
}

// dataOf gives a value for a snapshot: that revision, whatever came since. One that
// cannot be read any more refuses its slot, as damage that is found at a start does, so
// that the others get their snapshots.
func (st *stateStore) dataOf(ctx context.Context, slot int, v *slotValue) ([]byte, error) {
	if v.Data != nil {
		return v.Data, nil
	}
	if data := st.cache.get(stateRev{slot, v.Rev}); data != nil {
		return data, nil
	}
	read := func() ([]byte, error) { return st.find(ctx, slot, v.owner, v.key, v.Rev) }
	if v.shelf > 0 {
		read = func() ([]byte, error) { return st.readShelf(ctx, slot, v.owner, v.key, v.Rev, v.shelf) }
	}
	data, err := read()
	if shard.KindOf(err) == shard.KindCorrupt {
		sl := &st.slots[slot]
		st.e.log.Error("state is damaged: what this slot keeps is refused, all else is served", "slot", slot, "error", err)
		sl.mu.Lock()
		sl.damaged = errors.Join(sl.damaged, err)
		sl.mu.Unlock()
	}
	return data, err
}

// readState reads the value of a revision from the log.
func (st *stateStore) readState(ctx context.Context, slot int, owner, key string, rev int64) ([]byte, error) {
	id := shard.ID{Topic: stateTopicNum, Index: uint32(slot)}
	r, err := st.e.Read(ctx, id, rev-1, shard.ReadOptions{MaxBytes: 1})
	if err != nil {
		return nil, err
	}
	return valueAt(r.Batches, rev-1, stateKey(owner, key))
}

// readShelf reads the value of a revision from the record of a snapshot.
func (st *stateStore) readShelf(ctx context.Context, slot int, owner, key string, rev, at int64) ([]byte, error) {
	t := st.e.snapshots()
	if t == nil {
		return nil, shard.Errorf(shard.KindCorrupt, "the topic of snapshots is gone")
	}
	id := t.Shard(uint32(slot))
	seg, x, ok := st.e.cat.FindExtent(id, at)
	if !ok {
		return nil, shard.Errorf(shard.KindCorrupt, "no snapshot has revision %d", rev)
	}
	raw, err := st.e.reader.Read(ctx, seg.Key, seg.Size, tierExtent(x), at, 1)
	if err != nil {
		return nil, st.e.tierError(err, id, at, seg.Key)
	}
	batches, err := shard.SplitBatches(raw)
	if err != nil {
		return nil, err
	}
	value, err := valueAt(batches, at, stateKey(owner, key))
	if err != nil {
		return nil, err
	}
	n, data := takeUvarint(value)
	if data == nil || int64(n) != rev {
		return nil, shard.Errorf(shard.KindCorrupt, "the record of revision %d is of revision %d", rev, n)
	}
	return data, nil
}

// valueAt gives the value of a record, which has to have the key.
func valueAt(batches []*shard.Batch, offset int64, key []byte) ([]byte, error) {
	for _, b := range batches {
		if offset > b.LastOffset() {
			continue
		}
		recs, err := b.Records()
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(recs, func(r shard.Record) bool { return r.Offset == offset })
		if i >= 0 && bytes.Equal(recs[i].Key, key) {
			return bytes.Clone(recs[i].Value), nil
		}
		break
	}
	return nil, shard.Errorf(shard.KindCorrupt, "no record at offset %d", offset)
}

// Names implements shard.StateNames.
func (st *stateStore) Names(_ context.Context, owner, prefix string, fn func(key string) bool) error {
	found, err := st.slots[slotOfName(owner)].list(owner, prefix)
	for i := 0; err == nil && i < len(found) && fn(found[i].key); i++ {
	}
	return err
}
