package gateway

import (
	"context"
	"errors"
	"log/slog"
	"math/bits"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Memory is the budget of what the connections of all protocols hold together.
// One half is for what clients send: frames that are not complete, messages that
// wait to be stored. It is taken before it is read, and who gets none is not read,
// so that the peer's writes wait (TCP back-pressure). The other half is for what
// is queued for clients, see Queue. It is safe for concurrent use; a nil one
// bounds nothing.
//
// What hinders a deadlock: a frame's bytes are taken all at once, before its
// first byte beyond FreeBytes is read, so who has them can finish. Who has them
// and does not send is closed while others wait. Small frames have a part of the
// budget that large ones do not get, and FreeBytes of each connection are not
// asked for at all.
type Memory struct {
	limit int64 // of each half
	log   *slog.Logger

	queued atomic.Int64 // the half of what is queued for clients

	mu struct {
		sync.Mutex
		used    int64
		waiters [sizeClasses][]*waiter // by size, each in order of arrival
		waiting int
		turn    int                // odd: the smallest are next, however long others wait
		holders map[*Conn]struct{} // with frames that are not complete
		watched bool
		said    map[string]time.Time // by message
	}
	waits, refused, evicted, cut atomic.Int64

	process pressure
}

// MemoryStats is what operators see of a Memory.
type MemoryStats struct {
	Limit int64 // of both halves
	// Incoming is taken by what clients send, Queued by what waits to be sent.
	Incoming, Queued int64
	// Waiting connections are not read until there is memory.
	Waiting int
	// Waits counts frames that had to wait, Refused those that no budget holds,
	// Evicted connections closed for holding memory without sending, Cut bounds
	// of queues that were passed earlier than their own limit says.
	Waits, Refused, Evicted, Cut int64
	// Short counts connections closed because the process ran out of memory.
	Short int64
}

const (
	// FreeBytes is what each connection has for reading without asking.
	FreeBytes = 4 << 10
	// smallFrame is the largest frame that may use the last eighth.
	smallFrame = 256 << 10
	// patience is the time in which a holder has to send something, minRate how much
	// in each second of it, while others wait.
	patience = 3 * time.Second
	minRate  = 64 << 10
	// memorySay is the least time between two lines of the log.
	memorySay = 10 * time.Second
	// queueFloor is what each connection may queue, however little is left.
	queueFloor = 8 << 10
)

// ErrMemory is for a frame that is larger than the whole budget.
var ErrMemory = errors.New("frame is larger than the memory for connections")

type waiter struct {
	c     *Conn
	n     int64
	opens bool // a frame begins
	at    time.Time
	ready chan struct{} // closed when granted
	done  bool
}

// sizeClasses are powers of two from 4 KiB on.
const sizeClasses = 18

func sizeClass(n int64) int { return min(bits.Len64(uint64(n)>>12), sizeClasses-1) }

// aging is how long a large frame lets smaller ones pass.
const aging = 10 * time.Second

// NewMemory makes a budget of so many bytes.
func NewMemory(limit int64, log *slog.Logger) *Memory {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	m := &Memory{limit: max(limit/2, 1<<20), log: log}
	m.mu.holders = make(map[*Conn]struct{})
	m.mu.said = make(map[string]time.Time)
	return m
}

// Stats gives the figures of now.
func (m *Memory) Stats() MemoryStats {
	if m == nil {
		return MemoryStats{}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return MemoryStats{
		Limit: 2 * m.limit, Incoming: m.mu.used, Queued: m.queued.Load(), Waiting: m.mu.waiting,
		Waits: m.waits.Load(), Refused: m.refused.Load(), Evicted: m.evicted.Load(), Cut: m.cut.Load(), Short: m.process.closed.Load(),
	}
}

// incoming is what a connection has of the first half. m and gone are set before
// the connection is served; the rest is guarded by Memory.mu.
type incoming struct {
	m    *Memory
	gone chan struct{} // closed with the connection
	read atomic.Int64  // bytes, ever

	held int64
	open int // frames that are not complete
	// The time from which on it is watched how fast they come, and what had been
	// read then; not while the connection waits itself.
	since   time.Time
	mark    int64
	waiting bool
	over    bool // closed: nothing is taken any more
	queues  []*Queue
}

// UseMemory has the connection share a budget; listeners and tests call it before
// it is served.
func (c *Conn) UseMemory(m *Memory) {
	c.mem.m = m
	m.enter(c)
}

// Need takes n bytes for what the client has begun to send, waiting for them;
// the caller reads nothing meanwhile. The client has to send it at a decent rate
// from then on, until Complete. It gives ErrMemory where no wait would do, and
// net.ErrClosed or the error of ctx where the connection ended.
func (c *Conn) Need(ctx context.Context, n int) error { return c.need(ctx, n, true) }

func (c *Conn) need(ctx context.Context, n int, opens bool) error {
	m := c.mem.m
	if m == nil {
		return nil
	}
	m.mu.Lock()
	switch {
	case c.mem.over:
		m.mu.Unlock()
		return net.ErrClosed
	case n <= 0:
		m.begin(c, opens)
		m.mu.Unlock()
		return nil
	case int64(n) > m.ceiling(int64(n)):
		m.mu.Unlock()
		m.refused.Add(1)
		m.say("a frame is larger than the memory for connections: refused", "bytes", n)
		return ErrMemory
	}
	w := &waiter{c: c, n: int64(n), opens: opens, at: time.Now(), ready: make(chan struct{})}
	q := &m.mu.waiters[sizeClass(w.n)]
	if m.mu.waiting == 0 || len(*q) == 0 && (n <= smallFrame || m.oldest(w.at) == nil) {
		if m.grant(w) {
			m.mu.Unlock()
			return nil
		}
	}
	*q = append(*q, w)
	m.mu.waiting++
	c.mem.waiting = true
	if !m.mu.watched {
		m.mu.watched = true
		go m.watch()
	}
	m.mu.Unlock()
	m.waits.Add(1)
	m.say("the memory for connections is used up: connections wait")
	return m.wait(ctx, w)
}

func (m *Memory) wait(ctx context.Context, w *waiter) error {
	var err error
	select {
	case <-w.ready:
		return nil
	case <-w.c.mem.gone:
		err = net.ErrClosed
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if w.done { // granted meanwhile; the connection's end gives it back
		return err
	}
	w.done = true
	m.serve()
	return err
}

// ceiling is how far what is used may rise for a frame of n bytes.
func (m *Memory) ceiling(n int64) int64 {
	if n <= smallFrame {
		return m.limit
	}
	return m.limit / 8 * 7
}

// grant takes the bytes if they are there; mu is held.
func (m *Memory) grant(w *waiter) bool {
	if m.mu.used+w.n > m.ceiling(w.n) {
		return false
	}
	w.done = true
	m.mu.used += w.n
	w.c.mem.held += w.n
	w.c.mem.waiting = false
	w.c.mem.window(time.Now())
	m.begin(w.c, w.opens)
	close(w.ready)
	return true
}

// begin notes that a frame of a connection begins, if one does; mu is held.
func (m *Memory) begin(c *Conn, opens bool) {
	if !opens {
		return
	}
	if c.mem.open++; c.mem.open == 1 {
		c.mem.window(time.Now())
		m.mu.holders[c] = struct{}{}
	}
}

// serve gives what is free to those who wait: the small first, for they are many and
// soon done, and every second time to who has waited for long, whom the others but
// the smallest wait for then. mu is held.
func (m *Memory) serve() {
	for m.mu.waiting > 0 {
		var old *waiter
		if m.mu.turn%2 == 0 {
			old = m.oldest(time.Now())
		}
		if !m.serveOne(old) {
			return
		}
		m.mu.turn++
	}
}

func (m *Memory) serveOne(old *waiter) bool {
	if old != nil && m.grant(old) {
		m.pop(old)
		return true
	}
	for i := range m.mu.waiters {
		w := m.head(i)
		if w == nil {
			continue
		}
		if old != nil && w.n > smallFrame {
			return false
		}
		if m.grant(w) {
			m.pop(w)
			return true
		}
	}
	return false
}

// oldest gives the first who has waited for long, nil for none; mu is held.
func (m *Memory) oldest(now time.Time) (old *waiter) {
	for i := range m.mu.waiters {
		if w := m.head(i); w != nil && now.Sub(w.at) > aging && (old == nil || w.at.Before(old.at)) {
			old = w
		}
	}
	return old
}

// head gives the first of a class, without those who have left; mu is held.
func (m *Memory) head(i int) *waiter {
	for q := m.mu.waiters[i]; len(q) > 0; q = m.mu.waiters[i] {
		if !q[0].done && !q[0].c.mem.over {
			return q[0]
		}
		m.pop(q[0])
	}
	return nil
}

func (m *Memory) pop(w *waiter) {
	q := &m.mu.waiters[sizeClass(w.n)]
	(*q)[0] = nil
	if *q = (*q)[1:]; len(*q) == 0 {
		*q = nil
	}
	m.mu.waiting--
}

// Want takes n bytes if they are there at once: for a larger buffer than is
// needed. Those never have more than half of what is for reading.
func (c *Conn) Want(n int) bool {
	m := c.mem.m
	if m == nil {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.mem.over || m.mu.used+int64(n) > m.limit/2 {
		return false
	}
	m.mu.used += int64(n)
	c.mem.held += int64(n)
	return true
}

// Complete says that what one Need was asked for has come. What is held stays held.
func (c *Conn) Complete() {
	m := c.mem.m
	if m == nil {
		return
	}
	m.mu.Lock()
	if c.mem.open--; c.mem.open == 0 {
		delete(m.mu.holders, c)
	}
	m.mu.Unlock()
}

// Release gives n bytes of Need or Want back. Any goroutine may call it, also
// after the end of the connection, which gives back all.
func (c *Conn) Release(n int) {
	m := c.mem.m
	if m == nil || n <= 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	give := min(int64(n), c.mem.held)
	c.mem.held -= give
	m.mu.used -= give
	m.serve()
}

// endMemory gives back all that the connection took.
func (c *Conn) endMemory() {
	m := c.mem.m
	if m == nil {
		return
	}
	m.exit(c)
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.mem.over {
		return
	}
	c.mem.over = true
	close(c.mem.gone)
	m.mu.used -= c.mem.held
	c.mem.held = 0
	delete(m.mu.holders, c)
	m.serve()
	for _, q := range c.mem.queues {
		q.end()
	}
}

// watch closes, while somebody waits, who holds memory and does not send.
func (m *Memory) watch() {
	tick := time.NewTicker(patience / 6)
	defer tick.Stop()
	for now := range tick.C {
		m.mu.Lock()
		if m.serve(); m.mu.waiting == 0 {
			m.mu.watched = false
			m.mu.Unlock()
			return
		}
		var late []*Conn
		for c := range m.mu.holders {
			if c.mem.late(now) {
				late = append(late, c)
			}
		}
		m.mu.Unlock()
		for _, c := range late {
			if c.Owed() > 0 { // it is we who do not read
				continue
			}
			m.evicted.Add(1)
			m.say("closing a connection that holds memory, sends too slowly, and lets others wait", "remote", c.Info().Remote)
			c.endMemory()
			c.Abort()
		}
	}
}

// window begins to watch how fast a client sends; Memory.mu is held.
func (in *incoming) window(now time.Time) { in.since, in.mark = now, in.read.Load() }

// late tells whether a client sent too little of what it has begun, and otherwise
// watches on; Memory.mu is held.
func (in *incoming) late(now time.Time) bool {
	d := now.Sub(in.since)
	if in.waiting || d < patience {
		return false
	}
	if float64(in.read.Load()-in.mark) < d.Seconds()*minRate {
		return true
	}
	in.window(now)
	return false
}

// say logs, at a rate that no client chooses.
func (m *Memory) say(msg string, args ...any) {
	m.mu.Lock()
	if time.Since(m.mu.said[msg]) < memorySay {
		m.mu.Unlock()
		return
	}
	m.mu.said[msg] = time.Now()
	m.mu.Unlock()
	s := m.Stats()
	m.log.Warn(msg, append(args, "incoming_bytes", s.Incoming, "queued_bytes", s.Queued, "limit_bytes", s.Limit,
		"waiting", s.Waiting, "waits_total", s.Waits, "closed_total", s.Evicted, "refused_total", s.Refused)...)
}
