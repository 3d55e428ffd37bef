package amqp

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// phase is how far a connection's life cycle is (AMQP 1.4).
type phase uint8

const (
	phaseHeader phase = iota // waits for the protocol header
	phaseStart               // start sent
	phaseTune                // tune sent
	phaseOpen                // tuned, waits for connection.open
	phaseRunning
	phaseClosing // close sent, waits for close-ok
)

// loginFrameMax bounds frames of those who are not logged in, in bytes.
const loginFrameMax = 16 << 10

// closeTimeout bounds the wait for close-ok.
const closeTimeout = 5 * time.Second

// errBye ends the read loop when the client has been told close-ok. It is the client
// that closes the connection then, as with RabbitMQ: lapin takes an end of the
// stream that comes with close-ok for an abort.
var errBye = errors.New("closed by the client")

// byeTimeout bounds the wait for that.
const byeTimeout = 2 * time.Second

// errDone ends the read loop in good order.
var errDone = errors.New("connection is over")

// conn is one connection. Fields without a note belong to the reader.
type conn struct {
	s    *server
	nc   *gateway.Conn
	ctx  context.Context // ends with the connection
	stop context.CancelFunc
	log  *slog.Logger
	out  *output // any goroutine

	phase      phase
	mechanism  string
	name       string // the client's, for operators
	frameMax   int    // read by deliveries; constant once running
	channelMax int
	heartbeat  atomic.Int64 // nanoseconds, 0: none
	caps       clientCaps
	who        gateway.Principal
	vh         *vhost

	methods    frame.Decoder
	ahead      []byte // what is read behind the frame that is handled
	channels   map[uint16]*channel
	latest     *channel // that a frame was for; nil: look it up
	now        int64    // when the frames in hand were read, milliseconds
	partial    int      // bytes of unfinished bodies
	readers    int      // consumers and getters of all channels
	batches    batches
	acks       ackBatch
	inflight   inflight
	held       heldBatches
	rejections rejections
	pause      struct { // consumers to stop while the output is over its limit
		sync.Mutex
		on        bool
		consumers map[*consumer]struct{}
	}
	exclusive map[string]*queue // queues of this connection; under the vhost's mu
	reply     *replies
}

// clientCaps are the capabilities that a client announced.
type clientCaps struct {
	cancelNotify, blocked, authFailureClose bool
}

func newConn(ctx context.Context, s *server, nc *gateway.Conn) *conn {
	ctx, stop := context.WithCancel(ctx)
	c := &conn{
		s: s, nc: nc, ctx: ctx, stop: stop,
		log:      s.log.With("remote", nc.Info().Remote),
		out:      newOutput(nc.Queue(s.env.Limits.MaxOutboundBytes)),
		frameMax: loginFrameMax, channelMax: s.cfg.ChannelMax,
		channels:  make(map[uint16]*channel),
		exclusive: make(map[string]*queue),
	}
	c.held.memory = nc.Queue(s.env.Limits.MaxInflightBytes)
	c.pause.consumers = make(map[*consumer]struct{})
	c.out.full = func() { go c.pauseConsumers() }
	c.out.idle = func() { c.pauseConsumers() }
	return c
}

// pauseConsumers follows the state of the output, which may have changed since
// it was called for.
func (c *conn) pauseConsumers() {
	c.pause.Lock()
	defer c.pause.Unlock()
	on := c.out.excess()
	if on == c.pause.on {
		return
	}
	c.pause.on = on
	for k := range c.pause.consumers {
		k.sc.Pause(on)
	}
}

func (c *conn) serve() {
	var wg sync.WaitGroup
	wg.Go(func() {
		c.out.run(c.nc, func() time.Duration { return time.Duration(c.heartbeat.Load()) / 2 }, c.patience,
			func(n int) { c.s.env.Stats.BytesOut.Add(int64(n)) })
	})
	err := c.read()
	switch {
	case errors.Is(err, errDone), errors.Is(err, errBye), errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), c.ctx.Err() != nil:
	default:
		c.log.Debug("connection ended", "error", err)
	}
	c.out.close()
	if c.ctx.Err() == nil && !errors.Is(err, errStopped) {
		ctx, cancel := context.WithTimeout(c.ctx, closeTimeout)
		c.out.drained(ctx)
		cancel()
	}
	if errors.Is(err, errBye) && c.nc.SetReadDeadline(time.Now().Add(byeTimeout)) == nil {
		_, _ = io.Copy(io.Discard, c.nc)
	}
	if errors.Is(err, errStopped) {
		c.s.env.Stats.SlowConsumers.Add(1)
		c.nc.Abort() // the writer may be stuck
	}
	_ = c.nc.Close()
	wg.Wait()
}

// consume handles the whole frames of b and tells how many bytes that were.
func (c *conn) consume(b []byte) (used int, err error) {
	if c.phase == phaseHeader {
		if len(b) < len(frame.ProtocolHeader) {
			if string(b) != frame.ProtocolHeader[:len(b)] {
				return 0, c.wrongHeader()
			}
			return 0, nil
		}
		if string(b[:8]) != frame.ProtocolHeader {
			return 0, c.wrongHeader()
		}
		used = 8
		c.start()
	}
	for {
		f, n, err := frame.Parse(b[used:], c.frameMax)
		if err != nil {
			c.s.env.Stats.ProtocolErrors.Add(1)
			if c.phase < phaseRunning {
				return used, err
			}
			if c.phase == phaseClosing {
				return used, errDone
			}
			c.closeFor(faultOf(err), 0)
			return used, errDone // what follows cannot be told apart into frames
		}
		if n == 0 {
			c.ahead = nil // the buffer may be given back
			return used, nil
		}
		used += n
		c.ahead = b[used:]
		if err := c.frame(f); err != nil {
			return used, err
		}
	}
}

// wrongHeader answers with the header that we speak and hangs up (AMQP 4.2.2).
func (c *conn) wrongHeader() error {
	c.s.env.Stats.ProtocolErrors.Add(1)
	c.out.append(func(b []byte) []byte { return append(b, frame.ProtocolHeader...) })
	return errDone
}

// frame handles one frame; an error ends the connection.
func (c *conn) frame(f frame.Frame) error {
	var m frame.Method
	var id frame.MethodID
	if f.Type == frame.TypeMethod {
		var err error
		if m, id, err = c.methods.Decode(f.Payload); err != nil {
			if c.phase == phaseClosing {
				return nil
			}
			return c.fail(f.Channel, faultOf(err), id)
		}
	}
	if c.phase == phaseClosing {
		return c.closingFrame(m)
	}
	if f.Type == frame.TypeHeartbeat {
		if f.Channel != 0 {
			return c.fail(0, refuse(codeFrameError, "heartbeat on channel %d", f.Channel), 0)
		}
		return nil
	}
	if f.Channel == 0 || c.phase != phaseRunning {
		return c.connectionFrame(f, m, id)
	}
	if err := c.channelFrame(f, m); err != nil {
		return c.fail(f.Channel, faultOf(err), id)
	}
	return nil
}

// closingFrame discards all but close and close-ok (AMQP 1.4.2.9).
func (c *conn) closingFrame(m frame.Method) error {
	switch m.(type) {
	case *frame.ConnectionCloseOk:
		return errDone
	case *frame.ConnectionClose:
		c.out.method(0, &frame.ConnectionCloseOk{})
		return errDone
	}
	return nil
}

func (c *conn) connectionFrame(f frame.Frame, m frame.Method, id frame.MethodID) error {
	if m == nil || f.Channel != 0 {
		return c.fail(0, refuse(codeCommandInvalid, "unexpected frame of type %d on channel %d", f.Type, f.Channel), id)
	}
	err := c.connectionMethod(m)
	if err == nil || errors.Is(err, errDone) || errors.Is(err, errBye) {
		return err
	}
	return c.fail(0, faultOf(err), id)
}

// fail closes the channel or the connection for a fault.
func (c *conn) fail(channel uint16, f *fault, id frame.MethodID) error {
	if f.code >= 500 {
		c.s.env.Stats.ProtocolErrors.Add(1)
	}
	if f.method != 0 {
		id = f.method
	}
	if ch := c.channels[channel]; channel != 0 && !f.hard && ch != nil {
		ch.closeFor(f, id)
		return nil
	}
	if c.phase < phaseOpen {
		// AMQP 2.2.4: before tune there is nobody to tell; RabbitMQ's clients
		// understand a close all the same.
		c.closeFor(f, id)
		return errDone
	}
	c.closeFor(f, id)
	return nil
}

// closeFor sends connection.close; from then on all but close-ok is discarded.
func (c *conn) closeFor(f *fault, id frame.MethodID) {
	if f.code == codeInternalError {
		c.log.Error("connection closed by an internal error", "error", f.text)
	} else {
		c.log.Debug("connection closed", "error", f.text)
	}
	c.flush()
	c.phase = phaseClosing
	c.closeChannels()
	c.out.method(0, &frame.ConnectionClose{ReplyCode: f.code, ReplyText: f.text, ClassID: id.Class(), MethodID: id.Index()})
}

func (c *conn) closeChannels() {
	for id, ch := range c.channels {
		ch.release()
		c.forget(id)
	}
}

// flush sends on what was gathered of one read.
func (c *conn) flush() {
	c.acks.flush()
	c.batches.flush(c)
}

// settlePatience bounds how long a method waits for earlier publishes.
const settlePatience = time.Second

// settleAppends waits until what the connection published is in the queues, so
// that a get, a purge or a bind after a publish finds it where RabbitMQ has it.
func (c *conn) settleAppends() {
	ctx, cancel := context.WithTimeout(c.ctx, settlePatience)
	defer cancel()
	c.inflight.waitBelow(ctx, 0)
}

// cleanup gives back all that the connection held.
func (c *conn) cleanup() {
	c.flush()
	c.stop()
	c.closeChannels()
	if c.reply != nil {
		c.reply.close()
	}
	c.dropExclusive()
}

// dropExclusive deletes the connection's exclusive queues.
func (c *conn) dropExclusive() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), 10*time.Second)
	defer cancel()
	for _, q := range c.exclusiveQueues() {
		if _, err := c.vh.deleteQueue(ctx, q, nil); err != nil {
			c.log.Warn("exclusive queue not deleted", "queue", q.name, "error", err)
		}
	}
}

// allowed tells whether the user has a permission.
func (c *conn) allowed(op shard.Operation, resource, name string) bool {
	return c.s.env.Auth.Allowed(c.who, c.nc.RemoteAddr(), op, resource, name)
}

// may refuses what is not allowed; what it is says the text.
func (c *conn) may(op shard.Operation, resource, name, what string) error {
	if c.allowed(op, resource, name) {
		return nil
	}
	return refuse(codeAccessRefused, "%s to %s refused for user '%s'", op, what, c.who.Name)
}

func (c *conn) exclusiveQueues() []*queue {
	if c.vh == nil {
		return nil
	}
	c.vh.mu.RLock()
	defer c.vh.mu.RUnlock()
	qs := make([]*queue, 0, len(c.exclusive))
	for _, q := range c.exclusive {
		qs = append(qs, q)
	}
	return qs
}
