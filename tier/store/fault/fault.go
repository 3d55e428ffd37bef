// Package fault is a Store that fails as object stores do, for tests: refusals,
// timeouts, answers lost after success, torn Puts, slowness. Which call meets
// which fault is chosen by a seeded generator or by a function.
//
// It never makes up a NotFound or an ErrExists: no store that RobustMQ supports
// loses sight of an object it acknowledged.
package fault

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/robustmq/robustmq-go/tier/store"
)

// Fault is something that happens to a call.
type Fault int

// The faults.
const (
	None        Fault = iota
	Unavailable       // 503: nothing was done
	Timeout           // the call hangs for Slowness, then ErrTemporary: nothing was done
	LostAnswer        // it was done, and the answer is ErrTemporary
	TornPut           // of a Put, a first part was stored under the key, and the answer is ErrTemporary; as LostAnswer for other calls
	Slow              // it is done after Slowness
	Denied            // 403: nothing was done
)

var errInjected = errors.New("injected fault")

// Call is one call on a Store.
type Call struct {
	N   int64  // rises by one with each call, from 1
	Op  string // "get", "put", "head", "delete", "list"
	Key string // the first key, or the prefix
}

// Options choose the faults.
type Options struct {
	Seed uint64
	// Rates give each fault's probability; their sum is at most 1.
	Rates map[Fault]float64
	// Choose, when not nil, is asked instead of the generator. It is called
	// concurrently when the Store is.
	Choose   func(Call) Fault
	Slowness time.Duration // default 20 ms
}

// Store is a store.Store with faults. All methods may be called concurrently;
// with one caller, equal seeds give equal faults.
type Store struct {
	s  store.Store
	o  Options
	mu struct {
		sync.Mutex
		n      int64
		rng    *rand.Rand
		counts map[Fault]int64
		off    bool
	}
}

// New returns s with faults.
func New(s store.Store, o Options) *Store {
	if o.Slowness <= 0 {
		o.Slowness = 20 * time.Millisecond
	}
	f := &Store{s: s, o: o}
	f.mu.rng = rand.New(rand.NewPCG(o.Seed, 0x9e3779b97f4a7c15))
	f.mu.counts = make(map[Fault]int64)
	return f
}

// Off ends (true) or resumes (false) the faults.
func (f *Store) Off(off bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.off = off
}

// Counts returns how often each fault happened.
func (f *Store) Counts() map[Fault]int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[Fault]int64, len(f.mu.counts))
	for k, v := range f.mu.counts {
		out[k] = v
	}
	return out
}

// choose returns the fault of a call, and a number in [0, 1) for torn Puts.
func (f *Store) choose(op, key string) (Fault, float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.n++
	x, part := f.mu.rng.Float64(), f.mu.rng.Float64()
	if f.mu.off {
		return None, 0
	}
	what := None
	if f.o.Choose != nil {
		what = f.o.Choose(Call{N: f.mu.n, Op: op, Key: key})
	} else {
		for k := Unavailable; k <= Denied; k++ {
			if x -= f.o.Rates[k]; x < 0 {
				what = k
				break
			}
		}
	}
	f.mu.counts[what]++
	return what, part
}

// call runs do with a fault.
func (f *Store) call(ctx context.Context, op, key string, do func(torn bool, part float64) error) error {
	if err := store.ContextError(ctx, op, key); err != nil {
		return err
	}
	what, part := f.choose(op, key)
	switch what {
	case Unavailable:
		return store.Wrap(op, key, store.ErrTemporary, errInjected)
	case Denied:
		return store.Wrap(op, key, store.ErrDenied, errInjected)
	case Timeout, Slow:
		select {
		case <-time.After(f.o.Slowness):
		case <-ctx.Done():
			return store.ContextError(ctx, op, key)
		}
		if what == Timeout {
			return store.Wrap(op, key, store.ErrTemporary, errInjected)
		}
	case LostAnswer, TornPut:
		if err := do(what == TornPut, part); err != nil {
			return err
		}
		return store.Wrap(op, key, store.ErrTemporary, errInjected)
	}
	return do(false, 0)
}

// Get implements store.Store.
func (f *Store) Get(ctx context.Context, key string, off, n int64) (b []byte, err error) {
	err = f.call(ctx, "get", key, func(bool, float64) (err error) {
		b, err = f.s.Get(ctx, key, off, n)
		return err
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Put implements store.Store.
func (f *Store) Put(ctx context.Context, key string, data []byte) error {
	return f.call(ctx, "put", key, func(torn bool, part float64) error {
		if torn {
			return f.s.Put(ctx, key, data[:int(part*float64(len(data)))])
		}
		return f.s.Put(ctx, key, data)
	})
}

// Head implements store.Store.
func (f *Store) Head(ctx context.Context, key string) (info store.Info, err error) {
	err = f.call(ctx, "head", key, func(bool, float64) (err error) {
		info, err = f.s.Head(ctx, key)
		return err
	})
	return info, err
}

// Delete implements store.Store.
func (f *Store) Delete(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	return f.call(ctx, "delete", keys[0], func(bool, float64) error { return f.s.Delete(ctx, keys...) })
}

// List implements store.Store.
func (f *Store) List(ctx context.Context, prefix, after string, max int) (out []store.Info, err error) {
	err = f.call(ctx, "list", prefix, func(bool, float64) (err error) {
		out, err = f.s.List(ctx, prefix, after, max)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
