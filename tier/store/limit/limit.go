// Package limit is a Store that holds its callers to a number of requests under
// way and to a rate of bytes. One limited Store is one class of traffic (tail,
// cold, compaction), so that one cannot starve the other.
package limit

import (
	"context"
	"fmt"
	"io"

	"golang.org/x/time/rate"

	"github.com/robustmq/robustmq-go/tier/store"
)

// Options are the limits. Zero means no limit of that kind.
type Options struct {
	Concurrency int   // requests under way
	BytesPerSec int64 // of Get and Put together
	Burst       int64 // bytes that may pass at once; default one second's worth
}

// Store is a store.Store with limits. All methods may be called concurrently;
// they wait for their turn until their context ends.
type Store struct {
	s     store.Store
	slots chan struct{}
	bytes *rate.Limiter
}

// New returns s under limits.
func New(s store.Store, o Options) *Store {
	l := &Store{s: s}
	if o.Concurrency > 0 {
		l.slots = make(chan struct{}, o.Concurrency)
	}
	if o.BytesPerSec > 0 {
		burst := o.Burst
		if burst <= 0 {
			burst = o.BytesPerSec
		}
		l.bytes = rate.NewLimiter(rate.Limit(o.BytesPerSec), int(burst))
	}
	return l
}

// enter waits for a slot; leave gives it back.
func (l *Store) enter(ctx context.Context, op, key string) error {
	if err := store.ContextError(ctx, op, key); err != nil {
		return err
	}
	if l.slots == nil {
		return nil
	}
	select {
	case l.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return store.ContextError(ctx, op, key)
	}
}

func (l *Store) leave() {
	if l.slots != nil {
		<-l.slots
	}
}

// pay waits until n bytes may pass. More than a burst is paid in parts.
func (l *Store) pay(ctx context.Context, op, key string, n int64) error {
	for l.bytes != nil && n > 0 {
		part := min(n, int64(l.bytes.Burst()))
		if err := l.bytes.WaitN(ctx, int(part)); err != nil {
			if cerr := store.ContextError(ctx, op, key); cerr != nil {
				return cerr
			}
			// The wait would be longer than the context's time.
			return store.Wrap(op, key, context.DeadlineExceeded, fmt.Errorf("wait for bandwidth: %w", err))
		}
		n -= part
	}
	return nil
}

// Get implements store.Store. The bytes asked for are paid before; where their
// number is not known (n < 0), what came is paid after.
func (l *Store) Get(ctx context.Context, key string, off, n int64) ([]byte, error) {
	if err := store.CheckRange(off, n); err != nil {
		return nil, store.Wrap("get", key, err, nil)
	}
	if err := l.enter(ctx, "get", key); err != nil {
		return nil, err
	}
	defer l.leave()
	if n > 0 {
		if err := l.pay(ctx, "get", key, n); err != nil {
			return nil, err
		}
		return l.s.Get(ctx, key, off, n)
	}
	b, err := l.s.Get(ctx, key, off, n)
	if err != nil {
		return nil, err
	}
	if err := l.pay(ctx, "get", key, int64(len(b))); err != nil {
		return nil, err
	}
	return b, nil
}

// GetParts implements store.PartGetter.
func (l *Store) GetParts(ctx context.Context, key string, off, n, part int64) ([][]byte, error) {
	if err := store.CheckRange(off, n); err != nil {
		return nil, store.Wrap("get", key, err, nil)
	}
	if err := l.enter(ctx, "get", key); err != nil {
		return nil, err
	}
	defer l.leave()
	if err := l.pay(ctx, "get", key, n); err != nil {
		return nil, err
	}
	return store.GetParts(ctx, l.s, key, off, n, part)
}

// Put implements store.Store.
func (l *Store) Put(ctx context.Context, key string, data []byte) error {
	return l.put(ctx, key, int64(len(data)), func() error { return l.s.Put(ctx, key, data) })
}

// PutFrom implements store.FromPutter.
func (l *Store) PutFrom(ctx context.Context, key string, body io.ReaderAt, size int64, sum uint32) error {
	return l.put(ctx, key, size, func() error { return store.PutFrom(ctx, l.s, key, body, size, sum) })
}

func (l *Store) put(ctx context.Context, key string, size int64, send func() error) error {
	if err := l.enter(ctx, "put", key); err != nil {
		return err
	}
	defer l.leave()
	if err := l.pay(ctx, "put", key, size); err != nil {
		return err
	}
	return send()
}

// Head implements store.Store.
func (l *Store) Head(ctx context.Context, key string) (store.Info, error) {
	if err := l.enter(ctx, "head", key); err != nil {
		return store.Info{}, err
	}
	defer l.leave()
	return l.s.Head(ctx, key)
}

// Delete implements store.Store.
func (l *Store) Delete(ctx context.Context, keys ...string) error {
	if err := l.enter(ctx, "delete", fmt.Sprint(len(keys), " keys")); err != nil {
		return err
	}
	defer l.leave()
	return l.s.Delete(ctx, keys...)
}

// List implements store.Store.
func (l *Store) List(ctx context.Context, prefix, after string, max int) ([]store.Info, error) {
	if err := l.enter(ctx, "list", prefix); err != nil {
		return nil, err
	}
	defer l.leave()
	return l.s.List(ctx, prefix, after, max)
}
