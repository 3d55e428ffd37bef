package amqp

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// The life of queues.

// makeQueue declares a queue, or checks that the declaration fits the one that
// is there.
func (ch *channel) makeQueue(name string, m *frame.QueueDeclare) (*queue, error) {
	c, vh := ch.c, ch.c.vh
	limits, err := limitsOf(m.Arguments)
	if err != nil {
		var f *fault
		if errors.As(err, &f) {
			return nil, f.in(name, vh.name)
		}
		return nil, err
	}
	if err := limits.allow(m, name, vh.name); err != nil {
		return nil, err
	}
	if _, err := vh.find(c.ctx, name); err != nil { // one that expired goes with its bindings
		return nil, err
	}
	vh.topo.RLock()
	defer vh.topo.RUnlock()
	defer vh.busy.lock(name)()
	if q := vh.queue(name); q != nil && !q.gone(vh) {
		if vh.isImplicit(q) {
			if f := limits.unheld(m.Arguments); f != nil {
				return nil, f.in(name, vh.name)
			}
			if err := vh.mayDeclare(c, name, &limits); err != nil {
				return nil, err
			}
			return q, vh.adopt(c, q, m, limits)
		}
		if err := vh.sameQueue(c, q, m); err != nil {
			return nil, err
		}
		return q, ch.touch(q)
	}
	subject := vh.subjectOfQueue(name)
	if err := vh.checkSubject(subject); err != nil {
		return nil, err
	}
	if f := limits.unheld(m.Arguments); f != nil {
		return nil, f.in(name, vh.name)
	}
	if shard.Relayed(subject) {
		return nil, refuse(codePreconditionFailed, "messages for queue name '%s' are relayed and never stored", name)
	}
	if err := vh.mayDeclare(c, name, &limits); err != nil {
		return nil, err
	}
	q := &queue{
		name: name, durable: m.Durable && !m.Exclusive, exclusive: m.Exclusive, autoDelete: m.AutoDelete,
		args: m.Arguments, in: make(map[string]*binding), declarer: c.declarer(),
	}
	q.limits.Store(&limits)
	if q.exclusive {
		q.owner = c
	}
	return q, vh.enter(c.ctx, q, shard.StartNew)
}

// touch begins the time of x-expires anew: a declare is a use of the queue.
func (ch *channel) touch(q *queue) error {
	if q.limits.Load().expires == 0 {
		return nil
	}
	sc, err := q.group.Attach(shard.ConsumerConfig{Pull: true}, &consumer{ch: ch, cancelled: true})
	if err != nil {
		return err
	}
	sc.Close()
	return nil
}

// gone tells whether the queue's group expired.
func (q *queue) gone(vh *vhost) bool {
	if q.limits.Load().expires == 0 {
		return false
	}
	_, err := vh.s.env.Broker.Groups.Get(vh.groupName(q.name))
	return shard.KindOf(err) == shard.KindNotFound && err != nil
}

// expired takes away what is left of a queue whose group expired: it is bound to
// nothing any more.
func (vh *vhost) expired(q *queue) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // no connection's business
	defer cancel()
	if _, err := vh.deleteQueue(ctx, q, nil); err != nil {
		vh.s.log.Warn("queue that expired not deleted", "queue", q.name, "error", err)
	}
}

// full refuses a queue over the vhost's bound.
func (vh *vhost) full(queue string) error {
	vh.mu.RLock()
	defer vh.mu.RUnlock()
	if limit := vh.s.cfg.MaxQueues; len(vh.mu.queues) >= limit {
		return refuse(codePreconditionFailed, "cannot declare queue '%s': queue limit in vhost '%s' (%d) is reached", queue, vh.name, limit)
	}
	return nil
}

// createGroup makes the group of a new queue, bound to the subject of its name.
func (vh *vhost) createGroup(ctx context.Context, q *queue, start shard.Start) error {
	groups := vh.s.env.Broker.Groups
	name := vh.groupName(q.name)
	if _, err := groups.Get(name); err == nil {
		// Left behind by a crash in the middle of a delete.
		if err := groups.Delete(ctx, name); err != nil && shard.KindOf(err) != shard.KindNotFound {
			return err
		}
	}
	g, err := groups.Create(ctx, shard.GroupConfig{
		Name: name, Durable: q.durable, MaxDeliver: q.limits.Load().maxDeliver, ExpireAfter: q.limits.Load().expires,
	})
	if err != nil {
		return err
	}
	err = g.Bindings().Add(ctx, shard.Binding{
		ID: bindingDefault, Filter: shard.LiteralFilter(vh.subjectOfQueue(q.name)), Start: start,
	})
	if err != nil {
		return err
	}
	q.group = g
	vh.limit(q)
	return nil
}

// enter makes a new queue: stored where it is durable, with its group, and known.
func (vh *vhost) enter(ctx context.Context, q *queue, start shard.Start) error {
	if err := vh.full(q.name); err != nil {
		return err
	}
	if q.durable {
		err := vh.remember(ctx, keyQueue+q.name, q.stored())
		if err != nil {
			return err
		}
	}
	if err := vh.createGroup(ctx, q, start); err != nil {
		if q.durable {
			if undo := vh.forget(ctx, keyQueue+q.name); undo != nil {
				vh.s.log.Warn("queue not undone", "queue", q.name, "error", undo)
			}
		}
		return err
	}
	vh.mu.Lock()
	vh.mu.queues[q.name] = q
	if q.owner != nil {
		q.owner.exclusive[q.name] = q
	}
	vh.mu.Unlock()
	return vh.comeBack(ctx, q.name)
}

// adopt makes a queue that was consumed without a declare a declared one. Its
// messages stay; its group stays durable whatever the declare says.
func (vh *vhost) adopt(c *conn, q *queue, m *frame.QueueDeclare, limits queueLimits) error {
	vh.mu.Lock()
	if m.Exclusive && q.consumers > 0 {
		vh.mu.Unlock()
		return refuse(codeResourceLocked, "cannot obtain exclusive access to queue '%s' in vhost '%s': it has consumers", q.name, vh.name)
	}
	q.implicit, q.durable, q.exclusive, q.autoDelete = false, m.Durable && !m.Exclusive, m.Exclusive, m.AutoDelete
	q.args, q.declarer = m.Arguments, c.declarer()
	q.limits.Store(&limits)
	if q.exclusive {
		q.owner = c
		c.exclusive[q.name] = q
	}
	vh.mu.Unlock()
	vh.limit(q)
	if err := q.group.SetData(c.ctx, nil, limits.expires); err != nil {
		return err
	}
	if !q.durable {
		return vh.forget(c.ctx, keyQueue+q.name)
	}
	return vh.remember(c.ctx, keyQueue+q.name, q.stored())
}

// implicitQueue gives the queue of a name that was never declared: a durable
// group over the subject of that name, from the oldest retained message on.
func (ch *channel) implicitQueue(name string) (*queue, error) {
	c, vh := ch.c, ch.c.vh
	if strings.HasPrefix(name, "amq.") || len(name) == 0 {
		return nil, vh.noQueue(name)
	}
	subject := vh.subjectOfQueue(name)
	if err := vh.within(subject); err != nil {
		return nil, err
	}
	if shard.CheckSubject(subject) != nil || shard.Relayed(subject) {
		return nil, vh.noQueue(name)
	}
	after := vh.deletedAt(name)
	if after != nil {
		if came, err := vh.came(c.ctx, name, after); err != nil || !came {
			return nil, cmp.Or(err, vh.noQueue(name))
		}
	}
	if _, err := c.s.env.Broker.Topics.Resolve(c.ctx, subject, true); err != nil {
		if shard.KindOf(err) == shard.KindNotFound {
			return nil, vh.noQueue(name)
		}
		return nil, err
	}
	vh.topo.RLock()
	defer vh.topo.RUnlock()
	defer vh.busy.lock(name)()
	if q := vh.queue(name); q != nil {
		return q, vh.usable(c, q)
	}
	q := &queue{name: name, durable: true, implicit: true, in: make(map[string]*binding), after: after}
	q.limits.Store(&queueLimits{kind: "classic"})
	return q, vh.enter(c.ctx, q, shard.StartEarliest)
}

// sameQueue refuses a declare that differs from what is there.
func (vh *vhost) sameQueue(c *conn, q *queue, m *frame.QueueDeclare) error {
	vh.mu.RLock()
	defer vh.mu.RUnlock()
	if q.exclusive != m.Exclusive || q.exclusive && q.owner != c {
		return refuse(codeResourceLocked, "cannot obtain exclusive access to locked queue '%s' in vhost '%s'. It could be originally declared on another connection or the exclusive property value does not match that of the original declaration.", q.name, vh.name)
	}
	differs := func(arg, got, is string) error {
		return refuse(codePreconditionFailed, "inequivalent arg '%s' for queue '%s' in vhost '%s': received '%s' but current is '%s'", arg, q.name, vh.name, got, is)
	}
	switch {
	case q.durable != m.Durable && !q.exclusive:
		return differs("durable", boolText(m.Durable), boolText(q.durable))
	case q.autoDelete != m.AutoDelete:
		return differs("auto_delete", boolText(m.AutoDelete), boolText(q.autoDelete))
	}
	for _, name := range queueArgs {
		g, i := argText(m.Arguments, name), argText(q.args, name)
		_, asked := m.Arguments.Get(name)
		_, has := q.args.Get(name)
		if g != i || g == "" && asked != has { // the default exchange is named by ""
			return differs(name, orNone(g), orNone(i))
		}
	}
	return nil
}

// argText gives an argument as text, "" where it is not there. A queue without a type
// is a classic one.
func argText(args frame.Table, name string) string {
	v, _ := args.Get(name)
	s, _ := v.Text()
	if s == "" && name == "x-queue-type" {
		return "classic"
	}
	return s
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// reap deletes auto-delete exchanges that lost their last binding.
func (vh *vhost) reap(ctx context.Context, orphans ...string) error {
	for _, name := range orphans {
		if name == "" {
			continue
		}
		vh.topo.Lock()
		x := vh.exchange(name)
		var err error
		if x != nil && x.autoDelete && len(x.out) == 0 {
			err = vh.dropExchange(ctx, x)
		}
		vh.topo.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// deleteQueue deletes a queue unless check says no, and tells how many messages
// it held.
func (vh *vhost) deleteQueue(ctx context.Context, q *queue, check func() error) (int64, error) {
	n, orphans, err := vh.dropQueue(ctx, q, check)
	if err != nil {
		return 0, err
	}
	return n, vh.reap(ctx, orphans...)
}

func (vh *vhost) dropQueue(ctx context.Context, q *queue, check func() error) (n int64, orphans []string, err error) {
	vh.topo.RLock()
	defer vh.topo.RUnlock()
	defer vh.busy.lock(q.name)()
	if vh.queue(q.name) != q {
		return 0, nil, nil // somebody else was faster
	}
	if check != nil {
		if err := check(); err != nil {
			return 0, nil, err
		}
	}
	n = q.group.Stats().Ready
	ops, err := vh.noteDeleted(ctx, q)
	if err != nil {
		return 0, nil, err
	}
	var keys []string
	vh.mu.Lock()
	if q.durable {
		keys = append(keys, keyQueue+q.name)
	}
	for _, b := range q.in {
		if b.durable {
			keys = append(keys, keyBinding+b.id)
		}
		if vh.unlink(b) {
			orphans = append(orphans, b.source)
		}
	}
	q.deleted = true
	groups := slices.Collect(maps.Keys(q.streams))
	delete(vh.mu.queues, q.name)
	if q.owner != nil {
		delete(q.owner.exclusive, q.name)
	}
	vh.mu.Unlock()
	if err := vh.forgetAnd(ctx, ops, keys...); err != nil {
		return 0, nil, err
	}
	for _, name := range append(groups, vh.groupName(q.name)) { // whose consumers hear of it
		if err := vh.s.env.Broker.Groups.Delete(ctx, name); err != nil && shard.KindOf(err) != shard.KindNotFound {
			return 0, nil, err
		}
	}
	vh.retireSubject(ctx, q)
	return n, orphans, nil
}

// retireSubject takes the topic of a server-named queue away with it: nobody
// else knows its name.
func (vh *vhost) retireSubject(ctx context.Context, q *queue) {
	if !strings.HasPrefix(q.name, "amq.gen-") {
		return
	}
	topics := vh.s.env.Broker.Topics
	if t, ok := topics.ByName(vh.subjectOfQueue(q.name)); ok && t.Auto {
		if err := topics.Delete(ctx, t.Name); err != nil {
			vh.s.log.Warn("topic of a server-named queue not deleted", "topic", t.Name, "error", err)
		}
	}
}

// consumerGone counts a consumer off, which may end an auto-delete queue.
func (vh *vhost) consumerGone(c *conn, q *queue) {
	vh.s.env.Stats.Subscriptions.Add(-1)
	vh.mu.Lock()
	q.consumers--
	last := q.autoDelete && q.consumers == 0 && !q.deleted
	vh.mu.Unlock()
	if !last {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), 10*time.Second)
	defer cancel()
	_, err := vh.deleteQueue(ctx, q, func() error {
		vh.mu.RLock()
		defer vh.mu.RUnlock()
		if q.consumers > 0 {
			return refuse(codePreconditionFailed, "in use")
		}
		return nil
	})
	if f := (*fault)(nil); err != nil && !errors.As(err, &f) {
		vh.s.log.Warn("auto-delete queue not deleted", "queue", q.name, "error", err)
	}
}
