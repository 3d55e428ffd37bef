package amqp

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// settled reads confirms of n publishes and gives which were taken.
func settled(c *testClient, channel uint16, from, n uint64) map[uint64]bool {
	c.t.Helper()
	taken := make(map[uint64]bool)
	for next := from; next < from+n; {
		e, err := c.next()
		if err != nil {
			c.t.Fatalf("waiting for confirm %d: %v", next, err)
		}
		var tag uint64
		var ok, multiple bool
		switch m := e.method.(type) {
		case *frame.BasicAck:
			tag, multiple, ok = m.DeliveryTag, m.Multiple, true
		case *frame.BasicNack:
			tag, multiple = m.DeliveryTag, m.Multiple
		default:
			c.t.Fatalf("%T where confirms are due", e.method)
		}
		if e.channel != channel || !multiple && tag != next {
			c.t.Fatalf("confirm of %d on channel %d, want %d", tag, e.channel, next)
		}
		for ; next <= tag; next++ {
			taken[next] = ok
		}
	}
	return taken
}

func rejectArgs(overflow string, most int64, more ...frame.Field) frame.Table {
	return append(frame.Table{{Name: "x-max-length", Value: frame.Int(most)}, {Name: "x-overflow", Value: frame.String(overflow)}}, more...)
}

// TestRejectPublish: a full queue does not take what comes, its publisher is told
// by a nack, and other queues have it all the same.
func TestRejectPublish(t *testing.T) {
	s := startServer(t, testOptions{})
	c := open(t, s)
	call[*frame.ExchangeDeclareOk](c, 1, &frame.ExchangeDeclare{Exchange: "x", Type: "fanout"})
	c.declare(1, frame.QueueDeclare{Queue: "few", Durable: true, Arguments: rejectArgs("reject-publish", 3)})
	c.declare(1, frame.QueueDeclare{Queue: "all"})
	for _, q := range []string{"few", "all"} {
		call[*frame.QueueBindOk](c, 1, &frame.QueueBind{Queue: q, Exchange: "x"})
	}
	var b []byte
	for i := range 10 {
		b = publishFrames(b, 1, "x", "", frame.Properties{}, []byte(strconv.Itoa(i)), false)
	}
	c.write(b)
	for tag, ok := range settled(c, 1, 1, 10) {
		if ok != (tag <= 3) {
			t.Errorf("publish %d: taken is %v", tag, ok)
		}
	}
	ready := func(queue string, want uint32) {
		t.Helper()
		if n := c.declare(1, frame.QueueDeclare{Queue: queue, Passive: true}).MessageCount; n != want {
			t.Errorf("%s holds %d messages, want %d", queue, n, want)
		}
	}
	ready("few", 3)
	ready("all", 10)
	// What others publish stays out as well, though nobody tells them.
	top, err := s.broker.Topics.Resolve(t.Context(), "few", true)
	if err != nil {
		t.Fatal(err)
	}
	r := shard.Record{Timestamp: time.Now().UnixMilli(), Value: []byte("of others")}
	if _, err := shard.AppendWait(context.Background(), s.broker.Log, top.ShardOf(nil, "few"), shard.BatchOf(r), shard.AppendOptions{}); err != nil {
		t.Fatal(err)
	}
	ready("few", 3)
	c.channel(2) // without confirms: dropped, and the connection goes on
	c.publish(2, "x", "", "nobody asks")
	c.wantGet(1, "few", "0")
	c.put(1, "x", "", "room again")
	for _, body := range []string{"1", "2", "room again"} {
		c.wantGet(1, "few", body)
	}
	ready("few", 0)
	ready("all", 12)
}

// TestRejectPublishDeadLetters: with reject-publish-dlx what a full queue does not
// take goes to its dead-letter exchange; its publisher is told all the same.
func TestRejectPublishDeadLetters(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.declare(1, frame.QueueDeclare{Queue: "dead"})
	c.declare(1, frame.QueueDeclare{Queue: "few", Arguments: rejectArgs("reject-publish-dlx", 1, deadArgs("", "dead")...)})
	c.declare(1, frame.QueueDeclare{Queue: "small", Arguments: frame.Table{
		{Name: "x-max-length-bytes", Value: frame.Int(4)}, {Name: "x-overflow", Value: frame.String("reject-publish")},
	}})
	for i := range 5 {
		c.publish(1, "", "few", strconv.Itoa(i))
	}
	for tag, ok := range settled(c, 1, 1, 5) {
		if ok != (tag == 1) {
			t.Errorf("publish %d: taken is %v", tag, ok)
		}
	}
	for i := 1; i < 5; i++ {
		wantDead(t, c, "dead", strconv.Itoa(i), map[string]string{"reason": "maxlen", "queue": "few"})
	}
	c.wantGet(1, "few", "0")
	for _, body := range []string{"abc", "de", "f"} { // as in RabbitMQ, what is shorter than the limit takes one more
		c.publish(1, "", "small", body)
	}
	for tag, ok := range settled(c, 1, 6, 3) {
		if ok != (tag < 8) {
			t.Errorf("publish %d: taken is %v", tag, ok)
		}
	}
}

// TestLimitsBeginAtStart: after a restart the limits of all vhosts' queues hold
// for what others publish, though no AMQP client has connected.
func TestLimitsBeginAtStart(t *testing.T) {
	o := testOptions{config: func(c *Config) { c.VHosts = []string{"v"} }}
	s := startServer(t, o)
	for _, vhost := range []string{"/", "v"} {
		c := dialAs(t, s, vhost, "PLAIN", "\x00admin\x00robustmq")
		c.channel(1)
		c.declare(1, frame.QueueDeclare{Queue: "dead", Durable: true})
		c.declare(1, frame.QueueDeclare{Queue: "few", Durable: true, Arguments: frame.Table{{Name: "x-max-length", Value: frame.Int(3)}}})
		c.declare(1, frame.QueueDeclare{Queue: "full", Durable: true, Arguments: rejectArgs("reject-publish-dlx", 3, deadArgs("", "dead")...)})
	}
	s.stop()
	mem := s.mem.Reopen()
	t.Cleanup(mem.Close)
	s = serveOn(t, o, mem, mem.Broker())
	for _, prefix := range []string{"", "v."} {
		for i := range 10 {
			store(t, s, prefix+"few", shard.Record{Value: []byte(strconv.Itoa(i))})
			store(t, s, prefix+"full", shard.Record{Value: []byte(strconv.Itoa(i))})
		}
	}
	for name, want := range map[string]int64{"///few": 3, "///full": 3, "///dead": 7, "/v/few": 3, "/v/full": 3, "/v/dead": 7} {
		g, err := s.broker.Groups.Get("amqp" + name)
		if err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(patience); g.Stats().Ready != want && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		if n := g.Stats().Ready; n != want {
			t.Errorf("%s holds %d messages, want %d", name, n, want)
		}
	}
}

// TestMaxPriority: the highest priority first, the oldest of each, no more levels
// than declared.
func TestMaxPriority(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.declare(1, frame.QueueDeclare{Queue: "q", Arguments: frame.Table{{Name: "x-max-priority", Value: frame.Int(5)}}})
	var b []byte
	for i, p := range []uint8{0, 9, 1, 5, 1, 0, 7} {
		props := frame.Properties{Flags: frame.HasPriority, Priority: p}
		if p == 0 {
			props = frame.Properties{}
		}
		b = publishFrames(b, 1, "", "q", props, []byte(strconv.Itoa(i)), false)
	}
	c.write(b)
	settled(c, 1, 1, 7)
	for _, body := range []string{"1", "3", "6", "2", "4", "0", "5"} {
		c.wantGet(1, "q", body)
	}
}
