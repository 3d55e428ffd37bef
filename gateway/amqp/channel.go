package amqp

import (
	"sync"
	"sync/atomic"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// channel is one channel. Fields without a note belong to the connection's reader.
type channel struct {
	c  *conn
	id uint16

	closing   bool // close sent, waits for close-ok
	lastQueue string
	incoming  incoming       // the publish whose content is arriving
	current   publish        // the one that is complete and being stored
	record    shard.Record   // what becomes of it
	headers   []shard.Header // memory for its headers
	targets   []target       // and for where it goes
	confirm   bool
	tx        *transaction
	txRefs    int    // records stored on behalf of transactions
	published uint64 // sequence number of the last publish with confirms
	prefetch  int    // of new consumers
	window    *shard.Window
	consumers map[string]*consumer
	getters   map[getterKey]*consumer
	gets      gets
	lost      atomic.Bool // closed by lose
	cancelled []*consumer // with deliveries that are not settled
	tagSeq    int

	// mu guards what deliveries and completions share with the reader. No
	// method of a group is called while it is held.
	mu struct {
		sync.Mutex
		unacked  unackedList
		confirms confirmTracker
		gone     bool        // released: nothing is sent on it any more
		ended    []*consumer // of queues that were deleted; sweep forgets them

		holdCancels bool
		cancels     []string // tags, while they are held
	}
}

func newChannel(c *conn, id uint16) *channel {
	return &channel{
		c: c, id: id, window: shard.NewWindow(0),
		consumers: make(map[string]*consumer), getters: make(map[getterKey]*consumer),
	}
}

func (ch *channel) send(m frame.Method) { ch.c.out.method(ch.id, m) }

// channelFrame handles a frame of a channel other than 0.
func (c *conn) channelFrame(f frame.Frame, m frame.Method) error {
	ch := c.latest // mostly the one of the frame before
	if ch == nil || ch.id != f.Channel {
		if ch = c.channels[f.Channel]; ch == nil {
			return c.openChannel(f.Channel, m)
		}
		c.latest = ch
	}
	if ch.lost.Load() && !ch.closing {
		c.flush()
		ch.release()
		ch.closing = true
	}
	if ch.closing {
		switch m.(type) {
		case *frame.ChannelOpen: // nobody would ever answer it
			return refuse(codeChannelError, "second 'channel.open' seen")
		case *frame.ChannelCloseOk:
			c.forget(ch.id)
		case *frame.ChannelClose:
			ch.send(&frame.ChannelCloseOk{})
			c.forget(ch.id)
		}
		return nil
	}
	if f.Type != frame.TypeMethod {
		return ch.content(f)
	}
	if ch.incoming.on {
		return refuse(codeUnexpectedFrame, "expected content, got %s instead", m.ID())
	}
	return ch.method(m)
}

// forget drops a channel that is closed.
func (c *conn) forget(id uint16) {
	delete(c.channels, id)
	c.latest = nil
}

func (c *conn) openChannel(id uint16, m frame.Method) error {
	switch m.(type) {
	case *frame.ChannelOpen:
	case *frame.ChannelCloseOk:
		return nil // both sides closed
	default:
		return refuse(codeChannelError, "expected 'channel.open'")
	}
	if int(id) > c.channelMax {
		return refuse(codeNotAllowed, "number of channels opened (%d) has reached the negotiated channel_max (%d)", id, c.channelMax)
	}
	ch := newChannel(c, id)
	c.channels[id] = ch
	ch.send(&frame.ChannelOpenOk{})
	return nil
}

// closeFor sends channel.close; what the client sent meanwhile is discarded up
// to close-ok (AMQP 1.5.2.6).
func (ch *channel) closeFor(f *fault, id frame.MethodID) {
	ch.c.flush()
	ch.release()
	ch.closing = true
	ch.send(&frame.ChannelClose{ReplyCode: f.code, ReplyText: f.text, ClassID: id.Class(), MethodID: id.Index()})
}

// release gives back all that the channel held; deliveries that were not
// acknowledged return to their queues.
func (ch *channel) release() {
	ch.mu.Lock()
	if ch.mu.gone {
		ch.mu.Unlock()
		return
	}
	ch.mu.gone = true
	ch.mu.ended = nil
	ch.mu.unacked = unackedList{}
	ch.mu.Unlock()
	ch.dropContent()
	if ch.tx != nil {
		ch.tx.hold.Free()
	}
	ch.tx = nil
	for _, k := range ch.consumers {
		k.detach()
		ch.c.vh.consumerGone(ch.c, k.q)
	}
	for _, k := range ch.getters {
		k.detach()
	}
	for _, k := range ch.cancelled {
		k.sc.Close()
	}
	ch.c.readers -= len(ch.consumers) + len(ch.getters)
	ch.consumers, ch.getters, ch.cancelled = nil, nil, nil
	if ch.c.reply != nil {
		ch.c.reply.drop(ch)
	}
}

// method handles a method.
func (ch *channel) method(m frame.Method) error {
	switch m := m.(type) {
	case *frame.BasicPublish:
		ch.beginContent(m)
		return nil
	case *frame.BasicAck:
		return ch.ack(m)
	case *frame.BasicNack:
		return ch.nack(m.DeliveryTag, m.Multiple, m.Requeue)
	case *frame.BasicReject:
		return ch.nack(m.DeliveryTag, false, m.Requeue)
	}
	ch.c.flush() // what came before has been done when the answer comes
	if id := m.ID(); id != frame.IDBasicGet && id.Class() != 20 {
		ch.gets.wait(ch.c.ctx)
	}
	switch m.ID().Class() {
	case 20:
		return ch.channelMethod(m)
	case 40:
		oneLine(m)
		ch.c.settleAppends()
		return ch.exchangeMethod(m)
	case 50:
		oneLine(m)
		ch.c.settleAppends()
		return ch.queueMethod(m)
	case 60:
		return ch.basicMethod(m)
	case 85, 90:
		return ch.txMethod(m)
	}
	return refuse(codeCommandInvalid, "%s on channel %d", m.ID(), ch.id)
}

// Class channel (AMQP 1.5).
func (ch *channel) channelMethod(m frame.Method) error {
	switch m := m.(type) {
	case *frame.ChannelOpen:
		return refuse(codeChannelError, "second 'channel.open' seen")
	case *frame.ChannelClose:
		ch.release()
		ch.send(&frame.ChannelCloseOk{})
		ch.c.forget(ch.id)
		return nil
	case *frame.ChannelCloseOk:
		return nil
	case *frame.ChannelFlow:
		if !m.Active {
			return refuse(codeNotImplemented, "active=false")
		}
		ch.send(&frame.ChannelFlowOk{Active: true})
		return nil
	case *frame.ChannelFlowOk:
		return nil
	}
	return refuse(codeCommandInvalid, "%s is the server's to send", m.ID())
}
