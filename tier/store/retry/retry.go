// Package retry is a Store that tries again what ended with store.ErrTemporary:
// a bounded number of times, after pauses that double and are jittered, each try
// with a time limit of its own. The caller's context bounds the whole.
//
// A Put whose first try had no answer, or an error, may have happened all the
// same. A later try of the same call therefore looks first, and compares the bytes
// of an object that it finds: equal bytes are success, others are ErrExists.
package retry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/robustmq/robustmq-go/tier/store"
)

// Options bound the tries. Zero values mean the defaults.
type Options struct {
	Tries   int           // in all; default 5
	Base    time.Duration // longest first pause; default 50 ms
	Max     time.Duration // longest pause; default 5 s
	Timeout time.Duration // of one try; default 30 s
	// Seed makes the jitter repeatable; 0 takes a random one.
	Seed uint64
	// Sleep pauses, or returns the context's error; nil means a timer. For tests.
	Sleep func(context.Context, time.Duration) error
	// OnRetry, when not nil, is called before each pause. It must not block.
	OnRetry func(op, key string, try int, err error)
}

// Store is a store.Store with retries. All methods may be called concurrently.
type Store struct {
	s      store.Store
	o      Options
	jitter func(time.Duration) time.Duration
}

// New returns s with retries.
func New(s store.Store, o Options) *Store {
	if o.Tries <= 0 {
		o.Tries = 5
	}
	if o.Base <= 0 {
		o.Base = 50 * time.Millisecond
	}
	if o.Max <= 0 {
		o.Max = 5 * time.Second
	}
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	return &Store{s: s, o: o, jitter: newJitter(o.Seed)}
}

// newJitter returns a function that chooses a time between half of d and d.
func newJitter(seed uint64) func(time.Duration) time.Duration {
	if seed == 0 {
		return func(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }
	}
	src := make(chan *rand.Rand, 1)
	src <- rand.New(rand.NewPCG(seed, 0))
	return func(d time.Duration) time.Duration {
		r := <-src
		defer func() { src <- r }()
		return d/2 + time.Duration(r.Int64N(int64(d/2)+1))
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// do runs f until it ends with anything but ErrTemporary. f is told which try it
// is, from 1 on.
func (r *Store) do(ctx context.Context, op, key string, f func(ctx context.Context, try int) error) error {
	pause := r.o.Base
	for try := 1; ; try++ {
		err := r.once(ctx, op, key, try, f)
		if !errors.Is(err, store.ErrTemporary) {
			return err
		}
		if try == r.o.Tries {
			return store.Wrap(op, key, store.ErrTemporary, fmt.Errorf("gave up after %d tries: %w", try, err))
		}
		if r.o.OnRetry != nil {
			r.o.OnRetry(op, key, try, err)
		}
		if serr := r.o.Sleep(ctx, r.jitter(pause)); serr != nil {
			return store.Wrap(op, key, serr, fmt.Errorf("after %d tries: %s", try, err))
		}
		pause = min(pause*2, r.o.Max)
	}
}

func (r *Store) once(ctx context.Context, op, key string, try int, f func(context.Context, int) error) error {
	tctx, cancel := context.WithTimeout(ctx, r.o.Timeout)
	defer cancel()
	err := f(tctx, try)
	if err != nil && ctx.Err() == nil && tctx.Err() != nil && errors.Is(err, context.DeadlineExceeded) {
		return store.Wrap(op, key, store.ErrTemporary, fmt.Errorf("no answer in %v", r.o.Timeout))
	}
	return err
}

// Get implements store.Store.
func (r *Store) Get(ctx context.Context, key string, off, n int64) (b []byte, err error) {
	err = r.do(ctx, "get", key, func(ctx context.Context, _ int) (err error) {
		b, err = r.s.Get(ctx, key, off, n)
		return err
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

// GetParts implements store.PartGetter.
func (r *Store) GetParts(ctx context.Context, key string, off, n, part int64) (parts [][]byte, err error) {
	err = r.do(ctx, "get", key, func(ctx context.Context, _ int) (err error) {
		parts, err = store.GetParts(ctx, r.s, key, off, n, part)
		return err
	})
	if err != nil {
		return nil, err
	}
	return parts, nil
}

// Put implements store.Store. From the second try on it looks before it sends:
// what an unanswered try left there need not be sent again, and a server that
// refuses without reading the body may reset the connection, so that its refusal
// is never read however often the body is sent.
func (r *Store) Put(ctx context.Context, key string, data []byte) error {
	return r.put(ctx, key, bytes.NewReader(data), int64(len(data)), func(ctx context.Context) error { return r.s.Put(ctx, key, data) })
}

// PutFrom implements store.FromPutter, as Put does.
func (r *Store) PutFrom(ctx context.Context, key string, body io.ReaderAt, size int64, sum uint32) error {
	return r.put(ctx, key, body, size, func(ctx context.Context) error { return store.PutFrom(ctx, r.s, key, body, size, sum) })
}

func (r *Store) put(ctx context.Context, key string, body io.ReaderAt, size int64, send func(context.Context) error) error {
	return r.do(ctx, "put", key, func(ctx context.Context, try int) error {
		if try == 1 {
			return send(ctx)
		}
		err := r.compare(ctx, key, body, size)
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err = send(ctx); errors.Is(err, store.ErrExists) {
			err = r.compare(ctx, key, body, size)
		}
		if errors.Is(err, store.ErrNotFound) { // refused as there, and not there
			return store.Wrap("put", key, store.ErrTemporary, err)
		}
		return err
	})
}

// compare returns nil when the object is there with these bytes, ErrExists when
// it has others, ErrNotFound when it is not there.
func (r *Store) compare(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	same, err := store.Same(ctx, r.s, key, body, size)
	if err == nil && !same {
		err = store.Wrap("put", key, store.ErrExists, nil)
	}
	return err
}

// Head implements store.Store.
func (r *Store) Head(ctx context.Context, key string) (info store.Info, err error) {
	err = r.do(ctx, "head", key, func(ctx context.Context, _ int) (err error) {
		info, err = r.s.Head(ctx, key)
		return err
	})
	return info, err
}

// Delete implements store.Store. All keys are tried again together: deleting
// what is gone is no error.
func (r *Store) Delete(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	return r.do(ctx, "delete", keys[0], func(ctx context.Context, _ int) error { return r.s.Delete(ctx, keys...) })
}

// List implements store.Store.
func (r *Store) List(ctx context.Context, prefix, after string, max int) (out []store.Info, err error) {
	err = r.do(ctx, "list", prefix, func(ctx context.Context, _ int) (err error) {
		out, err = r.s.List(ctx, prefix, after, max)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
