package kafka

import (
	"bufio"
	"encoding/binary"
	"net"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// vector gathers responses for one write: bytes it encodes itself, and stored
// batches that are written from where they lie.
type vector struct {
	bufs  net.Buffers // finished parts
	cur   []byte      // being appended to
	base  []byte      // what cur begins with each time
	bytes int         // in bufs
}

func newVector() *vector {
	b := make([]byte, 0, 4<<10)
	return &vector{cur: b, base: b}
}

// spliced is a response that knows how to put stored bytes into a vector.
type spliced interface {
	kmsg.Response
	appendVector(w *vector)
}

// splice puts b, which must not change any more, after what was encoded so far.
func (w *vector) splice(b []byte) {
	if len(b) < 4<<10 {
		w.cur = append(w.cur, b...) // cheaper than an element of its own
		return
	}
	w.cut()
	w.bufs = append(w.bufs, b)
	w.bytes += len(b)
}

func (w *vector) cut() {
	if len(w.cur) > 0 {
		w.bufs = append(w.bufs, w.cur)
		w.bytes += len(w.cur)
		w.cur = w.cur[len(w.cur):]
	}
}

func (w *vector) size() int { return w.bytes + len(w.cur) }

// response encodes the response of r with its size and header.
func (w *vector) response(r *request) {
	if s, ok := r.resp.(spliced); ok {
		// The size is known at the end, and lies in a part that may have been cut.
		w.cut()
		before := w.size()
		head := make([]byte, 4)
		w.bufs = append(w.bufs, head)
		w.bytes += len(head)
		w.cur = w.header(w.cur, r)
		s.appendVector(w)
		binary.BigEndian.PutUint32(head, uint32(w.size()-before-4))
		return
	}
	at := len(w.cur)
	w.cur = append(w.cur, 0, 0, 0, 0)
	w.cur = r.resp.AppendTo(w.header(w.cur, r))
	binary.BigEndian.PutUint32(w.cur[at:], uint32(len(w.cur)-at-4))
}

func (w *vector) header(dst []byte, r *request) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(r.corr))
	if r.resp.IsFlexible() && r.api.key != keyAPIVersions {
		dst = append(dst, 0) // no tags
	}
	return dst
}

// writeTo writes all of it and empties the vector.
func (w *vector) writeTo(c *gateway.Conn) error {
	w.cut()
	var err error
	switch c.Conn.(type) {
	case *net.TCPConn:
		err = c.WriteWithin(writePatience, w.bufs...)
	default: // TLS: few large records
		out := bufio.NewWriterSize(patient{c}, 16<<10)
		for i := 0; i < len(w.bufs) && err == nil; i++ {
			_, err = out.Write(w.bufs[i])
		}
		if err == nil {
			err = out.Flush()
		}
	}
	clear(w.bufs)
	w.bufs, w.bytes = w.bufs[:0], 0
	w.cur = w.base[:0]
	return err
}

// patient writes to who takes something now and then.
type patient struct{ c *gateway.Conn }

func (p patient) Write(b []byte) (int, error) { return len(b), p.c.WriteWithin(writePatience, b) }
