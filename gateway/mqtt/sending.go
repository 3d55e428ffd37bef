package mqtt

import (
	"encoding/json"
	"slices"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
)

// sending is what was sent at QoS 1 and 2 and is not finished. It is guarded by
// session.mu.
type sending struct {
	byID   map[uint16]*sent
	nextID uint16
	// restored are messages of an earlier connection that the group has not
	// given again yet.
	restored map[shard.DeliveryTag]*sent
	// kept are the bytes of messages that it keeps itself, queue counts them.
	kept  int
	queue *gateway.Queue
	// trash are packet identifiers whose entries in the state are outdated. They
	// are removed late: after a crash, an entry that outlives the group's
	// acknowledgement does no harm, the contrary would send a message twice.
	trash []uint16
}

// sent is one message on its way to the client.
type sent struct {
	id  uint16
	qos uint8
	// from and tag: what to acknowledge; from is nil for a message without a
	// group, and until the group gave a restored one again.
	from   *receiver
	tag    shard.DeliveryTag
	tagged bool
	// windowed: it holds a place in the window by itself.
	windowed bool
	rel      bool // PUBREC came
	done     bool // the client is through with it, but the group has yet to give it again
	saved    bool // the state has an entry
	wire     bool // writing it has begun
	keeps    int  // bytes of msg that are counted
	msg      shard.Message
	topic    string
	ids      []uint32
	retain   bool
}

// add gives a message a packet identifier that is not in use [MQTT-2.2.1-4].
// There is one: the window is smaller than their number.
func (s *sending) add(it *outItem) *sent {
	if s.byID == nil {
		s.byID = make(map[uint16]*sent)
	}
	for {
		s.nextID++
		if s.nextID != 0 && s.byID[s.nextID] == nil {
			break
		}
	}
	it.id = s.nextID
	e := &sent{id: it.id, qos: it.qos, from: it.from, tag: it.tag, tagged: it.from != nil,
		topic: it.topic, ids: it.ids, retain: it.retain}
	if it.from == nil || it.from.shared != nil { // else the group keeps it
		e.msg = it.msg
		e.keeps = it.size()
		s.count(e.keeps)
	}
	s.byID[it.id] = e
	return e
}

func (s *sending) count(n int) {
	s.kept += n
	s.queue.Add(n)
}

// maxKept bounds what a client has not acknowledged of messages that no group
// keeps; the next ones wait.
const maxKept = 4 << 20

// full tells whether more of them have to wait.
func (s *sending) full() bool { return s.kept > min(maxKept, s.queue.Limit()) }

// remove forgets a message.
func (s *sending) remove(id uint16) {
	if e := s.byID[id]; e != nil {
		s.count(-e.keeps)
	}
	delete(s.byID, id)
}

// keptOut is the value of a keyOut key.
type keptOut struct {
	QoS uint8 `json:"q"`
	Rel bool  `json:"r,omitempty"`
	// Done keeps the group's message from being sent anew: the client had it.
	Done bool `json:"d,omitempty"`
	// Tag is topic number, shard and offset of a message of the session's group.
	Tag *[3]int64 `json:"s,omitempty"`
	// Copy is the message itself, as a batch of one, where no group keeps it: a
	// retained message, or one of a shared subscription.
	Copy   []byte   `json:"m,omitempty"`
	Topic  string   `json:"t,omitempty"`
	IDs    []uint32 `json:"n,omitempty"`
	Retain bool     `json:"f,omitempty"`
}

// kept gives the entry to write down; withCopy keeps the message in it.
func (e *sent) kept(withCopy bool) keptOut {
	k := keptOut{QoS: e.qos, Rel: e.rel, Done: e.done, IDs: e.ids, Retain: e.retain, Topic: e.topic}
	if e.rel || e.done {
		k.Topic, k.IDs, k.Retain = "", nil, false
	}
	if e.tagged {
		k.Tag = &[3]int64{int64(e.tag.Shard.Topic), int64(e.tag.Shard.Index), e.tag.Offset}
	} else if withCopy && !e.rel && e.msg.Record != nil {
		k.Copy = shard.BatchOf(*e.msg.Record).Raw()
	}
	return k
}

// restore takes an entry over from the state.
func (s *sending) restore(id uint16, data []byte) error {
	var k keptOut
	if err := json.Unmarshal(data, &k); err != nil {
		return err
	}
	if k.QoS < 1 || k.QoS > 2 {
		return shard.Errorf(shard.KindCorrupt, "QoS %d of a sent message", k.QoS)
	}
	e := &sent{id: id, qos: k.QoS, rel: k.Rel, done: k.Done, saved: true, topic: k.Topic, ids: k.IDs, retain: k.Retain}
	switch {
	case k.Tag != nil:
		e.tagged = true
		e.tag = shard.DeliveryTag{Shard: shard.ID{Topic: shard.TopicNum(k.Tag[0]), Index: uint32(k.Tag[1])}, Offset: k.Tag[2]}
		if s.restored == nil {
			s.restored = make(map[shard.DeliveryTag]*sent)
		}
		s.restored[e.tag] = e
	case k.Copy != nil:
		r, err := thaw(k.Copy)
		if err != nil {
			return err
		}
		e.msg = shard.Message{Subject: subjectOfRecord(r, k.Topic), Record: r}
	case !k.Rel:
		return shard.Errorf(shard.KindCorrupt, "sent message without a tag")
	}
	if s.byID == nil {
		s.byID = make(map[uint16]*sent)
	}
	s.byID[id] = e
	return nil
}

// save gives the changes that write everything unfinished down.
func (s *sending) save() []shard.StateOp {
	var ops []shard.StateOp
	for _, id := range s.trash {
		if s.byID[id] == nil {
			ops = append(ops, shard.StateOp{Key: idKey(keyOut, id)})
		}
	}
	s.trash = nil
	for id, e := range s.byID {
		if !e.saved {
			ops = append(ops, put(idKey(keyOut, id), e.kept(true)))
		}
	}
	return ops
}

// completed ends a message: the client has it.
func (c *client) completed(id uint16) {
	ss := &c.session
	ss.mu.Lock()
	e := ss.out.byID[id]
	if e == nil {
		ss.mu.Unlock()
		return
	}
	if e.done || ss.out.restored[e.tag] == e {
		// Its entry, and with it its packet identifier, has to stay until the
		// group has given it again and was told: else a later connection would
		// take it for new.
		e.done, e.saved = true, e.saved && e.done
		ss.mu.Unlock()
		return
	}
	ss.out.remove(id)
	if e.saved {
		ss.out.trash = append(ss.out.trash, id)
	}
	from, tag, windowed := e.from, e.tag, e.windowed
	ss.mu.Unlock()
	if from != nil {
		from.ack(tag)
	}
	if windowed {
		c.window.Release(1)
		c.pump() // what waits for the bytes of it
	}
}

// forget lets go of a message that the client was through with before the group
// gave it again, now that the group was told.
func (c *client) forget(id uint16) {
	c.session.mu.Lock()
	c.session.out.remove(id)
	c.session.out.trash = append(c.session.out.trash, id)
	c.session.mu.Unlock()
}

// finished handles PUBACK and PUBCOMP, which end what they fit.
func (c *client) finished(kind packet.Type, id uint16) {
	c.session.mu.Lock()
	e := c.session.out.byID[id]
	fits := e != nil && (kind == packet.PUBACK) == (e.qos == 1)
	c.session.mu.Unlock()
	if fits {
		c.completed(id)
	}
}

// received handles PUBREC: the message is the client's; PUBREL follows once that
// is as durable as the session [MQTT-4.3.3-4].
func (c *client) received(id uint16, code packet.Code) {
	ss := &c.session
	ss.mu.Lock()
	e := ss.out.byID[id]
	if e == nil || e.qos != 2 {
		ss.mu.Unlock()
		if code.Failed() { // that ends it: nothing is to be released (4.3.3)
			return
		}
		unknown := packet.Success
		if c.v >= packet.V5 {
			unknown = packet.PacketIDNotFound
		}
		c.acknowledge(packet.PUBREL, id, unknown, "")
		return
	}
	if code.Failed() { // 4.3.3: the identifier is free again
		ss.mu.Unlock()
		c.completed(id)
		return
	}
	e.rel = true
	from := c.ownShared(e)
	e.msg = shard.Message{}
	c.session.out.count(-e.keeps)
	e.keeps = 0
	var ops []shard.StateOp
	if c.durable {
		e.saved = true
		ops = append(ops, put(idKey(keyOut, id), e.kept(false)))
	}
	tag := e.tag
	ss.mu.Unlock()
	if from != nil {
		from.ack(tag)
	}
	if len(ops) == 0 {
		c.acknowledge(packet.PUBREL, id, packet.Success, "")
		return
	}
	c.apply(ops, func(err error) {
		if err != nil {
			c.finish(nil)
			return
		}
		c.acknowledge(packet.PUBREL, id, packet.Success, "")
	})
}

// ownShared takes a message that the client received out of its shared
// subscription, for nobody else may get it any more [MQTT-4.8.2-4]. It gives
// the receiver to acknowledge to.
func (c *client) ownShared(e *sent) *receiver {
	if e.from == nil || e.from.shared == nil || !c.window.Acquire(e, func() {}) {
		c.window.Forget(e)
		return nil
	}
	from := e.from
	e.from, e.tagged, e.windowed = nil, false, true
	return from
}

// keepShared settles, at the end of a connection, what a shared subscription had
// sent: QoS 2 messages stay with this client [MQTT-4.8.2-4], or end with its
// session [MQTT-4.8.2-5]; others go back to the group.
func (c *client) keepShared(r *receiver, ended bool) {
	var tags []shard.DeliveryTag
	c.session.mu.Lock()
	for id, e := range c.session.out.byID {
		if e.from != r {
			continue
		}
		if e.qos == 2 && (e.wire || e.rel) {
			tags = append(tags, e.tag)
			e.from, e.tagged = nil, false
		}
		if e.from != nil || ended {
			c.session.out.remove(id)
		}
	}
	c.session.mu.Unlock()
	if len(tags) > 0 {
		r.ack(tags...)
	}
}

// resendReleases sends PUBREL for what the client received before, and queues
// messages that no group gives again [MQTT-4.4.0-1].
func (c *client) resendReleases() {
	ss := &c.session
	ss.mu.Lock()
	ids := make([]uint16, 0, len(ss.out.byID))
	for id := range ss.out.byID {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	var rels []uint16
	for _, id := range ids {
		e := ss.out.byID[id]
		switch {
		case e.done:
		case e.rel:
			rels = append(rels, id)
		case !e.tagged:
			it := outItem{msg: e.msg, topic: e.topic, ids: e.ids, id: id, qos: e.qos, retain: e.retain, dup: true}
			ss.local.items = append(ss.local.items, &localItem{item: it})
		}
	}
	ss.mu.Unlock()
	for _, id := range rels {
		c.acknowledge(packet.PUBREL, id, packet.Success, "")
	}
	c.pump()
}
