package amqp

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// The time of a message that another protocol wrote counts from its arrival, whatever
// time its writer gave it.
func TestTTLCountsFromArrival(t *testing.T) {
	s := startServer(t, testOptions{})
	c := open(t, s)
	c.declare(1, frame.QueueDeclare{Queue: "q", Arguments: frame.Table{{Name: "x-message-ttl", Value: frame.Int(600_000)}}})
	c.declare(1, frame.QueueDeclare{Queue: "p"})
	for _, queue := range []string{"q", "p"} {
		topic, err := s.broker.Topics.Resolve(context.Background(), queue, true)
		if err != nil {
			t.Fatal(err)
		}
		for i, ago := range []time.Duration{time.Hour, 0, -time.Hour} {
			r := shard.Record{Timestamp: time.Now().Add(-ago).UnixMilli(), Value: []byte(strconv.Itoa(i))}
			if queue == "p" {
				r.Headers = []shard.Header{{Name: shard.HeaderExpiration, Value: []byte("600000")}}
			}
			if _, err := shard.AppendWait(context.Background(), s.broker.Log, topic.Shard(0), shard.BatchOf(r), shard.AppendOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 3 {
		c.wantGet(1, "q", strconv.Itoa(i))
	}
	c.consume(1, "p", "", true)
	for i := range 3 {
		c.deliver(1, strconv.Itoa(i))
	}
}

// A consumer that is ready gets each message, be its time as short as can be.
func TestTTLOfNothing(t *testing.T) {
	for name, q := range map[string]frame.QueueDeclare{
		"ttl 0":        {Queue: "q", Arguments: frame.Table{{Name: "x-message-ttl", Value: frame.Int(0)}}},
		"ttl 1":        {Queue: "q", Arguments: frame.Table{{Name: "x-message-ttl", Value: frame.Int(1)}}},
		"dead letters": {Queue: "q", Arguments: deadArgs("", "dead", frame.Field{Name: "x-message-ttl", Value: frame.Int(0)})},
		"expiration 0": {Queue: "q"},
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t, startServer(t, testOptions{}))
			c.declare(1, frame.QueueDeclare{Queue: "dead"})
			c.declare(1, q)
			p := frame.Properties{}
			if q.Arguments == nil {
				p = frame.Properties{Flags: frame.HasExpiration, Expiration: "0"}
			}
			put := func(body string) {
				c.write(publishFrames(nil, 1, "", "q", p, []byte(body), false))
				expect[*frame.BasicAck](c, 1)
			}
			if name != "ttl 1" {
				put("for nobody")
				c.wantGet(1, "q", "")
			}
			if name == "dead letters" {
				wantDead(t, c, "dead", "for nobody", map[string]string{"reason": "expired"})
			}
			c.consume(1, "q", "", true)
			for i := range 50 {
				put(strconv.Itoa(i))
			}
			for i := range 50 {
				c.deliver(1, strconv.Itoa(i))
			}
		})
	}
}
