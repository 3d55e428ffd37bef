package nats

import (
	"errors"
	"strings"
	"sync/atomic"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

var errInvalidSubject = errors.New("Invalid Subject")

// subscription is one SUB.
type subscription struct {
	id        shard.SubID
	sid       string
	delivered atomic.Int64
	max       atomic.Int64 // 0: no bound
}

// sub executes SUB subject [queue] sid.
func (c *conn) sub(args []byte) error {
	var f [3][]byte
	n := split(f[:], args)
	if n < 2 || n > 3 {
		return errParser
	}
	subject, sid, queue := string(f[0]), string(f[n-1]), ""
	if n == 3 {
		queue = string(f[1])
	}
	filter, err := shard.ParseSubjectFilter(subject)
	if err != nil {
		c.softError("Invalid Subject")
		return nil
	}
	if !c.s.env.Auth.Allowed(c.principal, c.nc.RemoteAddr(), shard.OpSubscribe, gateway.ResourceSubject, subject) {
		c.permission("Subscription to", subject)
		return nil
	}
	c.subs.Lock()
	if c.subs.bySID[sid] != nil { // nats-server keeps the first and says nothing
		c.subs.Unlock()
		c.ok()
		return nil
	}
	if len(c.subs.bySID) >= c.s.env.Limits.MaxSubscriptions {
		c.subs.Unlock()
		return errMaxSubscriptions
	}
	c.subs.next++
	s := &subscription{id: c.subs.next, sid: sid}
	c.subs.bySID[sid], c.subs.byID[s.id] = s, s
	c.subs.Unlock()
	opts := shard.LiveOptions{Queue: queue}
	if c.opts.Echo != nil && !*c.opts.Echo {
		opts.NotFrom = c.nc.Origin
	}
	if err := c.live.Add(s.id, filter, opts); err != nil {
		c.drop(s)
		c.softError("Invalid Subject")
		return nil
	}
	c.s.env.Stats.Subscriptions.Add(1)
	c.ok()
	return nil
}

// unsub executes UNSUB sid [max].
func (c *conn) unsub(args []byte) error {
	var f [2][]byte
	n := split(f[:], args)
	if n < 1 || n > 2 {
		return errParser
	}
	most := 0
	if n == 2 {
		var err error
		if most, err = number(f[1]); err != nil {
			return err
		}
	}
	c.subs.Lock()
	s := c.subs.bySID[string(f[0])]
	c.subs.Unlock()
	if s != nil {
		s.max.Store(int64(most))
		if most == 0 || s.delivered.Load() >= int64(most) {
			c.live.Remove(s.id)
			c.drop(s)
			c.s.env.Stats.Subscriptions.Add(-1)
		}
	}
	c.ok()
	return nil
}

func (c *conn) drop(s *subscription) {
	c.subs.Lock()
	defer c.subs.Unlock()
	if c.subs.bySID[s.sid] == s {
		delete(c.subs.bySID, s.sid)
		delete(c.subs.byID, s.id)
	}
}

// badSubject tells whether a subject to publish to is malformed: empty tokens,
// or wildcards (those only where the client is pedantic, as nats-server).
func badSubject(s string, pedantic bool) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") || shard.CheckSubject(s) != nil {
		return true
	}
	if !pedantic {
		return false
	}
	for t := range strings.SplitSeq(s, ".") {
		if t == "*" || t == ">" {
			return true
		}
	}
	return false
}
