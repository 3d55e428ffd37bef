package catalog

import (
	"context"
	"fmt"
	"math"

	clientv3 "go.etcd.io/etcd/client/v3"
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
