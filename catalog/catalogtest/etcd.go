package catalogtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// Etcd is a real etcd server on a loopback port, with data of its own, that can
// be stopped and started again under the same address. All methods may be
// called concurrently, Stop and Start not with one another.
type Etcd struct {
	tb     testing.TB
	dir    string
	proxy  *Proxy
	server *embed.Etcd
}

// StartEtcd starts a server; it ends with the test.
func StartEtcd(tb testing.TB) *Etcd {
	tb.Helper()
	e := &Etcd{tb: tb, dir: tb.TempDir()}
	e.proxy = StartProxy(tb, "")
	e.Start()
	tb.Cleanup(e.Stop)
	return e
}

// Endpoint is the address clients dial, the same after a restart.
func (e *Etcd) Endpoint() string { return e.proxy.Addr() }

// Start starts the server on the data it has.
func (e *Etcd) Start() {
	e.tb.Helper()
	loopback := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir = "test", e.dir
	cfg.TickMs, cfg.ElectionMs = 10, 100
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{loopback}, []url.URL{loopback}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{loopback}, []url.URL{loopback}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		e.tb.Fatalf("start etcd: %v", err)
	}
	select {
	case <-server.Server.ReadyNotify():
	case <-time.After(10 * time.Second):
		server.Close()
		e.tb.Fatal("start etcd: not ready in 10 s")
	}
	e.server = server
	e.proxy.Target(server.Clients[0].Addr().String())
}

// Stop ends the server; its data stays.
func (e *Etcd) Stop() {
	if e.server != nil {
		e.proxy.Target("")
		e.server.Close()
		e.server = nil
	}
}

// Direct gives the address of the server itself, past the proxy; it changes
// with a restart.
func (e *Etcd) Direct() string { return e.server.Clients[0].Addr().String() }

// Client gives a plain client of the server, past the proxy.
func (e *Etcd) Client() *clientv3.Client {
	e.tb.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{e.Direct()}, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		e.tb.Fatal(err)
	}
	e.tb.Cleanup(func() { c.Close() })
	return c
}

// Compact makes etcd forget all history before now.
func (e *Etcd) Compact(ctx context.Context) error {
	c := e.Client()
	resp, err := c.Get(ctx, "x")
	if err != nil {
		return fmt.Errorf("compact etcd: %w", err)
	}
	if _, err := c.Compact(ctx, resp.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		return fmt.Errorf("compact etcd: %w", err)
	}
	return nil
}

// Proxy is a TCP proxy that can hold what passes through it, and cut it. A
// gateway behind a proxy of its own can be cut off from etcd alone.
type Proxy struct {
	ln net.Listener
	mu struct {
		sync.Mutex
		target string
		gate   chan struct{} // closed while bytes may pass
		conns  map[net.Conn]struct{}
	}
	done sync.WaitGroup
}

// StartProxy listens on a loopback port and passes connections on to target;
// with an empty target it refuses them.
func StartProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{ln: ln}
	p.mu.target, p.mu.conns = target, map[net.Conn]struct{}{}
	p.mu.gate = make(chan struct{})
	close(p.mu.gate)
	p.done.Add(1)
	go p.accept()
	tb.Cleanup(func() {
		ln.Close()
		p.Stall(false)
		p.Cut()
		p.done.Wait()
	})
	return p
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// Target directs new connections elsewhere and cuts the old ones.
func (p *Proxy) Target(addr string) {
	p.mu.Lock()
	p.mu.target = addr
	p.mu.Unlock()
	p.Cut()
}

// Stall holds all bytes in both directions until it is called with false:
// connections stay open and nothing is answered, as with a dead network.
func (p *Proxy) Stall(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.mu.gate:
		if on {
			p.mu.gate = make(chan struct{})
		}
	default:
		if !on {
			close(p.mu.gate)
		}
	}
}

// Cut ends all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.mu.conns {
		c.Close()
	}
}

func (p *Proxy) accept() {
	defer p.done.Done()
	for {
		in, err := p.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		p.mu.Lock()
		target := p.mu.target
		p.mu.Unlock()
		out, err := net.Dial("tcp", target)
		if target == "" || err != nil {
			in.Close()
			continue
		}
		p.mu.Lock()
		p.mu.conns[in], p.mu.conns[out] = struct{}{}, struct{}{}
		p.mu.Unlock()
		p.done.Add(2)
		go p.pump(in, out)
		go p.pump(out, in)
	}
}

func (p *Proxy) pump(dst, src net.Conn) {
	defer p.done.Done()
	defer func() {
		dst.Close()
		src.Close()
		p.mu.Lock()
		delete(p.mu.conns, dst)
		delete(p.mu.conns, src)
		p.mu.Unlock()
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		p.mu.Lock()
		gate := p.mu.gate
		p.mu.Unlock()
		<-gate
		if n > 0 {
			if _, werr := dst.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				return
			}
			return
		}
	}
}
