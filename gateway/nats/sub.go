package nats

import (
	"strings"
	"sync/atomic"

	"github.com/robustmq/robustmq-go/shard"
)

// subscription is one SUB. Its counters are guarded by the outbox's mutex.
type subscription struct {
	id        shard.SubID
	sid       string
	queue     string
	filter    shard.Filter
	subject   string
	wild      bool // the first token is a wildcard
	delivered int64
	max       int64       // 0: no bound
	part      atomic.Bool // rules deny some of it: each message is asked about
}

// take gives how many of n messages the subscription still wants.
func (s *subscription) take(n int) int {
	if s.max > 0 {
		n = int(min(int64(n), max(s.max-s.delivered, 0)))
	}
	s.delivered += int64(n)
	return n
}

// over tells whether it got all it wanted.
func (s *subscription) over() bool { return s.max > 0 && s.delivered >= s.max }

// sub executes SUB subject [queue] sid.
func (c *conn) sub(args []byte) error {
	var f [3][]byte
	n := split(f[:], args)
	if n < 2 || n > 3 {
		return errParser
	}
	s := &subscription{subject: string(f[0]), sid: string(f[n-1])}
	if n == 3 {
		s.queue = string(f[1])
	}
	var err error
	if s.filter, err = shard.ParseSubjectFilter(s.subject); err != nil {
		c.softError(softSubject)
		return nil
	}
	s.wild = s.filter.Tokens[0].Kind != shard.TokenLiteral
	rules := c.s.rules.Load()
	if !c.maySubscribe(&c.principal, s) {
		c.permission("Subscription to", s.subject, s.queue)
		return nil
	}
	switch c.put(s) {
	case putKnown: // nats-server keeps the first and says nothing
		c.ok()
		return nil
	case putFull:
		c.softError(softMaxSubs)
		return nil
	}
	opts := shard.LiveOptions{Queue: s.queue}
	if !c.opts.Echo {
		opts.NotFrom = c.nc.Origin
	}
	if err := c.live.Add(s.id, s.filter, opts); err != nil {
		c.drop(s)
		c.softError(softSubject)
		return nil
	}
	if c.s.rules.Load() != rules && !c.maySubscribe(&c.principal, s) { // changed before it was put
		c.drop(s)
		c.live.Remove(s.id)
		c.permission("Subscription to", s.subject, s.queue)
		return nil
	}
	c.ok()
	return nil
}

type putResult uint8

const (
	putNew putResult = iota
	putKnown
	putFull
)

// put registers a subscription before the hub can deliver to it.
func (c *conn) put(s *subscription) putResult {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	switch {
	case c.subs.bySID[s.sid] != nil:
		return putKnown
	case len(c.subs.bySID) >= c.s.env.Limits.MaxSubscriptions:
		return putFull
	}
	c.subs.next++
	s.id = c.subs.next
	c.subs.bySID[s.sid], c.subs.byID[s.id] = s, s
	c.s.env.Stats.Subscriptions.Add(1)
	c.s.inserts.Add(1)
	return putNew
}

// unsub executes UNSUB sid [max].
func (c *conn) unsub(args []byte) error {
	var f [2][]byte
	n := split(f[:], args)
	if n < 1 || n > 2 {
		return errParser
	}
	most := 0
	if n == 2 { // nats-server: what is no number up to 999,999,999 ends it at once
		most, _ = number(f[1])
	}
	c.out.mu.Lock()
	s := c.subs.bySID[string(f[0])]
	ended := false
	if s != nil {
		s.max = int64(most)
		if ended = most == 0 || s.over(); ended {
			c.dropLocked(s)
		}
	}
	c.out.mu.Unlock()
	if ended {
		c.live.Remove(s.id)
	}
	c.ok()
	return nil
}

func (c *conn) drop(s *subscription) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.dropLocked(s)
}

// dropLocked forgets a subscription, once. out.mu is locked.
func (c *conn) dropLocked(s *subscription) {
	if c.subs.byID[s.id] != s {
		return
	}
	delete(c.subs.byID, s.id)
	delete(c.subs.bySID, s.sid)
	c.s.env.Stats.Subscriptions.Add(-1)
	c.s.removes.Add(1)
}

// dropAll forgets all subscriptions of a connection that ended.
func (c *conn) dropAll() {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	for _, s := range c.subs.byID {
		c.dropLocked(s)
	}
}

// validSubject tells whether no token is empty, and whether none is a wildcard.
func validSubject(s string) (valid, literal bool) {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false, false
	}
	if strings.IndexByte(s, '*') < 0 && strings.IndexByte(s, '>') < 0 {
		return true, true
	}
	for t := range strings.SplitSeq(s, ".") {
		if t == "*" || t == ">" {
			return true, false
		}
	}
	return true, true
}
