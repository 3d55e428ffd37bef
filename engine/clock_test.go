package engine

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/robustmq/robustmq-go/catalog/catalogtest"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

const month = 30 * 24 * time.Hour

// hands are a wall clock and a monotonic one that a test moves.
type hands struct {
	begun       time.Time
	mono, extra atomic.Int64 // extra: how far the wall clock is off
}

func newHands() *hands { return &hands{begun: time.Now().Round(0)} }

func (h *hands) wall() time.Time {
	return h.begun.Add(time.Duration(h.mono.Load() + h.extra.Load()))
}
func (h *hands) elapsed() time.Duration { return time.Duration(h.mono.Load()) }
func (h *hands) run(d time.Duration)    { h.mono.Add(int64(d)) }
func (h *hands) jump(d time.Duration)   { h.extra.Add(int64(d)) }
func (h *hands) truth() time.Time       { return h.begun.Add(h.elapsed()) }
func (h *hands) witness(off *atomic.Int64) Witness {
	return Witness{Name: "the store", Time: func(context.Context) (time.Time, bool) {
		return h.truth().Add(time.Duration(off.Load())), off.Load() != away
	}}
}

const away = int64(1) << 62 // of a witness that cannot be asked

func (h *hands) options(ws ...Witness) Options {
	o := quiet()
	o.Now, o.Elapsed, o.Witnesses, o.RetentionMs = h.wall, h.elapsed, ws, int64(7*24*time.Hour/time.Millisecond)
	return o
}

// TestClockThatJumpsFreesNothing: a clock a month ahead, while the gateway runs
// and at a start, frees no topic and expires no session; the gateway says so. It
// is believed when it is right again, when another machine says the same, or when
// an operator does.
func TestClockThatJumpsFreesNothing(t *testing.T) {
	for _, at := range []string{"running", "start"} {
		for _, end := range []string{"put right", "witness", "operator"} {
			t.Run(at+", "+end, func(t *testing.T) {
				h := newHands()
				var off atomic.Int64
				off.Store(away)
				cat, st := catalogtest.OpenEmbedded(t), mem.New(nil)
				r := newRigOn(t, h.options(h.witness(&off)), cat, st)
				ctx := context.Background()
				id := r.topic("t", shard.TopicConfig{}).Shard(0)
				err := func() error {
					_, err := r.groups.Create(ctx, shard.GroupConfig{Name: "session", Durable: true, ExpireAfter: 2 * time.Hour})
					return err
				}()
				if err != nil {
					t.Fatal(err)
				}
				r.segmentOf(id, h.wall().UnixMilli(), "", []byte("x"))
				h.run(time.Minute)
				r.wantStart(id, 0)
				if at == "running" {
					h.jump(month)
				} else {
					if err := r.Close(ctx); err != nil {
						t.Fatal(err)
					}
					h.jump(month)
					r.open()
				}
				h.run(time.Minute)
				r.wantStart(id, 0)
				if _, degraded := r.Health(); degraded == nil || !strings.Contains(degraded.Error(), "trust-clock") {
					t.Errorf("health says %v", degraded)
				}
				if a := r.Stats().ClockAhead; a < month-time.Hour || a > month+time.Hour {
					t.Errorf("ahead by %s", a)
				}
				if _, err := r.groups.Get("session"); err != nil {
					t.Errorf("the session is gone: %v", err)
				}
				h.run(time.Hour)
				r.wantStart(id, 0)
				want := int64(1)
				switch end {
				case "put right":
					h.jump(-month)
					want = 0
				case "witness":
					off.Store(int64(month))
				case "operator":
					if err := r.TrustClock(ctx); err != nil {
						t.Fatal(err)
					}
				}
				r.wantStart(id, want)
				if _, degraded := r.Health(); degraded != nil {
					t.Errorf("still degraded: %v", degraded)
				}
			})
		}
	}
}

// TestClockThatIsHeldLetsTimePass: records from before a jump age on at their own
// pace, and those written since by the clock they were stamped with.
func TestClockThatIsHeldLetsTimePass(t *testing.T) {
	h := newHands()
	r := newRigOn(t, h.options(), catalogtest.OpenEmbedded(t), mem.New(nil))
	id := r.topic("t", shard.TopicConfig{}).Shard(0)
	r.segmentOf(id, h.wall().UnixMilli(), "", []byte("before"))
	h.jump(month)
	r.wantStart(id, 0)
	r.segmentOf(id, h.wall().UnixMilli(), "", []byte("after"))
	h.run(6 * 24 * time.Hour)
	r.wantStart(id, 0)
	h.run(25 * time.Hour)
	r.wantStart(id, 2) // both are seven days old
}

// TestClockThatGoesBack frees nothing early, and coming back is no jump.
func TestClockThatGoesBack(t *testing.T) {
	h := newHands()
	r := newRigOn(t, h.options(), catalogtest.OpenEmbedded(t), mem.New(nil))
	id := r.topic("t", shard.TopicConfig{}).Shard(0)
	h.jump(-3 * month)
	r.segmentOf(id, h.wall().UnixMilli(), "", []byte("x"))
	h.run(6 * 24 * time.Hour)
	r.wantStart(id, 0)
	if err := r.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.open()
	h.jump(3 * month)
	h.run(time.Hour)
	r.wantStart(id, 1)
	if _, degraded := r.Health(); degraded != nil {
		t.Errorf("degraded: %v", degraded)
	}
}

// TestClockInvariants: whatever the clocks do, the time that things are judged by
// is never later than the wall clock, and runs ahead of the truth no further than
// the steps that are let pass.
func TestClockInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHands()
		o := h.options()
		o.Logger = slog.New(slog.DiscardHandler)
		c := newClock(&o)
		c.slept = func() time.Duration { return 0 }
		c.start(context.Background(), h.wall().UnixMilli())
		steps := 0
		for range rapid.IntRange(1, 30).Draw(t, "n") {
			h.run(time.Duration(rapid.Int64Range(0, int64(48*time.Hour)).Draw(t, "run")))
			if rapid.Bool().Draw(t, "jump") {
				h.jump(time.Duration(rapid.Int64Range(-int64(month), int64(month)).Draw(t, "by")))
				steps++
			}
			now := c.now()
			if now.UnixMilli() > h.wall().UnixMilli() {
				t.Fatalf("%v is after the wall clock's %v", now, h.wall())
			}
			if lead := now.Sub(h.truth()); lead > time.Duration(2*steps)*clockStep+time.Second {
				t.Fatalf("ahead of the truth by %v after %d steps", lead, steps)
			}
			if err := c.observe(context.Background(), func(context.Context, int64) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestClockIsHeldOverRestarts, also where the segments say what the wrong clock
// said; and a witness that contradicts holds a new cluster's clock, too.
func TestClockIsHeldOverRestarts(t *testing.T) {
	h := newHands()
	r := newRigOn(t, h.options(), catalogtest.OpenEmbedded(t), mem.New(nil))
	id := r.topic("t", shard.TopicConfig{}).Shard(0)
	r.segmentOf(id, h.wall().UnixMilli(), "", []byte("x"))
	h.jump(month)
	r.wantStart(id, 0)
	r.segmentOf(id, h.wall().UnixMilli(), "", []byte("y")) // its row says a month later
	for range 3 {
		if err := r.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		r.open()
		h.run(time.Minute)
		r.wantStart(id, 0)
		if a := r.Stats().ClockAhead; a < month-time.Hour {
			t.Errorf("ahead by %s", a)
		}
	}
	r.crash()
	r.wantStart(id, 0)

	var off atomic.Int64
	n := newHands()
	n.jump(month)
	s := newRigOn(t, n.options(n.witness(&off)), catalogtest.OpenEmbedded(t), mem.New(nil))
	if a := s.Stats().ClockAhead; a < month-time.Hour {
		t.Errorf("a new cluster's clock is ahead by %s", a)
	}
}

// TestClockIsReadWhileAnotherMachineIsAsked: who wants to know the time, as each
// idempotent append does, waits for no witness.
func TestClockIsReadWhileAnotherMachineIsAsked(t *testing.T) {
	h := newHands()
	asked, answer := make(chan struct{}), make(chan struct{})
	var slow atomic.Bool
	o := h.options(Witness{Name: "the store", Time: func(context.Context) (time.Time, bool) {
		if slow.Load() {
			asked <- struct{}{}
			<-answer
		}
		return time.Time{}, false
	}})
	o.Logger = slog.New(slog.DiscardHandler)
	c := newClock(&o)
	c.start(context.Background(), h.wall().UnixMilli())
	h.jump(month)
	c.now()
	if c.ahead() == 0 {
		t.Fatal("the clock is not held")
	}
	slow.Store(true)
	observed := make(chan error, 1)
	go func() {
		observed <- c.observe(context.Background(), func(context.Context, int64) error { return nil })
	}()
	<-asked
	told := make(chan time.Time, 1)
	go func() { told <- c.now() }()
	select {
	case <-told:
	case <-time.After(10 * time.Second):
		t.Error("the clock cannot be read while another machine is asked")
	}
	close(answer)
	if err := <-observed; err != nil {
		t.Error(err)
	}
}
