package group

import (
	"context"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// Deliveries are noted behind (Options.LazyWrite). A manager that was closed has
// noted all of them and says so in the state; after one that was not, whatever was
// in the log may have been delivered.

// managerOwner is the manager's own place in the state, keyStopped the key there.
const (
	managerOwner = "groups"
	keyStopped   = "stopped"
)

// begin finds out whether the manager before was closed, and takes its word back
// before anything is delivered. A log that takes nothing now holds no start up.
func (m *Manager) begin(ctx context.Context) {
	_, stopped, err := m.opts.State.Get(ctx, managerOwner, keyStopped)
	if err != nil {
		m.opts.Logger.Warn("whether groups were closed is not known: what they deliver is marked as redelivered", "err", err)
	}
	if m.killed = !stopped; m.killed {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, beginWithin)
	defer cancel()
	if err := shard.ApplyWait(ctx, m.opts.State, managerOwner, shard.StateOp{Key: keyStopped}); err != nil {
		m.opts.Logger.Warn("that groups are open is not noted: after a crash redelivered messages may lack their mark", "err", err)
	}
}

// beginWithin bounds what begin waits for the log.
const beginWithin = 5 * time.Second

// stopped says that all deliveries are noted.
func (m *Manager) stopped(ctx context.Context) {
	if err := shard.ApplyWait(ctx, m.opts.State, managerOwner, shard.StateOp{Key: keyStopped, Value: []byte{1}}); err != nil {
		m.opts.Logger.Warn("what groups deliver after the restart is marked as redelivered", "err", err)
	}
}
