package admin

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

// GroupMove says where a group is to begin again.
type GroupMove struct {
	To     string    `json:"to" doc:"earliest, latest, time or offset"`
	Time   time.Time `json:"time,omitzero" doc:"with time: the first record that is not older"`
	Offset int64     `json:"offset,omitempty" doc:"with offset: the next one to be read"`
	Topic  string    `json:"topic,omitempty" doc:"only in this topic; with offset it is needed"`
	Shard  *uint32   `json:"shard,omitempty" doc:"only in this shard of it; with offset it is needed"`
}

// check refuses what does not go together.
func (m *GroupMove) check() error {
	switch {
	case m.To != "earliest" && m.To != "latest" && m.To != "time" && m.To != "offset":
		return shard.Errorf(shard.KindInvalid, "to is %q: it has to be earliest, latest, time or offset", m.To)
	case m.To == "time" && m.Time.IsZero():
		return shard.Errorf(shard.KindInvalid, "to is time, and there is no time")
	case m.To == "offset" && (m.Topic == "" || m.Shard == nil || m.Offset < 0):
		return shard.Errorf(shard.KindInvalid, "an offset, from 0 on, is of one shard: topic and shard are needed")
	case m.Shard != nil && m.Topic == "":
		return shard.Errorf(shard.KindInvalid, "shard is there without topic")
	}
	return nil
}

// target is where the group goes in one shard.
func (m *GroupMove) target(ctx context.Context, log shard.Log, t *shard.Topic, id shard.ID, b shard.Bounds) (int64, bool, error) {
	if m.Topic != "" && t.Name != m.Topic || m.Shard != nil && id.Index != *m.Shard {
		return 0, false, nil
	}
	switch m.To {
	case "earliest":
		return b.Start, true, nil
	case "latest":
		return b.End, true, nil
	case "offset":
		if m.Offset < b.Start || m.Offset > b.End {
			return 0, false, shard.Errorf(shard.KindOutOfRange, "offset %d of shard %d of topic %q is not between %d and %d", m.Offset, id.Index, t.Name, b.Start, b.End)
		}
		return m.Offset, true, nil
	}
	offset, _, ok, err := log.OffsetOf(ctx, id, m.Time.UnixMilli())
	if err == nil && !ok {
		offset = b.End
	}
	return offset, true, err
}

// inTopic gives the shards that a move names: none when it names no topic.
func (s *Server) inTopic(m *GroupMove) ([]shard.ID, error) {
	if m.Topic == "" {
		return nil, nil
	}
	t, ok := s.env.Broker.Topics.ByName(m.Topic)
	if !ok || t.Internal {
		return nil, shard.ErrTopicNotFound
	}
	if m.Shard != nil && *m.Shard >= t.Shards {
		return nil, shard.Errorf(shard.KindNotFound, "topic %q has no shard %d", t.Name, *m.Shard)
	}
	var ids []shard.ID
	for i := range t.Shards {
		if m.Shard == nil || i == *m.Shard {
			ids = append(ids, t.Shard(i))
		}
	}
	return ids, nil
}

func (s *Server) moveGroup(r *request) (any, error) {
	m, err := body[GroupMove](r)
	if err != nil {
		return nil, err
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	named, err := s.inTopic(&m)
	if err != nil {
		return nil, err
	}
	name := r.PathValue("name")
	if k, group, ok := s.keeper(name); ok {
		return nil, s.movePositions(r.Context(), k, group, &m, named)
	}
	g, err := s.env.Broker.Groups.Get(name)
	if err != nil {
		return nil, err
	}
	if m.To == "latest" && m.Topic == "" && g.Stats().Consumers > 0 { // what is unacknowledged stays with its consumer
		_, err := g.Purge(r.Context())
		return nil, err
	}
	seeker, ok := g.(shard.GroupSeeker)
	if !ok {
		return nil, shard.Errorf(shard.KindInvalid, "the group cannot be moved")
	}
	moved := 0
	err = seeker.Seek(r.Context(), func(ctx context.Context, t *shard.Topic, id shard.ID, b shard.Bounds) (int64, bool, error) {
		offset, ok, err := m.target(ctx, s.env.Broker.Log, t, id, b)
		if ok {
			moved++
		}
		return offset, ok, err
	})
	if err == nil && moved == 0 && m.Topic != "" {
		return nil, shard.Errorf(shard.KindNotFound, "no binding of the group matches topic %q", m.Topic)
	}
	return nil, err
}

// movePositions moves a group of offsets: where it has some, and where the move
// says by name.
func (s *Server) movePositions(ctx context.Context, k gateway.GroupKeeper, group string, m *GroupMove, named []shard.ID) error {
	infos, err := k.(gateway.GroupLister).ListGroups(ctx)
	if err != nil {
		return err
	}
	ids := named
	known := false
	for i := range infos {
		if infos[i].Name != group {
			continue
		}
		known = true
		for _, o := range infos[i].Offsets {
			if m.Topic == "" {
				ids = append(ids, o.Shard)
			}
		}
	}
	if !known && m.Topic == "" {
		return shard.ErrGroupNotFound
	}
	var to []gateway.GroupOffset
	for _, id := range ids {
		t, ok := s.env.Broker.Topics.ByNum(id.Topic)
		if !ok {
			continue
		}
		b, err := s.env.Broker.Log.Bounds(ctx, id)
		if err != nil {
			return err
		}
		offset, ok, err := m.target(ctx, s.env.Broker.Log, t, id, b)
		if err != nil {
			return err
		}
		if ok {
			to = append(to, gateway.GroupOffset{Shard: id, Offset: offset})
		}
	}
	return k.MoveGroup(ctx, group, to)
}

// keeper gives the protocol that keeps a group as offsets, and its name there.
func (s *Server) keeper(name string) (k gateway.GroupKeeper, group string, ok bool) {
	for _, p := range s.env.Protocols {
		if group, ok := strings.CutPrefix(name, p.Name+"/group/"); ok {
			_, lists := p.Server.(gateway.GroupLister)
			if k, ok := p.Server.(gateway.GroupKeeper); ok && lists {
				return k, group, true
			}
		}
	}
	return nil, "", false
}

func (s *Server) deleteGroup(r *request) (any, error) {
	name := r.PathValue("name")
	force, err := r.flag("force")
	if err != nil {
		return nil, err
	}
	ctx := r.Context()
	if k, group, ok := s.keeper(name); ok {
		return nil, k.DeleteGroup(ctx, group)
	}
	for _, p := range s.env.Protocols {
		if e, ok := p.Server.(gateway.GroupEnder); ok && p.Name == protocolOfGroup(name) {
			if err := e.EndGroup(ctx, name, force); shard.KindOf(err) != shard.KindNotFound {
				return nil, err
			}
		}
	}
	g, err := s.env.Broker.Groups.Get(name)
	if err != nil {
		return nil, err
	}
	if n := g.Stats().Consumers; n > 0 && !force {
		return nil, shard.Errorf(shard.KindInvalid, "the group has %d consumers", n)
	}
	return nil, s.env.Broker.Groups.Delete(ctx, name)
}

// flag reads a query parameter that is true or false.
func (r *request) flag(name string) (bool, error) {
	v := r.URL.Query().Get(name)
	if v == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, shard.Errorf(shard.KindInvalid, "%s is %q: it has to be true or false", name, v)
	}
	return b, nil
}

// sessions calls fn for all sessions of all protocols.
func (s *Server) sessions(ctx context.Context, fn func(protocol string, srv gateway.Server, i *gateway.SessionInfo)) error {
	for _, p := range s.env.Protocols {
		l, ok := p.Server.(gateway.SessionLister)
		if !ok {
			continue
		}
		infos, err := l.ListSessions(ctx)
		if err != nil {
			return err
		}
		for i := range infos {
			fn(p.Name, p.Server, &infos[i])
		}
	}
	return nil
}

func (s *Server) getSession(r *request) (any, error) {
	var found *Session
	err := s.sessions(r.Context(), func(protocol string, _ gateway.Server, i *gateway.SessionInfo) {
		if protocol == r.PathValue("protocol") && i.ID == r.PathValue("id") {
			x := s.viewSession(protocol, i, s.pinned())
			found = &x
		}
	})
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, shard.Errorf(shard.KindNotFound, "there is no session %q", r.PathValue("id"))
	}
	return *found, nil
}

func (s *Server) deleteSession(r *request) (any, error) {
	if err := s.knows(r.PathValue("protocol")); err != nil {
		return nil, err
	}
	for _, p := range s.env.Protocols {
		if e, ok := p.Server.(gateway.SessionEnder); ok && p.Name == r.PathValue("protocol") {
			return nil, e.EndSession(r.Context(), r.PathValue("id"))
		}
	}
	return nil, shard.Errorf(shard.KindInvalid, "%s has no sessions", r.PathValue("protocol"))
}
