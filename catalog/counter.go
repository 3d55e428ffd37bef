package catalog

import (
	"context"
	"fmt"
	"math"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/robustmq/robustmq-go/shard"
)

// A counter is counters/{name}, persistent.
//
// Value, version 1: the next number to be handed out (varint), from 1 on.

func encodeCounter(next int64) []byte {
	e := encoder{b: []byte{version1}}
	e.uvarint(uint64(next))
	return e.b
}

func decodeCounter(b []byte) (int64, error) {
	d := newDecoder(b, version1)
	v := d.offset()
	if d.err == nil && v == 0 {
		d.fail("counter is zero")
	}
	if err := d.done(); err != nil {
		return 0, fmt.Errorf("decode counter: %w", err)
	}
	return v, nil
}

func decodeCounterAt(_ string, b []byte) (int64, error) { return decodeCounter(b) }

// NextIDs takes n numbers from a counter, first to first+n-1; they are unique
// for the life of the cluster and start at 1. When an answer is lost, numbers
// may be skipped. One transaction, however many numbers: take blocks.
func (c *Catalog) NextIDs(ctx context.Context, counter string, n int64) (first int64, err error) {
	if counter == "" || len(counter) > maxNameBytes || counter == topicCounter || n < 1 {
		return 0, fmt.Errorf("take %d numbers of %q: %w", n, counter, ErrInvalid)
	}
	err = c.editCounter(ctx, counter, func(next int64) (int64, bool) {
		first = next
		return next + n, next <= math.MaxInt64-n
	})
	if err != nil {
		return 0, fmt.Errorf("take %d numbers of %q: %w", n, counter, err)
	}
	return first, nil
}

// RaiseTopicNumbers makes all topics made from now on get numbers above floor:
// after etcd was restored from an old snapshot, the highest that objects speak of.
func (c *Catalog) RaiseTopicNumbers(ctx context.Context, floor shard.TopicNum) error {
	err := c.editCounter(ctx, topicCounter, func(next int64) (int64, bool) {
		return max(next, int64(floor)+1), floor < math.MaxInt64
	})
	if err != nil {
		return fmt.Errorf("raise topic numbers to %d: %w", floor, err)
	}
	return nil
}

// TopicsSince gives the number that the next topic had when it was first asked for
// under that name: who asks tells topics made before it kept a record of them from
// those made since. The counter of the name holds it. Once one transaction, then none.
func (c *Catalog) TopicsSince(ctx context.Context, name string) (shard.TopicNum, error) {
	if r, ok := c.counters.rows()[name]; ok {
		return shard.TopicNum(r.val), nil
	}
	var since int64
	err := c.editCounter(ctx, name, func(next int64) (int64, bool) {
		if since = next; next <= 1 { // else another was first
			since = max(c.counters.rows()[topicCounter].val, 1)
		}
		return since, true
	})
	if err != nil {
		return 0, fmt.Errorf("note topic numbers as %q: %w", name, err)
	}
	return shard.TopicNum(since), nil
}

// Counter gives the number that a counter stands at; 0 when nobody has used it.
func (c *Catalog) Counter(counter string) int64 { return c.counters.rows()[counter].val }

// SetCounter makes a counter stand at a number above 0, whatever it is now.
func (c *Catalog) SetCounter(ctx context.Context, counter string, to int64) error {
	if counter == "" || len(counter) > maxNameBytes || counter == topicCounter || to < 1 {
		return fmt.Errorf("set counter %q to %d: %w", counter, to, ErrInvalid)
	}
	if err := c.editCounter(ctx, counter, func(int64) (int64, bool) { return to, true }); err != nil {
		return fmt.Errorf("set counter %q: %w", counter, err)
	}
	return nil
}

// editCounter replaces a counter's next number; fn is called again when another
// writer was first, and tells whether what it gives can be.
func (c *Catalog) editCounter(ctx context.Context, counter string, fn func(next int64) (int64, bool)) error {
	ctx, cancel := c.opContext(ctx)
	defer cancel()
	key := c.key(kindCounter, counter)
	cur := c.counters.rows()[counter]
	for {
		next, ok := fn(max(cur.val, 1))
		if !ok {
			return fmt.Errorf("%w: it is used up", ErrTooLarge)
		}
		value := encodeCounter(next)
		t := txn{cmps: []clientv3.Cmp{modifiedAt(key, cur.mod)}}
		t.put(key, value)
		t.orGet(key)
		out, err := c.commit(ctx, "write counter", t)
		if err != nil {
			return err
		}
		if out.ok {
			c.applyOwn(out.rev, ownUpdate(kindCounter, counter, value, cur.create, cur.version))
			return nil
		}
		cur = row[int64]{}
		if kv := out.found[key]; kv != nil {
			if cur.val, err = decodeCounter(kv.Value); err != nil {
				return err
			}
			cur.mod, cur.create, cur.version = kv.ModRevision, kv.CreateRevision, kv.Version
		}
	}
}
