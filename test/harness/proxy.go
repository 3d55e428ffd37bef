package harness

import (
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// Proxy forwards TCP connections on a loopback port to another address and counts: a witness that
// something really went to a server, and how much.
type Proxy struct {
	Addr string // host:port to connect to

	ln       net.Listener
	to       string
	conns    atomic.Int64
	up, down atomic.Int64
	wg       sync.WaitGroup
	mu       struct {
		sync.Mutex
		open   map[net.Conn]bool
		closed bool
	}
}

// NewProxy starts a proxy to host:port.
func NewProxy(to string) (*Proxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start proxy: %w", err)
	}
	p := &Proxy{Addr: ln.Addr().String(), ln: ln, to: to}
	p.mu.open = map[net.Conn]bool{}
	p.wg.Go(p.accept)
	return p, nil
}

// Conns is the number of connections that were accepted so far.
func (p *Proxy) Conns() int64 { return p.conns.Load() }

// Bytes is how many bytes went to the server and came back from it so far.
func (p *Proxy) Bytes() (up, down int64) { return p.up.Load(), p.down.Load() }

// Close ends every connection and the proxy.
func (p *Proxy) Close() error {
	err := p.ln.Close()
	p.mu.Lock()
	p.mu.closed = true
	for c := range p.mu.open {
		c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.conns.Add(1)
		p.wg.Go(func() { p.forward(c) })
	}
}

func (p *Proxy) track(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.closed {
		return false
	}
	p.mu.open[c] = true
	return true
}

func (p *Proxy) drop(c net.Conn) {
	p.mu.Lock()
	delete(p.mu.open, c)
	p.mu.Unlock()
	c.Close()
}

func (p *Proxy) forward(c net.Conn) {
	defer p.drop(c)
	s, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer p.drop(s)
	if !p.track(c) || !p.track(s) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { pipe(s, c, &p.up) })
	pipe(c, s, &p.down)
	both.Wait()
}

// pipe copies until either side ends, then ends the other, so that both directions stop.
func pipe(dst, src net.Conn, n *atomic.Int64) {
	_, _ = io.Copy(countingWriter{dst, n}, src) // an end in error is an end
	dst.Close()
	src.Close()
}

type countingWriter struct {
	io.Writer
	n *atomic.Int64
}

func (w countingWriter) Write(b []byte) (int, error) {
	n, err := w.Writer.Write(b)
	w.n.Add(int64(n))
	return n, err
}
