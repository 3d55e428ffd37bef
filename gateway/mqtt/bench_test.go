package mqtt

import (
	"fmt"
	"io"
	"net"
	"testing"
	"unsafe"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
)

// tcp opens a connection over loopback and logs in.
func (b *bed) tcp(c *packet.Connect) net.Conn {
	b.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	defer ln.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		sv, err := ln.Accept()
		if err != nil {
			return
		}
		defer sv.Close()
		b.srv.ServeConn(b.ctx, gateway.NewConn(sv, "mqtt"))
	}()
	cl, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { cl.Close(); <-done })
	p := &peer{t: b.t, b: b, nc: cl, v: c.Version}
	p.send(c)
	if _, ok := p.read().(*packet.Connack); !ok {
		b.t.Fatal("no CONNACK")
	}
	return cl
}

// BenchmarkPublish measures PUBLISHes of 128 bytes to their acknowledgement,
// pipelined on one connection.
func BenchmarkPublish(b *testing.B) {
	for _, qos := range []uint8{0, 1} {
		b.Run(fmt.Sprint("QoS ", qos), func(b *testing.B) {
			bd := newBed(b, bedOptions{})
			nc := bd.tcp(clean(packet.V311, "bench"))
			const n = 256
			var chunk []byte
			for i := range n {
				p := packet.Publish{Topic: []byte("bench/topic"), QoS: qos, ID: uint16(i+1) * uint16(qos), Payload: make([]byte, 128)}
				chunk = p.Append(chunk, packet.V311)
			}
			ping := []byte{0xc0, 0}
			answer := 4 * n * int(qos)
			b.SetBytes(n * 128)
			b.ReportAllocs()
			b.ResetTimer()
			go func() {
				for range b.N {
					if _, err := nc.Write(chunk); err != nil {
						return
					}
				}
				_, _ = nc.Write(ping)
			}()
			if _, err := io.CopyN(io.Discard, nc, int64(answer*b.N+2)); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

// BenchmarkFanOut measures a QoS 0 message to 100 subscribers.
func BenchmarkFanOut(b *testing.B) {
	bd := newBed(b, bedOptions{})
	const subs = 100
	got := make(chan int64, subs)
	msg := packet.Publish{Topic: []byte("fan"), Payload: make([]byte, 128)}
	for i := range subs {
		nc := bd.tcp(clean(packet.V311, fmt.Sprint("s", i)))
		p := &peer{t: b, b: bd, nc: nc, v: packet.V311}
		p.subscribe("fan", 0)
		go func() {
			n, _ := io.CopyN(io.Discard, nc, int64(b.N*msg.Size(packet.V311)))
			got <- n
		}()
	}
	nc := bd.tcp(clean(packet.V311, "p"))
	raw := msg.Append(nil, packet.V311)
	b.ResetTimer()
	for range b.N {
		if _, err := nc.Write(raw); err != nil {
			b.Fatal(err)
		}
	}
	for range subs {
		<-got
	}
	b.ReportMetric(float64(b.N*subs)/b.Elapsed().Seconds(), "deliveries/s")
}

// TestIdleConnectionIsSmall bounds what a connection holds by itself.
func TestIdleConnectionIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(client{}); n > 2048 {
		t.Fatalf("a client is %d bytes", n)
	}
}
