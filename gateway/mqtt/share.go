package mqtt

import (
	"context"
	"strings"
	"sync"

	"github.com/robustmq/robustmq-go/shard"
)

// groupSharePrefix begins the group of a shared subscription, and the owner of
// its holders; "<name>/<filter>" follows.
const groupSharePrefix = "mqtt/share/"

// shares counts the members that are connected here. A shared subscription
// lives for as long as a session holds it; its group is durable, for the next
// session to join may be persistent.
type shares struct {
	mu   sync.Mutex
	open map[string]*share
}

type share struct {
	mu      sync.Mutex // held while the group is made, joined or deleted
	members int
}

// lock gives a share with its lock held.
func (ss *shares) lock(name string) *share {
	ss.mu.Lock()
	sh := ss.open[name]
	if sh == nil {
		sh = &share{}
		ss.open[name] = sh
	}
	ss.mu.Unlock()
	sh.mu.Lock()
	return sh
}

func shareName(filter string) string {
	return groupSharePrefix + strings.TrimPrefix(filter, sharePrefix)
}

// joinShare makes a client a member of a shared subscription.
func (s *Server) joinShare(ctx context.Context, c *client, sb *sub) error {
	if sb.member != nil { // subscribed again: only the options change
		c.session.mu.Lock()
		sb.member.shared = sb
		c.session.mu.Unlock()
		return nil
	}
	name := shareName(sb.filter)
	sh := s.shares.lock(name)
	defer sh.mu.Unlock()
	g, err := s.broker.Groups.Get(name)
	if err != nil {
		if g, err = s.broker.Groups.Create(ctx, shard.GroupConfig{Name: name, Durable: true}); err != nil {
			return err
		}
	}
	if len(g.Bindings().List()) == 0 {
		if err := g.Bindings().Add(ctx, shard.Binding{ID: sb.name, Filter: sb.match}); err != nil {
			return err
		}
	}
	if c.durable {
		op := shard.StateOp{Key: c.id, Value: []byte{1}}
		if err := shard.ApplyWait(ctx, s.broker.State, name, op); err != nil {
			return err
		}
	}
	r := &receiver{c: c, group: g, ready: make(chan struct{}), shared: sb}
	sb.member = r
	sh.members++
	err = r.attach(shard.ConsumerConfig{Windows: []*shard.Window{c.window}, Origin: c.nc.Origin})
	if err != nil {
		sh.members--
		sb.member = nil
	}
	return err
}

// leaveShare ends a membership; gone says that the session does not come back to
// it.
func (s *Server) leaveShare(ctx context.Context, c *client, sb *sub, gone bool) {
	name := shareName(sb.filter)
	sh := s.shares.lock(name)
	defer sh.mu.Unlock()
	sb.member.close()
	sh.members--
	if gone && c.durable {
		s.endHold(ctx, name, c.id)
	}
	s.endShare(ctx, sh, name)
}

// dropHolder ends what an expired session holds.
func (s *Server) dropHolder(ctx context.Context, rest, id string) {
	name := groupSharePrefix + rest
	sh := s.shares.lock(name)
	defer sh.mu.Unlock()
	s.endHold(ctx, name, id)
	s.endShare(ctx, sh, name)
}

func (s *Server) endHold(ctx context.Context, name, id string) {
	if err := shard.ApplyWait(ctx, s.broker.State, name, shard.StateOp{Key: id}); err != nil {
		s.env.Log.Warn("leave shared subscription", "client", id, "share", name, "error", err)
	}
}

// endShare deletes the group of a share that nobody holds any more.
func (s *Server) endShare(ctx context.Context, sh *share, name string) {
	if sh.members > 0 {
		return
	}
	held, err := s.held(ctx, name)
	if err == nil && !held {
		if err = s.broker.Groups.Delete(ctx, name); shard.KindOf(err) == shard.KindNotFound {
			err = nil
		}
	}
	if err != nil {
		s.env.Log.Warn("end shared subscription", "share", name, "error", err)
		return
	}
	s.shares.mu.Lock()
	if s.shares.open[name] == sh && sh.members == 0 {
		delete(s.shares.open, name)
	}
	s.shares.mu.Unlock()
}

// held tells whether a persistent session holds the share.
func (s *Server) held(ctx context.Context, name string) (held bool, err error) {
	err = s.broker.State.Range(ctx, name, "", func(string, shard.StateValue) bool {
		held = true
		return false
	})
	return held, err
}

// sweepShares deletes the groups whose members all went with the last process.
func (s *Server) sweepShares(ctx context.Context) error {
	for _, g := range s.broker.Groups.List(groupSharePrefix) {
		name := g.Config().Name
		held, err := s.held(ctx, name)
		if err != nil {
			return err
		}
		if !held {
			if err := s.broker.Groups.Delete(ctx, name); err != nil {
				return err
			}
		}
	}
	return nil
}
