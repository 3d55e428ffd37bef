package admin

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

// Connection is an open client connection to this gateway.
type Connection struct {
	ID        uint64    `json:"id" doc:"unique while the process lives"`
	Protocol  string    `json:"protocol"`
	ClientID  string    `json:"client_id,omitempty"`
	User      string    `json:"user,omitempty" doc:"empty before the login"`
	Remote    string    `json:"remote"`
	TLS       bool      `json:"tls,omitempty"`
	WebSocket bool      `json:"websocket,omitempty"`
	Since     time.Time `json:"since"`
}

func viewConn(c *gateway.Conn) Connection {
	i := c.Info()
	return Connection{ID: uint64(c.Origin), Protocol: i.Protocol, ClientID: i.ClientID, User: i.User, Remote: i.Remote,
		TLS: c.TLS != nil, WebSocket: c.WebSocket, Since: i.Since.UTC()}
}

// connections gives all open connections, by ID.
func (s *Server) connections() []*gateway.Conn {
	var all []*gateway.Conn
	for _, p := range s.env.Protocols {
		for _, l := range p.Listeners {
			all = append(all, l.Conns()...)
		}
	}
	slices.SortFunc(all, func(a, b *gateway.Conn) int { return cmp.Compare(a.Origin, b.Origin) })
	return all
}

func (s *Server) listConnections(r *request) (any, error) {
	q := r.URL.Query()
	if q.Has("protocol") {
		if err := s.knows(q.Get("protocol")); err != nil {
			return nil, err
		}
	}
	all := slices.DeleteFunc(s.connections(), func(c *gateway.Conn) bool {
		i := c.Info()
		differs := func(name, have string) bool { return q.Has(name) && q.Get(name) != have }
		return differs("protocol", i.Protocol) || differs("user", i.User) || differs("client_id", i.ClientID)
	})
	return paginate(r, all, func(c *gateway.Conn) string { return pad(int64(c.Origin)) }, viewConn)
}

func (s *Server) closeConnection(r *request) (any, error) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil {
		return nil, shard.Errorf(shard.KindInvalid, "connection id %q is no number", r.PathValue("id"))
	}
	for _, c := range s.connections() {
		if uint64(c.Origin) == id {
			_ = c.Close()
			return nil, nil
		}
	}
	return nil, shard.Errorf(shard.KindNotFound, "no connection %d on this gateway", id)
}

// Session is a client's session that outlives its connections.
type Session struct {
	ID            string     `json:"id"`
	Protocol      string     `json:"protocol"`
	Connected     bool       `json:"connected"`
	Left          *time.Time `json:"left,omitempty" doc:"when its connection ended"`
	Expires       *time.Time `json:"expires,omitempty" doc:"when it ends unless the client comes back"`
	Subscriptions int        `json:"subscriptions"`
	Ready         int64      `json:"ready" doc:"messages that wait for the client"`
	Unacked       int64      `json:"unacked" doc:"delivered and not acknowledged"`
	PinnedBytes   int64      `json:"pinned_bytes" doc:"stored bytes that retention would free, were it not for the session; as of its last pass"`
}

// viewSession gives a session the common form, with what its group holds.
func (s *Server) viewSession(protocol string, i *gateway.SessionInfo, pinned map[string]int64) Session {
	utc := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		t = t.UTC()
		return &t
	}
	x := Session{ID: i.ID, Protocol: protocol, Connected: i.Connected, Left: utc(i.Left), Expires: utc(i.Expires), Subscriptions: i.Subscriptions}
	if i.Group != "" && s.env.Broker.Groups != nil {
		if g, err := s.env.Broker.Groups.Get(i.Group); err == nil {
			st := g.Stats()
			x.Ready, x.Unacked, x.PinnedBytes = st.Ready, st.Unacked, pinned[i.Group]
		}
	}
	return x
}

func (s *Server) listSessions(r *request) (any, error) {
	var all []Session
	pinned := s.pinned()
	err := s.sessions(r.Context(), func(protocol string, _ gateway.Server, i *gateway.SessionInfo) {
		all = append(all, s.viewSession(protocol, i, pinned))
	})
	if err != nil {
		return nil, err
	}
	key := func(x Session) string { return x.Protocol + "/" + x.ID }
	slices.SortFunc(all, func(a, b Session) int { return cmp.Compare(key(a), key(b)) })
	return paginate(r, all, key, same)
}
