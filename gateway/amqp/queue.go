package amqp

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// Class queue (AMQP 1.7).

func (ch *channel) queueMethod(m frame.Method) error {
	switch m := m.(type) {
	case *frame.QueueDeclare:
		return ch.declareQueue(m)
	case *frame.QueueBind:
		if err := ch.bindQueue(m); err != nil || m.NoWait {
			return err
		}
		ch.send(&frame.QueueBindOk{})
		return nil
	case *frame.QueueUnbind:
		if err := ch.unbindQueue(m); err != nil {
			return err
		}
		ch.send(&frame.QueueUnbindOk{})
		return nil
	case *frame.QueuePurge:
		q, err := ch.queueNamed(m.Queue)
		if err != nil {
			return err
		}
		if err := ch.c.may(shard.OpSubscribe, gateway.ResourceSubject, ch.c.vh.subjectOfQueue(q.name), "queue '"+q.name+"'"); err != nil {
			return err
		}
		if q.limits.Load().kind == "stream" { // of which nothing is taken away
			return refuse(codeNotImplemented, "queue.purge not supported by stream queues queue '%s' in vhost '%s'", q.name, ch.c.vh.name)
		}
		n, err := q.group.Purge(ch.c.ctx)
		if err != nil || m.NoWait {
			return err
		}
		ch.send(&frame.QueuePurgeOk{MessageCount: clamp(n)})
		return nil
	case *frame.QueueDelete:
		// As RabbitMQ: the channel's own consumers of it hear after the answer.
		ch.holdCancels()
		defer ch.sendCancels()
		n, err := ch.deleteQueue(m)
		if err != nil || m.NoWait {
			return err
		}
		ch.send(&frame.QueueDeleteOk{MessageCount: clamp(n)})
		return nil
	}
	return refuse(codeCommandInvalid, "%s is the server's to send", m.ID())
}

func clamp(n int64) uint32 { return uint32(min(max(n, 0), 1<<32-1)) }

// queueNamed gives a declared (or implicit) queue that the connection may use;
// "" is the channel's last declared one.
func (ch *channel) queueNamed(name string) (*queue, error) {
	if name == "" {
		if name = ch.lastQueue; name == "" {
			return nil, refuse(codeNotFound, "no previously declared queue")
		}
	}
	q, err := ch.c.vh.find(ch.c.ctx, name)
	if err != nil {
		return nil, err
	}
	if q == nil {
		return nil, ch.c.vh.noQueue(name)
	}
	return q, ch.c.vh.usable(ch.c, q)
}

// usable refuses exclusive queues of other connections.
func (vh *vhost) usable(c *conn, q *queue) error {
	vh.mu.RLock()
	locked := q.exclusive && q.owner != c
	vh.mu.RUnlock()
	if locked {
		return refuse(codeResourceLocked, "cannot obtain exclusive access to locked queue '%s' in vhost '%s'. It could be originally declared on another connection or the exclusive property value does not match that of the original declaration.", q.name, vh.name)
	}
	return nil
}

func (vh *vhost) isImplicit(q *queue) bool {
	vh.mu.RLock()
	defer vh.mu.RUnlock()
	return q.implicit
}

// find looks a queue up, and drops it when its group expired.
func (vh *vhost) find(ctx context.Context, name string) (*queue, error) {
	q := vh.queue(name)
	if q == nil || q.limits.Load().expires == 0 {
		return q, nil
	}
	if _, err := vh.s.env.Broker.Groups.Get(vh.groupName(name)); err == nil || shard.KindOf(err) != shard.KindNotFound {
		return q, err
	}
	_, err := vh.deleteQueue(ctx, q, nil)
	return nil, err
}

func (ch *channel) declareQueue(m *frame.QueueDeclare) error {
	name := m.Queue
	var q *queue
	var err error
	switch {
	case m.Passive && strings.HasPrefix(name, replyQueue):
		return ch.declareReply(m)
	case m.Passive:
		if q, err = ch.queueNamed(name); err == nil && ch.c.vh.isImplicit(q) {
			err = ch.c.vh.noQueue(q.name)
		}
		if err == nil {
			err = ch.touch(q)
		}
	default:
		if name == "" {
			if name, err = serverName(); err != nil {
				return err
			}
		} else if strings.HasPrefix(name, "amq.") && ch.c.vh.queue(name) == nil {
			return refuse(codeAccessRefused, "queue name '%s' contains reserved prefix 'amq.*'", name)
		}
		q, err = ch.makeQueue(name, m)
	}
	if err != nil {
		return err
	}
	ch.lastQueue = q.name
	if m.NoWait {
		return nil
	}
	ch.c.vh.mu.RLock()
	consumers := q.consumers
	ch.c.vh.mu.RUnlock()
	ch.send(&frame.QueueDeclareOk{Queue: q.name, MessageCount: clamp(q.group.Stats().Ready), ConsumerCount: uint32(consumers)})
	return nil
}

// serverName makes up a name for a queue.
func serverName() (string, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return "", shard.Errorf(shard.KindInternal, "read random name: %w", err)
	}
	return "amq.gen-" + base64.RawURLEncoding.EncodeToString(b), nil
}

func (ch *channel) bindQueue(m *frame.QueueBind) error {
	c, vh := ch.c, ch.c.vh
	q, key, err := ch.bindingEnds(m.Queue, m.Exchange, m.RoutingKey)
	if err != nil {
		return err
	}
	vh.topo.RLock()
	defer vh.topo.RUnlock()
	x := vh.exchange(m.Exchange)
	if x == nil {
		return vh.noExchange(m.Exchange)
	}
	defer vh.busy.lock(q.name)()
	if vh.queue(q.name) != q {
		return vh.noQueue(q.name)
	}
	b := newBinding(m.Exchange, q.name, true, key, m.Arguments)
	b.durable = x.durable && q.durable
	return vh.addBinding(c, x, b)
}

// bindingEnds checks what bind and unbind name (AMQP 1.7.2.3).
func (ch *channel) bindingEnds(queue, exchange, key string) (*queue, string, error) {
	q, err := ch.queueNamed(queue)
	if err != nil {
		return nil, "", err
	}
	if queue == "" && key == "" {
		key = q.name
	}
	if exchange == "" {
		return nil, "", refuse(codeAccessRefused, "operation not permitted on the default exchange")
	}
	return q, key, nil
}

func (ch *channel) unbindQueue(m *frame.QueueUnbind) error {
	c, vh := ch.c, ch.c.vh
	q, key, err := ch.bindingEnds(m.Queue, m.Exchange, m.RoutingKey)
	if isNotFound(err) {
		return nil // RabbitMQ: unbinding from what is not there succeeds
	}
	if err != nil {
		return err
	}
	orphan, err := func() (string, error) {
		vh.topo.RLock()
		defer vh.topo.RUnlock()
		defer vh.busy.lock(q.name)()
		return vh.removeBinding(c, newBinding(m.Exchange, q.name, true, key, m.Arguments))
	}()
	if err != nil {
		return err
	}
	return vh.reap(c.ctx, orphan)
}

func isNotFound(err error) bool {
	var f *fault
	return errors.As(err, &f) && f.code == codeNotFound
}

func (ch *channel) deleteQueue(m *frame.QueueDelete) (int64, error) {
	c, vh := ch.c, ch.c.vh
	q, err := ch.queueNamed(m.Queue)
	if isNotFound(err) && m.Queue != "" {
		return 0, nil // RabbitMQ: deleting what is not there succeeds
	}
	if err != nil {
		return 0, err
	}
	vh.mu.RLock()
	by := q.declarer
	vh.mu.RUnlock()
	if err := c.mayDelete(by, gateway.ResourceGroup, vh.groupName(q.name), vh.named("queue", q.name)); err != nil {
		return 0, err
	}
	return vh.deleteQueue(c.ctx, q, func() error {
		vh.mu.RLock()
		consumers := q.consumers
		vh.mu.RUnlock()
		if m.IfUnused && consumers > 0 {
			return refuse(codePreconditionFailed, "queue '%s' in vhost '%s' in use", q.name, vh.name)
		}
		if m.IfEmpty && q.group.Stats().Ready > 0 { // as RabbitMQ: what is unacknowledged goes with the queue
			return refuse(codePreconditionFailed, "queue '%s' in vhost '%s' is not empty", q.name, vh.name)
		}
		return nil
	})
}
