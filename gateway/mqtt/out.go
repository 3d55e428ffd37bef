package mqtt

import (
	"io"
	"strings"
	"sync"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
)

// outbound is what waits to be written to one connection. A goroutine writes for
// as long as there is anything, and none exists otherwise.
type outbound struct {
	mu sync.Mutex
	// ctl holds encoded control packets; they go before the messages.
	ctl   []byte
	ctlN  int // bytes of ctl that queue counts
	items []outItem
	// last is written after everything else; then the connection is closed.
	last    []byte
	bytes   int // of items, roughly
	flying  int // of what is being written
	queue   *gateway.Queue
	running bool
	closing bool // nothing more is taken
	dead    bool // the connection failed
	greeted bool // CONNACK of success was queued
	// paused: the groups hold back, for the client is slow.
	paused bool
	idle   sync.Cond
}

// outItem is one PUBLISH to send.
type outItem struct {
	msg    shard.Message
	topic  string
	ids    []uint32 // subscription identifiers
	id     uint16   // packet identifier at QoS 1 and 2
	qos    uint8
	retain bool
	dup    bool
	skip   bool // nothing to send, only tag to acknowledge
	// from and tag are acknowledged once written, at QoS 0.
	from *receiver
	tag  shard.DeliveryTag
}

// itemOverhead is added to an item's payload in the account of queued bytes.
const itemOverhead = 256

func (it *outItem) size() int { return it.msg.Record.Size() + len(it.topic) + itemOverhead }

const (
	writeChunk = 64 << 10 // encoded bytes per write
	smallChunk = 4 << 10  // the same while memory is short
	// maxControl is the bytes of control packets over which the client is not
	// read any more: it asks and does not take the answers.
	maxControl = 256 << 10
)

// control queues one control packet.
func (c *client) control(p packet.Packet) {
	o := &c.out
	o.mu.Lock()
	if o.closing {
		o.mu.Unlock()
		return
	}
	n := len(o.ctl)
	o.ctl = p.Append(o.ctl, c.v)
	if c.tooLarge(len(o.ctl) - n) { // the client asked for more than it takes [MQTT-3.1.2-24]
		o.ctl = o.ctl[:n]
		o.mu.Unlock()
		c.finish(nil)
		return
	}
	o.countControl()
	o.greeted = o.greeted || p.Type() == packet.CONNACK
	c.startWriter()
	o.mu.Unlock()
}

// tooLarge tells whether the client takes no packet of so many bytes.
func (c *client) tooLarge(n int) bool { return c.maxPacketOut > 0 && n > c.maxPacketOut }

// fitting encodes the first of packets that the client takes, which is nil when it
// takes none of them.
func (c *client) fitting(ps ...packet.Packet) []byte {
	for _, p := range ps {
		if b := p.Append(nil, c.v); !c.tooLarge(len(b)) {
			return b
		}
	}
	return nil
}

func (c *client) greeted() bool {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.greeted
}

// acknowledge queues one acknowledgement.
func (c *client) acknowledge(kind packet.Type, id uint16, code packet.Code, why string) {
	a := packet.Ack{Kind: kind, ID: id, Code: code}
	if why != "" {
		a.Props = c.reason(nil, why)
	}
	o := &c.out
	o.mu.Lock()
	if !o.closing {
		o.ctl = a.Append(o.ctl, c.v)
		o.countControl()
		c.startWriter()
	}
	o.mu.Unlock()
}

// reason adds a reason string, where the client wants it and its packets may be
// large enough [MQTT-3.1.2-29].
func (c *client) reason(p packet.Props, why string) packet.Props {
	if c.v < packet.V5 || !c.problemInfo || c.maxPacketOut > 0 && c.maxPacketOut < 1024 {
		return p
	}
	return addReason(p, why)
}

func addReason(p packet.Props, why string) packet.Props {
	why = strings.ToValidUTF8(strings.ReplaceAll(why[:min(len(why), 200)], "\x00", ""), "")
	return p.AddStr(packet.PropReasonString, why)
}

// countControl has the queue know of control packets, once there are many; mu is held.
func (o *outbound) countControl() {
	if n := len(o.ctl) - o.ctlN; n >= controlStep {
		o.queue.Add(n)
		o.ctlN += n
	}
}

// controlStep is how many bytes of control packets queue up uncounted.
const controlStep = 2 << 10

// waitTaken blocks while the client does not take what it is answered.
func (c *client) waitTaken() {
	o := &c.out
	o.mu.Lock()
	for len(o.ctl) > controlStep && (len(o.ctl) > maxControl || len(o.ctl) > o.queue.Limit()) && !o.closing {
		o.idle.Wait()
	}
	o.mu.Unlock()
}

// room tells whether more at-most-once messages may be queued.
func (c *client) room() bool { return !c.out.queue.Over() }

// push queues messages.
func (c *client) push(items ...outItem) {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closing {
		return
	}
	size := 0
	for i := range items {
		size += items[i].size()
	}
	o.bytes += size
	o.queue.Add(size)
	o.items = append(o.items, items...)
	c.startWriter()
}

// startWriter is called with out.mu held.
func (c *client) startWriter() {
	if !c.out.running && !c.out.dead {
		c.out.running = true
		go c.write()
	}
}

// finish queues the last bytes, after which the connection is closed; only the
// first call counts.
func (c *client) finish(last []byte) {
	o := &c.out
	o.mu.Lock()
	if !o.closing {
		o.closing, o.last = true, last
		o.idle.Broadcast()
		o.drop() // what is not written yet stays with its group
		_ = c.nc.SetWriteDeadline(time.Now().Add(lastWriteTimeout))
		c.startWriter()
	}
	o.mu.Unlock()
}

// drop forgets the messages that are queued; mu is held.
func (o *outbound) drop() {
	o.items = nil
	o.queue.Add(-o.bytes)
	o.bytes = 0
}

// dropControl forgets the control packets; mu is held.
func (o *outbound) dropControl() {
	o.ctl = nil
	o.queue.Add(-o.ctlN)
	o.ctlN = 0
}

// lastWriteTimeout bounds the writing of a DISCONNECT to somebody slow.
const lastWriteTimeout = 2 * time.Second

// waitWritten waits until no writer runs any more.
func (c *client) waitWritten() {
	o := &c.out
	o.mu.Lock()
	for o.running {
		o.idle.Wait()
	}
	o.mu.Unlock()
}

// write drains the queue and ends.
func (c *client) write() {
	chunk := writeChunk
	if c.out.queue.Limit() < 4*writeChunk { // thousands of clients are slow: each holds a buffer
		chunk = smallChunk
	}
	bp := writeBufs[chunk].Get().(*[]byte)
	buf := (*bp)[:0]
	var ctl []byte
	var items []outItem
	for {
		ctl, items = c.takeOut(items)
		if len(ctl) == 0 && len(items) == 0 {
			if !c.endWriter() {
				continue
			}
			break
		}
		buf = append(buf[:0], ctl...)
		var err error
		if buf, err = c.writeItems(buf, items, chunk); err == nil && len(buf) > 0 {
			err = c.send(buf)
		}
		if err != nil {
			c.failWriter()
		}
		c.written(items)
		c.out.landed()
		c.resumeGroups()
		clear(items)
	}
	if cap(buf) <= 4*chunk {
		*bp = buf[:0]
		writeBufs[chunk].Put(bp)
	}
}

// takeOut takes what is queued; spare is a slice to queue the next messages in.
func (c *client) takeOut(spare []outItem) ([]byte, []outItem) {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	ctl, items := o.ctl, o.items
	if len(ctl) > controlStep {
		o.idle.Broadcast()
	}
	o.flying += o.bytes + o.ctlN
	o.ctl, o.items, o.bytes, o.ctlN = nil, nil, 0, 0
	if cap(spare) > 0 && cap(spare) <= 1024 && len(items) > 0 {
		o.items = spare[:0]
	}
	return ctl, items
}

// landed counts what was taken out as written.
func (o *outbound) landed() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue.Add(-o.flying)
	o.flying = 0
}

// endWriter ends the writer, unless there is more; where the connection is to be
// closed it writes the last bytes and closes it, with no lock held, since both
// may take their time.
func (c *client) endWriter() bool {
	o := &c.out
	c.pump()
	o.mu.Lock()
	if (len(o.ctl) > 0 || len(o.items) > 0) && !o.dead {
		o.mu.Unlock()
		return false
	}
	if o.closing {
		last := o.last
		o.last = nil
		if o.dead {
			last = nil
		}
		o.mu.Unlock()
		c.sendLast(last)
		o.mu.Lock()
	}
	o.drop()
	o.dropControl()
	o.running = false
	o.idle.Broadcast()
	o.mu.Unlock()
	return true
}

func (c *client) sendLast(last []byte) {
	if len(last) > 0 {
		_ = c.nc.SetWriteDeadline(time.Now().Add(lastWriteTimeout))
		_, _ = c.nc.Write(last)
		c.srv.env.Stats.BytesOut.Add(int64(len(last)))
	}
	c.hangUp()
}

// hangUp closes the connection. Where the client is told why and may still be
// writing, only our direction: closing with bytes unread would reset the
// connection, and the client would never see the reason.
func (c *client) hangUp() {
	if half, ok := c.nc.Conn.(interface{ CloseWrite() error }); ok && c.linger.Load() && half.CloseWrite() == nil {
		return
	}
	grace := time.AfterFunc(lingerTime, c.nc.Abort) // a WebSocket says goodbye and waits
	_ = c.nc.Close()
	grace.Stop()
}

// readOff waits for the client to hang up after hangUp, but not for long.
func (c *client) readOff() {
	if !c.linger.Load() {
		return
	}
	end := time.Now().Add(lingerMost)
	for left := int64(lingerBytes); left > 0 && time.Now().Before(end); { // what it had begun to send
		if c.nc.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
			break
		}
		n, err := io.CopyN(io.Discard, c.nc, min(left, lingerStep))
		if left -= n; err != nil {
			break
		}
	}
	_ = c.nc.Close()
}

// Bounds of readOff.
const (
	lingerTime  = 500 * time.Millisecond // in which nothing or little comes
	lingerMost  = 5 * time.Second
	lingerStep  = 256 << 10
	lingerBytes = 64 << 20
)

// failWriter gives the connection up.
func (c *client) failWriter() {
	c.out.mu.Lock()
	c.out.dead, c.out.closing = true, true
	c.out.dropControl()
	c.out.drop()
	c.out.idle.Broadcast()
	c.out.mu.Unlock()
	c.nc.Abort()
}

func (c *client) send(b []byte) error {
	err := c.nc.WriteWithin(c.srv.cfg.WriteTimeout, b)
	if err == nil {
		c.srv.env.Stats.BytesOut.Add(int64(len(b)))
	}
	if isTimeout(err) {
		c.srv.env.Stats.SlowConsumers.Add(1)
	}
	return err
}

// writeItems encodes messages behind what buf holds, writing whenever enough has
// come together: chunk, of which a quarter is the payload that is written without a
// copy. It gives what is left to write.
func (c *client) writeItems(buf []byte, items []outItem, chunk int) ([]byte, error) {
	for i := range items {
		it := &items[i]
		if it.skip {
			continue
		}
		p, ok := c.encode(it)
		if !ok {
			continue
		}
		buf = p.AppendHead(buf, c.v)
		if len(p.Payload) < chunk/4 {
			buf = append(buf, p.Payload...)
		} else {
			if err := c.send(buf); err != nil {
				return buf[:0], err
			}
			buf = buf[:0]
			if err := c.send(p.Payload); err != nil {
				return buf, err
			}
		}
		if len(buf) >= chunk-chunk/4 {
			if err := c.send(buf); err != nil {
				return buf[:0], err
			}
			buf = buf[:0]
		}
	}
	return buf, nil
}

// encode makes the PUBLISH of an item. It is false where the client cannot take
// it; then it counts as delivered [MQTT-3.1.2-25].
func (c *client) encode(it *outItem) (*packet.Publish, bool) {
	p := &c.enc
	*p = packet.Publish{Dup: it.dup, QoS: it.qos, Retain: it.retain, ID: it.id, Payload: it.msg.Record.Value}
	c.encTopic = append(c.encTopic[:0], it.topic...)
	p.Topic = c.encTopic
	if c.v >= packet.V5 {
		props, ok := appendProps(c.encProps[:0], &it.msg, c.now())
		if !ok { // expired while it waited [MQTT-3.3.2-5]
			c.discard(it)
			return nil, false
		}
		for _, id := range it.ids {
			props = props.AddNum(packet.PropSubscriptionID, id)
		}
		c.encProps = props
		p.Props = props
	} else if it.msg.Expired(c.now()) {
		c.discard(it)
		return nil, false
	}
	if c.maxPacketOut > 0 && p.Size(c.v)+aliasRoom(c.aliasMax) > c.maxPacketOut { // [MQTT-3.1.2-24]
		c.srv.env.Stats.Dropped.Add(1)
		c.discard(it)
		return nil, false
	}
	if c.aliasMax > 0 {
		c.useAlias(p, it.topic)
	}
	if it.qos == 2 && it.from != nil {
		c.session.mu.Lock()
		if e := c.session.out.byID[it.id]; e != nil {
			e.wire = true
		}
		c.session.mu.Unlock()
	}
	c.srv.env.Stats.MessagesOut.Add(1)
	return p, true
}

// discard counts an unsent message as delivered.
func (c *client) discard(it *outItem) {
	if it.qos > 0 {
		c.completed(it.id)
	}
}

// written acknowledges to their groups what is sent at most once.
func (c *client) written(items []outItem) {
	for i := range items {
		if it := &items[i]; it.from != nil && it.qos == 0 {
			it.from.ack(it.tag)
			if it.id != 0 {
				c.forget(it.id)
			}
		}
	}
}
