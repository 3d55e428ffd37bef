package catalog

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// maxTxnOps is etcd's default --max-txn-ops: compares, then-branch and
// else-branch may hold that many each.
const maxTxnOps = 128

// txn is one transaction. It must be safe to run twice: its compares fail once
// it has been applied.
type txn struct {
	cmps []clientv3.Cmp
	then []clientv3.Op
	els  []clientv3.Op
}

func (t *txn) iff(cs ...clientv3.Cmp) { t.cmps = append(t.cmps, cs...) }
func (t *txn) do(ops ...clientv3.Op)  { t.then = append(t.then, ops...) }
func (t *txn) orGet(keys ...string)   { t.els = append(t.els, gets(keys)...) }
func (t *txn) put(key string, v []byte, opts ...clientv3.OpOption) {
	t.do(clientv3.OpPut(key, string(v), opts...))
}

func gets(keys []string) []clientv3.Op {
	ops := make([]clientv3.Op, 0, len(keys))
	for _, k := range keys {
		ops = append(ops, clientv3.OpGet(k))
	}
	return ops
}

func createdAt(key string, rev int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(key), "=", rev)
}

func notCreatedAt(key string, rev int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(key), "!=", rev)
}

func absent(key string) clientv3.Cmp { return createdAt(key, 0) }

func modifiedAt(key string, rev int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(key), "=", rev)
}

// outcome is a definite answer to a transaction.
type outcome struct {
	ok      bool
	rev     int64
	retried bool // an earlier attempt got no answer and may be what was applied
	found   map[string]*mvccpb.KeyValue
}

// commit runs a transaction until etcd answers it one way or the other, so an
// answer that was lost is never guessed: the attempt that follows it finds what
// the first one did. It gives ErrUnavailable when the context ends first.
func (c *Catalog) commit(ctx context.Context, what string, t txn) (outcome, error) {
	var last error
	var out outcome
	for wait := retryMin; ; wait = min(2*wait, retryMax) {
		actx, cancel := context.WithTimeout(ctx, attemptTimeout)
		resp, err := c.kv.Txn(actx).If(t.cmps...).Then(t.then...).Else(t.els...).Commit()
		cancel()
		if err == nil {
			out.ok, out.rev = resp.Succeeded, resp.Header.Revision
			out.found = map[string]*mvccpb.KeyValue{}
			for _, r := range resp.Responses {
				if rr := r.GetResponseRange(); rr != nil {
					for _, kv := range rr.Kvs {
						out.found[string(kv.Key)] = kv
					}
				}
			}
			return out, nil
		}
		if refusal, no := refused(err); no {
			return out, fmt.Errorf("%s: %w", what, refusal)
		}
		out.retried, last = true, err
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return out, c.unavailable(what, last)
		}
		if ctx.Err() != nil {
			return out, c.unavailable(what, last)
		}
	}
}

// get reads with retries until the context ends.
func (c *Catalog) get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	for wait := retryMin; ; wait = min(2*wait, retryMax) {
		actx, cancel := context.WithTimeout(ctx, attemptTimeout)
		resp, err := c.kv.Get(actx, key, opts...)
		cancel()
		if err == nil {
			return resp, nil
		}
		if refusal, no := refused(err); no {
			return nil, fmt.Errorf("read %s: %w", key, refusal)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return nil, c.unavailable("read "+key, err)
		}
	}
}

func (c *Catalog) unavailable(what string, cause error) error {
	if c.ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, ErrClosed)
	}
	return fmt.Errorf("%s: %w: %w", what, ErrUnavailable, cause)
}

// own makes the change that a committed put of a new key of ours is.
func own(kind, name string, value []byte) change {
	return change{kind: kind, event: event{name: name, value: value}}
}

// ownUpdate makes the change that a committed overwrite of ours is.
func ownUpdate(kind, name string, value []byte, create, version int64) change {
	ch := own(kind, name, value)
	if create != 0 {
		ch.create, ch.version = create, version+1
	}
	return ch
}

func ownDelete(kind, name string) change {
	return change{kind: kind, event: event{name: name, deleted: true}}
}
