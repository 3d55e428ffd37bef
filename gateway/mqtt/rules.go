package mqtt

import (
	"context"
	"strings"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

// watchRules ends, whenever the access rules change, the subscriptions that are
// not allowed any more. Deliveries ask nothing.
func (s *Server) watchRules() {
	for {
		changed := s.env.Auth.RulesChanged()
		s.mu.Lock()
		all := make([]*client, 0, len(s.mu.clients))
		for _, c := range s.mu.clients {
			all = append(all, c)
		}
		s.mu.Unlock()
		for _, c := range all {
			if c.anyRestricted() {
				go c.withdraw() // it waits for the store
			}
		}
		select {
		case <-changed:
		case <-s.ctx.Done():
			return
		}
	}
}

// anyRestricted tells whether a subscription is not allowed any more, or in part.
func (c *client) anyRestricted() (any bool) {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	clear(c.session.outlived)
	for _, sb := range c.session.subs {
		any = !c.maySubscribe(sb) || sb.part.Load() || any
	}
	return any
}

// withdraw ends the subscriptions of a connected client that are not allowed any
// more. MQTT has no way to tell it so.
func (c *client) withdraw() {
	ctx, cancel := context.WithTimeout(c.ctx, sessionTimeout)
	defer cancel()
	ss := &c.session
	ss.changing.Lock()
	defer ss.changing.Unlock()
	if !ss.active { // over, or resumed later, which asks
		return
	}
	var subs []*sub
	for _, sb := range ss.subs {
		if !c.maySubscribe(sb) {
			subs = append(subs, sb)
			c.noteWithdrawn(sb)
		}
	}
	c.dropRetained()
	if err := c.endSubs(ctx, subs); err != nil {
		c.srv.env.Log.Warn("withdraw MQTT subscriptions", "client", c.id, "error", err)
		c.finish(nil) // it asks again when it is back
	}
}

func (c *client) noteWithdrawn(sb *sub) {
	c.srv.env.Log.Info("MQTT subscription is not allowed any more", "client", c.id, "user", c.who.Name, "filter", sb.filter)
}

// dropRetained drops retained messages that wait to be sent and are not for this
// client any more.
func (c *client) dropRetained() {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	q := &c.session.local
	kept := q.items[:0:0]
	for _, it := range q.items {
		subject, _ := shard.SubjectOfMQTT(it.item.topic)
		if it.item.id != 0 || c.allowed(shard.OpSubscribe, subject) {
			kept = append(kept, it)
		}
	}
	q.items = kept
}

// askAgain ends the subscriptions of a resumed session that are not allowed any
// more, before anything is delivered. session.changing is held.
func (c *client) askAgain(ctx context.Context) error {
	ss := &c.session
	var ops []shard.StateOp
	var bound []string
	for _, sb := range ss.subs {
		if c.maySubscribe(sb) {
			continue
		}
		c.noteWithdrawn(sb)
		switch {
		case sb.share != "" && !sb.liveOnly():
			c.srv.dropHolder(ctx, strings.TrimPrefix(sb.filter, sharePrefix), c.id)
		case sb.grouped():
			bound = append(bound, sb.filter)
		}
		ops = append(ops, shard.StateOp{Key: keySub + sb.filter})
		ss.mu.Lock()
		delete(ss.subs, sb.filter)
		ss.mu.Unlock()
	}
	if len(bound) > 0 {
		g, err := c.srv.broker.Groups.Get(c.sessionOwner)
		if err == nil {
			err = g.Bindings().Remove(ctx, bound...)
		}
		if err != nil && shard.KindOf(err) != shard.KindNotFound {
			return err
		}
	}
	return c.applyWait(ctx, ops)
}

// maxOutlived bounds the verdicts that outlivedSub remembers.
const maxOutlived = 4096

// outlivedSub gives the subscription that a delivery outlived, as its binding
// tells; nil where it would not be allowed now. session.mu is held.
func (c *client) outlivedSub(b *shard.Binding) *sub {
	ss := &c.session
	sb := subOfBinding(b)
	ok, known := ss.outlived[b.ID]
	if !known {
		ok = c.maySubscribe(sb)
		if ss.outlived == nil || len(ss.outlived) >= maxOutlived {
			ss.outlived = make(map[string]bool)
		}
		ss.outlived[b.ID] = ok
	}
	if !ok {
		return nil
	}
	c.maySubscribe(sb) // says whether it is in part
	return sb
}

// maySubscribe asks whether the client may have a subscription, now and whenever
// rules change, and notes whether it is for each message to be asked about: where
// a rule denies some of what it matches, or where the filter may match a topic that
// the rule which allows it does not name. A shared subscription has to be allowed
// whole: what one of its members may not see is not to be lost to the others.
func (c *client) maySubscribe(sb *sub) bool {
	auth, remote := c.srv.env.Auth, c.nc.RemoteAddr()
	subject := sb.subject()
	how := auth.Coverage(c.who, remote, shard.OpSubscribe, gateway.ResourceSubject, subject)
	if how == gateway.CoversAll {
		// "a/#" matches "a" too, and "+" a level that holds dots.
		if at := strings.IndexAny(subject, "*>"); at >= 0 {
			if auth.Coverage(c.who, remote, shard.OpSubscribe, gateway.ResourceSubject, subject[:at]+">") != gateway.CoversAll ||
				at > 0 && subject[at] == '>' && !auth.MaySee(c.who, remote, subject[:at-1]) {
				how = gateway.CoversPart
			}
		}
		if how == gateway.CoversPart && sb.share != "" {
			sb.part.Store(false) // its rule allows it all
			return true
		}
	}
	sb.part.Store(how == gateway.CoversPart)
	return how == gateway.CoversAll || how == gateway.CoversPart && sb.share == ""
}

// hides tells whether a message is not for this client, of a subscription that is
// taken in part.
func (c *client) hides(subs []*sub, subject string) bool {
	for _, sb := range subs {
		if sb.part.Load() {
			return !c.srv.env.Auth.MaySee(c.who, c.nc.RemoteAddr(), subject)
		}
	}
	return false
}
