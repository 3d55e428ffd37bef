package retry

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/tier/store/fault"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// script returns a store whose nth call meets the nth fault, then none.
func script(s store.Store, faults ...fault.Fault) *fault.Store {
	return fault.New(s, fault.Options{Slowness: time.Millisecond, Choose: func(c fault.Call) fault.Fault {
		if c.N <= int64(len(faults)) {
			return faults[c.N-1]
		}
		return fault.None
	}})
}

func TestBackoff(t *testing.T) {
	var pauses []time.Duration
	o := Options{Tries: 7, Base: 100 * time.Millisecond, Max: time.Second, Seed: 5, Sleep: func(_ context.Context, d time.Duration) error {
		pauses = append(pauses, d)
		return nil
	}}
	retries := 0
	o.OnRetry = func(op, key string, try int, err error) {
		if retries++; op != "head" || key != "k" || try != retries || !errors.Is(err, store.ErrTemporary) {
			t.Errorf("OnRetry(%s, %s, %d, %v)", op, key, try, err)
		}
	}
	always := fault.New(mem.New(nil), fault.Options{Choose: func(fault.Call) fault.Fault { return fault.Unavailable }})
	_, err := New(always, o).Head(context.Background(), "k")
	if !errors.Is(err, store.ErrTemporary) {
		t.Fatalf("error %v", err)
	}
	if len(pauses) != 6 || always.Counts()[fault.Unavailable] != 7 || retries != 6 {
		t.Fatalf("%d pauses, %d calls, %d retries", len(pauses), always.Counts()[fault.Unavailable], retries)
	}
	for i, limit := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
		limit *= time.Millisecond
		if pauses[i] < limit/2 || pauses[i] > limit {
			t.Errorf("pause %d: %v, want %v to %v", i, pauses[i], limit/2, limit)
		}
	}
	first := slices.Clone(pauses)
	pauses, retries = nil, 0
	_, _ = New(always, o).Head(context.Background(), "k")
	if !slices.Equal(first, pauses) {
		t.Fatalf("equal seeds, pauses %v and %v", first, pauses)
	}
}

func TestOnlyTemporaryIsTriedAgain(t *testing.T) {
	for _, f := range []fault.Fault{fault.Denied} {
		s := script(mem.New(nil), f)
		err := New(s, Options{Base: 1}).Put(context.Background(), "k", nil)
		if !errors.Is(err, store.ErrDenied) || s.Counts()[fault.None] != 0 {
			t.Fatalf("error %v, %v", err, s.Counts())
		}
	}
	s := script(mem.New(nil))
	if _, err := New(s, Options{}).Get(context.Background(), "k", 0, -1); !errors.Is(err, store.ErrNotFound) || s.Counts()[fault.None] != 1 {
		t.Fatalf("error %v, %v", err, s.Counts())
	}
}

func TestPutWithLostAnswer(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		name   string
		faults []fault.Fault
		before string // under the key already
		err    error
		stored string
	}{
		{"lost", []fault.Fault{fault.LostAnswer}, "", nil, "mine"},
		{"refused, lost", []fault.Fault{fault.Unavailable, fault.LostAnswer}, "", nil, "mine"},
		{"lost, compare refused", []fault.Fault{fault.LostAnswer, fault.None, fault.Unavailable}, "", nil, "mine"},
		{"torn", []fault.Fault{fault.TornPut}, "", store.ErrExists, ""},
		{"another's, at once", nil, "other", store.ErrExists, "other"},
		{"same bytes, at once", nil, "mine", store.ErrExists, "mine"}, // a caller's second Put is a second Put
		{"another's, after a refusal", []fault.Fault{fault.Unavailable}, "other", store.ErrExists, "other"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := mem.New(nil)
			if c.before != "" {
				if err := m.Put(ctx, "k", []byte(c.before)); err != nil {
					t.Fatal(err)
				}
			}
			err := New(script(m, c.faults...), Options{Base: 1}).Put(ctx, "k", []byte("mine"))
			if !errors.Is(err, c.err) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			got, gerr := m.Get(ctx, "k", 0, -1)
			if gerr != nil || c.name != "torn" && string(got) != c.stored || c.name == "torn" && len(got) >= 4 {
				t.Fatalf("stored %q, error %v", got, gerr)
			}
		})
	}
}

// unread is a store that refuses each Put of a key that is there without reading
// the body, and whose answer is lost to the reset of the connection.
type unread struct{ store.Store }

func (u unread) Put(ctx context.Context, key string, data []byte) error {
	err := u.Store.Put(ctx, key, data)
	if errors.Is(err, store.ErrExists) {
		return store.Wrap("put", key, store.ErrTemporary, errors.New("connection reset by peer"))
	}
	return err
}

func TestRefusalThatIsNeverRead(t *testing.T) {
	ctx := context.Background()
	m := mem.New(nil)
	if err := m.Put(ctx, "k", []byte("theirs")); err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"other", "mine!!"} { // of another size, and of the same
		if err := New(unread{m}, Options{Base: 1}).Put(ctx, "k", []byte(body)); !errors.Is(err, store.ErrExists) {
			t.Fatalf("put %q: error %v, want ErrExists", body, err)
		}
	}
}

type hanging struct{ store.Store }

func (hanging) Get(ctx context.Context, key string, _, _ int64) ([]byte, error) {
	<-ctx.Done()
	return nil, store.ContextError(ctx, "get", key)
}

func TestTimeoutOfATryIsTemporary(t *testing.T) {
	_, err := New(hanging{mem.New(nil)}, Options{Tries: 2, Base: 1, Timeout: 5 * time.Millisecond}).Get(context.Background(), "k", 0, -1)
	if !errors.Is(err, store.ErrTemporary) || errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	_, err = New(hanging{mem.New(nil)}, Options{}).Get(ctx, "k", 0, -1)
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, store.ErrTemporary) {
		t.Fatalf("the caller's own deadline: %v", err)
	}
}

func TestContextEndsThePause(t *testing.T) {
	always := fault.New(mem.New(nil), fault.Options{Choose: func(fault.Call) fault.Fault { return fault.Unavailable }})
	ctx, cancel := context.WithCancel(context.Background())
	s := New(always, Options{Base: time.Hour, Max: time.Hour, OnRetry: func(string, string, int, error) { cancel() }})
	if err := s.Delete(ctx, "k"); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
}
