package amqp

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
)

// output is what is to be written to a connection: anybody encodes into it,
// one goroutine writes it out.
type output struct {
	limit int
	full  func() // over the limit; called with mu held
	idle  func() // below half the limit again; called by the writer

	mu struct {
		sync.Mutex
		buf     []byte
		writing int // bytes handed to the socket
		over    bool
		closed  bool
		below   chan struct{} // closed when an excess is over; nil when nobody waits
	}
	wake chan struct{}
	done chan struct{} // the writer ended
}

func newOutput(limit int) *output {
	return &output{limit: limit, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// append encodes by fn, which must not block.
func (o *output) append(fn func(b []byte) []byte) {
	o.mu.Lock()
	if o.mu.closed {
		o.mu.Unlock()
		return
	}
	o.mu.buf = fn(o.mu.buf)
	if len(o.mu.buf)+o.mu.writing > o.limit && !o.mu.over {
		o.mu.over = true
		o.full()
	}
	o.mu.Unlock()
	o.signal()
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
// interval of heartbeats, 0 for none.
func (o *output) run(nc net.Conn, beat func() time.Duration, sent func(int)) {
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
			if _, err := nc.Write(buf); err != nil {
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

// written notes that what was handed out is on the wire, and tells whether that
// ended an excess.
func (o *output) written() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.writing = 0
	if !o.mu.over || len(o.mu.buf) > o.limit/2 {
		return false
	}
	o.mu.over = false
	o.release()
	return true
}

// release wakes who waits for room; mu is held.
func (o *output) release() {
	if o.mu.below != nil {
		close(o.mu.below)
		o.mu.below = nil
	}
}

// excess tells whether the output is over its limit.
func (o *output) excess() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.mu.over
}

// room waits while the output is over its limit; false when ctx ended.
func (o *output) room(ctx context.Context) bool {
	o.mu.Lock()
	if !o.mu.over || o.mu.closed {
		o.mu.Unlock()
		return true
	}
	if o.mu.below == nil {
		o.mu.below = make(chan struct{})
	}
	below := o.mu.below
	o.mu.Unlock()
	select {
	case <-below:
		return true
	case <-ctx.Done():
		return false
	}
}

func (o *output) fail(nc net.Conn) {
	o.mu.Lock()
	o.mu.closed = true
	o.mu.buf, o.mu.writing = nil, 0
	o.release()
	o.mu.Unlock()
	_ = nc.Close() // ends the reader too
}
