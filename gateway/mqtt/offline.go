package mqtt

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// offline holds the timers of a session without a connection.
type offline struct {
	expire *time.Timer
	will   *time.Timer
	// busy is made while a timer's work goes on, and closed after it.
	busy chan struct{}
}

func (o *offline) stop() {
	if o.expire != nil {
		o.expire.Stop()
	}
	if o.will != nil {
		o.will.Stop()
	}
}

// addOffline starts the timers of a session whose connection ended.
func (s *Server) addOffline(id string, m *meta, w *will) {
	now := s.broker.Time()
	o := &offline{}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.draining {
		return // the next process resumes them
	}
	if m.Expiry != noExpiry {
		at := time.UnixMilli(m.Left).Add(time.Duration(m.Expiry) * time.Second)
		o.expire = time.AfterFunc(at.Sub(now), func() { s.offlineDue(id, o, s.discardSession, true) })
	}
	if w != nil && w.Due > 0 {
		o.will = time.AfterFunc(time.UnixMilli(w.Due).Sub(now), func() { s.offlineDue(id, o, s.willDue, false) })
	}
	s.mu.offline[id] = o
}

// offlineDue does a timer's work, unless a connection took the session.
func (s *Server) offlineDue(id string, o *offline, work func(context.Context, string) error, last bool) {
	s.mu.Lock()
	for s.mu.offline[id] == o && o.busy != nil { // both timers at once
		busy := o.busy
		s.mu.Unlock()
		<-busy
		s.mu.Lock()
	}
	if s.mu.offline[id] != o || s.ctx.Err() != nil {
		s.mu.Unlock()
		return
	}
	o.busy = make(chan struct{})
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(s.ctx, sessionTimeout)
	err := work(ctx, id)
	cancel()
	if err != nil {
		s.env.Log.Warn("end of MQTT session or will delay", "client", id, "error", err)
	}
	s.mu.Lock()
	if last {
		o.stop()
		delete(s.mu.offline, id)
	}
	close(o.busy)
	o.busy = nil
	s.mu.Unlock()
}

// takeOffline stops the timers of a session, after any that is at work.
func (s *Server) takeOffline(id string) {
	for {
		s.mu.Lock()
		o := s.mu.offline[id]
		if o == nil || o.busy == nil {
			if o != nil {
				o.stop()
				delete(s.mu.offline, id)
			}
			s.mu.Unlock()
			return
		}
		busy := o.busy
		s.mu.Unlock()
		<-busy
	}
}

// stopOffline stops all timers; the sessions stay in the state.
func (s *Server) stopOffline() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.mu.offline {
		o.stop()
	}
	clear(s.mu.offline)
}

// resumeOffline starts the timers of all sessions that the last process left. A
// session that was connected then counts as left now.
func (s *Server) resumeOffline(ctx context.Context) error {
	owners, err := s.broker.State.Owners(ctx, sessionPrefix)
	if err != nil {
		return err
	}
	now := s.broker.Time()
	for _, owner := range owners {
		id := strings.TrimPrefix(owner, sessionPrefix)
		v, ok, err := s.broker.State.Get(ctx, owner, keyMeta)
		if err != nil {
			return err
		}
		var m meta
		if !ok || json.Unmarshal(v.Data, &m) != nil {
			s.env.Log.Warn("skip damaged MQTT session", "client", id)
			continue
		}
		w, err := s.loadWill(ctx, owner)
		if err != nil {
			return err
		}
		if m.Left == 0 {
			m.Left = now.UnixMilli()
			if w != nil {
				w.Due = now.Add(time.Duration(min(w.Delay, m.Expiry)) * time.Second).UnixMilli()
			}
		}
		if err := s.boundSession(ctx, owner, &m, now); err != nil {
			return err
		}
		s.addOffline(id, &m, w)
	}
	return s.sweepShares(ctx)
}

// boundSession gives a session that was to live for ever, or for longer than the
// bound allows now, its time from now on: it was promised more when it was left.
func (s *Server) boundSession(ctx context.Context, owner string, m *meta, now time.Time) error {
	bound := s.cfg.boundExpiry(m.Expiry)
	if bound == m.Expiry {
		return nil
	}
	m.Expiry, m.Left = bound, now.UnixMilli()
	return shard.ApplyWait(ctx, s.broker.State, owner, put(keyMeta, m))
}

func (s *Server) loadWill(ctx context.Context, owner string) (*will, error) {
	v, ok, err := s.broker.State.Get(ctx, owner, keyWill)
	if err != nil || !ok {
		return nil, err
	}
	w, err := parseWill(v.Data)
	if err != nil {
		s.env.Log.Warn("skip damaged will", "owner", owner, "error", err)
		return nil, nil
	}
	return w, nil
}

// willDue publishes a will whose delay has passed [MQTT-3.1.2-8].
func (s *Server) willDue(ctx context.Context, id string) error {
	owner := sessionPrefix + id
	w, err := s.loadWill(ctx, owner)
	if err != nil || w == nil {
		return err
	}
	s.publishWill(ctx, id, w)
	return shard.ApplyWait(ctx, s.broker.State, owner, shard.StateOp{Key: keyWill}) // [MQTT-3.1.2-10]
}
