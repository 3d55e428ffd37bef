package nats

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

// nobody receives deliveries of a group and drops them.
type nobody struct{}

func (nobody) Deliver([]shard.Delivery) {}
func (nobody) Closed(error)             {}

// TestRequestToQueue: a consumer of a queue may answer a request too, so that it
// gets no 503, and is stored where the queue finds it.
func TestRequestToQueue(t *testing.T) {
	b := newBed(t, bedOptions{})
	g, err := b.mem.Broker().Groups.Create(t.Context(), shard.GroupConfig{Name: "amqp/rpc"})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Bindings().Add(t.Context(), shard.Binding{ID: "1", Filter: shard.LiteralFilter("rpc")}); err != nil {
		t.Fatal(err)
	}
	c := b.dial(withHeaders)
	c.send("SUB re 1", "PUB rpc re 1", "x")
	if m := c.message(); m.subject != "re" { // no consumer yet
		t.Fatalf("got %s", m)
	}
	if _, err := g.Attach(shard.ConsumerConfig{}, nobody{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(targetsAge + 50*time.Millisecond)
	c.send("PUB rpc re 1", "y")
	c.sync()
	rs := b.stored("rpc")
	if len(rs) != 1 || string(rs[0].Value) != "y" || rs[0].HeaderString(shard.HeaderReplySubject) != "re" {
		t.Fatalf("stored %v", rs)
	}
}

// TestHostile: garbage, floods and stuck clients, while a client that behaves
// goes on with little delay, and memory comes back.
func TestHostile(t *testing.T) {
	b := newBed(t, bedOptions{config: func(c *Config) { c.AuthTimeout = 500 * time.Millisecond }})
	good := b.dial(quiet)
	good.send("SUB good.x 1")
	good.sync()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	attacks := []func(*rand.Rand, net.Conn){
		func(r *rand.Rand, c net.Conn) { // random bytes
			p := make([]byte, 4096)
			for i := range p {
				p[i] = byte(r.Uint32())
			}
			_, _ = c.Write(p)
		},
		func(_ *rand.Rand, c net.Conn) { _, _ = io.WriteString(c, "PUB a 1048576\r\nand no more") },
		func(_ *rand.Rand, c net.Conn) { _, _ = io.WriteString(c, "CONNECT {}\r\nPUB a 999999999\r\n") },
		func(_ *rand.Rand, c net.Conn) { // a line without end
			for range 100 {
				if _, err := c.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		},
		func(*rand.Rand, net.Conn) { time.Sleep(100 * time.Millisecond) }, // says nothing
		func(_ *rand.Rand, c net.Conn) { // subscribes and never reads
			for i := range 500 {
				if _, err := fmt.Fprintf(c, "SUB good.* %d\r\n", i); err != nil {
					return
				}
			}
			time.Sleep(50 * time.Millisecond)
		},
	}
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for n := i; ctx.Err() == nil; n++ {
				c, err := net.Dial("tcp", b.addr())
				if err != nil {
					continue
				}
				_ = c.SetDeadline(time.Now().Add(time.Second))
				attacks[n%len(attacks)](r, c)
				_ = c.Close()
			}
		})
	}
	var worst time.Duration
	rounds := 0
	for ; ctx.Err() == nil; rounds++ {
		begun := time.Now()
		good.send("PUB good.x 1", "x")
		good.expect("MSG good.x 1 1", "x")
		worst = max(worst, time.Since(begun))
		time.Sleep(time.Millisecond)
	}
	wg.Wait()
	t.Logf("%d round trips, the longest %v; %d connections were made", rounds, worst, b.srv.total.Load())
	if worst > 2*time.Second {
		t.Errorf("a client that behaves waited %v", worst)
	}
	eventually(t, "the hostile are gone", func() bool { return len(b.srv.list()) == 1 && b.stats.Subscriptions.Load() == 1 })
}

// TestManySubscriptions: 10,000 wildcards on one gateway, and a publish that
// reaches all.
func TestManySubscriptions(t *testing.T) {
	b := newBed(t, bedOptions{limits: func(l *gateway.Limits) { l.MaxSubscriptions = 1000 }})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var clients [10]*client
	for i := range clients {
		c := b.dial(quiet)
		for k := range 1000 {
			switch k % 2 {
			case 0:
				_, _ = fmt.Fprintf(c, "SUB many.*.%d %d\r\nUNSUB %d\r\nSUB many.*.x %d\r\n", k, k, k, k)
			default:
				_, _ = fmt.Fprintf(c, "SUB many.> %d\r\n", k)
			}
		}
		c.sync()
		clients[i] = c
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	perSub := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / 10_000
	begun := time.Now()
	b.dial(quiet).send("PUB many.a.x 1", "x")
	for _, c := range clients {
		for range 1000 {
			if m := c.message(); m.payload != "x" {
				t.Fatalf("got %s", m)
			}
		}
	}
	t.Logf("%d bytes a subscription; a publish reached 10,000 in %v", perSub, time.Since(begun))
	if perSub > 4096 {
		t.Errorf("%d bytes a subscription", perSub)
	}
}
