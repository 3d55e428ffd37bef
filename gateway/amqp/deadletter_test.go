package amqp

import (
	"strconv"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
)

// deadArgs are the arguments of a queue that dead-letters to exchange x with key.
func deadArgs(exchange, key string, more ...frame.Field) frame.Table {
	return append(frame.Table{
		{Name: "x-dead-letter-exchange", Value: frame.String(exchange)}, {Name: "x-dead-letter-routing-key", Value: frame.String(key)},
	}, more...)
}

// wantDead waits for a message in a queue, and for its newest death.
func wantDead(t *testing.T, c *testClient, queue, body string, want map[string]string) event {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		e, ok := c.get(1, queue, true)
		if !ok && time.Now().Before(end) {
			continue
		}
		if !ok || string(e.body) != body {
			t.Fatalf("%s holds %q (%v), want %q", queue, e.body, ok, body)
		}
		deaths, _ := e.props.Headers.Get("x-death")
		if deaths.Kind != frame.KindArray || len(deaths.List) == 0 {
			t.Fatalf("%q has no x-death: %v", body, e.props.Headers)
		}
		for name, text := range want {
			v, _ := deaths.List[0].Value.List.Get(name)
			if got, _ := v.Text(); got != text {
				t.Errorf("%s of %q is %q, want %q", name, body, got, text)
			}
		}
		return e
	}
}

// TestDeadLetters: what is rejected, expires, is delivered too often or is too
// much for a queue goes to its dead-letter exchange, with x-death.
func TestDeadLetters(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	call[*frame.ExchangeDeclareOk](c, 1, &frame.ExchangeDeclare{Exchange: "dlx", Type: "direct", Durable: true})
	c.declare(1, frame.QueueDeclare{Queue: "dead", Durable: true})
	call[*frame.QueueBindOk](c, 1, &frame.QueueBind{Queue: "dead", Exchange: "dlx", RoutingKey: "k"})
	c.declare(1, frame.QueueDeclare{Queue: "work", Durable: true, Arguments: deadArgs("dlx", "k", frame.Field{Name: "x-delivery-limit", Value: frame.Int(0)})})
	c.put(1, "", "work", "no")
	e, _ := c.get(1, "work", false)
	c.send(1, &frame.BasicReject{DeliveryTag: e.method.(*frame.BasicGetOk).DeliveryTag})
	e = wantDead(t, c, "dead", "no", map[string]string{"reason": "rejected", "queue": "work", "exchange": "", "routing-keys": `["work"]`, "count": "1"})
	if ok := e.method.(*frame.BasicGetOk); ok.Exchange != "dlx" || ok.RoutingKey != "k" {
		t.Errorf("delivered by %q, %q", ok.Exchange, ok.RoutingKey)
	}
	for name, want := range map[string]string{"x-first-death-reason": "rejected", "x-first-death-queue": "work", "x-first-death-exchange": ""} {
		if v, ok := e.props.Headers.Get(name); !ok || v.Str != want {
			t.Errorf("%s is %q (%v), want %q", name, v.Str, ok, want)
		}
	}
	c.put(1, "", "work", "often")
	e, _ = c.get(1, "work", false)
	c.send(1, &frame.BasicReject{DeliveryTag: e.method.(*frame.BasicGetOk).DeliveryTag, Requeue: true})
	wantDead(t, c, "dead", "often", map[string]string{"reason": "delivery_limit"})

	c.declare(1, frame.QueueDeclare{Queue: "wait", Durable: true, Arguments: deadArgs("", "dead", frame.Field{Name: "x-message-ttl", Value: frame.Int(60)})})
	for i := range 300 { // more than an idle queue holds in memory
		c.put(1, "", "wait", strconv.Itoa(i))
	}
	for i := range 300 { // and nobody consumes from it
		wantDead(t, c, "dead", strconv.Itoa(i), map[string]string{"reason": "expired", "queue": "wait"})
	}
	c.write(publishFrames(nil, 1, "", "work", frame.Properties{Flags: frame.HasExpiration, Expiration: "0"}, []byte("at once"), false))
	expect[*frame.BasicAck](c, 1)
	e = wantDead(t, c, "dead", "at once", map[string]string{"reason": "expired", "original-expiration": "0"})
	if e.props.Flags&frame.HasExpiration != 0 {
		t.Error("the expiration is still there")
	}
}

// TestDeadLettersGoRound: a retry by way of a queue with a TTL counts in x-death;
// a message that only expires does not go round for ever.
func TestDeadLettersGoRound(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.declare(1, frame.QueueDeclare{Queue: "work", Arguments: deadArgs("", "retry")})
	c.declare(1, frame.QueueDeclare{Queue: "retry", Arguments: deadArgs("", "work", frame.Field{Name: "x-message-ttl", Value: frame.Int(10)})})
	c.put(1, "", "work", "x")
	c.consume(1, "work", "", false)
	for i := range 3 {
		e, d := c.deliver(1, "x")
		deaths, _ := e.props.Headers.Get("x-death")
		if i == 0 && len(deaths.List) != 0 || i > 0 && len(deaths.List) != 2 {
			t.Fatalf("round %d: %d entries", i, len(deaths.List))
		}
		for _, entry := range deaths.List {
			if n, _ := entry.Value.List.Get("count"); n.Num != uint64(i) {
				t.Errorf("round %d: count %d", i, n.Num)
			}
		}
		c.send(1, &frame.BasicReject{DeliveryTag: d.DeliveryTag})
	}
	c.declare(1, frame.QueueDeclare{Queue: "round", Arguments: deadArgs("", "round", frame.Field{Name: "x-message-ttl", Value: frame.Int(1)})})
	c.put(1, "", "round", "x")
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if n := c.declare(1, frame.QueueDeclare{Queue: "round", Passive: true}).MessageCount; n == 0 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("%d messages go round", n)
		}
	}
}

// TestDeadLettersComeToNothing: what would only go round is dropped when it dies, and
// takes nothing else out of a queue that is too long.
func TestDeadLettersComeToNothing(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.declare(1, frame.QueueDeclare{Queue: "self", Arguments: deadArgs("", "self", frame.Field{Name: "x-max-length", Value: frame.Int(1)})})
	for _, body := range []string{"1", "2", "3"} {
		c.put(1, "", "self", body)
	}
	c.declare(1, frame.QueueDeclare{Queue: "there", Arguments: deadArgs("", "back", frame.Field{Name: "x-max-length", Value: frame.Int(1)})})
	c.declare(1, frame.QueueDeclare{Queue: "back", Arguments: deadArgs("amq.fanout", "", frame.Field{Name: "x-message-ttl", Value: frame.Int(1)})})
	c.bind("there", "amq.fanout", "")
	c.put(1, "", "there", "old")
	c.put(1, "", "there", "new")
	for end := time.Now().Add(patience); c.declare(1, frame.QueueDeclare{Queue: "back", Passive: true}).MessageCount > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("what expires stays")
		}
	}
	for queue, body := range map[string]string{"self": "3", "there": "new"} {
		e := c.wantGet(1, queue, body)
		if _, died := e.props.Headers.Get("x-death"); died {
			t.Errorf("%s: %q went round", queue, e.body)
		}
	}
}

// TestDeadLettersOfSelectedKeys: x-death names all keys that a message was published with; a
// routing key of the queue's own is instead of them.
func TestDeadLettersOfSelectedKeys(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.declare(1, frame.QueueDeclare{Queue: "work", Arguments: deadArgs("", "dead")})
	c.declare(1, frame.QueueDeclare{Queue: "dead"})
	c.publishTo("", "work", "x", false, keys("CC", "nobody"), keys("BCC", "no one"))
	expect[*frame.BasicAck](c, 1)
	e, _ := c.get(1, "work", false)
	c.send(1, &frame.BasicReject{DeliveryTag: e.method.(*frame.BasicGetOk).DeliveryTag})
	e = wantDead(t, c, "dead", "x", map[string]string{"routing-keys": `["work","nobody"]`})
	if _, cc := e.props.Headers.Get("CC"); cc {
		t.Errorf("the dead letter has CC: %v", e.props.Headers)
	}
}

// TestMaxLength: the oldest messages leave a queue that is too long.
func TestMaxLength(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.declare(1, frame.QueueDeclare{Queue: "dead"})
	c.declare(1, frame.QueueDeclare{Queue: "few", Arguments: deadArgs("", "dead", frame.Field{Name: "x-max-length", Value: frame.Int(3)})})
	c.declare(1, frame.QueueDeclare{Queue: "small", Arguments: frame.Table{{Name: "x-max-length-bytes", Value: frame.Int(3)}}})
	for i := range 200 {
		c.put(1, "", "few", strconv.Itoa(i))
	}
	if n := c.declare(1, frame.QueueDeclare{Queue: "few", Passive: true}).MessageCount; n != 3 {
		t.Errorf("%d messages are ready", n)
	}
	for i := range 197 {
		wantDead(t, c, "dead", strconv.Itoa(i), map[string]string{"reason": "maxlen", "queue": "few"})
	}
	c.wantGet(1, "few", "197")
	for _, body := range []string{"a", "bb", "cc"} {
		c.put(1, "", "small", body)
	}
	c.wantGet(1, "small", "cc")
}

// TestSingleActiveConsumer: one consumer takes all, the next one when it is gone.
func TestSingleActiveConsumer(t *testing.T) {
	s := startServer(t, testOptions{})
	first, second := open(t, s), open(t, s)
	first.declare(1, frame.QueueDeclare{Queue: "q", Durable: true, Arguments: frame.Table{{Name: "x-single-active-consumer", Value: frame.Bool(true)}}})
	first.consume(1, "q", "a", false)
	second.consume(1, "q", "b", false)
	second.confirms(1)
	for _, body := range []string{"1", "2", "3"} {
		second.put(1, "", "q", body)
		first.deliver(1, body)
	}
	call[*frame.ChannelCloseOk](first, 1, &frame.ChannelClose{})
	for _, body := range []string{"1", "2", "3"} {
		if _, d := second.deliver(1, body); !d.Redelivered {
			t.Errorf("%s is not marked as redelivered", body)
		}
	}
}

// By their headers, messages stay out of the alternate exchange, or go there; dead letters too.
func TestAlternateOfHeadersExchange(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.exchange(frame.ExchangeDeclare{Exchange: "main", Type: "headers", Arguments: frame.Table{{Name: "alternate-exchange", Value: frame.String("rest")}}})
	c.exchange(frame.ExchangeDeclare{Exchange: "rest", Type: "fanout"})
	c.declare(1, frame.QueueDeclare{Queue: "known"})
	c.declare(1, frame.QueueDeclare{Queue: "unknown"})
	c.declare(1, frame.QueueDeclare{Queue: "work", Arguments: frame.Table{{Name: "x-dead-letter-exchange", Value: frame.String("main")}}})
	c.bind("known", "main", "", frame.Field{Name: "h", Value: frame.String("1")})
	c.bind("unknown", "rest", "")
	for _, exchange := range []string{"main", ""} {
		for _, h := range []string{"1", "2"} {
			p := frame.Properties{Flags: frame.HasHeaders, Headers: frame.Table{{Name: "h", Value: frame.String(h)}}}
			c.write(publishFrames(nil, 1, exchange, "work", p, []byte(h), false))
			expect[*frame.BasicAck](c, 1)
		}
	}
	for range 2 {
		e, _ := c.get(1, "work", false)
		c.send(1, &frame.BasicReject{DeliveryTag: e.method.(*frame.BasicGetOk).DeliveryTag})
	}
	for queue, body := range map[string]string{"known": "1", "unknown": "2"} {
		c.wantGet(1, queue, body)
		wantDead(t, c, queue, body, map[string]string{"reason": "rejected"})
		c.wantDrain(queue)
	}
}

// A queue without dead letters is not taken for one whose dead letters go to the
// default exchange, or they would be lost without a word.
func TestDeadLettersAreDeclared(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.declare(1, frame.QueueDeclare{Queue: "plain"})
	c.declare(1, frame.QueueDeclare{Queue: "dying", Arguments: deadArgs("", "x")})
	c.declare(1, frame.QueueDeclare{Queue: "dying", Arguments: deadArgs("", "x")})
	for _, m := range []frame.QueueDeclare{
		{Queue: "plain", Arguments: frame.Table{{Name: "x-dead-letter-exchange", Value: frame.String("")}}},
		{Queue: "dying", Arguments: frame.Table{{Name: "x-dead-letter-routing-key", Value: frame.String("x")}}},
	} {
		c.channel(2)
		c.send(2, &m)
		c.channelClosed(2, 406)
	}
}
