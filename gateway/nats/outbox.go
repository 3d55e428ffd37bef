package nats

import (
	"context"
	"net"
	"sync"
	"time"
)

// outbox queues bytes for one client; one goroutine writes them. Sends never
// block.
type outbox struct {
	nc       net.Conn
	limit    int
	deadline time.Duration
	overflow func() // called once when the bound is passed

	mu     sync.Mutex
	cond   *sync.Cond
	buf    []byte
	spare  []byte
	closed bool
	busy   bool
	over   bool
}

func newOutbox(nc net.Conn, limit int, deadline time.Duration, overflow func()) *outbox {
	o := &outbox{nc: nc, limit: limit, deadline: deadline, overflow: overflow}
	o.cond = sync.NewCond(&o.mu)
	return o
}

// lock gives the buffer to append to; unlock takes it back. Nil when closed.
func (o *outbox) lock() (buf []byte, ok bool) {
	o.mu.Lock()
	if o.closed || o.over {
		o.mu.Unlock()
		return nil, false
	}
	return o.buf, true
}

func (o *outbox) unlock(buf []byte) {
	wake := len(o.buf) == 0 && len(buf) > 0
	o.buf = buf
	over := len(buf) > o.limit
	o.over = over
	o.mu.Unlock()
	if wake {
		o.cond.Broadcast()
	}
	if over {
		o.overflow()
	}
}

// send queues bytes.
func (o *outbox) send(b []byte) {
	if buf, ok := o.lock(); ok {
		o.unlock(append(buf, b...))
	}
}

// run writes until the outbox is closed and empty, or a write fails.
func (o *outbox) run() {
	for {
		o.mu.Lock()
		o.busy = false
		o.cond.Broadcast()
		for len(o.buf) == 0 && !o.closed {
			o.cond.Wait()
		}
		if len(o.buf) == 0 {
			o.mu.Unlock()
			return
		}
		out := o.buf
		o.buf, o.spare = o.spare[:0], nil
		o.busy = true
		o.mu.Unlock()
		_ = o.nc.SetWriteDeadline(time.Now().Add(o.deadline))
		_, err := o.nc.Write(out)
		o.mu.Lock()
		if cap(out) <= 1<<20 {
			o.spare = out[:0]
		}
		if err != nil {
			o.closed, o.buf = true, nil
		}
		o.mu.Unlock()
		if err != nil {
			_ = o.nc.Close()
		}
	}
}

// close lets run end once everything is written.
func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.cond.Broadcast()
}

// flushed waits until everything queued is written, or ctx ends.
func (o *outbox) flushed(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { o.cond.Broadcast() })
	defer stop()
	o.mu.Lock()
	defer o.mu.Unlock()
	for (len(o.buf) > 0 || o.busy) && !o.closed && ctx.Err() == nil {
		o.cond.Wait()
	}
}
