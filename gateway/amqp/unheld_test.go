package amqp

import (
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
)

// What a queue or a consumer asks for is held, or refused: never taken and forgotten.
func TestArgumentsAreHeldOrRefused(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	text, n, yes := frame.String, func(n int64) frame.Value { return frame.Int(n) }, frame.Bool(true)
	for _, x := range []struct {
		kind string
		arg  frame.Field
		code uint16
	}{
		{"stream", frame.Field{Name: "x-max-age", Value: text("7D")}, 0},
		{"stream", frame.Field{Name: "x-max-age", Value: text("7 days")}, 406},
		{"classic", frame.Field{Name: "x-max-age", Value: text("7D")}, 406},
		{"stream", frame.Field{Name: "x-max-length-bytes", Value: n(1 << 30)}, 406},
		{"stream", frame.Field{Name: "x-max-length", Value: n(1)}, 406},
		{"stream", frame.Field{Name: "x-message-ttl", Value: n(1)}, 406},
		{"stream", frame.Field{Name: "x-expires", Value: n(1)}, 406},
		{"stream", frame.Field{Name: "x-dead-letter-exchange", Value: text("x")}, 406},
		{"stream", frame.Field{Name: "x-single-active-consumer", Value: yes}, 406},
		{"stream", frame.Field{Name: "x-stream-max-segment-size-bytes", Value: n(1 << 20)}, 0},
		{"quorum", frame.Field{Name: "x-stream-max-segment-size-bytes", Value: n(1 << 20)}, 406},
		{"quorum", frame.Field{Name: "x-consumer-timeout", Value: n(1000)}, 406},
		{"quorum", frame.Field{Name: "x-delivery-limit", Value: n(-1)}, 0},
		{"quorum", frame.Field{Name: "x-delivery-limit", Value: n(-2)}, 406},
	} {
		c.channel(2)
		c.send(2, &frame.QueueDeclare{Queue: x.kind + x.arg.Name, Durable: true, Arguments: frame.Table{{Name: "x-queue-type", Value: text(x.kind)}, x.arg}})
		if x.code != 0 {
			c.channelClosed(2, x.code)
			continue
		}
		expect[*frame.QueueDeclareOk](c, 2)
		call[*frame.ChannelCloseOk](c, 2, &frame.ChannelClose{})
	}
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	for _, name := range []string{"x-consumer-timeout", "x-stream-filter"} {
		c.channel(2)
		c.send(2, &frame.BasicConsume{Queue: "q", Arguments: frame.Table{{Name: name, Value: n(1)}}})
		c.channelClosed(2, 406)
	}
}

// TestStreamMaxAge: what is older than x-max-age is passed over.
func TestStreamMaxAge(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	stream := func(name, age string) {
		c.declare(1, frame.QueueDeclare{Queue: name, Durable: true, Arguments: frame.Table{
			{Name: "x-queue-type", Value: frame.String("stream")}, {Name: "x-max-age", Value: frame.String(age)}}})
		c.put(1, "", name, "old")
	}
	stream("short", "1s")
	stream("long", "1h")
	for begun := time.Now(); time.Since(begun) < 1100*time.Millisecond; time.Sleep(10 * time.Millisecond) {
	}
	call[*frame.BasicQosOk](c, 1, &frame.BasicQos{PrefetchCount: 10})
	first := frame.Table{{Name: "x-stream-offset", Value: frame.String("first")}}
	for name, want := range map[string]string{"short": "new", "long": "old"} {
		c.put(1, "", name, "new")
		call[*frame.BasicConsumeOk](c, 1, &frame.BasicConsume{Queue: name, ConsumerTag: name, Arguments: first})
		c.deliver(1, want)
		call[*frame.BasicCancelOk](c, 1, &frame.BasicCancel{ConsumerTag: name})
		c.queue = nil
	}
}
