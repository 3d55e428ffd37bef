package gateway

import "context"

// Hold is the account of one read buffer of a connection: every protocol's buffers
// grow by it alone. The first FreeBytes are not asked for. Only the goroutine that
// reads may use it; the zero
// value, without a connection, bounds nothing.
type Hold struct {
	c      *Conn
	held   int
	needed bool // held for a frame, which may have come by now
	open   bool // it has not come
}

// Hold makes the account of a read buffer.
func (c *Conn) Hold() Hold { return Hold{c: c} }

// Need waits until the buffer may have size bytes, for a frame that has begun.
func (h *Hold) Need(ctx context.Context, size int) error {
	more := max(size-FreeBytes-h.held, 0)
	if h.c == nil || size <= FreeBytes || h.open && more == 0 {
		return nil
	}
	if err := h.c.need(ctx, more, !h.open); err != nil {
		return err
	}
	h.held += more
	h.needed, h.open = true, true
	return nil
}

// Want tells whether the buffer may have size bytes though less would do.
func (h *Hold) Want(size int) bool {
	more := size - FreeBytes - h.held
	if h.c == nil || more <= 0 {
		return true
	}
	if !h.c.Want(more) {
		return false
	}
	h.held += more
	return true
}

// Complete says that the frame of Need has come.
func (h *Hold) Complete() {
	if h.open {
		h.open = false
		h.c.Complete()
	}
}

// Settle gives back what a frame needed, once it was handled, and tells whether
// the buffer may keep size bytes all the same. If not, it has FreeBytes.
func (h *Hold) Settle(size int) bool {
	if !h.needed || h.open {
		return true
	}
	h.Free()
	return h.Want(size)
}

// Free gives all back.
func (h *Hold) Free() {
	h.Complete()
	if h.held > 0 {
		h.c.Release(h.held)
	}
	h.held, h.needed = 0, false
}
