package limit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// slow takes a second for each Head.
type slow struct {
	store.Store
	now, most atomic.Int64
}

func (s *slow) Head(ctx context.Context, key string) (store.Info, error) {
	if n := s.now.Add(1); n > s.most.Load() {
		s.most.Store(n)
	}
	defer s.now.Add(-1)
	time.Sleep(time.Second)
	return store.Info{Key: key}, nil
}

func TestConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{Store: mem.New(nil)}
		l := New(s, Options{Concurrency: 3})
		start := time.Now()
		var wg sync.WaitGroup
		for range 9 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				if _, err := l.Head(context.Background(), "k"); err != nil {
					t.Error(err)
				}
			}()
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		if err := l.Delete(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("call that gave up waiting: %v", err)
		}
		wg.Wait()
		if d := time.Since(start); d != 3*time.Second || s.most.Load() != 3 {
			t.Fatalf("9 calls of 1 s, 3 at once: %v, %d at once", d, s.most.Load())
		}
	})
}

func TestBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		m := mem.New(nil)
		l := New(m, Options{BytesPerSec: 1000, Burst: 500})
		start := time.Now()
		for i := range 4 {
			if err := l.Put(ctx, fmt.Sprint("k", i), make([]byte, 1500)); err != nil { // each more than a burst
				t.Fatal(err)
			}
		}
		if d := time.Since(start); d < 5500*time.Millisecond-time.Millisecond || d > 5600*time.Millisecond {
			t.Fatalf("6000 bytes at 1000 a second after a burst of 500: %v", d)
		}
		start = time.Now()
		if _, err := l.Get(ctx, "k0", 0, -1); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Get(ctx, "k0", 0, 1000); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d < 2400*time.Millisecond || d > 2600*time.Millisecond {
			t.Fatalf("2500 bytes: %v", d)
		}
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		if err := l.Put(short, "k9", make([]byte, 1500)); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("put without time: %v", err)
		}
		if _, err := m.Head(ctx, "k9"); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("put that waited in vain was sent: %v", err)
		}
	})
}
