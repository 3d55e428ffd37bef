package amqp

import (
	"slices"
	"strconv"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// Class basic (AMQP 1.8), without publish.

func (ch *channel) basicMethod(m frame.Method) error {
	switch m := m.(type) {
	case *frame.BasicQos:
		return ch.qos(m)
	case *frame.BasicConsume:
		return ch.consume(m)
	case *frame.BasicCancel:
		return ch.cancel(m)
	case *frame.BasicCancelOk:
		return nil
	case *frame.BasicGet:
		ch.c.settleAppends()
		return ch.get(m)
	case *frame.BasicRecover:
		if err := ch.recover(m.Requeue); err != nil {
			return err
		}
		ch.send(&frame.BasicRecoverOk{})
		return nil
	case *frame.BasicRecoverAsync:
		return ch.recover(m.Requeue)
	}
	return refuse(codeCommandInvalid, "%s is the server's to send", m.ID())
}

// qos sets the prefetch: for each new consumer, or with global for the channel
// as a whole (RabbitMQ's reading of the flag).
func (ch *channel) qos(m *frame.BasicQos) error {
	if m.PrefetchSize != 0 {
		return refuse(codeNotImplemented, "prefetch_size!=0 (%d)", m.PrefetchSize)
	}
	if m.Global {
		ch.window.SetLimit(int(m.PrefetchCount))
	} else {
		ch.prefetch = int(m.PrefetchCount)
	}
	ch.send(&frame.BasicQosOk{})
	return nil
}

func (ch *channel) consume(m *frame.BasicConsume) error {
	c := ch.c
	tag := m.ConsumerTag
	if tag == "" {
		ch.tagSeq++
		tag = "amq.ctag-" + strconv.FormatUint(uint64(c.nc.Origin), 36) + "." + strconv.Itoa(int(ch.id)) + "." + strconv.Itoa(ch.tagSeq)
	}
	ch.sweep()
	if ch.consumers[tag] != nil {
		return refuse(codeNotAllowed, "attempt to reuse consumer tag '%s'", tag)
	}
	if m.Queue == replyQueue {
		return ch.consumeReplies(m, tag)
	}
	if c.reply != nil && c.reply.tagged(ch, tag) {
		return refuse(codeNotAllowed, "attempt to reuse consumer tag '%s'", tag)
	}
	if err := c.mayRead(); err != nil {
		return err
	}
	q, err := ch.queueToRead(m.Queue)
	if err != nil {
		return err
	}
	k := &consumer{ch: ch, q: q, group: q.group, tag: tag, noAck: m.NoAck}
	if err := k.askAgain(); err != nil {
		return err
	}
	if err := ch.attach(k, m); err != nil {
		return err
	}
	if k.askAgain() != nil { // rules changed before watchRules saw it
		defer k.withdraw()
	}
	if m.NoWait {
		k.start(nil)
		return nil
	}
	k.start(&frame.BasicConsumeOk{ConsumerTag: tag})
	return nil
}

// mayRead bounds the consumers of a connection.
func (c *conn) mayRead() error {
	if c.readers >= c.s.env.Limits.MaxSubscriptions {
		return refuse(codeNotAllowed, "connection has %d consumers", c.readers)
	}
	return nil
}

// queueToRead finds the queue of a consume or get; one that was never declared
// is the subject of its name.
func (ch *channel) queueToRead(name string) (*queue, error) {
	q, err := ch.queueNamed(name)
	if isNotFound(err) && name != "" {
		if err := ch.c.may(shard.OpSubscribe, gateway.ResourceSubject, ch.c.vh.subjectOfQueue(name), "queue '"+name+"'"); err != nil {
			return nil, err
		}
		return ch.implicitQueue(name)
	}
	if err != nil {
		return nil, err
	}
	_, err = ch.c.mayConsume(q)
	return q, err
}

// attach makes the consumer one of its group.
func (ch *channel) attach(k *consumer, m *frame.BasicConsume) error {
	c := ch.c
	cfg := shard.ConsumerConfig{
		NoAck: m.NoAck, Exclusive: m.Exclusive, NoLocal: m.NoLocal, Origin: c.nc.Origin,
		Windows: []*shard.Window{shard.NewWindow(ch.prefetch), ch.window},
	}
	if v, ok := m.Arguments.Get("x-priority"); ok {
		n, ok := v.Int()
		if !ok {
			return refuse(codePreconditionFailed, "invalid arg 'x-priority': not an integer")
		}
		cfg.Priority = int(n)
	}
	for _, name := range []string{"x-consumer-timeout", "x-stream-filter", "x-stream-match-unfiltered"} {
		if _, ok := m.Arguments.Get(name); ok {
			return refuse(codePreconditionFailed, "arg '%s' is not held here", name)
		}
	}
	if k.q.limits.Load().kind == "stream" {
		if err := ch.openStream(k, m); err != nil {
			return err
		}
	} else if _, ok := m.Arguments.Get("x-stream-offset"); ok {
		return refuse(codePreconditionFailed, "x-stream-offset is for queues of type stream; '%s' is none", k.q.name)
	}
	sc, err := k.group.Attach(cfg, k)
	if err != nil {
		k.endStream()
		if shard.KindOf(err) == shard.KindExists {
			return refuse(codeAccessRefused, "queue '%s' in vhost '%s' in exclusive use", k.q.name, c.vh.name)
		}
		if shard.KindOf(err) == shard.KindNotFound || shard.KindOf(err) == shard.KindClosed {
			return c.vh.noQueue(k.q.name)
		}
		return err
	}
	k.sc = sc
	k.register()
	ch.consumers[k.tag] = k
	c.readers++
	c.vh.mu.Lock()
	k.q.consumers++
	c.vh.mu.Unlock()
	c.s.env.Stats.Subscriptions.Add(1)
	return nil
}

func (ch *channel) cancel(m *frame.BasicCancel) error {
	if k := ch.consumers[m.ConsumerTag]; k != nil {
		delete(ch.consumers, m.ConsumerTag)
		k.cancel()
		ch.cancelled = slices.DeleteFunc(ch.cancelled, func(k *consumer) bool { return k.waiting.Load() <= 0 })
		if !k.noAck && k.waiting.Load() > 0 {
			ch.cancelled = append(ch.cancelled, k)
		}
		ch.c.readers--
		ch.c.vh.consumerGone(ch.c, k.q)
	} else if ch.c.reply != nil {
		ch.c.reply.cancel(ch, m.ConsumerTag)
	}
	if !m.NoWait {
		ch.send(&frame.BasicCancelOk{ConsumerTag: m.ConsumerTag})
	}
	return nil
}

// getterKey tells the consumers of basic.get apart.
type getterKey struct {
	q     *queue
	noAck bool
}

// get takes one message (AMQP 1.8.3.10).
func (ch *channel) get(m *frame.BasicGet) error {
	q, err := ch.queueToRead(m.Queue)
	if err != nil {
		return err
	}
	if q.limits.Load().kind == "stream" {
		return refuse(codeNotImplemented, "basic.get not supported by stream queues queue '%s' in vhost '%s'", q.name, ch.c.vh.name)
	}
	ch.sweep()
	k := ch.getters[getterKey{q, m.NoAck}]
	if k == nil {
		if err := ch.c.mayRead(); err != nil {
			return err
		}
		k = &consumer{ch: ch, q: q, group: q.group, noAck: m.NoAck, started: true}
		if k.sc, err = q.group.Attach(shard.ConsumerConfig{NoAck: m.NoAck, Pull: true, Origin: ch.c.nc.Origin}, k); err != nil {
			if shard.KindOf(err) == shard.KindExists {
				return refuse(codeAccessRefused, "queue '%s' in vhost '%s' in exclusive use", q.name, ch.c.vh.name)
			}
			return err
		}
		ch.getters[getterKey{q, m.NoAck}] = k
		ch.c.readers++
	}
	if err := k.askAgain(); err != nil {
		return err
	}
	ch.gets.push(ch, k)
	return nil
}

// ack settles deliveries (AMQP 1.8.3.13).
func (ch *channel) ack(m *frame.BasicAck) error {
	if ch.tx != nil {
		return ch.settleLater(m.DeliveryTag, m.Multiple, settlement{})
	}
	ch.mu.Lock()
	ok := ch.mu.unacked.take(m.DeliveryTag, m.Multiple, ch.c.acks.add)
	ch.mu.Unlock()
	if !ok {
		return unknownTag(m.DeliveryTag)
	}
	return nil
}

func unknownTag(tag uint64) error {
	return refuse(codePreconditionFailed, "unknown delivery tag %d", tag)
}

// nack gives deliveries back to the queue, or drops them.
func (ch *channel) nack(tag uint64, multiple, requeue bool) error {
	if ch.tx != nil {
		return ch.settleLater(tag, multiple, settlement{nack: true, opts: shard.NackOptions{Drop: !requeue}})
	}
	return ch.nackNow(tag, multiple, requeue)
}

func (ch *channel) nackNow(tag uint64, multiple, requeue bool) error {
	ch.c.acks.flush()
	var es []unacked
	ch.mu.Lock()
	ok := ch.mu.unacked.take(tag, multiple, func(e unacked) { es = append(es, e) })
	ch.mu.Unlock()
	if !ok {
		return unknownTag(tag)
	}
	giveUp(es, shard.NackOptions{Drop: !requeue})
	return nil
}

// giveUp hands deliveries to their groups.
func giveUp(es []unacked, opts shard.NackOptions) {
	by := make(map[*consumer][]shard.DeliveryTag)
	for _, e := range es {
		by[e.k] = append(by[e.k], e.message)
	}
	for k, tags := range by {
		k.sc.Nack(opts, tags...)
		k.settled(len(tags))
	}
}

// recover gives back all deliveries of the channel that nobody settled, in a
// transaction that is open either.
func (ch *channel) recover(requeue bool) error {
	if !requeue {
		return refuse(codeNotImplemented, "requeue=false")
	}
	return ch.nackNow(0, true, true)
}
