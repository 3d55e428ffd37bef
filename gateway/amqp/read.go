package amqp

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

const readChunk = 64 << 10

// errStopped ends a connection whose client gives no sign of life.
var errStopped = errors.New("the client does not take what it is sent, or sent no heartbeat")

// readBuffer is what was read and is not handled. Its memory is the connection's.
type readBuffer struct {
	b    []byte
	hold gateway.Hold
	full bool // the last read filled it
	more bool // bytes came while the output was over its bound
}

// read takes bytes off the socket and handles whole frames. What one read
// brought is flushed together.
func (c *conn) read() error {
	in := &readBuffer{b: make([]byte, 0, gateway.FreeBytes), hold: c.nc.Hold()}
	for {
		err := c.next(in)
		in.full = len(in.b) == cap(in.b)
		c.now = time.Now().UnixMilli()
		used, herr := c.consume(in.b)
		if used > 0 {
			in.hold.Complete()
		}
		c.flush()
		in.b = append(in.b[:0], in.b[used:]...)
		switch {
		case herr != nil:
			return herr
		case err != nil && timedOut(err) && c.phase != phaseClosing && c.heartbeat.Load() > 0:
			return errStopped // AMQP 4.2.7: two missed heartbeats
		case err != nil:
			return fmt.Errorf("read from client: %w", err)
		}
		if !c.inflight.waitBelow(c.ctx, c.inflightLimit()) {
			return shard.ErrClosed
		}
		if err := c.waitTaken(in); err != nil {
			return err
		}
	}
}

// next reads, unless there is more already.
func (c *conn) next(in *readBuffer) error {
	if in.more {
		in.more = false
		return nil
	}
	if err := c.makeRoom(in); err != nil {
		return err
	}
	if err := c.deadline(); err != nil {
		return err
	}
	_, err := c.receive(in)
	return err
}

func (c *conn) receive(in *readBuffer) (int, error) {
	n, err := c.nc.Read(in.b[len(in.b):cap(in.b)])
	c.s.env.Stats.BytesIn.Add(int64(n))
	in.b = in.b[:len(in.b)+n]
	return n, err
}

// makeRoom grows the buffer for the frame that has begun, or for more frames at
// once, and gives back what was needed before.
func (c *conn) makeRoom(in *readBuffer) error {
	need := 0
	if f := in.b; len(f) >= frame.HeaderBytes && c.phase != phaseHeader {
		need = min(frame.Size(f), c.frameMax)
	}
	size := cap(in.b)
	switch {
	case need > gateway.FreeBytes:
		if err := in.hold.Need(c.ctx, need); err != nil {
			return err
		}
		if len(in.b) == size {
			size = min(2*size, need)
		}
	case !in.hold.Settle(size):
		size = gateway.FreeBytes
	}
	if more := min(2*size, readChunk); in.full && size < readChunk && in.hold.Want(more) {
		size = more
	}
	if size == cap(in.b) || size < len(in.b) {
		return nil
	}
	in.b = append(make([]byte, 0, size), in.b...)
	return nil
}

// deadline says until when the client has to give a sign of life.
func (c *conn) deadline() error {
	var t time.Time
	switch hb := time.Duration(c.heartbeat.Load()); {
	case c.phase == phaseClosing:
		t = time.Now().Add(closeTimeout)
	case hb > 0:
		t = time.Now().Add(2 * hb)
	}
	return c.nc.SetReadDeadline(t)
}

// listenStep is the longest read while the output is over its bound.
const listenStep = 100 * time.Millisecond

// waitTaken waits while the output is over its bound. It listens all the same,
// as far as the buffer goes, for a client that is slow still sends heartbeats; one
// that has stopped sends none.
func (c *conn) waitTaken(in *readBuffer) error {
	heard := time.Now()
	for c.out.excess() {
		hb := time.Duration(c.heartbeat.Load())
		if hb > 0 && time.Since(heard) > 2*hb && time.Since(time.Unix(0, c.out.moved.Load())) > 2*hb {
			return errStopped
		}
		if len(in.b) == cap(in.b) || c.nc.WebSocket { // an interrupted read ends a WebSocket
			select {
			case <-time.After(listenStep):
			case <-c.ctx.Done():
				return shard.ErrClosed
			}
			continue
		}
		if err := c.nc.SetReadDeadline(time.Now().Add(listenStep)); err != nil {
			return err
		}
		n, err := c.receive(in)
		switch {
		case n > 0:
			heard, in.more = time.Now(), true
		case c.ctx.Err() != nil:
			return shard.ErrClosed
		case err != nil && !timedOut(err):
			return fmt.Errorf("read from client: %w", err)
		}
	}
	return nil
}

func timedOut(err error) bool {
	var ne net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}

// silentWrites is how long a client without heartbeats may take nothing.
const silentWrites = 2 * time.Minute

// patience is the deadline of writes: none where heartbeats tell who has stopped.
func (c *conn) patience() time.Duration {
	if c.heartbeat.Load() > 0 {
		return 0
	}
	return silentWrites
}
