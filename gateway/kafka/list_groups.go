package kafka

import (
	"context"
	"strings"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

var _ gateway.GroupLister = (*Server)(nil)

// ListGroups implements gateway.GroupLister. Groups that are not in memory are
// read from the state and not kept.
func (s *Server) ListGroups(ctx context.Context) ([]gateway.GroupInfo, error) {
	owners, err := s.broker.State.Owners(ctx, groupOwnerPrefix)
	if err != nil {
		return nil, err
	}
	out := make([]gateway.GroupInfo, 0, len(owners))
	for _, o := range owners {
		info := gateway.GroupInfo{Name: strings.TrimPrefix(o, groupOwnerPrefix)}
		if info.State, info.Members, err = s.groups.peek(ctx, info.Name); err != nil {
			return nil, err
		}
		err := s.offsetsOf(ctx, info.Name, func(_ *shard.Topic, id shard.ID, c committed) {
			info.Offsets = append(info.Offsets, gateway.GroupOffset{Shard: id, Offset: c.offset})
		})
		if err != nil {
			return nil, err
		}
		out = append(out, info)
	}
	return out, nil
}

// peek gives a group's state and its number of members without loading it.
func (co *coordinator) peek(ctx context.Context, id string) (state string, members int, err error) {
	co.mu.Lock()
	g := co.mu.groups[id]
	co.mu.Unlock()
	if g != nil {
		g.Lock()
		defer g.Unlock()
		if g.loaded {
			return g.state.String(), len(g.members), nil
		}
	}
	v, ok, err := co.srv.broker.State.Get(ctx, groupOwner(id), groupMetaKey)
	if err != nil || !ok {
		return groupEmpty.String(), 0, err
	}
	stored := newGroup(co, id)
	if err := stored.decode(v.Data); err != nil {
		return "Unknown", 0, nil // damaged: its offsets are shown all the same
	}
	return stored.state.String(), len(stored.members), nil
}
