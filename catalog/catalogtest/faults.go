package catalogtest

import (
	"context"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Faults makes transactions fail. Its Wrap is for catalog.Config.WrapKV. All
// methods may be called concurrently.
type Faults struct {
	mu struct {
		sync.Mutex
		lose, refuse int
		txns         int
		after        func()
	}
}

// errLost is what a client sees when the connection ends before the answer.
var errLost = status.Error(codes.Unavailable, "injected: connection lost")

// LoseAnswers lets the next n transactions happen and loses their answers.
func (f *Faults) LoseAnswers(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.lose = n
}

// LoseAnswerThen loses the next transaction's answer and runs fn before the
// caller learns of it.
func (f *Faults) LoseAnswerThen(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.lose, f.mu.after = 1, fn
}

// Fail fails the next n transactions before they reach etcd.
func (f *Faults) Fail(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.refuse = n
}

// Txns gives the number of transactions that reached etcd.
func (f *Faults) Txns() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.txns
}

// Wrap decorates a KV.
func (f *Faults) Wrap(kv clientv3.KV) clientv3.KV { return &faultKV{kv, f} }

type faultKV struct {
	clientv3.KV
	f *Faults
}

// Txn implements clientv3.KV.
func (k *faultKV) Txn(ctx context.Context) clientv3.Txn { return &faultTxn{k.KV.Txn(ctx), k.f} }

type faultTxn struct {
	clientv3.Txn
	f *Faults
}

// If implements clientv3.Txn.
func (t *faultTxn) If(cs ...clientv3.Cmp) clientv3.Txn { t.Txn = t.Txn.If(cs...); return t }

// Then implements clientv3.Txn.
func (t *faultTxn) Then(ops ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Then(ops...); return t }

// Else implements clientv3.Txn.
func (t *faultTxn) Else(ops ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Else(ops...); return t }

// Commit implements clientv3.Txn.
func (t *faultTxn) Commit() (*clientv3.TxnResponse, error) {
	f := t.f
	f.mu.Lock()
	if f.mu.refuse > 0 {
		f.mu.refuse--
		f.mu.Unlock()
		return nil, errLost
	}
	f.mu.Unlock()
	resp, err := t.Txn.Commit()
	f.mu.Lock()
	f.mu.txns++
	lose := f.mu.lose > 0 && err == nil
	var after func()
	if lose {
		f.mu.lose--
		after, f.mu.after = f.mu.after, nil
	}
	f.mu.Unlock()
	if after != nil {
		after()
	}
	if lose {
		return nil, errLost
	}
	return resp, err
}
