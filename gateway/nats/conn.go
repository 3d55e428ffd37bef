package nats

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

// conn is one client connection.
type conn struct {
	s     *Server
	nc    *gateway.Conn
	raw   net.Conn // below TLS: its deadlines may be set while TLS starts
	out   *outbox
	nonce string
	end   context.CancelCauseFunc // ends the connection; the cause is told

	// Of the reading goroutine.
	parse     parser
	opts      connectOptions
	principal gateway.Principal
	loggedIn  bool
	pub       publisher
	live      shard.Subscription

	who      atomic.Pointer[gateway.Principal] // principal, for others
	headers  atomic.Bool                       // the client understands HMSG
	slow     atomic.Bool
	large    atomic.Bool            // the read buffer is over its least size
	idle     atomic.Bool            // the read was interrupted to give memory back
	stall    atomic.Pointer[outbox] // a congested subscriber of ours
	tlsFirst bool
	stats    connStats
	shown    atomic.Pointer[connectOptions] // without secrets, for monitoring

	// subs is guarded by out.mu.
	subs struct {
		bySID map[string]*subscription
		byID  map[shard.SubID]*subscription
		next  shard.SubID
		run   runState
	}
}

// connStats are what monitoring shows of a connection.
type connStats struct {
	msgsIn, bytesIn, msgsOut, bytesOut, stalls atomic.Int64
	lastRead                                   atomic.Int64 // Unix nanoseconds
	pings                                      atomic.Int32 // unanswered
	pinged, rtt                                atomic.Int64 // Unix nanoseconds; nanoseconds
}

// defaultOptions are those of a client that does not say, as nats-server's:
// somebody who types at a terminal.
var defaultOptions = connectOptions{Verbose: true, Pedantic: true, Echo: true}

// connectOptions are the fields of CONNECT (NATS client protocol).
type connectOptions struct {
	Verbose      bool   `json:"verbose"`
	Pedantic     bool   `json:"pedantic"`
	Echo         bool   `json:"echo"`
	Headers      bool   `json:"headers"`
	NoResponders bool   `json:"no_responders"`
	Name         string `json:"name"`
	User         string `json:"user"`
	Pass         string `json:"pass"`
	Token        string `json:"auth_token"`
	NKey         string `json:"nkey"`
	Sig          string `json:"sig"`
	Lang         string `json:"lang"`
	Version      string `json:"version"`
	Protocol     int    `json:"protocol"`
}

func newConn(s *Server, nc *gateway.Conn) *conn {
	c := &conn{s: s, nc: nc, raw: nc.Conn, nonce: newNonce()}
	nc.OnRevoke(func() { c.softError(softRevoked) })
	c.parse = parser{maxPayload: s.cfg.MaxPayload, maxLine: s.cfg.MaxControlLine, locked: true, hold: nc.Hold()}
	c.out = newOutbox(nc, s.env.Limits.MaxOutboundBytes, s.cfg.WriteDeadline, &s.buffers, c.fail)
	c.subs.bySID = make(map[string]*subscription)
	c.subs.byID = make(map[shard.SubID]*subscription)
	c.shown.Store(&connectOptions{})
	c.pub = newPublisher(c)
	return c
}

// serve runs the connection.
func (c *conn) serve(ctx context.Context) {
	ctx, c.end = context.WithCancelCause(ctx)
	defer c.end(nil)
	defer c.out.close()
	defer context.AfterFunc(ctx, c.interrupt)()
	_ = c.raw.SetReadDeadline(time.Now().Add(c.s.cfg.AuthTimeout))
	err := c.greet(ctx)
	c.s.add(c)
	defer c.s.remove(c)
	var writer sync.WaitGroup
	writer.Go(c.out.run)
	if err == nil {
		c.live = c.s.env.Broker.Live.Subscribe(c)
		stopPings := c.startPings()
		err = c.readLoop(ctx)
		stopPings()
		c.live.Close()
		c.dropAll()
	}
	c.sayWhy(ctx, err)
	c.out.close()
	done := make(chan struct{})
	go func() { writer.Wait(); close(done) }()
	select {
	case <-done:
		c.linger(err)
	case <-time.After(c.s.cfg.WriteDeadline):
		c.nc.Abort()
		<-done
	}
}

// interrupt ends a read that waits, and all later ones.
func (c *conn) interrupt() { _ = c.raw.SetReadDeadline(time.Unix(1, 0)) }

// sayWhy sends the client the error that ends its connection.
func (c *conn) sayWhy(ctx context.Context, err error) {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if !c.loggedIn && errors.Is(err, os.ErrDeadlineExceeded) {
		err = errAuthTimeout
	}
	text, ok := wireError(err)
	if !ok {
		return
	}
	if errors.Is(err, errStale) {
		c.s.stale.Add(1)
	} else {
		c.s.env.Stats.ProtocolErrors.Add(1)
	}
	c.s.env.Log.Debug("connection ends", "remote", c.nc.RemoteAddr().String(), "error", err)
	c.out.send(errLine(text))
}

func errLine(text string) string { return "-ERR '" + text + "'\r\n" }

// linger reads what the client still sends, for a moment: a close with unread
// bytes would take the error back that it is about to read.
func (c *conn) linger(err error) {
	if _, told := wireError(err); !told || c.slow.Load() {
		return
	}
	if w, ok := c.nc.Conn.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
		_ = c.raw.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, c.nc, lingerBytes)
	}
}

const (
	lingerTime  = 300 * time.Millisecond
	lingerBytes = 16 << 20
)

// startPings pings a silent client at intervals and ends the connection after
// PingMax unanswered ones.
func (c *conn) startPings() (stop func()) {
	interval := c.s.cfg.PingInterval
	var t *time.Timer
	var mu sync.Mutex
	stopped := false
	t = time.AfterFunc(time.Duration(1<<62), func() {
		now := time.Now()
		switch {
		case now.UnixNano()-c.stats.lastRead.Load() < int64(interval):
			c.stats.pings.Store(0)
		case int(c.stats.pings.Add(1)) > c.s.cfg.PingMax:
			c.end(errStale)
			return
		default:
			c.stats.pinged.Store(now.UnixNano())
			c.out.send("PING\r\n")
			if c.large.Load() && !c.nc.WebSocket { // an interrupted read ends a WebSocket
				c.idle.Store(true)
				c.interrupt()
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if !stopped {
			t.Reset(interval)
		}
	})
	t.Reset(interval)
	return func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		t.Stop()
	}
}

// readLoop parses and executes until the connection ends.
func (c *conn) readLoop(ctx context.Context) error {
	need := 1
	if c.parse.buffered() > 0 { // read while it was open whether TLS comes
		need = 0
	}
	for {
		if need > 0 {
			err := c.parse.make(ctx, need)
			if err == nil {
				err = c.parse.fill(c.nc, need)
			}
			if err != nil && !c.wasIdle(ctx, err) {
				return err
			}
			if err != nil {
				continue
			}
			c.large.Store(c.loggedIn && len(c.parse.buf) > minBuffer)
		}
		now := time.Now()
		c.stats.lastRead.Store(now.UnixNano())
		c.pub.begin(now)
		var err error
		need, err = c.drainBuffer(ctx)
		c.pub.flush(ctx)
		c.pub.count()
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		c.out.throttle(ctx)
		c.yieldTo(ctx)
	}
}

// wasIdle tells whether a read was interrupted only to give the buffer of a
// connection back that fell silent, and does so.
func (c *conn) wasIdle(ctx context.Context, err error) bool {
	if !c.idle.Swap(false) || !errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
		return false
	}
	c.parse.release()
	c.large.Store(false)
	_ = c.raw.SetReadDeadline(time.Time{})
	if ctx.Err() != nil {
		c.interrupt()
	}
	return true
}

// drainBuffer executes all commands that were read, and tells how many bytes the
// next one needs.
func (c *conn) drainBuffer(ctx context.Context) (need int, err error) {
	for {
		cmd, need, err := c.parse.next()
		if err != nil || need > 0 {
			return need, err
		}
		if cmd.verb == verbPub {
			err = c.publish(ctx, cmd)
		} else {
			err = c.execute(ctx, cmd)
		}
		if err != nil {
			return 0, err
		}
		if c.parse.buffered() == 0 {
			return 1, nil
		}
	}
}

// yieldTo waits a moment for a subscriber that our messages congest, so that a
// fast publisher does not make slow consumers of those who just need a moment.
func (c *conn) yieldTo(ctx context.Context) {
	o := c.stall.Swap(nil)
	if o == nil || o == c.out {
		return
	}
	c.stats.stalls.Add(1)
	ctx, cancel := context.WithTimeout(ctx, stallTime)
	defer cancel()
	o.wait(ctx, o.queue.Limit()/2)
}

// stallTime is how long one read of a publisher waits for its subscribers.
const stallTime = 10 * time.Millisecond

func (c *conn) publish(ctx context.Context, cmd *command) error {
	if cmd.hpub && !c.opts.Headers {
		return errHeadersOff
	}
	if c.pub.publish(ctx, cmd) {
		c.ok()
	}
	return nil
}

func (c *conn) execute(ctx context.Context, cmd *command) error {
	switch cmd.verb {
	case verbLogin: // without CONNECT: anonymous
		return c.login(ctx, defaultOptions)
	case verbSub:
		c.pub.flush(ctx) // it is for what comes after it
		return c.sub(cmd.args)
	case verbUnsub:
		c.pub.flush(ctx) // what came before it is still delivered
		return c.unsub(cmd.args)
	case verbConnect:
		return c.connect(ctx, cmd.args)
	case verbPing:
		c.pub.flush(ctx) // PONG follows all that came before
		c.out.send("PONG\r\n")
	case verbPong:
		c.stats.pings.Store(0)
		if at := c.stats.pinged.Swap(0); at > 0 {
			c.stats.rtt.Store(time.Now().UnixNano() - at)
		}
	}
	return nil
}

// ok answers a command where the client asked for it.
func (c *conn) ok() {
	if c.opts.Verbose {
		c.out.send("+OK\r\n")
	}
}

func (c *conn) connect(ctx context.Context, args []byte) error {
	o := defaultOptions
	if err := json.Unmarshal(args, &o); err != nil {
		return errParser
	}
	switch {
	case o.Protocol < 0 || o.Protocol > 1:
		return errClientProtocol
	case o.NoResponders && !o.Headers:
		return errNeedsHeaders
	}
	c.pub.flush(ctx) // as whoever it was until now
	if err := c.login(ctx, o); err != nil {
		return err
	}
	c.ok()
	return nil
}

// fail ends a connection whose outbox is over its bound or cannot be written.
func (c *conn) fail(slow bool) {
	if slow && c.slow.CompareAndSwap(false, true) {
		c.s.env.Stats.SlowConsumers.Add(1)
		info := c.nc.Info()
		c.s.slow(info)
		go c.nc.Abort() // which WebSocket makes wait; nobody who delivers may
	}
	c.end(errGone)
}

// errGone is for a client that takes nothing any more.
var errGone = errors.New("client is gone")

// softError tells the client of an error that does not end the connection.
func (c *conn) softError(text string) { c.out.send(errLine(text)) }

// permission tells of a refused publish or subscription, in nats-server's words,
// which clients read the subject from.
func (c *conn) permission(what, subject, queue string) {
	c.s.env.Stats.AuthFailures.Add(1)
	text := "Permissions Violation for " + what + " " + strconv.Quote(subject)
	if queue != "" {
		text += " using queue " + strconv.Quote(queue)
	}
	c.softError(text)
}
