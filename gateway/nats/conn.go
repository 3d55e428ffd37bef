package nats

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
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
	out   *outbox
	nonce string

	parse     parser
	opts      connectOptions
	principal gateway.Principal
	loggedIn  bool
	pub       publisher
	live      shard.Subscription

	pings atomic.Int32 // unanswered
	slow  atomic.Bool

	subs struct {
		sync.Mutex
		bySID map[string]*subscription
		byID  map[shard.SubID]*subscription
		next  shard.SubID
	}
}

// connectOptions are the fields of CONNECT (NATS client protocol).
type connectOptions struct {
	Verbose      bool   `json:"verbose"`
	Pedantic     bool   `json:"pedantic"`
	Echo         *bool  `json:"echo"`
	Headers      bool   `json:"headers"`
	NoResponders bool   `json:"no_responders"`
	Name         string `json:"name"`
	User         string `json:"user"`
	Pass         string `json:"pass"`
	Token        string `json:"auth_token"`
	NKey         string `json:"nkey"`
	Sig          string `json:"sig"`
	JWT          string `json:"jwt"`
	Lang         string `json:"lang"`
	Version      string `json:"version"`
	Protocol     int    `json:"protocol"`
}

func newConn(s *Server, nc *gateway.Conn) *conn {
	c := &conn{s: s, nc: nc, nonce: newNonce()}
	c.parse.maxPayload = s.cfg.MaxPayload
	c.out = newOutbox(nc, s.env.Limits.MaxOutboundBytes, s.cfg.WriteDeadline, c.slowConsumer)
	c.subs.bySID = make(map[string]*subscription)
	c.subs.byID = make(map[shard.SubID]*subscription)
	c.pub = newPublisher(c)
	return c
}

// serve runs the connection.
func (c *conn) serve(ctx context.Context) {
	var writer sync.WaitGroup
	writer.Go(c.out.run)
	c.live = c.s.env.Broker.Live.Subscribe(c)
	c.out.send(encodeInfo(c.s.info(c)))
	ping := time.AfterFunc(c.s.cfg.PingInterval, func() {})
	ping.Stop()
	stopPings := c.startPings()
	err := c.readLoop(ctx)
	stopPings()
	c.live.Close()
	c.s.env.Stats.Subscriptions.Add(-int64(c.subCount()))
	if text, ok := wireError(err); ok {
		c.s.env.Stats.ProtocolErrors.Add(1)
		c.s.env.Log.Debug("connection ends", "remote", c.nc.RemoteAddr().String(), "error", err)
		c.out.send([]byte("-ERR '" + text + "'\r\n"))
	}
	c.out.close()
	done := make(chan struct{})
	go func() { writer.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(c.s.cfg.WriteDeadline):
	}
	_ = c.nc.Close()
	<-done
}

// startPings pings the client at intervals and ends the connection after
// PingMax unanswered ones.
func (c *conn) startPings() (stop func()) {
	var t *time.Timer
	t = time.AfterFunc(c.s.cfg.PingInterval, func() {
		if int(c.pings.Add(1)) > c.s.cfg.PingMax {
			c.out.send([]byte("-ERR 'Stale Connection'\r\n"))
			c.out.close()
			_ = c.nc.SetReadDeadline(time.Now())
			return
		}
		c.out.send([]byte("PING\r\n"))
		t.Reset(c.s.cfg.PingInterval)
	})
	return func() { t.Stop() }
}

// readLoop parses and executes until the connection ends.
func (c *conn) readLoop(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = c.nc.SetReadDeadline(time.Now()) })
	defer stop()
	need := 1
	for {
		if err := c.parse.fill(c.nc, need); err != nil {
			return err
		}
		for {
			cmd, more, err := c.parse.next()
			if err != nil {
				c.pub.flush(ctx)
				return err
			}
			if more > 0 {
				need = more
				break
			}
			if err := c.execute(ctx, &cmd); err != nil {
				c.pub.flush(ctx)
				return err
			}
			if !c.parse.buffered() {
				need = 1
				break
			}
		}
		c.pub.flush(ctx)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

func (c *conn) execute(ctx context.Context, cmd *command) error {
	if !c.loggedIn && cmd.verb != verbConnect && cmd.verb != verbPing && cmd.verb != verbPong {
		if err := c.login(ctx, connectOptions{}); err != nil {
			return err
		}
	}
	switch cmd.verb {
	case verbPub:
		c.pub.publish(ctx, cmd)
	case verbSub:
		return c.sub(cmd.args)
	case verbUnsub:
		return c.unsub(cmd.args)
	case verbConnect:
		return c.connect(ctx, cmd.args)
	case verbPing:
		c.pub.flush(ctx)
		c.out.send([]byte("PONG\r\n"))
		return nil
	case verbPong:
		c.pings.Store(0)
		return nil
	case verbOK, verbInfo, verbErr:
		return nil
	}
	c.ok()
	return nil
}

// ok answers a command where the client asked for it.
func (c *conn) ok() {
	if c.opts.Verbose {
		c.out.send([]byte("+OK\r\n"))
	}
}

func (c *conn) connect(ctx context.Context, args []byte) error {
	var o connectOptions
	if err := json.Unmarshal(args, &o); err != nil {
		return errParser
	}
	if err := c.login(ctx, o); err != nil {
		return err
	}
	c.ok()
	return nil
}

// slowConsumer ends a connection that does not take what it subscribed to.
func (c *conn) slowConsumer() {
	if c.slow.CompareAndSwap(false, true) {
		c.s.env.Stats.SlowConsumers.Add(1)
		c.s.env.Log.Warn("slow consumer", "remote", c.nc.RemoteAddr().String(), "name", c.opts.Name)
		_ = c.nc.Close()
	}
}

// softError tells the client of an error that does not end the connection.
func (c *conn) softError(text string) {
	c.out.send([]byte("-ERR '" + text + "'\r\n"))
}

// permission tells of a refused publish or subscription.
func (c *conn) permission(what, subject string) {
	c.s.env.Stats.AuthFailures.Add(1)
	c.softError("Permissions Violation for " + what + " \"" + strings.ReplaceAll(subject, "'", "") + "\"")
}

func (c *conn) subCount() int {
	c.subs.Lock()
	defer c.subs.Unlock()
	return len(c.subs.bySID)
}

var errMaxSubscriptions = errors.New("Maximum Subscriptions Exceeded")
