package mqtt

import (
	"sync"

	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
)

// ackFIFO holds the acknowledgements owed to a publisher, so that they go out in
// the order in which the PUBLISHes came [MQTT-4.6.0-2] [MQTT-4.6.0-3].
type ackFIFO struct {
	mu   sync.Mutex
	room sync.Cond
	base uint64 // number of the first slot
	q    []ackSlot
	// bytes appended and not completed; reading stops over a bound.
	bytes  int
	closed bool
	// unfinished counts QoS 1 and 2 PUBLISHes against the receive maximum.
	unfinished int
	// incoming are the packet identifiers of QoS 2 PUBLISHes not yet released.
	incoming map[uint16]*incoming
}

type ackSlot struct {
	id    uint16
	qos   uint8
	waits uint8 // completions to come
	code  packet.Code
	why   string // of a failure
	noted bool   // the state of the session has a note of it
}

// incoming is a QoS 2 message that was received and not yet released.
type incoming struct {
	// answered: PUBREC was sent once, and is sent again for a duplicate.
	answered bool
	// resumed: it was loaded with the session, and whether its append succeeded
	// is not known.
	resumed bool
	// restored: there is a note of it, of an earlier connection.
	restored bool
	// dedupe names the message in its record and to the log, so that a second
	// append can be told from the first.
	dedupe string
	// check: whether an earlier append succeeded has to be looked up in the
	// shard, from the offset on that it then ended at, among records of that time.
	check bool
	shard shard.ID
	from  int64
	at    int64 // milliseconds since the epoch
}

// reserve makes a slot that waits for so many completions. noted says that the
// state of the session has, or will have, a note of the message.
func (f *ackFIFO) reserve(id uint16, qos, waits uint8, noted bool) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.q = append(f.q, ackSlot{id: id, qos: qos, waits: waits, noted: noted})
	return f.base + uint64(len(f.q)) - 1
}

// wait blocks while more than limit bytes are not completed.
func (f *ackFIFO) wait(limit int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.bytes > limit && !f.closed {
		f.room.Wait()
	}
	return nil
}

// completedSlots notes one completion of each slot and n bytes, and answers what
// the head of the queue has ready.
func (c *client) completedSlots(slots []uint64, n int, err error) {
	for _, s := range c.noteCompleted(slots, n, err) {
		c.apply([]shard.StateOp{{Key: idKey(keyIn, s.id)}}, func(error) { c.completedSlots([]uint64{s.n}, 0, nil) })
	}
}

// refusedSlot is one whose note has to go before the client is told.
type refusedSlot struct {
	n  uint64
	id uint16
}

// noteCompleted gives the slots whose message was refused, and whose note has to
// go before the client is told, for it may use the packet identifier then.
func (c *client) noteCompleted(slots []uint64, n int, err error) (refused []refusedSlot) {
	f := &c.acks
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bytes -= n
	f.room.Broadcast()
	for _, s := range slots {
		slot := &f.q[s-f.base]
		slot.waits--
		if err != nil && slot.code == packet.Success {
			slot.code, slot.why = codeFor(packet.PUBACK, err), err.Error()
		}
		if slot.waits == 0 && slot.noted && slot.code.Failed() && c.v >= packet.V5 {
			slot.waits, slot.noted = 1, false
			refused = append(refused, refusedSlot{s, slot.id})
		}
	}
	c.answerHead()
	return refused
}

// answerHead sends the acknowledgements that are due. acks.mu is held, so that
// their order holds.
func (c *client) answerHead() {
	f := &c.acks
	n := 0
	for ; n < len(f.q) && f.q[n].waits == 0; n++ {
		s := &f.q[n]
		if s.code.Failed() && c.v < packet.V5 {
			// There is no way to tell; nothing is acknowledged that failed. The
			// client sends it again when it is back.
			c.finish(nil)
			f.closed = true
			f.room.Broadcast()
			continue
		}
		kind := packet.PUBACK // [MQTT-4.3.2-4]
		if s.qos == 2 {
			kind = packet.PUBREC // [MQTT-4.3.3-8]
			if in := f.incoming[s.id]; in != nil {
				in.answered = true
			}
		}
		if s.qos == 1 || s.code.Failed() {
			f.unfinished--
			if s.qos == 2 {
				delete(f.incoming, s.id)
			}
		}
		c.acknowledge(kind, s.id, s.code, s.why)
	}
	f.base += uint64(n)
	if f.q = f.q[n:]; len(f.q) == 0 {
		f.q = nil
	}
}

// handleAck handles what comes back for what was sent, and PUBREL.
func (c *client) handleAck(p *packet.Ack) error {
	switch p.Kind {
	case packet.PUBACK, packet.PUBCOMP:
		c.finished(p.Kind, p.ID)
	case packet.PUBREC:
		c.received(p.ID, p.Code)
	case packet.PUBREL:
		c.released(p.ID)
	}
	return nil
}

// released ends a QoS 2 message that came in: PUBCOMP goes out once the packet
// identifier is forgotten durably, or its next use would be taken for a
// duplicate [MQTT-4.3.3-11].
func (c *client) released(id uint16) {
	f := &c.acks
	f.mu.Lock()
	in, ok := f.incoming[id]
	// A client releases what PUBREC told it of, though the note of that may have
	// been lost with the process.
	if ok && (in.answered || in.resumed) {
		delete(f.incoming, id)
		f.unfinished--
	}
	f.mu.Unlock()
	code := packet.Success
	if !ok && c.v >= packet.V5 {
		code = packet.PacketIDNotFound
	}
	if in == nil || in.dedupe == "" {
		c.acknowledge(packet.PUBCOMP, id, code, "")
		return
	}
	c.forgetIncoming(id, func() { c.acknowledge(packet.PUBCOMP, id, code, "") })
}
