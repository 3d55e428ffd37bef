package amqp

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
)

// output is what is to be written to a connection: anybody encodes into it,
// one goroutine writes it out.
type output struct {
	queue *gateway.Queue
	full  func() // over the limit; called with mu held
	idle  func() // below half the limit again; called by the writer

	mu struct {
		sync.Mutex
		buf     []byte
		writing int // bytes handed to the socket
		counted int // bytes that queue knows of
		over    bool
		closed  bool
	}
	wake  chan struct{}
	done  chan struct{} // the writer ended
	moved atomic.Int64  // Unix nanoseconds: when the client last took something
}

func newOutput(queue *gateway.Queue) *output {
	return &output{queue: queue, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// append encodes by fn, which must not block.
func (o *output) append(fn func(b []byte) []byte) {
	o.mu.Lock()
	if o.mu.closed {
		o.mu.Unlock()
		return
	}
	o.mu.buf = fn(o.mu.buf)
	if n := o.count(); !o.mu.over && o.queue.OverBy(n) {
		o.mu.over = true
		o.full()
	}
	o.mu.Unlock()
	o.signal()
}

// countStep is how many bytes of the output go uncounted.
const countStep = 4 << 10

// count gives the bytes that wait and has the queue know of them; mu is held.
func (o *output) count() int {
	n := len(o.mu.buf) + o.mu.writing
	if d := n - o.mu.counted; d >= countStep || d <= -countStep || n == 0 && d != 0 {
		o.queue.Add(d)
		o.mu.counted = n
	}
	return n
}

func (o *output) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *output) method(channel uint16, m frame.Method) {
	o.append(func(b []byte) []byte { return frame.AppendMethod(b, channel, m) })
}

// close ends the output: what is in it is still written, nothing more is taken.
func (o *output) close() {
	o.mu.Lock()
	o.mu.closed = true
	o.mu.Unlock()
	o.signal()
}

// drained waits until all is written, or ctx or the writer ends.
func (o *output) drained(ctx context.Context) {
	for {
		o.mu.Lock()
		empty := len(o.mu.buf) == 0 && o.mu.writing == 0
		o.mu.Unlock()
		if empty {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-o.done:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// maxIdleBuffer is what an idle connection keeps of its buffers, in bytes.
const maxIdleBuffer = 64 << 10

// run writes until the output is closed or the socket fails. beat gives the
// interval of heartbeats, 0 for none; patience how long the client may take nothing.
func (o *output) run(nc *gateway.Conn, beat, patience func() time.Duration, sent func(int)) {
	defer close(o.done)
	var spare []byte
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		o.mu.Lock()
		buf := o.mu.buf
		closed := o.mu.closed
		o.mu.buf = spare[:0]
		o.mu.writing = len(buf)
		o.mu.Unlock()
		if len(buf) > 0 {
			if err := o.write(nc, buf, patience()); err != nil {
				o.fail(nc)
				return
			}
			sent(len(buf))
		}
		if spare = buf; cap(spare) > maxIdleBuffer {
			spare = nil
		}
		if o.written() {
			o.idle()
		}
		if len(buf) > 0 {
			continue
		}
		if closed {
			return
		}
		d := beat()
		if d == 0 {
			d = time.Hour
		}
		timer.Reset(d)
		select {
		case <-o.wake:
		case <-timer.C:
			if beat() > 0 {
				o.append(frame.AppendHeartbeat)
			}
		}
	}
}

// moveStep is how much is written before it is noted that the client takes it.
const moveStep = 64 << 10

func (o *output) write(nc *gateway.Conn, buf []byte, patience time.Duration) error {
	for len(buf) > 0 {
		n := min(len(buf), moveStep)
		if err := nc.WriteWithin(patience, buf[:n]); err != nil {
			return err
		}
		buf = buf[n:]
		o.moved.Store(time.Now().UnixNano())
	}
	return nil
}

// written notes that what was handed out is on the wire, and tells whether that
// ended an excess.
func (o *output) written() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.writing = 0
	if n := o.count(); !o.mu.over || n > countStep && n > o.queue.Limit()/2 {
		return false
	}
	o.mu.over = false
	return true
}

// excess tells whether the output is over its limit.
func (o *output) excess() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.mu.over
}

func (o *output) fail(nc *gateway.Conn) {
	o.mu.Lock()
	o.mu.closed = true
	o.mu.buf, o.mu.writing = nil, 0
	o.count()
	o.mu.over = false
	o.mu.Unlock()
	nc.Abort() // ends the reader too
}
