package mqtt

import (
	"context"
	"strings"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
)

var (
	_ gateway.SessionEnder = (*Server)(nil)
	_ gateway.GroupEnder   = (*Server)(nil)
)

// endTries bounds how often a client that comes back at once is sent away.
const endTries = 5

// EndSession implements gateway.SessionEnder. A will that was put off is published,
// as at the end of any session [MQTT-3.1.3-9].
func (s *Server) EndSession(ctx context.Context, id string) error {
	met := false
	for range endTries {
		s.mu.Lock()
		c, o := s.mu.clients[id], s.mu.offline[id]
		s.mu.Unlock()
		if c != nil {
			met = true
			c.kick(packet.AdministrativeAction, "")
			select {
			case <-c.done:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			continue
		}
		if o == nil {
			return s.endLeftover(ctx, id, met)
		}
		var err error
		ended := false
		s.offlineDue(id, o, func(ctx context.Context, id string) error { // which keeps the client out meanwhile
			err, ended = s.discardSession(ctx, id), true
			return err
		}, true)
		if ended {
			return err
		}
		met = true
	}
	return shard.Errorf(shard.KindUnavailable, "the client of session %q comes back at once; close it off by a rule or a password first", id)
}

// endLeftover is EndSession of what has neither a connection nor timers: nothing,
// or what is left of a session that could not be read.
func (s *Server) endLeftover(ctx context.Context, id string, met bool) error {
	owners, err := s.broker.State.Owners(ctx, sessionPrefix+id)
	if err != nil {
		return err
	}
	_, gerr := s.broker.Groups.Get(sessionPrefix + id)
	if gerr != nil && (len(owners) == 0 || owners[0] != sessionPrefix+id) {
		if met {
			return nil // it lived no longer than its connection
		}
		return shard.Errorf(shard.KindNotFound, "there is no session %q", id)
	}
	return s.discardSession(ctx, id)
}

// EndGroup implements gateway.GroupEnder: of a session's group it ends the session,
// of a shared subscription's it drops the messages that nobody of its members had.
// Sessions that hold it join anew when they come back.
func (s *Server) EndGroup(ctx context.Context, name string, force bool) error {
	if id, ok := strings.CutPrefix(name, sessionPrefix); ok {
		s.mu.Lock()
		connected := s.mu.clients[id] != nil
		s.mu.Unlock()
		if connected && !force {
			return shard.Errorf(shard.KindInvalid, "the client of session %q is connected", id)
		}
		return s.EndSession(ctx, id)
	}
	if !strings.HasPrefix(name, groupSharePrefix) {
		return shard.ErrGroupNotFound
	}
	return s.endShared(ctx, name, force)
}

func (s *Server) endShared(ctx context.Context, name string, force bool) error {
	sh := s.shares.lock(name)
	defer sh.mu.Unlock()
	if sh.members > 0 && !force {
		return shard.Errorf(shard.KindInvalid, "the shared subscription has %d members that are connected", sh.members)
	}
	var ops []shard.StateOp
	err := s.broker.State.Range(ctx, name, "", func(key string, _ shard.StateValue) bool {
		ops = append(ops, shard.StateOp{Key: key})
		return true
	})
	if err != nil {
		return err
	}
	for len(ops) > 0 {
		n := min(len(ops), maxOps)
		if err := shard.ApplyWait(ctx, s.broker.State, name, ops[:n]...); err != nil {
			return err
		}
		ops = ops[n:]
	}
	return s.broker.Groups.Delete(ctx, name) // its members hear of it
}
