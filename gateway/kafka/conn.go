package kafka

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/internal/raw"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// maxFrame is Kafka's own socket.request.max.bytes.
	maxFrame = 100 << 20
	// maxEarlyFrame bounds frames of who has not been let in yet (Kafka:
	// sasl.server.max.receive.size).
	maxEarlyFrame = 512 << 10
	// maxPlainFrame bounds frames of every API but those that carry records or
	// assignments.
	maxPlainFrame = 8 << 20
	// bigFrame is from where on requests are decoded one at a time.
	bigFrame = 256 << 10
	// maxQueued bounds the requests of a connection that wait.
	maxQueued = 256
	// ownTurn is the largest produce request that the reader handles itself: of
	// larger ones the next is read while one is checked.
	ownTurn = 64 << 10
	// smallRead is the buffer of a connection that has not produced, largeRead
	// of one that has: a request of a producer's usual 16 KiB is one read.
	smallRead = 512
	largeRead = 32 << 10

	// writePatience is how long a client may take nothing of its responses,
	// idlePatience how long it may be silent: Kafka's connections.max.idle.ms.
	writePatience = 60 * time.Second
	idlePatience  = 10 * time.Minute
	// flushAt is from how many bytes on responses are written though more of them
	// are ready.
	flushAt = 64 << 10

	// maxThrottle is how far a user may get over the rate with one produce
	// request, and about the longest throttle time: well below every session
	// timeout, as all connections of the user wait for it.
	maxThrottle = 3 * time.Second
)

// throttled is the throttle time of a response (KIP-219): it goes out at once,
// and nothing is read from the connection for as long.
func (c *conn) throttled() int32 { return int32(c.nc.Owed().Milliseconds()) }

// conn is one client connection. Its reader cuts frames, its processor (the
// goroutine of serve) handles them in order, its writer writes the responses in
// the same order. Small produce requests, which wait for room alone, are handled by
// the reader itself while the processor has nothing to do.
type conn struct {
	srv *Server
	nc  *gateway.Conn
	log *slog.Logger

	// ctx ends when the connection must go; alive ends when the client has
	// gone or the server drains, too: nothing then waits for a long poll.
	ctx      context.Context
	cancel   context.CancelFunc
	alive    context.Context
	setGone  context.CancelFunc
	budget   budget // of requests
	outbound budget // of fetched records that are not written yet
	queue    *gateway.Queue
	requests chan *request
	replies  replies
	// handed counts the requests that the processor has been given and has not
	// served. While there are none it is the reader's turn: see readLoop.
	handed atomic.Int32

	in *bufio.Reader // of the reader

	// Of whose turn it is, the processor's or the reader's.
	principal gateway.Principal
	admitted  bool
	sasl      saslState
	fetches   fetchSessions
	ahead     ahead
	admittedC chan struct{} // closed when first admitted: larger frames from then on
	admitOnce sync.Once
}

// request is one request and, in the end, its response.
type request struct {
	due      *replies // where it waits to be written
	api      *api
	version  int16
	corr     int32
	clientID string
	size     int
	held     int // bytes to give back to the memory for connections once answered
	body     kmsg.Request

	// Set before it is done.
	resp  kmsg.Response // nil: nothing is written
	out   int           // bytes to give back to conn.outbound once written
	fatal bool          // close the connection after it
	done  bool          // guarded by due
}

func (r *request) reply(resp kmsg.Response) {
	r.resp = resp
	r.due.done(r)
}

// hangUp ends the request without an answer, and the connection with it.
func (r *request) hangUp() {
	r.fatal = true
	r.due.done(r)
}

func newConn(ctx context.Context, s *Server, nc *gateway.Conn) *conn {
	c := &conn{
		srv: s, nc: nc,
		log:       s.log.With("remote", nc.RemoteAddr().String()),
		requests:  make(chan *request, 16),
		admittedC: make(chan struct{}),
		in:        bufio.NewReaderSize(nc, smallRead),
	}
	c.replies.init()
	c.ctx, c.cancel = context.WithCancel(ctx)
	c.alive, c.setGone = context.WithCancel(c.ctx)
	c.budget.init(s.env.Limits.MaxInflightBytes)
	c.outbound.init(s.env.Limits.MaxOutboundBytes)
	c.queue = nc.Queue(s.env.Limits.MaxOutboundBytes)
	c.ahead.init(c.ctx, &s.ahead, c.guard)
	return c
}

func (c *conn) serve() {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer c.nc.Close()
	defer c.cancel()
	wg.Go(func() { c.guard(c.readLoop) })
	written := make(chan struct{})
	wg.Go(func() {
		defer close(written)
		c.guard(c.writeLoop)
	})
	wg.Go(c.watchDrain)
	c.guard(c.process)
	c.replies.end()
	select {
	case <-written:
	case <-c.ctx.Done():
	}
}

// guard keeps a fault in one goroutine of a connection from ending the process.
func (c *conn) guard(f func()) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("connection handler panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			c.cancel()
			_ = c.nc.Close()
		}
	}()
	f()
}

func (c *conn) watchDrain() {
	select {
	case <-c.srv.draining:
		c.setGone()
		_ = c.nc.SetReadDeadline(time.Unix(1, 0))
	case <-c.ctx.Done():
		_ = c.nc.Close()
	}
}

// readLoop cuts frames until the client or the connection ends. Requests that
// were read are still processed.
func (c *conn) readLoop() {
	defer close(c.requests)
	defer c.setGone()
	for {
		r, err := c.readFrame()
		if err != nil && timedOut(err) && c.alive.Err() == nil {
			c.log.Debug("connection ends: it was idle", "after", idlePatience)
			return
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && c.alive.Err() == nil {
				c.log.Debug("connection ends", "error", err)
			}
			return
		}
		if r.api.key == keyProduce && r.size <= ownTurn && c.handed.Load() == 0 {
			if !c.handle(r) {
				return
			}
			continue
		}
		c.handed.Add(1)
		select {
		case c.requests <- r:
		case <-c.ctx.Done():
			return
		}
	}
}

var errFrame = shard.Errorf(shard.KindInvalid, "read frame: malformed")

func (c *conn) readFrame() (*request, error) {
	var head [12]byte // size, key, version, correlation id
	if err := c.awaitFrame(head[:]); err != nil {
		return nil, err
	}
	size := int(int32(binary.BigEndian.Uint32(head[:])))
	key := int16(binary.BigEndian.Uint16(head[4:]))
	r := &request{
		version: int16(binary.BigEndian.Uint16(head[6:])),
		corr:    int32(binary.BigEndian.Uint32(head[8:])),
		size:    size,
		due:     &c.replies,
	}
	if r.api = c.srv.apis.find(key); r.api == nil {
		c.srv.env.Stats.ProtocolErrors.Add(1)
		return nil, shard.Errorf(shard.KindInvalid, "read frame: unknown API key %d", key)
	}
	limit := r.api.maxBytes
	select {
	case <-c.admittedC:
	default:
		limit = min(limit, maxEarlyFrame)
	}
	if size < 10 || size > limit {
		c.srv.env.Stats.ProtocolErrors.Add(1)
		return nil, shard.Errorf(shard.KindTooLarge, "read frame: %d bytes for %s, the cap is %d", size, r.api.name, limit)
	}
	if err := c.budget.acquire(c.ctx, size); err != nil {
		return nil, err
	}
	if r.held = size - gateway.FreeBytes; r.held > 0 {
		if err := c.nc.Need(c.ctx, r.held); err != nil {
			return nil, err
		}
		defer c.nc.Complete()
	}
	if key == keyProduce {
		c.nc.SetGrace(maxThrottle)
		if c.in.Size() < largeRead { // it will send more of them
			c.in = bufio.NewReaderSize(c.in, largeRead)
		}
	}
	frame, err := readBounded(c.in, size-8)
	c.nc.SetGrace(0)
	if err != nil {
		return nil, err
	}
	c.srv.env.Stats.BytesIn.Add(int64(size) + 4)
	if err := c.decode(r, frame); err != nil {
		c.srv.env.Stats.ProtocolErrors.Add(1)
		return nil, err
	}
	return r, nil
}

// awaitFrame reads the head of the next frame. A client that is silent for long,
// while nothing is owed to it, is gone.
func (c *conn) awaitFrame(head []byte) error {
	for {
		c.setDeadline(idlePatience)
		n, err := io.ReadFull(c.in, head)
		if err == nil || n > 0 || !timedOut(err) || c.alive.Err() != nil || c.replies.empty() {
			return err
		}
	}
}

// setDeadline bounds reads, unless the server drains, which ends them.
func (c *conn) setDeadline(d time.Duration) {
	_ = c.nc.SetReadDeadline(time.Now().Add(d))
	if c.alive.Err() != nil {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

func timedOut(err error) bool {
	var ne net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}

// readBounded takes memory as the bytes arrive, not as they are announced.
func readBounded(src io.Reader, n int) ([]byte, error) {
	const step = 1 << 20
	buf := raw.Bytes(min(n, step))
	for have := 0; ; {
		if _, err := io.ReadFull(src, buf[have:]); err != nil {
			return nil, err
		}
		if have = len(buf); have == n {
			return buf, nil
		}
		next := raw.Bytes(min(n, 4*have))
		copy(next, buf)
		buf = next
	}
}

// decode takes the rest of the header and the body. What it makes shares frame.
func (c *conn) decode(r *request, frame []byte) error {
	if r.version < r.api.min || r.version > r.api.max {
		if r.api.key == keyAPIVersions {
			return nil // answered with UNSUPPORTED_VERSION; body stays nil
		}
		return shard.Errorf(shard.KindInvalid, "read frame: %s version %d is not supported", r.api.name, r.version)
	}
	rd := kbin.Reader{Src: frame}
	client := rd.NullableString()
	if client != nil {
		r.clientID = *client
	}
	q := kmsg.RequestForKey(r.api.key)
	q.SetVersion(r.version)
	if q.IsFlexible() && !skipTags(&rd, -1) || !rd.Ok() {
		return errFrame
	}
	if !r.api.shapes[r.version].fits(rd.Src) {
		return errFrame
	}
	if len(frame) >= bigFrame {
		c.srv.bigDecode.Lock()
		defer c.srv.bigDecode.Unlock()
	}
	if r.api.key == keyProduce {
		r.body = q
		return q.(kmsg.UnsafeReadFrom).UnsafeReadFrom(rd.Src) // records stay in the frame's memory
	}
	r.body = q
	return q.ReadFrom(rd.Src)
}

// process handles requests in order until there are no more.
func (c *conn) process() {
	defer c.fetches.close()
	defer c.ahead.close()
	for r := range c.requests {
		if !c.handle(r) {
			return
		}
		c.handed.Add(-1)
	}
}

// handle serves one request; false means that it is the last one. Whoever has
// the turn calls it.
func (c *conn) handle(r *request) bool {
	if c.replies.push(c.ctx, r) != nil {
		return false
	}
	if !c.admit(r) {
		r.hangUp()
		return false
	}
	r.api.serve(c, r)
	return c.ctx.Err() == nil
}

// writeLoop writes responses in order; those that are ready at once go out in
// one write.
func (c *conn) writeLoop() {
	w := newVector()
	var batch []*request
	for {
		if batch = c.replies.take(c.ctx, batch[:0], w.size() == 0); len(batch) == 0 {
			if w.size() == 0 || !c.flush(w) {
				return
			}
			continue
		}
		for _, r := range batch {
			if r.resp != nil {
				w.response(r)
			}
			c.budget.release(r.size)
			c.nc.Release(r.held)
			if r.out > 0 {
				if !c.flush(w) {
					return
				}
				c.outbound.release(r.out)
				c.queue.Add(-r.out)
			}
			if r.fatal {
				c.flush(w)
				c.cancel()
				return
			}
		}
		clear(batch)
		if w.size() >= flushAt && !c.flush(w) {
			return
		}
	}
}

func (c *conn) flush(w *vector) bool {
	n := w.size()
	if n == 0 {
		return true
	}
	if err := w.writeTo(c.nc); err != nil {
		if timedOut(err) {
			c.srv.env.Stats.SlowConsumers.Add(1)
		}
		c.cancel()
		c.nc.Abort() // a farewell would not be taken either
		return false
	}
	c.srv.env.Stats.BytesOut.Add(int64(n))
	return true
}

// budget bounds the bytes of requests that are not answered. A request larger
// than the bound passes alone.
type budget struct {
	limit int
	mu    struct {
		sync.Mutex
		used int
	}
	freed chan struct{} // capacity 1: one reader waits
}

func (b *budget) init(limit int) { b.limit, b.freed = limit, make(chan struct{}, 1) }

func (b *budget) acquire(ctx context.Context, n int) error {
	for {
		b.mu.Lock()
		if b.mu.used == 0 || b.mu.used+n <= b.limit {
			b.mu.used += n
			b.mu.Unlock()
			return nil
		}
		b.mu.Unlock()
		select {
		case <-b.freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (b *budget) release(n int) {
	b.mu.Lock()
	b.mu.used -= n
	b.mu.Unlock()
	wake(b.freed)
}
