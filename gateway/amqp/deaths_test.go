package amqp

import (
	"strconv"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
)

// countOf gives the count of the newest death.
func countOf(t *testing.T, e event) int64 {
	t.Helper()
	deaths, _ := e.props.Headers.Get("x-death")
	if deaths.Kind != frame.KindArray || len(deaths.List) == 0 {
		t.Fatalf("no x-death: %v", e.props.Headers)
	}
	v, _ := deaths.List[0].Value.List.Get("count")
	n, _ := v.Int()
	return n
}

// A worker that publishes a message again to the delay queue it came through, with
// the headers it received, loses none: x-death counts 1, 2, 3, as in RabbitMQ.
func TestDeadLettersPublishedAgain(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.declare(1, frame.QueueDeclare{Queue: "work"})
	c.declare(1, frame.QueueDeclare{Queue: "delay", Arguments: deadArgs("", "work", frame.Field{Name: "x-message-ttl", Value: frame.Int(5)})})
	c.put(1, "", "delay", "x")
	for pass := int64(1); pass <= 5; pass++ {
		e := wantDead(t, c, "work", "x", map[string]string{"queue": "delay", "reason": "expired"})
		if n := countOf(t, e); n != pass {
			t.Fatalf("pass %d: count %d", pass, n)
		}
		c.write(publishFrames(nil, 1, "", "delay", e.props, e.body, false))
		expect[*frame.BasicAck](c, 1)
	}
}

// What a client writes about deaths decides nothing: a message that names this queue
// in x-death, or in the broker's own mark, is dead-lettered as any other.
func TestDeathsAreNotForged(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.declare(1, frame.QueueDeclare{Queue: "dead"})
	c.declare(1, frame.QueueDeclare{Queue: "wait", Arguments: deadArgs("", "dead", frame.Field{Name: "x-message-ttl", Value: frame.Int(1)})})
	death := func(queue string) frame.Field {
		return frame.Field{Value: frame.Nested(frame.Table{
			{Name: "count", Value: frame.Int(7)}, {Name: "reason", Value: frame.String("expired")}, {Name: "queue", Value: frame.String(queue)},
		})}
	}
	for i, table := range []frame.Table{
		{{Name: "x-death", Value: frame.Value{Kind: frame.KindArray, List: frame.Table{death("wait")}}}},
		{{Name: "x-death", Value: frame.Value{Kind: frame.KindArray, List: frame.Table{death("wait"), death("dead")}}}},
		{{Name: "x-death", Value: frame.String("wait")}},
		{{Name: "x-death", Value: frame.Value{Kind: frame.KindArray, List: frame.Table{{Value: frame.String("wait")}}}}},
		{{Name: headerDeaths, Value: frame.String("/\x00wait\x00\x00/\x00dead\x00\x00")}},
	} {
		body := strconv.Itoa(i)
		c.write(publishFrames(nil, 1, "", "wait", frame.Properties{Flags: frame.HasHeaders, Headers: table}, []byte(body), false))
		expect[*frame.BasicAck](c, 1)
		wantDead(t, c, "dead", body, map[string]string{"queue": "wait", "reason": "expired"})
	}
}

// A dead letter leaves out the queues in which it died, and reaches the others.
func TestDeadLettersLeaveOutTheRound(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.exchange(frame.ExchangeDeclare{Exchange: "dlx", Type: "fanout"})
	c.declare(1, frame.QueueDeclare{Queue: "rest"})
	c.declare(1, frame.QueueDeclare{Queue: "q", Arguments: deadArgs("dlx", "", frame.Field{Name: "x-max-length", Value: frame.Int(1)})})
	c.bind("q", "dlx", "")
	c.bind("rest", "dlx", "")
	c.put(1, "", "q", "1")
	c.put(1, "", "q", "2")
	wantDead(t, c, "rest", "1", map[string]string{"queue": "q", "reason": "maxlen", "count": "1"})
	c.consume(1, "q", "", true)
	c.put(1, "", "q", "3")
	for end := time.Now().Add(patience); ; {
		e := expectEvent[*frame.BasicDeliver](c, 1)
		if string(e.body) == "1" {
			t.Fatal("a dead letter was delivered where it died")
		}
		if string(e.body) == "3" || time.Now().After(end) {
			break
		}
	}
}
