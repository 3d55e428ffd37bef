package admin

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

// Group is a consumer group of any protocol, with one notion of lag.
type Group struct {
	Name      string `json:"name" doc:"unique over all protocols: amqp/<vhost>/<queue>, mqtt/session/<client>, kafka/group/<id> ..."`
	Protocol  string `json:"protocol"`
	Kind      string `json:"kind" doc:"cursor: messages are acknowledged one by one; position: an offset per shard"`
	State     string `json:"state,omitempty" doc:"in the protocol's own word"`
	Durable   bool   `json:"durable"`
	Consumers int    `json:"consumers" doc:"attached now"`
	Lag       int64  `json:"lag" doc:"messages the group has yet to finish: ready and unacknowledged, or between position and end"`
	Ready     int64  `json:"ready"`
	Unacked   int64  `json:"unacked" doc:"delivered and not acknowledged"`
	// PinnedBytes are as of the last pass of retention.
	PinnedBytes int64 `json:"pinned_bytes" doc:"stored bytes that retention would free, were it not for the group; as of its last pass"`
	// Redelivered counts since the process started.
	Redelivered int64         `json:"redelivered,omitempty" doc:"since the process started"`
	Bindings    []string      `json:"bindings,omitempty" doc:"filters, when one group is asked for; one that begins with / is an MQTT topic filter"`
	Offsets     []GroupOffset `json:"offsets,omitempty" doc:"positions, when one group is asked for"`
}

// GroupOffset is a group's position in a shard.
type GroupOffset struct {
	Topic     string `json:"topic"`
	Shard     uint32 `json:"shard"`
	Committed int64  `json:"committed" doc:"the next offset to be read"`
	End       int64  `json:"end"`
	Lag       int64  `json:"lag"`
}

// protocolOfGroup takes the first part of a group's name.
func protocolOfGroup(name string) string {
	p, _, _ := strings.Cut(name, "/")
	return p
}

// groups gives all groups by name, with their lag.
func (s *Server) groups(ctx context.Context) ([]Group, error) {
	var out []Group
	if gs := s.env.Broker.Groups; gs != nil {
		pinned := s.pinned()
		for _, g := range gs.List("") {
			c, st := g.Config(), g.Stats()
			out = append(out, Group{Name: c.Name, Protocol: protocolOfGroup(c.Name), Kind: "cursor", Durable: c.Durable,
				Consumers: st.Consumers, Lag: st.Ready + st.Unacked, Ready: st.Ready, Unacked: st.Unacked, Redelivered: st.Redelivered, PinnedBytes: pinned[c.Name]})
		}
	}
	for _, p := range s.env.Protocols {
		l, ok := p.Server.(gateway.GroupLister)
		if !ok {
			continue
		}
		infos, err := l.ListGroups(ctx)
		if err != nil {
			return nil, err
		}
		for i := range infos {
			out = append(out, s.positions(ctx, p.Name, &infos[i]))
		}
	}
	slices.SortFunc(out, func(a, b Group) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// pinned gives, by group, the bytes that it pins.
func (s *Server) pinned() map[string]int64 {
	if s.env.Pinned == nil {
		return nil
	}
	return s.env.Pinned()
}

// positions gives a group of offsets the common form.
func (s *Server) positions(ctx context.Context, protocol string, info *gateway.GroupInfo) Group {
	g := Group{Name: protocol + "/group/" + info.Name, Protocol: protocol, Kind: "position", State: info.State,
		Durable: true, Consumers: info.Members}
	for _, o := range info.Offsets {
		t, ok := s.env.Broker.Topics.ByNum(o.Shard.Topic)
		if !ok {
			continue
		}
		x := GroupOffset{Topic: t.Name, Shard: o.Shard.Index, Committed: o.Offset}
		if b, err := s.env.Broker.Log.Bounds(ctx, o.Shard); err == nil {
			x.End = b.End
			x.Lag = max(b.End-max(o.Offset, b.Start), 0)
		}
		g.Offsets = append(g.Offsets, x)
		g.Lag += x.Lag
	}
	g.Ready = g.Lag
	return g
}

// knows refuses the name of a protocol that there is not: a list of nothing would
// look like an answer.
func (s *Server) knows(protocol string) error {
	names := make([]string, len(s.env.Protocols))
	for i, p := range s.env.Protocols {
		names[i] = p.Name
	}
	if slices.Contains(names, protocol) {
		return nil
	}
	return shard.Errorf(shard.KindInvalid, "unknown protocol %q: there are %s", protocol, strings.Join(names, ", "))
}

func (s *Server) listGroups(r *request) (any, error) {
	all, err := s.groups(r.Context())
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	all = withPrefix(all, q.Get("prefix"), func(g Group) string { return g.Name })
	if p := q.Get("protocol"); p != "" {
		if err := s.knows(p); err != nil {
			return nil, err
		}
		all = slices.DeleteFunc(all, func(g Group) bool { return g.Protocol != p })
	}
	return paginate(r, all, func(g Group) string { return g.Name }, func(g Group) Group {
		g.Offsets = nil
		return g
	})
}

func (s *Server) getGroup(r *request) (any, error) {
	name := r.PathValue("name")
	all, err := s.groups(r.Context())
	if err != nil {
		return nil, err
	}
	i, ok := slices.BinarySearchFunc(all, name, func(g Group, n string) int { return strings.Compare(g.Name, n) })
	if !ok {
		return nil, shard.ErrGroupNotFound
	}
	g := all[i]
	if g.Kind == "cursor" {
		if x, err := s.env.Broker.Groups.Get(name); err == nil {
			for _, b := range x.Bindings().List() {
				g.Bindings = append(g.Bindings, strings.TrimPrefix(b.Filter.String(), "."))
			}
		}
	}
	return g, nil
}

// lagCache keeps the sums over all groups for scrapes, which may come often.
type lagCache struct {
	sync.Mutex
	when time.Time
	sums map[string]lagSum
}

type lagSum struct{ groups, lag, unacked, max, consumers int64 }

const lagMaxAge = 10 * time.Second

// lags sums up groups by protocol.
func (s *Server) lags(ctx context.Context) map[string]lagSum {
	c := &s.lag
	c.Lock()
	defer c.Unlock()
	now := s.env.Now()
	if c.sums != nil && now.Sub(c.when) < lagMaxAge {
		return c.sums
	}
	all, err := s.groups(ctx)
	if err != nil {
		s.log.Warn("group lag cannot be read", "error", err)
		return c.sums
	}
	c.when, c.sums = now, make(map[string]lagSum)
	for i := range all {
		g := &all[i]
		x := c.sums[g.Protocol]
		x.groups++
		x.lag += g.Lag
		x.unacked += g.Unacked
		x.consumers += int64(g.Consumers)
		x.max = max(x.max, g.Lag)
		c.sums[g.Protocol] = x
	}
	return c.sums
}

func withPrefix[T any](all []T, prefix string, key func(T) string) []T {
	if prefix == "" {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(t T) bool { return !strings.HasPrefix(key(t), prefix) })
}
