package amqp

import (
	"sync/atomic"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// consumer is a channel's consumer of a queue, or what basic.get takes by.
type consumer struct {
	ch    *channel
	q     *queue
	group shard.Group
	tag   string
	noAck bool
	sc    shard.Consumer
	from  *streamStart // of a consumer of a stream queue

	part atomic.Bool // rules deny some of what the queue is bound to: each message is asked about

	waiting atomic.Int64 // deliveries that the client has not settled

	// Under the channel's mu.
	started   bool
	cancelled bool // nothing is sent to it any more
	held      []shard.Delivery
}

// Deliver encodes messages into the connection's output.
func (k *consumer) Deliver(ds []shard.Delivery) {
	k.deliver(ds)
	if k.ch.c.out.excess() { // at once: the group has more where this came from
		k.ch.c.pauseConsumers()
	}
}

// Room implements shard.Roomy.
func (k *consumer) Room() int { return k.ch.c.out.queue.Room() }

func (k *consumer) deliver(ds []shard.Delivery) {
	ch := k.ch
	ch.mu.Lock()
	defer ch.mu.Unlock()
	switch {
	case k.cancelled || ch.mu.gone:
		if !k.noAck {
			go k.sc.Nack(shard.NackOptions{Undelivered: true}, tagsOf(ds)...)
		}
	case !k.started:
		k.held = append(k.held, ds...)
	default:
		k.send(ds)
	}
}

func tagsOf(ds []shard.Delivery) []shard.DeliveryTag {
	tags := make([]shard.DeliveryTag, len(ds))
	for i := range ds {
		tags[i] = ds[i].Tag
	}
	return tags
}

// start sends consume-ok, if it is due, and what came in before; the channel's
// mu is not held.
func (k *consumer) start(ok frame.Method) {
	k.ch.mu.Lock()
	defer k.ch.mu.Unlock()
	if ok != nil {
		k.ch.send(ok)
	}
	k.started = true
	k.send(k.held)
	k.held = nil
}

// send encodes messages; the channel's mu is held.
func (k *consumer) send(ds []shard.Delivery) {
	if len(ds) == 0 {
		return
	}
	var passed []shard.DeliveryTag
	sent := int64(0)
	c := k.ch.c
	c.out.append(func(b []byte) []byte {
		for i := range ds {
			d := &ds[i]
			if k.unwanted(d) {
				passed = append(passed, d.Tag)
				continue
			}
			m := frame.BasicDeliver{ConsumerTag: k.tag, Redelivered: d.Redelivered}
			m.Exchange, m.RoutingKey = c.vh.addressee(d)
			m.DeliveryTag = k.track(d.Tag)
			b = frame.AppendMethod(b, k.ch.id, &m)
			b = appendRecord(b, k.ch.id, d.Record, c.frameMax, k.told(d, m.RoutingKey)...)
			sent++
		}
		return b
	})
	c.s.env.Stats.MessagesOut.Add(sent)
	if len(passed) > 0 && !k.noAck {
		go k.sc.Ack(passed...)
	}
}

// misled tells whether a message is here only since two addresses have one subject:
// that of exchange x with key y is that of queue x.y, of an empty key that of queue x.
// What was published to an exchange comes by a binding to one, what was published to
// the default exchange by a queue's own name, or by a binding to the subject space.
// Where nobody published by AMQP, or the queue was never declared, it comes by both.
func (k *consumer) misled(d *shard.Delivery) bool {
	exchange, ok := d.Record.Header(shard.HeaderExchange)
	if !ok || k.ch.c.vh.isImplicit(k.q) {
		return false
	}
	for _, b := range d.Bindings {
		switch {
		case b.ID == bindingDefault && len(exchange) > 0:
		case string(b.Data) == dataExchange && (len(exchange) == 0 || string(exchange) == "amq.topic"):
		default:
			return false
		}
	}
	return len(d.Bindings) > 0
}

// dataExchange is the data of a group binding to an exchange other than amq.topic,
// which is the subject space itself. Those of earlier versions have none.
const dataExchange = "exchange"

// unwanted tells whether a message came by a wrong way or by two, only goes round, was there
// when a queue of this name was deleted, lies before the start of a stream consumer, or
// is hidden by a rule. The group has looked whether it expired.
func (k *consumer) unwanted(d *shard.Delivery) bool {
	if k.misled(d) || k.ch.c.vh.wentRound(k.q.name, d.Record) || k.ch.c.vh.marked(d.Record, headerNotFor, k.q.name) || k.q.after.before(d) {
		return true
	}
	return k.from != nil && (k.from.before(d) || k.q.limits.Load().tooOld(d)) || k.hides(d)
}

// headerRoutingKey has the routing key that is too long for a delivery.
const headerRoutingKey = "x-routing-key"

// told is what the broker says of a delivery in its headers: where it lies in a
// stream; how often a quorum queue delivered it before; a routing key that other
// protocols made longer than AMQP's may be.
func (k *consumer) told(d *shard.Delivery, key string) frame.Table {
	t := k.toldOf(d)
	if len(key) > frame.MaxShortstr {
		t = append(t, frame.Field{Name: headerRoutingKey, Value: frame.String(key)})
	}
	return t
}

func (k *consumer) toldOf(d *shard.Delivery) frame.Table {
	if k.from == nil && d.Count > 1 && k.q.limits.Load().kind == "quorum" {
		return frame.Table{{Name: "x-delivery-count", Value: frame.Int(int64(d.Count - 1))}}
	}
	return k.from.headers(d)
}

// track gives the delivery its tag; the channel's mu is held.
func (k *consumer) track(message shard.DeliveryTag) uint64 {
	if k.noAck {
		return k.ch.mu.unacked.skip()
	}
	k.waiting.Add(1)
	return k.ch.mu.unacked.add(k, message)
}

// settled counts deliveries that the client settled. A cancelled consumer goes
// with its last.
func (k *consumer) settled(n int) {
	if k.waiting.Add(int64(-n)) > 0 {
		return
	}
	k.ch.mu.Lock()
	over := k.cancelled
	k.ch.mu.Unlock()
	if over {
		k.sc.Close()
	}
}

// Closed says that the queue was deleted (RabbitMQ's consumer_cancel_notify).
func (k *consumer) Closed(error) {
	ch := k.ch
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if k.cancelled || ch.mu.gone {
		return
	}
	k.cancelled = true
	ch.mu.ended = append(ch.mu.ended, k)
	switch {
	case k.tag == "" || !ch.c.caps.cancelNotify:
	case ch.mu.holdCancels:
		ch.mu.cancels = append(ch.mu.cancels, k.tag)
	default:
		ch.send(&frame.BasicCancel{ConsumerTag: k.tag, NoWait: true})
	}
}

// holdCancels keeps the notices of queues that are deleted until sendCancels.
func (ch *channel) holdCancels() {
	ch.mu.Lock()
	ch.mu.holdCancels = true
	ch.mu.Unlock()
}

func (ch *channel) sendCancels() {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	for _, tag := range ch.mu.cancels {
		if !ch.mu.gone {
			ch.send(&frame.BasicCancel{ConsumerTag: tag, NoWait: true})
		}
	}
	ch.mu.holdCancels, ch.mu.cancels = false, nil
}

// sweep forgets the consumers whose queues were deleted: a channel that outlives
// many queues keeps nothing of them, and their tags are free.
func (ch *channel) sweep() {
	ch.mu.Lock()
	ended := ch.mu.ended
	ch.mu.ended = nil
	ch.mu.Unlock()
	for _, k := range ended {
		key := getterKey{k.q, k.noAck}
		switch k {
		case ch.getters[key]:
			delete(ch.getters, key)
		case ch.consumers[k.tag]:
			delete(ch.consumers, k.tag)
			k.unregister()
			ch.c.vh.consumerGone(ch.c, k.q)
		default: // cancelled by the client meanwhile
			continue
		}
		ch.c.readers--
	}
}

// cancel stops deliveries; what the client has not settled stays with it.
func (k *consumer) cancel() {
	k.unregister()
	k.sc.Pause(true)
	if k.noAck {
		k.sc.Close()
	}
	k.ch.mu.Lock()
	k.cancelled = true
	k.ch.mu.Unlock()
	if !k.noAck && k.waiting.Load() <= 0 {
		k.sc.Close()
	}
	k.endStream()
}

// detach ends a consumer; what is not settled goes back to the queue.
func (k *consumer) detach() {
	k.unregister()
	k.ch.mu.Lock()
	k.cancelled = true
	k.ch.mu.Unlock()
	k.sc.Close()
	k.endStream()
}

// register makes the consumer stop while the connection's output is full.
func (k *consumer) register() {
	p := &k.ch.c.pause
	p.Lock()
	defer p.Unlock()
	p.consumers[k] = struct{}{}
	if p.on {
		k.sc.Pause(true)
	}
}

func (k *consumer) unregister() {
	p := &k.ch.c.pause
	p.Lock()
	delete(p.consumers, k)
	p.Unlock()
}

// addressee gives the exchange and routing key that a message is delivered
// with: what it was published with by AMQP, else what follows from its subject
// and from how it got here.
func (vh *vhost) addressee(d *shard.Delivery) (exchange, key string) {
	exchange, key = vh.addressOf(d.Topic, d.Subject)
	v, ok := d.Record.Header(shard.HeaderExchange)
	if ok {
		exchange = string(v)
	} else if exchange == "" {
		exchange = "amq.topic"
		for _, b := range d.Bindings {
			if b.ID == bindingDefault {
				exchange = ""
			}
		}
	}
	if v, ok := d.Record.Header(shard.HeaderRoutingKey); ok {
		key = string(v)
	}
	return exchange, key
}
