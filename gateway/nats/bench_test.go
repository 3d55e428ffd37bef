package nats

import (
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// sink takes all that is written.
type sink struct{ net.Conn }

func (sink) Write(b []byte) (int, error)      { return len(b), nil }
func (sink) Close() error                     { return nil }
func (sink) SetReadDeadline(time.Time) error  { return nil }
func (sink) SetWriteDeadline(time.Time) error { return nil }
func (sink) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// BenchmarkDeliver is the cost of a message for one subscriber, from the hub to
// the write.
func BenchmarkDeliver(b *testing.B) {
	for _, size := range []int{16, 128, 1024} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			mem := shardmem.New(shardmem.Options{})
			defer mem.Close()
			srv, err := New(gateway.Env{Broker: mem.Broker(), Log: slog.New(slog.DiscardHandler), Limits: gateway.DefaultLimits(), Stats: &gateway.Stats{}})
			if err != nil {
				b.Fatal(err)
			}
			c := newConn(srv.(*Server), gateway.NewConn(sink{}, "nats"))
			c.put(&subscription{sid: "1"})
			go c.out.run()
			ms := make([]shard.Message, 500)
			for i := range ms {
				ms[i] = shard.Message{Subject: "bench.subject", Record: &shard.Record{Value: make([]byte, size)}}
			}
			b.ReportAllocs()
			for b.Loop() {
				c.Deliver(ms, []shard.SubID{1})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(ms)), "ns/msg")
			c.out.close()
		})
	}
}

// BenchmarkPublish is the cost of a message from the socket to the log.
func BenchmarkPublish(b *testing.B) {
	for _, size := range []int{16, 128, 1024} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			d := newBed(b, bedOptions{})
			c := d.dial(quiet)
			var in []byte
			for range 1000 {
				in = append(append(fmt.Appendf(in, "PUB bench.subject %d\r\n", size), make([]byte, size)...), "\r\n"...)
			}
			log := d.mem.Broker().Log
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(in); err != nil {
					b.Fatal(err)
				}
				if n += 1000; n%100_000 == 0 { // or the memory is full of messages
					c.sync()
					t, _ := d.mem.Broker().Topics.ByName("bench.subject")
					if err := log.TrimBefore(b.Context(), t.Shard(0), int64(n)); err != nil {
						b.Fatal(err)
					}
				}
			}
			c.sync()
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/msg")
		})
	}
}
