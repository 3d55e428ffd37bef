package amqp

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard/shardmem"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Clients that declare, bind, publish, consume and delete the same names at
// random: nothing blocks for ever, and nothing is left.
func TestTopologyUnderStress(t *testing.T) {
	s := startServer(t, testOptions{})
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(worker)))
			for range 6 {
				c := dial(t, s)
				stress(c, rnd)
				c.send(0, &frame.ConnectionClose{})
				for {
					if e, err := c.next(); err != nil {
						break
					} else if _, ok := e.method.(*frame.ConnectionCloseOk); ok {
						break
					}
				}
				_ = c.nc.Close()
			}
		})
	}
	wg.Wait()
	for _, k := range []string{"x0", "x1", "x2"} {
		c := open(t, s)
		call[*frame.ExchangeDeleteOk](c, 1, &frame.ExchangeDelete{Exchange: k})
		_ = c.nc.Close()
	}
	s.healthy(t)
}

// stress sends methods whose answers, errors of the channel included, are read
// and not looked at.
func stress(c *testClient, rnd *rand.Rand) {
	ch := uint16(1)
	c.send(ch, &frame.ChannelOpen{})
	for i := range 60 {
		q, x, y := fmt.Sprint("q", rnd.IntN(3)), fmt.Sprint("x", rnd.IntN(3)), fmt.Sprint("x", rnd.IntN(3))
		key := []string{"a", "a.b", "#", "*.b"}[rnd.IntN(4)]
		switch rnd.IntN(12) {
		case 0, 1:
			c.send(ch, &frame.QueueDeclare{Queue: q, AutoDelete: rnd.IntN(2) == 0})
		case 2:
			c.send(ch, &frame.ExchangeDeclare{Exchange: x, Type: "topic", AutoDelete: rnd.IntN(2) == 0})
		case 3, 4:
			c.send(ch, &frame.QueueBind{Queue: q, Exchange: x, RoutingKey: key})
		case 5:
			c.send(ch, &frame.ExchangeBind{Source: x, Destination: y, RoutingKey: key})
		case 6:
			c.send(ch, &frame.BasicConsume{Queue: q, NoAck: rnd.IntN(2) == 0})
		case 7:
			c.send(ch, &frame.QueueDelete{Queue: q})
		case 8:
			c.send(ch, &frame.QueueUnbind{Queue: q, Exchange: x, RoutingKey: key})
		case 9:
			c.send(ch, &frame.BasicRecover{Requeue: true})
		case 10:
			c.send(ch, &frame.ChannelClose{})
			ch = uint16(i + 2)
			c.send(ch, &frame.ChannelOpen{})
		default:
			c.write(publishFrames(nil, ch, x, "a.b", frame.Properties{}, []byte("m"), true))
		}
		if rnd.IntN(3) == 0 { // an error may have closed the channel
			ch = uint16(100 + i)
			c.send(ch, &frame.ChannelOpen{})
		}
	}
}

// Messages of many publishers reach many consumers, each once, through kills of
// connections.
func TestNothingIsLostUnderKills(t *testing.T) {
	s := startServer(t, testOptions{mem: shardmem.Options{AutoShards: 4}})
	c := open(t, s)
	c.declare(1, frame.QueueDeclare{Queue: "work", Durable: true})
	const publishers, each = 4, 500
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			c := open(t, s)
			for i := range each {
				c.publish(1, "", "work", fmt.Sprint(p, "-", i))
			}
			for expect[*frame.BasicAck](c, 1).DeliveryTag < each {
			}
			_ = c.nc.Close()
		})
	}
	seen := map[string]int{}
	for len(seen) < publishers*each {
		w := open(t, s)
		call[*frame.BasicQosOk](w, 1, &frame.BasicQos{PrefetchCount: 50})
		w.consume(1, "work", "", false)
		for range 200 {
			if len(seen) == publishers*each {
				break
			}
			e := expectEvent[*frame.BasicDeliver](w, 1)
			m := e.method.(*frame.BasicDeliver)
			if seen[string(e.body)]++; seen[string(e.body)] > 1 && !m.Redelivered {
				t.Fatalf("%s was delivered again without a mark", e.body)
			}
			w.send(1, &frame.BasicAck{DeliveryTag: m.DeliveryTag})
		}
		call[*frame.BasicQosOk](w, 1, &frame.BasicQos{}) // all acknowledgements are in
		_ = w.nc.Close()                                 // with up to 50 on their way
	}
	wg.Wait()
	c.wantGet(1, "work", "")
}
