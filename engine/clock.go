package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
)

// What is too old is freed, and what has expired is gone, for good: a clock a
// month ahead would free every topic at once. So ages are told by a clock that
// does not jump ahead unless somebody else says the same. Invariants:
//
//   - clock.now is never later than the wall clock.
//   - It is never later than the last time that was believed, and what has passed
//     since by the monotonic clock (which goes on in suspend), plus clockStep; at
//     the start, than what the catalog kept of the last run plus clockAway.
//   - Only a witness (the store's or etcd's machines, by the Date of their answers)
//     or an operator (Trust) lets it leap further. One that contradicts holds it.
//   - A wall clock that goes back is followed at once: that frees nothing early.
//
// While it is held, time passes at its own pace from the last time believed:
// records age, they do not leap. What was stamped since is aged by the wall clock
// (older), so that a hold that nobody ends costs no more than its first jump.

// Witness is another machine's clock.
type Witness struct {
	Name string
	// Time gives its time, false when it cannot be had.
	Time func(ctx context.Context) (time.Time, bool)
}

const (
	// clockStep is how far the clock may step while it runs: what time
	// synchronisation does to a clock that was let run.
	clockStep = 10 * time.Minute
	// clockAway is how long a gateway may have been away without a witness: a long
	// weekend.
	clockAway = 72 * time.Hour
	// clockKeep is the time between two notes of the time in the catalog.
	clockKeep = 10 * time.Minute
	// clockAsk is the time between two questions to the witnesses while all is well.
	clockAsk = time.Hour
	// witnessTime bounds one round of questions.
	witnessTime = 3 * time.Second
)

// believed is one state of the clock: at `at` of the monotonic clock and `slept`
// of suspend, it was not later than ceiling. All are in milliseconds.
type believed struct {
	ceiling, at, slept int64
	held               bool
}

type clock struct {
	wall      func() time.Time
	elapsed   func() time.Duration // monotonic, since some time
	slept     func() time.Duration // suspend, which elapsed leaves out
	witnesses []Witness
	log       *slog.Logger

	state atomic.Pointer[believed] // nil before start

	mu    sync.Mutex // orders changes of state, and guards what follows
	back  bool       // the wall clock is behind what was believed, and that was said
	kept  time.Duration
	asked time.Duration
}

func newClock(o *Options) *clock {
	c := &clock{wall: o.Now, elapsed: o.Elapsed, slept: func() time.Duration { return 0 }, witnesses: o.Witnesses, log: o.Logger}
	if c.elapsed != nil {
		c.slept = suspended
	} else { // a clock that was given is all there is
		begun := o.Now()
		c.elapsed = func() time.Duration { return o.Now().Sub(begun) }
	}
	return c
}

// now is the time by which what is stored is judged too old.
func (c *clock) now() time.Time {
	w := c.wall()
	s := c.state.Load()
	if s == nil {
		return w
	}
	ms := w.UnixMilli()
	limit := s.ceiling + c.elapsed().Milliseconds() - s.at
	if ms <= limit && limit-ms < 1000 || !s.held && ms > limit && ms-limit < 1000 {
		return w
	}
	return c.judge(w)
}

// judge is now where the clocks differ by a second and more.
func (c *clock) judge(w time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.state.Load()
	ms, at, slept := w.UnixMilli(), c.elapsed().Milliseconds(), c.slept().Milliseconds()
	limit := s.ceiling + at - s.at + slept - s.slept
	ahead := time.Duration(ms-limit) * time.Millisecond
	switch {
	case ahead > clockStep:
		if !s.held {
			c.hold(limit, ahead, "the monotonic clock")
		}
		return time.UnixMilli(limit)
	case ahead < -clockStep: // the ceiling stays where it is, for when the clock comes back
		if s.held {
			c.state.Store(&believed{ceiling: limit, at: at, slept: slept})
		}
		if !c.back {
			c.back = true
			c.log.Warn("the clock went back: what was stamped by it before stays that much longer", "time", w, "by", (-ahead).Round(time.Second).String())
		}
	default:
		if s.held {
			c.log.Info("the clock is right again: records are freed and expire by it", "time", w)
		}
		c.back = false
		c.believe(ms)
	}
	return w
}

// believe makes ms the time. c.mu is held.
func (c *clock) believe(ms int64) {
	c.state.Store(&believed{ceiling: ms, at: c.elapsed().Milliseconds(), slept: c.slept().Milliseconds()})
}

// hold makes time go on from ms, whatever the wall clock says: it is ahead of
// somebody. c.mu is held.
func (c *clock) hold(ms int64, ahead time.Duration, of string) {
	c.state.Store(&believed{ceiling: ms, at: c.elapsed().Milliseconds(), slept: c.slept().Milliseconds(), held: true})
	c.log.Error("the clock is ahead of what can be believed: nothing is freed or expires by it", "time", c.wall(),
		"believed", time.UnixMilli(ms), "ahead", ahead.Round(time.Second).String(), "of", of, "hint", clockHint)
}

const clockHint = "put the clock right; or, if it is right, run `robustmq cluster trust-clock`"

// start compares the wall clock with the last time that the cluster knew.
func (c *clock) start(ctx context.Context, last int64) {
	w := c.wall()
	ms := w.UnixMilli()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = c.elapsed()
	said, name := c.ask(ctx)
	switch {
	case name != "" && ms-said > clockStep.Milliseconds():
		c.hold(max(said, min(last, ms)), time.Duration(ms-said)*time.Millisecond, name)
	case last > 0 && ms-last > clockAway.Milliseconds() && name == "":
		c.hold(last, time.Duration(ms-last)*time.Millisecond, "the last run")
	default:
		c.believe(max(ms, last))
		if last-ms > clockAway.Milliseconds() && name == "" {
			c.log.Warn("the clock is behind what this cluster knew when it last ran", "time", w, "last", time.UnixMilli(last))
		}
		if name != "" {
			c.believe(ms)
		}
	}
}

// ask gives the earliest of what the witnesses say, and who says it; name is ""
// when none can be asked.
func (c *clock) ask(ctx context.Context) (said int64, name string) {
	ctx, cancel := context.WithTimeout(ctx, witnessTime)
	defer cancel()
	for _, w := range c.witnesses {
		t, ok := w.Time(ctx)
		if ok && (name == "" || t.UnixMilli() < said) {
			said, name = t.UnixMilli(), w.Name
		}
	}
	return said, name
}

// observe is called by each retention pass: it asks the witnesses when the clock
// is held or behind, or has not been compared for long, and notes the time.
func (c *clock) observe(ctx context.Context, keep func(context.Context, int64) error) error {
	if c.state.Load() == nil {
		return nil
	}
	c.now() // which judges it
	c.mu.Lock()
	ask := c.state.Load().held || c.back || c.elapsed()-c.asked >= clockAsk
	if ask {
		c.asked = c.elapsed()
	}
	c.mu.Unlock()
	if ask { // others read the clock meanwhile
		said, name := c.ask(ctx)
		c.compare(said, name)
	}
	c.mu.Lock()
	last := c.limit()
	due := c.kept == 0 || c.elapsed()-c.kept >= clockKeep
	if due {
		c.kept = max(c.elapsed(), 1)
	}
	c.mu.Unlock()
	if !due {
		return nil
	}
	if err := keep(ctx, last); err != nil {
		return fmt.Errorf("note the time: %w", err)
	}
	return nil
}

// compare sets what a witness said just now beside the wall clock.
func (c *clock) compare(said int64, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ms := c.state.Load(), c.wall().UnixMilli()
	off := time.Duration(ms-said) * time.Millisecond
	switch {
	case name == "":
	case off > clockStep && !s.held:
		c.hold(max(said, 0), off, name)
	case off > clockStep: // held, and said so
	case s.held:
		c.believe(ms)
		c.log.Info("the clock is right: another machine says the same", "time", time.UnixMilli(ms), "who", name)
	case c.back && off >= -clockStep:
		c.back = false
		c.believe(ms)
		c.log.Info("the clock that went back is right: another machine says the same", "time", time.UnixMilli(ms), "who", name)
	}
}

// limit is the latest time that is believed now. c.mu is held.
func (c *clock) limit() int64 {
	s := c.state.Load()
	return s.ceiling + c.elapsed().Milliseconds() - s.at + c.slept().Milliseconds() - s.slept
}

// trust believes the wall clock, because an operator says so.
func (c *clock) trust() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Load() == nil {
		return
	}
	c.back = false
	c.believe(c.wall().UnixMilli())
	c.log.Warn("an operator says that the clock is right: records are freed and expire by it", "time", c.wall())
}

// ahead tells how far the wall clock is ahead of what is believed; 0 when it is
// not held.
func (c *clock) ahead() time.Duration {
	if s := c.state.Load(); s == nil || !s.held {
		return 0
	}
	w := c.wall()
	return max(0, w.Round(0).Sub(c.now().Round(0)))
}

// cutoffs are the two times before which something of an age is too old: of what
// was stamped up to now, and of what was stamped while the clock is held.
type cutoffs struct{ now, before, held int64 }

// cutoffs gives those for an age in milliseconds.
func (c *clock) cutoffs(age int64) cutoffs {
	now, wall := c.now().UnixMilli(), c.wall().UnixMilli()
	return cutoffs{now: now, before: now - age, held: wall - age}
}

// passed tells whether what was stamped at ms is too old.
func (x *cutoffs) passed(ms int64) bool {
	return ms < x.before || ms > x.now && ms < x.held
}

// health tells that the clock is held.
func (c *clock) health() error {
	ahead := c.ahead()
	if ahead == 0 {
		return nil
	}
	who := make([]string, len(c.witnesses))
	for i, w := range c.witnesses {
		who[i] = w.Name
	}
	not := "and there is no other machine to ask"
	if len(who) > 0 {
		not = "and " + strings.Join(who, " and ") + " did not confirm it"
	}
	return &shard.Error{Kind: shard.KindUnavailable, Msg: fmt.Sprintf("the clock jumped ahead by %s %s: nothing is freed by age or expires by it; %s",
		ahead.Round(time.Second), not, clockHint)}
}

// clockCounter is the catalog's counter that holds the last time believed.
const clockCounter = "clock"

// startClock starts the clock from what the catalog knows: the time that the last
// run noted, or, of runs from before there was one, the newest segment's.
func (e *Engine) startClock(ctx context.Context) {
	last := e.cat.Counter(clockCounter)
	if last == 0 {
		for s := range e.cat.Segments() {
			last = max(last, s.Created)
		}
	}
	e.clock.start(ctx, last)
}

// observeClock looks at the clock, and notes the time in the catalog.
func (e *Engine) observeClock(ctx context.Context) error {
	return e.clock.observe(ctx, func(ctx context.Context, ms int64) error {
		return e.cat.SetCounter(ctx, clockCounter, ms)
	})
}

// TrustClock says that the clock is right, though it jumped ahead.
func (e *Engine) TrustClock(ctx context.Context) error {
	e.clock.trust()
	err := e.cat.SetCounter(ctx, clockCounter, e.clock.now().UnixMilli())
	if errors.Is(err, catalog.ErrUnavailable) {
		return nil // the next pass notes it
	}
	return err
}

// Time is the time by which gateways judge what has expired.
func (e *Engine) Time() time.Time { return e.clock.now() }

// closeClock notes the time for the next start.
func (e *Engine) closeClock(ctx context.Context) error {
	if e.clock.state.Load() == nil || e.down() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, witnessTime)
	defer cancel()
	e.clock.mu.Lock()
	last := e.clock.limit()
	e.clock.mu.Unlock()
	return e.cat.SetCounter(ctx, clockCounter, last)
}
