package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/robustmq/robustmq-go/test/harness"
)

// wire is a connection of a frugal driver: what is sent is encoded once and written in batches, what comes
// is parsed where it lies, in large reads. It costs little, so that a row shows the server and not the client.
// Not safe for concurrent use, but for one writer and one reader.
type wire struct {
	net.Conn
	buf        []byte
	start, end int // of what is not parsed yet
}

// dialWire connects, from an address of this machine if one is given, until ctx's deadline.
func dialWire(ctx context.Context, r *running, from net.Addr, buffer int) (wire, error) {
	d := net.Dialer{LocalAddr: from}
	c, err := d.DialContext(ctx, "tcp", harness.Addr(r.port))
	if err != nil {
		return wire{}, fmt.Errorf("connect: %w", err)
	}
	if at, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(at) // it fails on a closed connection, and so does what comes next
	}
	return wire{Conn: c, buf: make([]byte, buffer)}, nil
}

// more reads once, behind what is not parsed yet.
func (w *wire) more() error {
	if w.start > 0 {
		w.end = copy(w.buf, w.buf[w.start:w.end])
		w.start = 0
	}
	if w.end == len(w.buf) {
		return fmt.Errorf("a frame over %d bytes", len(w.buf))
	}
	n, err := w.Read(w.buf[w.end:])
	w.end += n
	if n > 0 {
		return nil
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}
