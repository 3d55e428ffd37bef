package shard

import "context"

// State keeps small values that change often: sessions, consumer offsets,
// retained messages, exchanges and bindings. Values belong to an owner, a name
// that chooses where they live ("kafka/group/g1", "amqp/vhost//"); what is
// applied to one owner at once is atomic. It is as durable as the cluster's
// default. All methods may be called concurrently.
type State interface {
	// Get reads one value, ok false when there is none. The data must not be changed.
	Get(ctx context.Context, owner, key string) (v StateValue, ok bool, err error)
	// Range reads an owner's values whose key begins with prefix, in order of
	// key, until fn returns false. fn must not call State.
	Range(ctx context.Context, owner, prefix string, fn func(key string, v StateValue) bool) error
	// Owners gives the owners that hold anything and begin with prefix, in order.
	Owners(ctx context.Context, prefix string) ([]string, error)
	// Apply makes changes of one owner, all or none. done is called once they
	// are durable (or with the error: ErrRevision when a condition did not
	// hold); reads see them from the call of done on. Calls of one goroutine
	// for one owner keep their order.
	Apply(ctx context.Context, owner string, ops []StateOp, done func(error))
}

// StateNames is a State that knows keys without reading their values.
type StateNames interface {
	// Names is State.Range without the values.
	Names(ctx context.Context, owner, prefix string, fn func(key string) bool) error
}

// RangeNames gives the keys of an owner, without the values where s can.
func RangeNames(ctx context.Context, s State, owner, prefix string, fn func(key string) bool) error {
	if n, ok := s.(StateNames); ok {
		return n.Names(ctx, owner, prefix, fn)
	}
	return s.Range(ctx, owner, prefix, func(key string, _ StateValue) bool { return fn(key) })
}

// StateValue is a value and its revision, which rises with each change.
type StateValue struct {
	Data []byte
	Rev  int64
}

// MaxStateValue bounds a value, in bytes.
const MaxStateValue = 16 << 20

// Conditions of a StateOp besides a revision.
const (
	// AnyRev: no condition.
	AnyRev int64 = 0
	// NoRev: the key must not exist.
	NoRev int64 = -1
)

// StateOp is one change.
type StateOp struct {
	Key string
	// Value to put; nil deletes.
	Value []byte
	// If is the revision the key must have, or AnyRev, or NoRev.
	If int64
}

// ApplyWait applies and waits until the changes are durable, or ctx ends.
func ApplyWait(ctx context.Context, s State, owner string, ops ...StateOp) error {
	ch := make(chan error, 1)
	s.Apply(ctx, owner, ops, func(err error) { ch <- err })
	select {
	case err := <-ch:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
