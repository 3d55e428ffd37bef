package mqtt

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

var _ gateway.SessionLister = (*Server)(nil)

// ListSessions implements gateway.SessionLister: the sessions that outlive their
// connection.
func (s *Server) ListSessions(ctx context.Context) ([]gateway.SessionInfo, error) {
	st := s.broker.State
	owners, err := st.Owners(ctx, sessionPrefix)
	if err != nil {
		return nil, err
	}
	out := make([]gateway.SessionInfo, 0, len(owners))
	for _, o := range owners {
		v, ok, err := st.Get(ctx, o, keyMeta)
		if err != nil {
			return nil, err
		}
		var m meta
		if !ok || json.Unmarshal(v.Data, &m) != nil {
			continue
		}
		info := gateway.SessionInfo{ID: strings.TrimPrefix(o, sessionPrefix), Connected: m.Left == 0, Group: o}
		if m.Left > 0 {
			info.Left = time.UnixMilli(m.Left)
			if m.Expiry != noExpiry {
				info.Expires = info.Left.Add(time.Duration(m.Expiry) * time.Second)
			}
		}
		err = st.Range(ctx, o, keySub, func(string, shard.StateValue) bool {
			info.Subscriptions++
			return true
		})
		if err != nil {
			return nil, err
		}
		out = append(out, info)
	}
	return out, nil
}
