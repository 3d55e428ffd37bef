package gateway

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"
)

// talker writes to who does not log in, until it fails.
type talker struct{ ended chan error }

func (r talker) ServeConn(_ context.Context, c *Conn) {
	for {
		if _, err := c.Write(make([]byte, 64<<10)); err != nil {
			r.ended <- err
			return
		}
	}
}

func (r talker) Drain(context.Context) {}

// A WebSocket peer that reads nothing, so that a write to it is stuck, is cut off
// at the login timeout all the same, without a closing handshake.
func TestLoginTimeoutOfSilentWebSocket(t *testing.T) {
	r := talker{make(chan error, 1)}
	l := &Listener{Protocol: "test", Addr: "127.0.0.1:0", Subprotocols: []string{"test"}, Server: r, Stats: &Stats{},
		Log: slog.New(slog.DiscardHandler), LoginTimeout: 200 * time.Millisecond}
	if err := l.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Protocol: test\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %v, %v", res, err)
	}
	began := time.Now()
	select {
	case err := <-r.ended:
		if d := time.Since(began); d > 3*time.Second {
			t.Errorf("the write ended after %v with %v", d, err)
		}
	case <-time.After(15 * time.Second):
		t.Fatal("the connection goes on")
	}
	_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
	if _, err := io.Copy(io.Discard, c); isTimeout(err) {
		t.Error("the peer's side stays open")
	}
	if l.Stats.Refused.Load() != 1 {
		t.Errorf("%d refused", l.Stats.Refused.Load())
	}
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}
