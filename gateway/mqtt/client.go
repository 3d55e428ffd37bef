package mqtt

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
)

// client is one connection and, once CONNECT came, the session it serves.
type client struct {
	srv *Server
	nc  *gateway.Conn
	ctx context.Context
	in  reader

	// Set by CONNECT, not changed after.
	v            packet.Version
	id           string
	who          gateway.Principal
	keepAlive    time.Duration
	maxPacketOut int
	aliasMax     uint16
	problemInfo  bool
	pausing      sync.Mutex  // while groups are paused or resumed
	linger       atomic.Bool // read on for a while after the last bytes
	claimed      bool
	connected    bool
	exchange     exchange // the reader's
	durable      bool     // the session outlives the connection
	sessionOwner string
	window       *shard.Window
	publish      publisher
	acks         ackFIFO
	will         *will
	expiry       uint32 // seconds; the reading goroutine's
	out          outbound
	applying     sync.WaitGroup // changes of state and appends that are not done
	done         chan struct{}  // closed when the session is let go
	enc          packet.Publish // the writer's
	encTopic     []byte
	encProps     packet.Props
	aliases      map[string]uint16 // the writer's
	aliasesIn    map[uint16]string // the reader's
	session      session
}

func newClient(ctx context.Context, s *Server, nc *gateway.Conn) *client {
	c := &client{srv: s, nc: nc, ctx: ctx, done: make(chan struct{}), v: packet.V311}
	c.in.ctx, c.in.hold = ctx, nc.Hold()
	c.out.queue = nc.Queue(s.env.Limits.MaxOutboundBytes)
	c.session.out.queue = nc.Queue(maxKept)
	c.out.idle.L = &c.out.mu
	c.acks.room.L = &c.acks.mu
	c.publish.c = c
	nc.OnRevoke(func() { c.kick(packet.NotAuthorized, "") })
	return c
}

func (c *client) now() time.Time { return c.srv.broker.Time() }

// reader is the read buffer: small while idle, large while there is much.
type reader struct {
	buf   []byte
	r, w  int
	small int // reads in a row that a small buffer would have held
	ctx   context.Context
	hold  gateway.Hold
}

const (
	smallBuf = 512
	largeBuf = 32 << 10
)

var readBufs = sync.Pool{New: func() any { b := make([]byte, largeBuf); return &b }}

// fill reads once, after making room for need bytes in all. Memory is asked for
// before a packet is read, and grows with what has arrived, not with what a header
// promises.
func (in *reader) fill(c io.Reader, need int) error {
	if in.r == in.w {
		in.r, in.w = 0, 0
		in.shrink()
	}
	if in.r > 0 && (need > len(in.buf)-in.r || in.w == len(in.buf)) {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	in.settle(need)
	if in.buf == nil {
		in.buf = make([]byte, smallBuf)
	}
	if need > gateway.FreeBytes {
		if err := in.hold.Need(in.ctx, need); err != nil {
			return err
		}
	}
	if in.w == len(in.buf) {
		in.grow(need)
	}
	n, err := c.Read(in.buf[in.w:])
	in.w += n
	if in.w == len(in.buf) && len(in.buf) < largeBuf {
		in.grow(need)
	}
	if in.w <= smallBuf/2 {
		in.small++
	} else {
		in.small = 0
	}
	if n > 0 {
		return nil
	}
	return err
}

// grow makes the buffer larger: by what Need was granted for a packet, or to where
// many packets come at once.
func (in *reader) grow(need int) {
	var next []byte
	switch {
	case len(in.buf) < largeBuf && in.hold.Want(largeBuf):
		next = *readBufs.Get().(*[]byte)
	case len(in.buf) < gateway.FreeBytes:
		next = make([]byte, gateway.FreeBytes)
	case need > len(in.buf):
		next = make([]byte, min(2*len(in.buf), need))
	case in.w == len(in.buf) && in.r == 0:
		next = make([]byte, len(in.buf)+smallBuf) // a header that is cut in two
	default:
		return
	}
	copy(next, in.buf[:in.w])
	in.put()
	in.buf = next
}

// shrink gives an empty buffer back when a smaller one does.
func (in *reader) shrink() {
	if len(in.buf) > largeBuf || len(in.buf) == largeBuf && in.small > 8 {
		in.free()
		in.small = 0
	}
}

// settle gives back what a packet needed that was handled, though the next one
// has begun.
func (in *reader) settle(need int) {
	if in.buf == nil || need > gateway.FreeBytes || in.w-in.r > gateway.FreeBytes || len(in.buf) <= largeBuf && in.hold.Settle(len(in.buf)) {
		return
	}
	rest := make([]byte, max(in.w-in.r, smallBuf))
	in.w = copy(rest, in.buf[in.r:in.w])
	in.r = 0
	in.free()
	in.buf = rest
}

// put gives the buffer back, and leaves the account.
func (in *reader) put() {
	if len(in.buf) == largeBuf {
		b := in.buf
		readBufs.Put(&b)
	}
	in.buf = nil
}

func (in *reader) free() {
	in.put()
	in.hold.Free()
}

// readLoop serves packets until the connection ends.
func (c *client) readLoop() error {
	defer c.in.free()
	for {
		need, err := c.serveBuffered()
		if err != nil {
			return err
		}
		c.waitTaken()
		if c.connected && c.keepAlive > 0 { // [MQTT-3.1.2-22]
			if err := c.nc.SetReadDeadline(time.Now().Add(c.keepAlive)); err != nil {
				return err
			}
		}
		if err := c.in.fill(c.nc, need); err != nil {
			if isTimeout(err) {
				return protocolError(packet.KeepAliveTimeout, "nothing came within one and a half keep-alives")
			}
			return err
		}
	}
}

// serveBuffered handles every whole packet in the buffer and gives the length of
// the one that is not whole. PUBLISHes are appended together at the end.
func (c *client) serveBuffered() (need int, err error) {
	before := c.in.r
	for {
		b := c.in.buf[c.in.r:c.in.w]
		h, n, err := packet.DecodeHeader(b)
		if err != nil {
			c.refuseUnread(b, err)
			return 0, err
		}
		if n == 0 {
			need = 0
			break
		}
		if need = n + h.Len; need > c.maxPacketIn() {
			err := protocolError(packet.PacketTooLarge, "packet is over the maximum packet size") // [MQTT-3.2.2-15]
			c.refuseUnread(b, err)
			return 0, err
		}
		if len(b) < need {
			break
		}
		c.in.hold.Complete()
		if err := c.handle(h, b[n:need]); err != nil {
			c.publish.flush()
			return 0, err
		}
		c.in.r += need
	}
	c.publish.flush()
	c.srv.env.Stats.BytesIn.Add(int64(c.in.r - before))
	return need, c.acks.wait(c.srv.env.Limits.MaxInflightBytes)
}

func (c *client) maxPacketIn() int {
	if !c.connected {
		return min(maxConnectBytes, c.srv.cfg.MaxPacketSize)
	}
	return c.srv.cfg.MaxPacketSize
}

// handle is the table of packets a client may send.
func (c *client) handle(h packet.Header, body []byte) error {
	if h.Type == packet.PUBLISH && c.connected {
		return c.handlePublish(h, body)
	}
	if !c.connected && h.Type != packet.CONNECT && !c.mayAuth(h.Type) { // [MQTT-3.1.0-1]
		return protocolError(packet.ProtocolError, "first packet is not CONNECT")
	}
	p, err := packet.Decode(h, body, c.v)
	if err != nil {
		if v, ok := p.(*packet.Connect); ok && v != nil && !c.connected {
			c.maxPacketOut = int(v.Props.Num(packet.PropMaximumPacketSize, 0))
			c.refuse(v.Version, err)
		}
		return err
	}
	switch p := p.(type) {
	case *packet.Connect:
		return c.handleConnect(p)
	case *packet.Ack:
		return c.handleAck(p)
	case *packet.Subscribe:
		return c.handleSubscribe(p)
	case *packet.Unsubscribe:
		return c.handleUnsubscribe(p)
	case *packet.Ping:
		return c.handlePing(p)
	case *packet.Disconnect:
		return c.handleDisconnect(p)
	case *packet.Auth:
		return c.refused(c.handleAuth(p))
	}
	return protocolError(packet.ProtocolError, h.Type.String()+" came from a client")
}

// kick closes the connection, after a DISCONNECT where the version has one and
// CONNACK went before it [MQTT-3.14.0-1].
func (c *client) kick(code packet.Code, reference string) {
	var last []byte
	if c.v >= packet.V5 && c.greeted() {
		d := &packet.Disconnect{Code: code}
		if reference != "" {
			d.Props = d.Props.AddStr(packet.PropServerReference, reference)
		}
		last = c.fitting(d, &packet.Disconnect{Code: code})
	}
	c.finish(last)
}

// leave tells the client why, where the protocol can, and lets the session go.
func (c *client) leave(err error) {
	var pe *packet.Error
	var se *shard.Error
	if errors.As(err, &se) && !errors.As(err, &pe) { // the store failed
		c.srv.env.Log.Warn("closing MQTT connection", "client", c.id, "error", err)
		err = protocolError(codeFor(packet.DISCONNECT, se), "the store failed")
	}
	switch {
	case err == nil || errors.Is(err, errLeft):
		c.finish(nil)
	case errors.As(err, &pe):
		c.srv.env.Stats.ProtocolErrors.Add(1)
		c.srv.env.Log.Debug("closing MQTT connection", "client", c.id, "reason", err.Error())
		c.sendReason(pe)
	default:
		c.finish(nil)
	}
	c.waitWritten()
	c.readOff()
	c.nc.Leave()
	if c.claimed {
		c.letGo(errors.Is(err, errLeft))
	}
	close(c.done)
}

func (c *client) sendReason(pe *packet.Error) {
	if !c.connected || c.v < packet.V5 { // nothing before CONNACK [MQTT-4.13.1-1]
		c.linger.Store(c.connected) // who is writing reads an end, not a reset
		c.finish(nil)
		return
	}
	d := &packet.Disconnect{Code: pe.Code}
	if !d.Code.Allowed(packet.DISCONNECT) {
		d.Code = packet.UnspecifiedError
	}
	d.Props = c.reason(d.Props, pe.Msg)
	c.linger.Store(true)
	c.finish(c.fitting(d, &packet.Disconnect{Code: d.Code}))
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}
