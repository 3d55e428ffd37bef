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
		if !c.maySubscribe(who, s.subject) {
			c.drop(s)
			c.live.Remove(s.id)
			c.permission("Subscription to", s.subject, s.queue)
		}
	}
}

func (c *conn) maySubscribe(who *gateway.Principal, subject string) bool {
	return c.s.env.Auth.Allowed(*who, c.nc.RemoteAddr(), shard.OpSubscribe, gateway.ResourceSubject, subject)
}
