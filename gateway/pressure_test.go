package gateway

import (
	"net"
	"runtime"
	"testing"
)

// TestPressure: no connection is let in while memory is tight, and while it is short
// those for which most is queued go first; who reads stays.
func TestPressure(t *testing.T) {
	m := NewMemory(64<<20, nil)
	type client struct {
		c *Conn
		q *Queue
	}
	open := func(queued int) client {
		near, far := net.Pipe()
		t.Cleanup(func() { _ = near.Close(); _ = far.Close() })
		c := NewConn(near, "test")
		c.UseMemory(m)
		q := c.Queue(1 << 20)
		q.Add(queued)
		return client{c, q}
	}
	reads := open(unread - 1)
	var slow []client
	for i := range 10 * closedAtOnce {
		slow = append(slow, open(unread+i))
	}
	for _, x := range []struct {
		share int64
		tight bool
		gone  int
	}{{0, false, 0}, {shortShare - 1, false, 0}, {shortShare, false, 32}, {tightShare, true, 60}, {10, false, 60}} {
		m.look(x.share)
		if m.Tight() != x.tight {
			t.Errorf("%d %%: tight is %v", x.share, m.Tight())
		}
		gone := 0
		for i, s := range slow {
			if s.c.closed.Load() {
				gone++
			} else if i >= len(slow)-x.gone {
				t.Errorf("%d %%: the one for which most is queued but %d is left", x.share, len(slow)-1-i)
			}
		}
		if gone != x.gone || reads.c.closed.Load() {
			t.Errorf("%d %%: %d are closed, want %d; who reads is closed: %v", x.share, gone, x.gone, reads.c.closed.Load())
		}
	}
	if n := len(m.process.all()); n != 1+10*closedAtOnce-60 {
		t.Errorf("%d connections are known", n)
	}
	runtime.GC()
	if LiveMemory() <= 0 {
		t.Error("the process has no memory")
	}
}

// TestConnectionsAreBounded: the one that is one too many is refused, and its place is
// not taken by that.
func TestConnectionsAreBounded(t *testing.T) {
	m := NewMemory(64<<20, nil)
	m.BoundConnections(2)
	open := func() *Conn {
		near, far := net.Pipe()
		t.Cleanup(func() { _ = near.Close(); _ = far.Close() })
		c := NewConn(near, "test")
		c.UseMemory(m)
		return c
	}
	first, _ := open(), open()
	if m.Tight() {
		t.Error("the second of two is refused")
	}
	for range 3 {
		third := open()
		if !m.Tight() {
			t.Error("the third of two is let in")
		}
		_ = third.Close()
	}
	_ = first.Close()
	if open(); m.Tight() {
		t.Error("a place that is free again is not given")
	}
}
