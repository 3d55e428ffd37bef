package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// MaxObject is the size in bytes of the largest object a Store takes or
// returns as a whole: 1 GiB.
const MaxObject = 1 << 30

// MaxList is the largest number of entries one List returns, and what it
// returns when asked for none or for more.
const MaxList = 1000

// The kinds of error. Every error of a Store is one of these (errors.Is), or
// the caller's own context error, or a bug of the caller. They are wrapped in
// [Error], which carries the operation and the key.
var (
	// ErrNotFound: there is no object under the key. Look the key up again.
	ErrNotFound = errors.New("object not found")
	// ErrExists: Put found an object under the key and left it alone.
	ErrExists = errors.New("object exists")
	// ErrTemporary: the store is away, slow or asks for less (5xx, SlowDown,
	// timeouts, broken connections). Try again later. A Put may have happened.
	ErrTemporary = errors.New("object store temporarily unavailable")
	// ErrDenied: credentials, permissions or the bucket are wrong. An operator
	// has to act; trying again does not help.
	ErrDenied = errors.New("object store access denied")
	// ErrRange: the range asked for begins at or after the end of the object,
	// or is empty or negative.
	ErrRange = errors.New("range not satisfiable")
	// ErrTooLarge: the object or range is larger than MaxObject.
	ErrTooLarge = errors.New("object too large")
	// ErrKey: the key is not one that CheckKey accepts, or it names what the
	// store holds as a folder.
	ErrKey = errors.New("invalid object key")
	// ErrBroken: the store can no longer be trusted (a failed sync, an answer
	// that no server should give). An operator has to act.
	ErrBroken = errors.New("object store failed")
)

// Info describes an object without its bytes.
type Info struct {
	Key      string
	Size     int64     // bytes
	Modified time.Time // when it was written, by the store's clock
}

// Store holds immutable objects under keys. All methods may be called
// concurrently by any number of goroutines. A context that ends makes a method
// return early with the context's error; a Put or Delete may have happened then.
type Store interface {
	// Get returns n bytes of the object from offset off on, or all from off to
	// the end when n < 0. Where the object ends earlier, Get returns what there
	// is, without an error: the caller compares lengths. ErrRange when off is
	// negative, n is 0, or off is at or past the end; but Get(key, 0, -1) of an
	// empty object is empty and no error. ErrTooLarge when more than MaxObject
	// bytes would be returned. The caller owns the returned slice.
	Get(ctx context.Context, key string, off, n int64) ([]byte, error)

	// Put creates the object, whole or not at all. ErrExists when there is one
	// under the key already, which is then left alone; of several concurrent
	// Puts of one key exactly one succeeds. The object is durable when Put
	// returns nil or ErrExists. data is not kept and not changed.
	Put(ctx context.Context, key string, data []byte) error

	// Head returns size and time of an object.
	Head(ctx context.Context, key string) (Info, error)

	// Delete removes objects. Keys without an object are no error. It stops at
	// no failure: the error joins those of all keys that could not be removed.
	// The removal is durable when Delete returns nil.
	Delete(ctx context.Context, keys ...string) error

	// List returns at most max (MaxList when max < 1 or above it) objects whose
	// keys begin with prefix and are greater than after, sorted by key in byte
	// order. Fewer than max entries mean that there are no more. It writes
	// nothing.
	List(ctx context.Context, prefix, after string, max int) ([]Info, error)
}

// Error is an error of a Store with its coordinates. Unwrap gives both the
// kind and the cause.
type Error struct {
	Op   string // "get", "put", "head", "delete", "list"
	Key  string // the key, or the prefix of a list
	Kind error  // one of the sentinels of this package, or a context error
	Err  error  // the cause as the driver reported it; may be nil
}

// Error says what was attempted on which key, the kind, and the cause.
func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%s object %q: %v", e.Op, e.Key, e.Kind)
	}
	return fmt.Sprintf("%s object %q: %v: %v", e.Op, e.Key, e.Kind, e.Err)
}

// Unwrap makes errors.Is and errors.As see the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// Wrap returns an *Error of the given kind. cause may be nil.
func Wrap(op, key string, kind, cause error) error {
	return &Error{Op: op, Key: key, Kind: kind, Err: cause}
}

// ContextError returns the context's error wrapped with op and key when ctx is
// done, and nil otherwise. Drivers call it first, and again to tell the caller's
// own deadline from a slow server.
func ContextError(ctx context.Context, op, key string) error {
	if err := ctx.Err(); err != nil {
		return &Error{Op: op, Key: key, Kind: err}
	}
	return nil
}
