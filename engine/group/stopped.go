package group

import (
	"context"

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
// before anything is delivered.
func (m *Manager) begin(ctx context.Context) error {
	_, stopped, err := m.opts.State.Get(ctx, managerOwner, keyStopped)
	if err != nil {
		m.opts.Logger.Warn("whether groups were closed is not known: what they deliver is marked as redelivered", "err", err)
	}
	m.killed = !stopped
	if !stopped {
		return nil
	}
	return shard.ApplyWait(ctx, m.opts.State, managerOwner, shard.StateOp{Key: keyStopped})
}

// stopped says that all deliveries are noted.
func (m *Manager) stopped(ctx context.Context) {
	if err := shard.ApplyWait(ctx, m.opts.State, managerOwner, shard.StateOp{Key: keyStopped, Value: []byte{1}}); err != nil {
		m.opts.Logger.Warn("what groups deliver after the restart is marked as redelivered", "err", err)
	}
}
