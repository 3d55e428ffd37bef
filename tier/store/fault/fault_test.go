package fault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

func TestEqualSeedsGiveEqualFaults(t *testing.T) {
	ctx := context.Background()
	play := func(seed uint64) (log []string) {
		s := New(mem.New(nil), Options{Seed: seed, Slowness: 1, Rates: map[Fault]float64{Unavailable: 0.2, Timeout: 0.1, LostAnswer: 0.2, TornPut: 0.2, Slow: 0.1}})
		for i := range 200 {
			err := s.Put(ctx, fmt.Sprint("k", i), make([]byte, 100))
			info, herr := s.s.Head(ctx, fmt.Sprint("k", i))
			log = append(log, fmt.Sprint(err, info.Size, herr))
		}
		for f := Unavailable; f <= Slow; f++ {
			if n := s.Counts()[f]; n < 5 || n > 70 {
				t.Errorf("fault %d happened %d times in 200", f, n)
			}
		}
		return log
	}
	a, b, c := play(1), play(1), play(2)
	if !slices.Equal(a, b) || slices.Equal(a, c) {
		t.Fatal("seeds do not decide")
	}
}

func TestWhatEachFaultDoes(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		fault Fault
		err   error
		size  int64 // stored; -1 nothing
		slow  bool
	}{
		{None, nil, 1000, false},
		{Unavailable, store.ErrTemporary, -1, false},
		{Timeout, store.ErrTemporary, -1, true},
		{LostAnswer, store.ErrTemporary, 1000, false},
		{Slow, nil, 1000, true},
		{Denied, store.ErrDenied, -1, false},
	} {
		m := mem.New(nil)
		s := New(m, Options{Slowness: 30 * time.Millisecond, Choose: func(Call) Fault { return c.fault }})
		start := time.Now()
		if err := s.Put(ctx, "k", make([]byte, 1000)); !errors.Is(err, c.err) {
			t.Errorf("fault %d: %v, want %v", c.fault, err, c.err)
		}
		if slow := time.Since(start) >= 30*time.Millisecond; slow != c.slow {
			t.Errorf("fault %d: took %v", c.fault, time.Since(start))
		}
		info, err := m.Head(ctx, "k")
		if c.size < 0 != errors.Is(err, store.ErrNotFound) || err == nil && info.Size != c.size {
			t.Errorf("fault %d: stored %+v, %v", c.fault, info, err)
		}
		s.Off(true)
		if _, err := s.List(ctx, "", "", 0); err != nil {
			t.Errorf("fault %d: switched off: %v", c.fault, err)
		}
	}
	m := mem.New(nil)
	s := New(m, Options{Choose: func(Call) Fault { return TornPut }})
	if err := s.Put(ctx, "k", make([]byte, 1000)); !errors.Is(err, store.ErrTemporary) {
		t.Error(err)
	}
	if info, err := m.Head(ctx, "k"); err != nil || info.Size >= 1000 {
		t.Errorf("torn put stored %+v, %v", info, err)
	}
}
