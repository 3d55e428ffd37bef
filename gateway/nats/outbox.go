package nats

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
)

// Bounds of an outbox, in bytes.
const (
	writeChunk   = 1 << 20   // one write, with a deadline of its own
	repliesBound = 64 << 10  // unwritten replies (PONG, +OK, -ERR) at which reading stops
	smallBuffer  = 4 << 10   // smaller buffers stay with their outbox
	chunkBytes   = 128 << 10 // larger ones are of this size and shared by all
)

// outbox queues bytes for one client; one goroutine writes them. Sends never
// block. Its mutex guards the connection's subscriptions too: whoever delivers
// holds it anyway.
type outbox struct {
	nc       net.Conn
	queue    *gateway.Queue
	deadline time.Duration
	fail     func(slow bool) // the bound is passed, or a write failed
	pool     *sync.Pool

	mu      sync.Mutex
	cond    *sync.Cond
	full    [][]byte // chunks before buf
	buf     []byte
	spare   []byte // a small one
	waiting int    // bytes of full
	flying  int    // bytes being written
	replies int    // bytes of replies that wait
	counted int    // bytes that queue knows of
	idle    bool   // the writer waits
	closed  bool
	over    bool
}

func newOutbox(nc *gateway.Conn, limit int, deadline time.Duration, pool *sync.Pool, fail func(slow bool)) *outbox {
	o := &outbox{nc: nc, queue: nc.Queue(limit), deadline: deadline, pool: pool, fail: fail}
	o.cond = sync.NewCond(&o.mu)
	return o
}

// lock gives the buffer to append to; unlock takes it back. Not ok when closed.
func (o *outbox) lock() (buf []byte, ok bool) {
	o.mu.Lock()
	if o.closed || o.over {
		o.mu.Unlock()
		return nil, false
	}
	if o.buf == nil && o.spare != nil {
		o.buf, o.spare = o.spare[:0], nil
	}
	return o.buf, true
}

// room gives a buffer with room for n bytes more. Small buffers grow; past that
// a chunk is begun, so that a long queue is never copied.
func (o *outbox) room(buf []byte, n int) []byte {
	if len(buf)+n <= cap(buf) || len(buf)+n <= smallBuffer {
		return buf
	}
	if len(buf) > 0 {
		o.full = append(o.full, buf)
		o.waiting += len(buf)
		o.buf = nil
	}
	if n <= chunkBytes {
		if b, _ := o.pool.Get().(*[]byte); b != nil {
			return (*b)[:0]
		}
	}
	return make([]byte, 0, max(n, chunkBytes))
}

// unlock tells whether the client is congested: three quarters of the bound are
// queued.
func (o *outbox) unlock(buf []byte) (congested bool) {
	o.buf = buf
	wake := o.idle && o.waiting+len(buf) > 0
	queued := o.count()
	over := !o.over && o.queue.OverBy(queued)
	o.over = o.over || over
	o.idle = o.idle && !wake
	o.mu.Unlock()
	if wake {
		o.cond.Broadcast()
	}
	if over {
		o.fail(true)
	}
	return queued > o.queue.Limit()/4*3
}

// count gives what is queued and being written, and has the queue know of it, but
// for a little; mu is held.
func (o *outbox) count() int {
	n := o.waiting + len(o.buf) + o.flying
	if d := n - o.counted; d >= smallBuffer || d <= -smallBuffer || n == 0 && d != 0 {
		o.queue.Add(d)
		o.counted = n
	}
	return n
}

// send queues a reply to a command.
func (o *outbox) send(text string) {
	if buf, ok := o.lock(); ok {
		o.replies += len(text)
		o.unlock(append(buf, text...))
	}
}

// queued is the number of bytes not yet written.
func (o *outbox) queued() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.waiting + len(o.buf) + o.flying
}

// run writes until the outbox is closed and empty, or a write fails.
func (o *outbox) run() {
	var out [][]byte
	for {
		o.mu.Lock()
		o.flying = 0
		o.count()
		for _, b := range out {
			o.recycle(b)
		}
		clear(out)
		o.cond.Broadcast()
		for o.waiting+len(o.buf) == 0 && !o.closed {
			o.idle = true
			o.cond.Wait()
		}
		o.idle = false
		if o.waiting+len(o.buf) == 0 || o.over {
			o.drop()
			o.mu.Unlock()
			return
		}
		out, o.full = append(o.full, o.buf), out[:0]
		o.flying = o.waiting + len(o.buf)
		o.buf, o.waiting, o.replies = nil, 0, 0
		o.mu.Unlock()
		for _, b := range out {
			if err := o.write(b); err != nil {
				o.mu.Lock()
				o.flying = 0
				o.drop()
				o.mu.Unlock()
				o.fail(errors.Is(err, os.ErrDeadlineExceeded))
				return
			}
		}
	}
}

// drop forgets what is queued, and queues nothing any more.
func (o *outbox) drop() {
	o.closed, o.full, o.buf, o.spare, o.waiting, o.replies = true, nil, nil, nil, 0, 0
	o.count()
	o.cond.Broadcast()
}

func (o *outbox) write(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), writeChunk)
		if err := o.nc.SetWriteDeadline(time.Now().Add(o.deadline)); err != nil {
			return err
		}
		if _, err := o.nc.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// recycle keeps a small buffer and gives a chunk to whoever needs it next: idle
// connections hold next to nothing.
func (o *outbox) recycle(b []byte) {
	switch c := cap(b); {
	case c <= smallBuffer:
		o.spare = b[:0]
	case c == chunkBytes:
		o.pool.Put(&b)
	}
}

// close lets run end once everything is written.
func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.cond.Broadcast()
}

// wait waits until what is queued is at most that much, the outbox is closed, or
// ctx ends.
func (o *outbox) wait(ctx context.Context, most int) {
	o.waitFor(ctx, func() bool { return o.waiting+len(o.buf)+o.flying <= most })
}

// throttle waits while the client does not take the replies to its commands.
func (o *outbox) throttle(ctx context.Context) {
	o.mu.Lock()
	full := o.replies > repliesBound
	o.mu.Unlock()
	if full {
		o.waitFor(ctx, func() bool { return o.replies <= repliesBound })
	}
}

func (o *outbox) waitFor(ctx context.Context, done func() bool) {
	stop := context.AfterFunc(ctx, func() {
		o.mu.Lock() // not between the waiter's check and its wait
		defer o.mu.Unlock()
		o.cond.Broadcast()
	})
	defer stop()
	o.mu.Lock()
	defer o.mu.Unlock()
	for !done() && !o.closed && ctx.Err() == nil {
		o.cond.Wait()
	}
}
