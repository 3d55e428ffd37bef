package mqtt

import (
	"encoding/binary"

	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
)

// liveReceiver takes what QoS 0 subscriptions match.
type liveReceiver struct{ c *client }

// Deliver queues messages, or drops them when the client is slow.
func (l liveReceiver) Deliver(ms []shard.Message, matched []shard.SubID) {
	c := l.c
	ss := &c.session
	ss.mu.Lock()
	subs := make([]*sub, 0, len(matched))
	for _, id := range matched {
		if sb := ss.byLive[id]; sb != nil {
			subs = append(subs, sb)
		}
	}
	mixed := ss.mixed
	ss.mu.Unlock()
	if len(subs) == 0 {
		return
	}
	if !c.room() {
		c.srv.env.Stats.Dropped.Add(int64(len(ms)))
		return
	}
	ids := subscriptionIDs(nil, subs)
	asPublished := retainAsPublished(subs)
	items := make([]outItem, 0, len(ms))
	for i := range ms {
		m := &ms[i]
		if mixed && c.viaGroup(m) {
			continue
		}
		mark, ours := m.Record.Header(shard.HeaderMQTT)
		topic, ok := deliveredTopic(m, ours, subs)
		if !ok || m.Expired(c.now()) || c.hides(subs, m.Subject) {
			continue
		}
		items = append(items, outItem{msg: *m, topic: topic, ids: ids, retain: asPublished && isRetained(mark)})
	}
	c.push(items...)
}

func subscriptionIDs(dst []uint32, subs []*sub) []uint32 {
	for _, sb := range subs {
		if sb.id != 0 {
			dst = append(dst, sb.id)
		}
	}
	return dst
}

func retainAsPublished(subs []*sub) bool {
	for _, sb := range subs {
		if sb.opts.RetainAsPublished {
			return true
		}
	}
	return false
}

// viaGroup tells whether a message reaches the client by its session's group
// too, which then delivers it once for all subscriptions.
func (c *client) viaGroup(m *shard.Message) bool {
	if shard.Relayed(m.Subject) {
		return false
	}
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	for _, sb := range c.session.subs {
		if sb.grouped() && sb.match.MatchMessage(m.Subject, m.Record) && !(sb.opts.NoLocal && m.Origin == c.nc.Origin) {
			return true
		}
	}
	return false
}

// deliveredTopic gives the name a message is delivered under; ok is false when
// MQTT cannot spell it.
func deliveredTopic(m *shard.Message, ours bool, subs []*sub) (topic string, ok bool) {
	topic, verbatim := shard.MQTTNames(m.Subject, m.Record)
	if verbatim != "" {
		use := verbatim
		for _, sb := range subs {
			if sb.match.Match(topic) {
				use = topic
				break
			}
		}
		topic = use
	}
	return topic, ours || validTopic(topic)
}

// receiver is the client's consumer of one group.
type receiver struct {
	c     *client
	group shard.Group
	cons  shard.Consumer
	ready chan struct{} // closed once cons is set
	// shared is the shared subscription this is, nil for the session's own
	// group. Guarded by session.mu.
	shared *sub
}

func (r *receiver) attach(cfg shard.ConsumerConfig) (err error) {
	r.cons, err = r.group.Attach(cfg, r)
	close(r.ready)
	return err
}

// ack acknowledges to the group; never called with session.mu held.
func (r *receiver) ack(tags ...shard.DeliveryTag) {
	<-r.ready
	if r.cons != nil {
		r.cons.Ack(tags...)
	}
}

func (r *receiver) close() {
	<-r.ready
	if r.cons != nil {
		r.cons.Close()
	}
}

// Closed ends the connection of a session whose group an operator deleted.
func (r *receiver) Closed(error) { r.c.kick(packet.AdministrativeAction, "") }

// Room implements shard.Roomy.
func (r *receiver) Room() int { return r.c.out.queue.Room() }

// Deliver queues messages of the group.
func (r *receiver) Deliver(ds []shard.Delivery) {
	r.deliver(ds)
	if !r.c.room() { // at once: the group has more where this came from
		r.c.pauseNow(r)
	}
}

func (r *receiver) deliver(ds []shard.Delivery) {
	c := r.c
	ss := &c.session
	ss.mu.Lock()
	defer ss.mu.Unlock()
	items := make([]outItem, 0, len(ds))
	var kept []outItem // wait for their packet identifier to be durable
	var ops []shard.StateOp
	for i := range ds {
		it, e, ok := c.prepare(r, &ds[i])
		if !ok {
			continue
		}
		if it.qos == 2 && c.durable && !it.skip && !e.saved && r.shared == nil {
			e.saved = true
			ops = append(ops, put(idKey(keyOut, e.id), e.kept(false)))
			kept = append(kept, it)
			continue
		}
		items = append(items, it)
	}
	if len(items) > 0 {
		c.push(items...)
	}
	if len(ops) > 0 {
		c.apply(ops, func(err error) {
			if err != nil {
				c.finish(nil)
				return
			}
			c.push(kept...)
		})
	}
}

// prepare makes the PUBLISH of a delivery; ok is false when there is nothing to
// send nor to acknowledge now. session.mu is held.
func (c *client) prepare(r *receiver, d *shard.Delivery) (it outItem, e *sent, ok bool) {
	it = outItem{msg: d.Message, from: r, tag: d.Tag}
	if len(c.session.out.restored) > 0 && r.shared == nil {
		if e := c.session.out.restored[d.Tag]; e != nil {
			subs := c.subsOf(r, d)
			return c.prepareAgain(it, e, len(subs) > 0 && !c.hides(subs, d.Subject))
		}
	}
	mark, ours := d.Record.Header(shard.HeaderMQTT)
	subs := c.subsOf(r, d)
	for _, sb := range subs {
		it.qos = max(it.qos, sb.opts.QoS) // [MQTT-3.3.4-2]
	}
	if ours {
		it.qos = min(it.qos, publishedQoS(mark)) // [MQTT-3.8.4-8]
	}
	it.ids = subscriptionIDs(nil, subs) // [MQTT-3.3.4-4]
	it.retain = isRetained(mark) && retainAsPublished(subs)
	it.topic, ok = deliveredTopic(&it.msg, ours, subs)
	if !ok || len(subs) == 0 || d.Expired(c.now()) || c.hides(subs, d.Subject) { // [MQTT-3.3.2-5]
		it.skip, it.qos = true, 0
		return it, nil, true
	}
	if it.qos == 0 {
		return it, nil, true
	}
	// At QoS 2 a persistent session knows what it sent [MQTT-3.3.1-1].
	it.dup = d.Redelivered && r.shared == nil && !(it.qos == 2 && c.durable)
	e = c.session.out.add(&it)
	return it, e, true
}

// prepareAgain sends a message that an earlier connection left unfinished, under
// its packet identifier [MQTT-4.4.0-1], where it is allowed still.
func (c *client) prepareAgain(it outItem, e *sent, allowed bool) (outItem, *sent, bool) {
	delete(c.session.out.restored, it.tag)
	if e.done || !e.rel && !allowed { // the client was through with it before the group gave it again
		it.id, it.skip = e.id, true
		return it, nil, true
	}
	e.from = it.from
	if e.rel {
		return it, nil, false
	}
	it.id, it.qos, it.dup = e.id, e.qos, true
	it.topic, it.ids, it.retain = e.topic, e.ids, e.retain
	if it.topic == "" {
		it.topic, _ = shard.MQTTNames(it.msg.Subject, it.msg.Record)
	}
	return it, e, true
}

// subsOf gives the subscriptions that a delivery is for. What the bindings say
// holds, for a message may outlive its subscription.
func (c *client) subsOf(r *receiver, d *shard.Delivery) []*sub {
	if r.shared != nil {
		return []*sub{r.shared}
	}
	subs := make([]*sub, 0, len(d.Bindings))
	for _, b := range d.Bindings {
		sb := c.session.subs[b.ID]
		if sb == nil || !sb.grouped() {
			if sb = c.outlivedSub(b); sb == nil {
				continue
			}
		}
		subs = append(subs, sb)
	}
	if c.session.mixed {
		for _, sb := range c.session.subs {
			if sb.liveOnly() && sb.match.MatchMessage(d.Subject, d.Record) && !(sb.opts.NoLocal && d.Origin == c.nc.Origin) {
				subs = append(subs, sb)
			}
		}
	}
	return subs
}

// binding makes the binding of a subscription; its data is the options byte and
// the subscription identifier.
func (c *client) binding(sb *sub) shard.Binding {
	b := shard.Binding{ID: sb.filter, Filter: sb.match}
	b.Data = binary.BigEndian.AppendUint32([]byte{sb.opts.Options()}, sb.id)
	if sb.opts.NoLocal { // [MQTT-3.8.3-3]
		b.NotFrom = c.id
	}
	return b
}

func subOfBinding(b *shard.Binding) *sub {
	sb := &sub{filter: b.ID, name: b.ID, match: b.Filter}
	if len(b.Data) == 5 {
		sb.setOptions(b.Data[0])
		sb.id = binary.BigEndian.Uint32(b.Data[1:])
	}
	return sb
}

// pauseNow holds deliveries of a group back while more than the bound is queued for
// the client. Each group is paused by what it delivers.
func (c *client) pauseNow(r *receiver) {
	select {
	case <-r.ready:
	default: // not attached yet: its next delivery does
		return
	}
	c.pausing.Lock()
	if r.cons != nil && c.out.queue.Over() {
		c.out.mu.Lock()
		c.out.paused = true
		c.out.mu.Unlock()
		r.cons.Pause(true)
	}
	c.pausing.Unlock()
	if !c.out.queue.Over() { // written meanwhile, by a writer that may not have seen it
		c.resumeGroups()
	}
}

// resumeGroups lets them go on once it is written.
func (c *client) resumeGroups() {
	c.out.mu.Lock()
	paused := c.out.paused
	c.out.mu.Unlock()
	if !paused || c.out.queue.Over() {
		return
	}
	c.pausing.Lock()
	defer c.pausing.Unlock()
	c.out.mu.Lock()
	c.out.paused = false
	c.out.mu.Unlock()
	for _, r := range c.receivers() {
		<-r.ready
		if r.cons != nil {
			r.cons.Pause(false)
		}
	}
}

func (c *client) receivers() []*receiver {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	var rs []*receiver
	if c.session.group != nil {
		rs = append(rs, c.session.group)
	}
	for _, sb := range c.session.subs {
		if sb.member != nil {
			rs = append(rs, sb.member)
		}
	}
	return rs
}
