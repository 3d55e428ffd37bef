package nats

import (
	"context"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

// watchRules ends, whenever the access rules change, the subscriptions that are
// not allowed any more, as nats-server does when its configuration is read anew.
// Deliveries ask nothing.
func (s *Server) watchRules(ctx context.Context) {
	for {
		changed := s.env.Auth.RulesChanged()
		s.rules.Add(1)
		for _, c := range s.list() {
			c.withdraw()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// withdraw ends the connection's subscriptions that are not allowed any more.
func (c *conn) withdraw() {
	who := c.who.Load()
	if who == nil {
		return
	}
	c.out.mu.Lock()
	subs := make([]*subscription, 0, len(c.subs.byID))
	for _, s := range c.subs.byID {
		subs = append(subs, s)
	}
	c.out.mu.Unlock()
	for _, s := range subs {
		if !c.maySubscribe(who, s) {
			c.drop(s)
			c.live.Remove(s.id)
			c.permission("Subscription to", s.subject, s.queue)
		}
	}
}

// maySubscribe asks whether the client may have a subscription, and notes whether
// each message is to be asked about (nats-server: a deny within an allow). One of a
// queue group has to be allowed whole: what a member may not see is not to be lost
// to the others.
func (c *conn) maySubscribe(who *gateway.Principal, s *subscription) bool {
	how := c.s.env.Auth.Coverage(*who, c.nc.RemoteAddr(), shard.OpSubscribe, gateway.ResourceSubject, s.subject)
	s.part.Store(how == gateway.CoversPart)
	return how == gateway.CoversAll || how == gateway.CoversPart && s.queue == ""
}

// visible gives the messages that the client may see. out.mu is locked.
func (c *conn) visible(ms []shard.Message) []shard.Message {
	who := c.who.Load()
	if who == nil {
		return nil
	}
	kept := make([]shard.Message, 0, len(ms))
	for i := range ms {
		if c.s.env.Auth.MaySee(*who, c.nc.RemoteAddr(), ms[i].Subject) {
			kept = append(kept, ms[i])
		}
	}
	return kept
}
