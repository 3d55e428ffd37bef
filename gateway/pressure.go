package gateway

import (
	"cmp"
	"context"
	"maps"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// What a connection itself takes, its goroutines' stacks, tables and the message that
// is being written to it, no account has: fifteen thousand that do not read are more than
// half a gigabyte of it. So the process is watched, too. From shortShare of its memory
// on those for which most is queued are closed, a few at a time: who reads has next to
// nothing queued and is left alone. From tightShare on no further connection is let in.
const (
	// All budgets together are 65 percent, and what the broker has without a connection
	// about ten: beyond that it is the connections themselves.
	shortShare = 80 // percent of the process's memory
	tightShare = 85
	// unread is from how many bytes on a client counts as one that does not read.
	unread = 4 << 10
	// pressureLook is the time between two looks, closedAtOnce how many are closed at one,
	// beside a tenth of all.
	pressureLook = 100 * time.Millisecond
	closedAtOnce = 16
)

// pressure is what a Memory knows of the process.
type pressure struct {
	tight  atomic.Bool
	most   atomic.Int64 // connections; 0: any number
	closed atomic.Int64 // connections, for the memory of all
	conns  struct {
		sync.Mutex
		open map[*Conn]struct{}
	}
}

// enter notes a connection, until leave.
func (m *Memory) enter(c *Conn) {
	if m == nil {
		return
	}
	p := &m.process.conns
	p.Lock()
	defer p.Unlock()
	if p.open == nil {
		p.open = make(map[*Conn]struct{})
	}
	p.open[c] = struct{}{}
}

func (m *Memory) exit(c *Conn) {
	if m == nil {
		return
	}
	m.process.conns.Lock()
	defer m.process.conns.Unlock()
	delete(m.process.conns.open, c)
}

// Tight tells whether no further connection can be let in.
func (m *Memory) Tight() bool {
	switch {
	case m == nil:
		return false
	case m.process.tight.Load():
		m.say("memory runs out: no further connections are let in")
		return true
	}
	p := &m.process
	p.conns.Lock()
	n := len(p.conns.open)
	p.conns.Unlock()
	if most := p.most.Load(); most == 0 || int64(n) <= most { // who asks is among them
		return false
	}
	m.say("there are as many connections as memory.connections lets in", "connections", n-1)
	return true
}

// BoundConnections lets in no more than n connections, of all protocols together.
func (m *Memory) BoundConnections(n int) { m.process.most.Store(int64(n)) }

// Watch holds the connections to the memory of the process, limit bytes, until ctx is
// done; live tells what the collector cannot free.
func (m *Memory) Watch(ctx context.Context, limit int64, live func() int64) {
	if limit <= 0 {
		return
	}
	t := time.NewTicker(pressureLook)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if m.look(live()*100/limit) > 0 {
				runtime.GC() // or the next look would see what is gone already
			}
		case <-ctx.Done():
			return
		}
	}
}

// look acts on the share of the memory that is live, in percent, and gives how many
// connections it closed.
func (m *Memory) look(share int64) (closed int) {
	m.process.tight.Store(share >= tightShare)
	if share < shortShare {
		return 0
	}
	type slow struct {
		c *Conn
		n int64
	}
	var all []slow
	open := m.process.all()
	for _, c := range open {
		if n := c.queuedBytes(); n >= unread {
			all = append(all, slow{c, n})
		}
	}
	slices.SortFunc(all, func(a, b slow) int { return cmp.Compare(b.n, a.n) })
	all = all[:min(len(all), closedAtOnce+len(open)/10)]
	for _, x := range all {
		m.process.closed.Add(1)
		x.c.Abort()
	}
	if len(all) > 0 {
		m.say("memory runs out: connections that do not read are closed", "closed_now", len(all), "closed_for_memory", m.process.closed.Load())
	}
	return len(all)
}

// all gives the connections that are open.
func (p *pressure) all() []*Conn {
	p.conns.Lock()
	defer p.conns.Unlock()
	return slices.Collect(maps.Keys(p.conns.open))
}

// queuedBytes is what is queued for a client.
func (c *Conn) queuedBytes() (n int64) {
	m := c.mem.m
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, q := range c.mem.queues {
		n += q.bytes.Load()
	}
	return n
}

// LiveMemory gives what the process has that the collector left at its last run, and
// its goroutines' stacks, in bytes.
func LiveMemory() int64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(s)
	var n int64
	for i := range s {
		if s[i].Value.Kind() == metrics.KindUint64 {
			n += int64(s[i].Value.Uint64())
		}
	}
	return n
}
