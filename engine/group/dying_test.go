package group_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// slowUndertaker keeps what it is given until it is let go.
type slowUndertaker struct {
	mu   sync.Mutex
	held []func(error)
	got  int
	free bool
}

func (u *slowUndertaker) Bury(_ shard.Delivery, _ shard.DeadReason, done func(error)) {
	u.mu.Lock()
	u.got++
	free := u.free
	if !free {
		u.held = append(u.held, done)
	}
	u.mu.Unlock()
	if free {
		go done(nil)
	}
}

func (u *slowUndertaker) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.got
}

func (u *slowUndertaker) release() {
	u.mu.Lock()
	u.free = true
	held := u.held
	u.held = nil
	u.mu.Unlock()
	for _, done := range held {
		done(nil)
	}
}

// TestDyingMessagesAreBounded: a queue whose messages expire, are too many or are kept
// out, and whose dead letters get on slowly, holds no more of them than of what is ready;
// each is buried in the end.
func TestDyingMessagesAreBounded(t *testing.T) {
	for name, l := range map[string]shard.GroupLimits{
		"expired":  {HasTTL: true, TTL: time.Millisecond},
		"too many": {MaxMessages: 1},
		"rejected": {MaxMessages: 1, Reject: true, RejectDead: true},
	} {
		t.Run(name, func(t *testing.T) {
			mem := shardmem.New(shardmem.Options{})
			defer func() { mem.Close() }()
			g := makeGroup(t, mem.Broker(), shard.GroupConfig{Name: "g", Durable: true}, "q")
			u := &slowUndertaker{}
			l.Dead = u
			g.(shard.LimitedGroup).Limit(l)
			const n, each = 400, 64
			priorities := make([]int, each)
			last := -1
			for range n {
				publishAt(t, mem.Broker(), "q", priorities...)
			}
			for wait := time.Now().Add(10 * time.Second); u.count() != last && time.Now().Before(wait); time.Sleep(200 * time.Millisecond) {
				last = u.count()
			}
			if most := 2 * 4096; u.count() > most {
				t.Errorf("%d dead letters of %d messages are on their way, want %d at most", u.count(), n*each, most)
			}
			u.release()
			left := int64(1)
			if name == "expired" {
				left = 0
			}
			what := ""
			for wait := time.Now().Add(20 * time.Second); time.Now().Before(wait); time.Sleep(10 * time.Millisecond) {
				s := g.Stats()
				if what = fmt.Sprintf("%d buried, %d ready", u.count(), s.Ready); int64(u.count())+s.Ready == n*each && (s.Ready <= left || name == "rejected") {
					return
				}
			}
			t.Errorf("of %d: %s", n*each, what)
		})
	}
}
