package amqp

import (
	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

// Reading by a queue. A message that is in a queue has a subject of its own: who takes
// it needs the right to subscribe to that, however it got there. Of a queue that the
// user declared, messages that a rule denies are left out and taken away; another's
// queue has to be allowed whole, for what is taken away there another would lose.

// is tells whether a connection is the declarer's.
func (d *declarer) is(p gateway.Principal) bool {
	return d != nil && string(d.User) == p.Name && d.Anonymous == p.Anonymous
}

// owns tells whether the connection's user declared a queue.
func (c *conn) owns(q *queue) bool {
	if q == nil {
		return false
	}
	c.vh.mu.RLock()
	defer c.vh.mu.RUnlock()
	return q.owner == c || q.declarer.is(c.who)
}

// mayDelete asks who deletes a queue or exchange. While there is no rule it takes
// its declarer, or a superuser; of what earlier versions stored nobody is known.
func (c *conn) mayDelete(by *declarer, resource, name, what string) error {
	auth := c.s.env.Auth
	if !auth.Ruled() && (by == nil || by.is(c.who)) || auth.Administrator(c.who, c.nc.RemoteAddr()) {
		return nil
	}
	return c.may(shard.OpDelete, resource, name, what)
}

// mayUnbind asks who unbinds what mayBind asks who binds. While there is no rule it
// takes the declarer of the destination, too: what it is bound to is its messages.
func (vh *vhost) mayUnbind(c *conn, x *exchange, b *binding) error {
	vh.mu.RLock()
	var by *declarer
	if q := vh.mu.queues[b.dest]; b.toQueue && q != nil {
		by = q.declarer
	} else if d := vh.mu.exchanges[b.dest]; !b.toQueue && d != nil {
		by = d.declarer
	}
	vh.mu.RUnlock()
	if !c.s.env.Auth.Ruled() && by != nil && !by.is(c.who) && !c.who.Superuser {
		return refuse(codeAccessRefused, "%s of '%s' refused for user '%s', who did not declare it", shard.OpAlter, b.dest, c.who.Name)
	}
	return vh.mayBind(c, x, b)
}

// mayConsume asks who takes messages of a queue; part tells that each is to be asked
// about.
func (c *conn) mayConsume(q *queue) (part bool, err error) {
	vh, auth := c.vh, c.s.env.Auth
	if err := c.may(shard.OpSubscribe, gateway.ResourceSubject, vh.subjectOfQueue(q.name), vh.named("queue", q.name)); err != nil {
		return false, err
	}
	if c.who.Superuser || !auth.Ruled() {
		return false, nil
	}
	own := c.owns(q) || q.limits.Load().kind == "stream" // of which nothing is taken away
	for _, b := range q.group.Bindings().List() {
		if b.ID == bindingDefault || c.maySeeAll(b.Filter) {
			continue
		}
		if part = true; !own {
			return false, refuse(codeAccessRefused, "subscribe to '%s', which %s is bound to, refused for user '%s'", textOf(b.Filter), vh.named("queue", q.name), c.who.Name)
		}
	}
	return part, nil
}

// maySeeAll tells whether nothing that a filter matches is denied. "a.#" matches a, too.
func (c *conn) maySeeAll(f shard.Filter) bool {
	auth, remote := c.s.env.Auth, c.nc.RemoteAddr()
	if auth.Coverage(c.who, remote, shard.OpSubscribe, gateway.ResourceSubject, textOf(f)) != gateway.CoversAll {
		return false
	}
	for i, t := range f.Tokens {
		if t.Kind == shard.TokenMany && i > 0 {
			up := textOf(shard.Filter{Tokens: f.Tokens[:i]})
			return auth.Coverage(c.who, remote, shard.OpSubscribe, gateway.ResourceSubject, up) == gateway.CoversAll
		}
	}
	return true
}

// askAgain asks whether the consumer may take messages, now and whenever rules change.
func (k *consumer) askAgain() error {
	part, err := k.ch.c.mayConsume(k.q)
	k.part.Store(part)
	return err
}

// hides tells whether a message is not for this user.
func (k *consumer) hides(d *shard.Delivery) bool {
	c := k.ch.c
	return k.part.Load() && !c.s.env.Auth.MaySee(c.who, c.nc.RemoteAddr(), d.Subject)
}

// watchRules cancels, whenever the access rules change, the consumers that are not
// allowed any more. It runs while there are connections; publishes ask each time.
func (s *server) watchRules(empty <-chan struct{}) {
	for {
		changed := s.env.Auth.RulesChanged()
		for _, k := range s.consumers() {
			if err := k.askAgain(); err != nil {
				s.log.Info("AMQP consumer is not allowed any more", "user", k.ch.c.who.Name, "queue", k.q.name)
				k.withdraw()
			}
		}
		select {
		case <-changed:
		case <-empty:
			return
		}
	}
}

func (s *server) consumers() (all []*consumer) {
	s.mu.Lock()
	conns := make([]*conn, 0, len(s.mu.conns))
	for c := range s.mu.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.pause.Lock()
		for k := range c.pause.consumers {
			all = append(all, k)
		}
		c.pause.Unlock()
	}
	return all
}

// withdraw cancels a consumer, as the deletion of its queue does; what the client has
// not settled goes back.
func (k *consumer) withdraw() {
	k.Closed(nil)
	k.sc.Close()
	if k.from != nil {
		go k.endStream() // it waits for the store
	}
}
