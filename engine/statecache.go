package engine

import (
	"bytes"
	"container/list"
	"context"
	"fmt"
	"slices"
	"strings"
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

// shelve gives what a slot keeps of a value: all of it, or where it lies.
// The engine's own is read while the log cannot be.
func (sl *stateSlot) shelve(owner string, value []byte, rev int64) shard.StateValue {
	if len(value) < largeState || strings.HasPrefix(owner, "engine/") {
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
		data, err := st.readState(ctx, slot, owner, key, v.Rev)
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

// readState reads the value of a revision from the log.
func (st *stateStore) readState(ctx context.Context, slot int, owner, key string, rev int64) ([]byte, error) {
	id := shard.ID{Topic: stateTopicNum, Index: uint32(slot)}
	r, err := st.e.Read(ctx, id, rev-1, shard.ReadOptions{MaxBytes: 1})
	if err != nil {
		return nil, err
	}
	for _, b := range r.Batches {
		if rev-1 > b.LastOffset() {
			continue
		}
		recs, err := b.Records()
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(recs, func(r shard.Record) bool { return r.Offset == rev-1 })
		if i >= 0 && bytes.Equal(recs[i].Key, stateKey(owner, key)) {
			return bytes.Clone(recs[i].Value), nil
		}
		break
	}
	return nil, shard.Errorf(shard.KindCorrupt, "no record of revision %d", rev)
}

// Names implements shard.StateNames.
func (st *stateStore) Names(_ context.Context, owner, prefix string, fn func(key string) bool) error {
	found, err := st.slots[slotOfName(owner)].list(owner, prefix)
	for i := 0; err == nil && i < len(found) && fn(found[i].key); i++ {
	}
	return err
}
