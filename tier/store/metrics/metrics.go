// Package metrics is a Store that counts: operations, bytes, errors by kind, and
// latency. Counters are read as a snapshot; who exports them is not its affair.
package metrics

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/robustmq/robustmq-go/tier/store"
)

// Op is an operation of a Store.
type Op int

// The operations, in the order of Snapshot.
const (
	Get Op = iota
	Put
	Head
	Delete
	List
	numOps
)

var opNames = [numOps]string{"get", "put", "head", "delete", "list"}

// String gives the operation's name: "get".
func (o Op) String() string {
	if o < 0 || o >= numOps {
		return "unknown"
	}
	return opNames[o]
}

// Bounds are the upper bounds of the latency buckets; a last bucket has none.
var Bounds = [...]time.Duration{
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second,
}

// OpStats are the counters of one operation since the Store was made.
type OpStats struct {
	Op        string
	Count     int64         // calls that ended, however
	Bytes     int64         // of objects, got or put, by calls that succeeded
	NotFound  int64         // calls that ended with ErrNotFound
	Exists    int64         // with ErrExists
	Temporary int64         // with ErrTemporary
	Cancelled int64         // with the caller's context
	Failed    int64         // with any other error
	InFlight  int64         // calls under way now
	Latency   time.Duration // of all calls together
	Buckets   [len(Bounds) + 1]int64
}

// Quantile returns an upper bound of the latency that a part q (0 to 1) of the
// calls stayed below: a bucket's bound. Zero when there were no calls; twice the
// last bound when it is in the last bucket.
func (s *OpStats) Quantile(q float64) time.Duration {
	var n int64
	for i, c := range s.Buckets {
		if n += c; n > 0 && float64(n) >= q*float64(s.Count) {
			if i < len(Bounds) {
				return Bounds[i]
			}
			return 2 * Bounds[len(Bounds)-1]
		}
	}
	return 0
}

type counters struct {
	count, bytes, notFound, exists, temporary, cancelled, failed, inFlight, latency atomic.Int64
	buckets                                                                         [len(Bounds) + 1]atomic.Int64
}

// Store is a store.Store that counts. All methods may be called concurrently.
type Store struct {
	s   store.Store
	ops [numOps]counters
}

// New returns s with counters.
func New(s store.Store) *Store { return &Store{s: s} }

// Snapshot returns the counters of all operations, in the order of Op.
func (m *Store) Snapshot() []OpStats {
	out := make([]OpStats, numOps)
	for i := range m.ops {
		c := &m.ops[i]
		o := OpStats{
			Op: opNames[i], Count: c.count.Load(), Bytes: c.bytes.Load(), NotFound: c.notFound.Load(), Exists: c.exists.Load(),
			Temporary: c.temporary.Load(), Cancelled: c.cancelled.Load(), Failed: c.failed.Load(), InFlight: c.inFlight.Load(), Latency: time.Duration(c.latency.Load()),
		}
		for j := range c.buckets {
			o.Buckets[j] = c.buckets[j].Load()
		}
		out[i] = o
	}
	return out
}

// begin counts a call that begins; the function it returns, that it ended.
func (m *Store) begin(op Op) func(bytes int, err error) {
	c := &m.ops[op]
	c.inFlight.Add(1)
	start := time.Now()
	return func(bytes int, err error) {
		d := time.Since(start)
		c.inFlight.Add(-1)
		c.latency.Add(int64(d))
		i := 0
		for i < len(Bounds) && d > Bounds[i] {
			i++
		}
		c.buckets[i].Add(1)
		switch {
		case err == nil:
			c.bytes.Add(int64(bytes))
		case errors.Is(err, store.ErrNotFound):
			c.notFound.Add(1)
		case errors.Is(err, store.ErrExists):
			c.exists.Add(1)
		case errors.Is(err, store.ErrTemporary):
			c.temporary.Add(1)
		case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
			c.cancelled.Add(1)
		default:
			c.failed.Add(1)
		}
		c.count.Add(1)
	}
}

// Get implements store.Store.
func (m *Store) Get(ctx context.Context, key string, off, n int64) ([]byte, error) {
	end := m.begin(Get)
	b, err := m.s.Get(ctx, key, off, n)
	end(len(b), err)
	return b, err
}

// GetParts implements store.PartGetter. It counts as a Get.
func (m *Store) GetParts(ctx context.Context, key string, off, n, part int64) ([][]byte, error) {
	end := m.begin(Get)
	parts, err := store.GetParts(ctx, m.s, key, off, n, part)
	size := 0
	for _, b := range parts {
		size += len(b)
	}
	end(size, err)
	return parts, err
}

// Put implements store.Store.
func (m *Store) Put(ctx context.Context, key string, data []byte) error {
	end := m.begin(Put)
	err := m.s.Put(ctx, key, data)
	end(len(data), err)
	return err
}

// PutFrom implements store.FromPutter. It counts as a Put.
func (m *Store) PutFrom(ctx context.Context, key string, body io.ReaderAt, size int64, sum uint32) error {
	end := m.begin(Put)
	err := store.PutFrom(ctx, m.s, key, body, size, sum)
	end(int(size), err)
	return err
}

// Head implements store.Store.
func (m *Store) Head(ctx context.Context, key string) (store.Info, error) {
	end := m.begin(Head)
	info, err := m.s.Head(ctx, key)
	end(0, err)
	return info, err
}

// Delete implements store.Store.
func (m *Store) Delete(ctx context.Context, keys ...string) error {
	end := m.begin(Delete)
	err := m.s.Delete(ctx, keys...)
	end(0, err)
	return err
}

// List implements store.Store.
func (m *Store) List(ctx context.Context, prefix, after string, max int) ([]store.Info, error) {
	end := m.begin(List)
	out, err := m.s.List(ctx, prefix, after, max)
	end(0, err)
	return out, err
}
