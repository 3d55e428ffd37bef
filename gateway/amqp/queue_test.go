package amqp

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

func TestQueueDeclare(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.declare(1, frame.QueueDeclare{Queue: "q", Durable: true})
	c.put(1, "", "q", "a")
	c.put(1, "", "q", "b")
	if ok := c.declare(1, frame.QueueDeclare{Queue: "q", Durable: true}); ok.MessageCount != 2 || ok.ConsumerCount != 0 || ok.Queue != "q" {
		t.Errorf("declare-ok = %+v", ok)
	}
	c.consume(1, "q", "", false)
	c.deliver(1, "a")
	c.deliver(1, "b")
	if ok := c.declare(1, frame.QueueDeclare{Queue: "q", Passive: true}); ok.MessageCount != 0 || ok.ConsumerCount != 1 {
		t.Errorf("declare-ok = %+v", ok)
	}
	ttl := func(v frame.Value) frame.Table { return frame.Table{{Name: "x-message-ttl", Value: v}} }
	for _, d := range []struct {
		m    frame.QueueDeclare
		code uint16
	}{
		{frame.QueueDeclare{Queue: "nope", Passive: true}, 404},
		{frame.QueueDeclare{Queue: "q"}, 406},
		{frame.QueueDeclare{Queue: "q", Durable: true, AutoDelete: true}, 406},
		{frame.QueueDeclare{Queue: "q", Durable: true, Arguments: ttl(frame.Int(5))}, 406},
		{frame.QueueDeclare{Queue: "q", Durable: true, Exclusive: true}, 405},
		{frame.QueueDeclare{Queue: "amq.mine"}, 403},
		{frame.QueueDeclare{Queue: "_INBOX.relayed"}, 406},
		{frame.QueueDeclare{Queue: "n", Arguments: ttl(frame.Int(-1))}, 406},
		{frame.QueueDeclare{Queue: "n", Arguments: ttl(frame.String("1"))}, 406},
		{frame.QueueDeclare{Queue: "n", Arguments: frame.Table{{Name: "x-expires", Value: frame.Int(0)}}}, 406},
		{frame.QueueDeclare{Queue: "n", Arguments: frame.Table{{Name: "x-queue-type", Value: frame.String("odd")}}}, 406},
		{frame.QueueDeclare{Queue: "n", Arguments: frame.Table{{Name: "x-queue-type", Value: frame.String("quorum")}}}, 406},
		{frame.QueueDeclare{Queue: "n", Arguments: frame.Table{{Name: "x-max-priority", Value: frame.Int(256)}}}, 406},
		{frame.QueueDeclare{Queue: "n", Durable: true, Arguments: frame.Table{{Name: "x-queue-type", Value: frame.String("quorum")}, {Name: "x-max-priority", Value: frame.Int(5)}}}, 406},
		{frame.QueueDeclare{Queue: "n", Arguments: frame.Table{{Name: "x-dead-letter-routing-key", Value: frame.String("x")}}}, 406},
		{frame.QueueDeclare{Queue: "n", Arguments: frame.Table{{Name: "x-max-length", Value: frame.Int(-1)}}}, 406},
		{frame.QueueDeclare{Queue: "n", Arguments: frame.Table{{Name: "x-overflow", Value: frame.String("drop-tail")}}}, 406},
	} {
		c.channel(2)
		c.send(2, &d.m)
		c.channelClosed(2, d.code)
	}
	c.declare(1, frame.QueueDeclare{Queue: "n", Arguments: frame.Table{{Name: "x-of-others", Value: frame.Int(1)}}})
	classic := frame.Table{{Name: "x-queue-type", Value: frame.String("classic")}}
	c.declare(1, frame.QueueDeclare{Queue: "n", Arguments: classic}) // as it is without
	c.declare(1, frame.QueueDeclare{Queue: "c", Arguments: classic})
	c.declare(1, frame.QueueDeclare{Queue: "c"})
	c.send(1, &frame.QueueDeclare{Queue: "silent", NoWait: true})
	c.declare(1, frame.QueueDeclare{Queue: "silent", Passive: true})
}

func TestServerNamedQueue(t *testing.T) {
	s := startServer(t, testOptions{})
	c := open(t, s)
	a, b := c.declare(1, frame.QueueDeclare{}), c.declare(1, frame.QueueDeclare{Exclusive: true})
	if !strings.HasPrefix(a.Queue, "amq.gen-") || a.Queue == b.Queue {
		t.Fatalf("named %q and %q", a.Queue, b.Queue)
	}
	// An empty name is the last declared queue, an empty key then its name.
	c.bind("", "amq.direct", "")
	c.put(1, "amq.direct", b.Queue, "x")
	if _, ok := c.get(1, "", true); !ok {
		t.Error("nothing came by the default names")
	}
	c.declare(1, frame.QueueDeclare{Queue: a.Queue}) // its full name is good
	c.put(1, "", a.Queue, "y")
	call[*frame.QueueDeleteOk](c, 1, &frame.QueueDelete{Queue: a.Queue})
	if _, ok := s.broker.Topics.ByName(a.Queue); ok {
		t.Error("the topic of a deleted server-named queue is still there")
	}
	c.channel(2)
	c.send(2, &frame.QueuePurge{})
	c.channelClosed(2, 404)
	c.channel(2)
	c.send(2, &frame.BasicConsume{Queue: "amq.gen-that-was"})
	c.channelClosed(2, 404)
}

func TestExclusiveQueue(t *testing.T) {
	s := startServer(t, testOptions{})
	a, b := open(t, s), open(t, s)
	a.declare(1, frame.QueueDeclare{Queue: "mine", Exclusive: true})
	a.declare(1, frame.QueueDeclare{Queue: "mine", Exclusive: true})
	for _, m := range []frame.Method{
		&frame.QueueDeclare{Queue: "mine", Exclusive: true}, &frame.QueueDeclare{Queue: "mine", Passive: true},
		&frame.BasicConsume{Queue: "mine"}, &frame.BasicGet{Queue: "mine"}, &frame.QueuePurge{Queue: "mine"},
		&frame.QueueDelete{Queue: "mine"}, &frame.QueueBind{Queue: "mine", Exchange: "amq.fanout"},
	} {
		b.channel(2)
		b.send(2, m)
		b.channelClosed(2, 405)
	}
	topo := &s.srv.vhosts["/"].topo
	topo.Lock() // so that the deletion takes its time
	time.AfterFunc(50*time.Millisecond, topo.Unlock)
	call[*frame.ConnectionCloseOk](a, 0, &frame.ConnectionClose{})
	if n := len(s.srv.vhosts["/"].allQueues()); n > 0 { // who connects again may declare them at once
		t.Errorf("%d exclusive queues are there after the answer", n)
	}
	b.send(1, &frame.QueueDeclare{Queue: "mine", Passive: true})
	b.channelClosed(1, 404)
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not in time: %s", what)
}

func TestAutoDeleteQueue(t *testing.T) {
	s := startServer(t, testOptions{})
	c := open(t, s)
	gone := func(q string) {
		t.Helper()
		eventually(t, "queue "+q+" is gone", func() bool { return s.srv.vhosts["/"].queue(q) == nil })
	}
	c.declare(1, frame.QueueDeclare{Queue: "a", AutoDelete: true})
	c.consume(1, "a", "1", true)
	c.consume(1, "a", "2", true)
	call[*frame.BasicCancelOk](c, 1, &frame.BasicCancel{ConsumerTag: "1"})
	c.declare(1, frame.QueueDeclare{Queue: "a", Passive: true})
	call[*frame.BasicCancelOk](c, 1, &frame.BasicCancel{ConsumerTag: "2"})
	gone("a")
	c.declare(1, frame.QueueDeclare{Queue: "b", AutoDelete: true})
	c.channel(2)
	c.consume(2, "b", "", true)
	call[*frame.ChannelCloseOk](c, 2, &frame.ChannelClose{})
	gone("b")
	c.declare(1, frame.QueueDeclare{Queue: "c", AutoDelete: true})
	c.consume(1, "c", "", true)
	_ = c.nc.Close()
	gone("c")
}

func TestPurgeAndDelete(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	for i := range 5 {
		c.put(1, "", "q", fmt.Sprint(i))
	}
	e, _ := c.get(1, "q", false)
	if ok := call[*frame.QueuePurgeOk](c, 1, &frame.QueuePurge{Queue: "q"}); ok.MessageCount != 4 {
		t.Errorf("purged %d", ok.MessageCount)
	}
	c.put(1, "", "q", "ready")
	c.channel(2)
	c.send(2, &frame.QueueDelete{Queue: "q", IfEmpty: true})
	c.channelClosed(2, 406)
	c.wantDrain("q", "ready")
	c.send(1, &frame.BasicAck{DeliveryTag: e.method.(*frame.BasicGetOk).DeliveryTag})
	c.consume(1, "q", "x", false)
	c.channel(2)
	c.send(2, &frame.QueueDelete{Queue: "q", IfUnused: true})
	c.channelClosed(2, 406)
	call[*frame.BasicCancelOk](c, 1, &frame.BasicCancel{ConsumerTag: "x"})
	call[*frame.QueueDeleteOk](c, 1, &frame.QueueDelete{Queue: "q", IfUnused: true, IfEmpty: true})
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	c.put(1, "", "q", "unsettled")
	e, _ = c.get(1, "q", false)
	call[*frame.QueueDeleteOk](c, 1, &frame.QueueDelete{Queue: "q", IfEmpty: true}) // what is not settled goes along
	c.send(1, &frame.BasicAck{DeliveryTag: e.method.(*frame.BasicGetOk).DeliveryTag})
	c.declare(1, frame.QueueDeclare{Queue: "r"})
	c.put(1, "", "r", "x")
	if ok := call[*frame.QueueDeleteOk](c, 1, &frame.QueueDelete{Queue: "r"}); ok.MessageCount != 1 {
		t.Errorf("deleted with %d messages", ok.MessageCount)
	}
	call[*frame.QueueDeleteOk](c, 1, &frame.QueueDelete{Queue: "r"})
	c.send(1, &frame.QueuePurge{Queue: "r"})
	c.channelClosed(1, 404)
}

// A new queue has what comes from its binding on.
func TestDeclaredQueueStartsNew(t *testing.T) {
	s := startServer(t, testOptions{})
	c := open(t, s)
	store(t, s, "q", shard.Record{Value: []byte("before")})
	c.put(1, "amq.topic", "news.a", "before")
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	c.bind("q", "amq.topic", "news.*")
	c.put(1, "amq.topic", "news.a", "after")
	c.wantDrain("q", "after")
}

// A queue that was never declared is the subject of its name, from the oldest
// retained message on.
func TestUndeclaredQueue(t *testing.T) {
	s := startServer(t, testOptions{})
	store(t, s, "robustmq.multi.protocol", shard.Record{Value: []byte("one")})
	c := open(t, s)
	c.send(999, &frame.QueueDeclare{Queue: "robustmq.multi.protocol", Passive: true})
	c.channelClosed(999, 404)
	c.channel(999)
	c.consume(1, "robustmq.multi.protocol", "", false)
	e, m := c.deliver(1, "one")
	if m.Exchange != "" || m.RoutingKey != "robustmq.multi.protocol" || m.Redelivered || e.props.Flags != 0 {
		t.Errorf("delivered %+v %+v", m, e.props)
	}
	c.send(1, &frame.BasicAck{DeliveryTag: m.DeliveryTag})
	store(t, s, "robustmq.multi.protocol", shard.Record{Value: []byte("two")})
	_, m = c.deliver(1, "two")
	c.send(1, &frame.BasicAck{DeliveryTag: m.DeliveryTag})
	c.send(999, &frame.QueueDeclare{Queue: "robustmq.multi.protocol", Passive: true})
	c.channelClosed(999, 404)
	// A declare makes it a queue, where it was.
	c.declare(1, frame.QueueDeclare{Queue: "robustmq.multi.protocol", Durable: true})
	c.declare(1, frame.QueueDeclare{Queue: "robustmq.multi.protocol", Durable: true, Passive: true})
	// Get resolves alike, and makes the subject.
	if _, ok := c.get(1, "fresh.subject", true); ok {
		t.Error("a message out of nowhere")
	}
	c.put(1, "", "fresh.subject", "x")
	c.wantGet(1, "fresh.subject", "x")
}

func TestQueueTTL(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.declare(1, frame.QueueDeclare{Queue: "q", Arguments: frame.Table{{Name: "x-message-ttl", Value: frame.Int(50)}}})
	c.put(1, "", "q", "gone")
	time.Sleep(80 * time.Millisecond)
	c.put(1, "", "q", "fresh")
	c.wantGet(1, "q", "fresh")
	c.declare(1, frame.QueueDeclare{Queue: "p"})
	c.write(publishFrames(nil, 1, "", "p", frame.Properties{Flags: frame.HasExpiration, Expiration: "20"}, []byte("gone"), false))
	c.put(1, "", "p", "fresh")
	time.Sleep(40 * time.Millisecond)
	c.consume(1, "p", "", false)
	if _, m := c.deliver(1, "fresh"); m.DeliveryTag == 0 {
		t.Error("no tag")
	}
	for _, bad := range []string{"", "-1", "x", "1.5"} {
		c.channel(2)
		c.write(publishFrames(nil, 2, "", "p", frame.Properties{Flags: frame.HasExpiration, Expiration: bad}, nil, false))
		c.channelClosed(2, 406)
	}
}

func TestQueueExpires(t *testing.T) {
	s := startServer(t, testOptions{})
	c := open(t, s)
	c.declare(1, frame.QueueDeclare{Queue: "q", Arguments: frame.Table{{Name: "x-expires", Value: frame.Int(100)}}})
	eventually(t, "the queue's group is gone", func() bool {
		_, err := s.broker.Groups.Get("amqp///q")
		return err != nil
	})
	c.send(999, &frame.QueueDeclare{Queue: "q", Passive: true})
	c.channelClosed(999, 404)
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	// What expired is bound to nothing, for mandatory and for an exchange that it kept.
	c.exchange(frame.ExchangeDeclare{Exchange: "auto", Type: "fanout", AutoDelete: true})
	c.declare(1, frame.QueueDeclare{Queue: "short", Arguments: frame.Table{{Name: "x-expires", Value: frame.Int(100)}}})
	c.bind("short", "auto", "")
	eventually(t, "the queue is gone with its bindings", func() bool { return s.srv.vhosts["/"].exchange("auto") == nil })
	c.write(publishFrames(nil, 1, "", "short", frame.Properties{}, []byte("m"), true))
	expect[*frame.BasicReturn](c, 1)
	expect[*frame.BasicAck](c, 1)
	// A declare is a use, and so is a get. One that was long ago holds nothing.
	used := frame.QueueDeclare{Queue: "used", Arguments: frame.Table{{Name: "x-expires", Value: frame.Int(1000)}}}
	c.declare(1, used)
	c.put(1, "", "used", "a")
	for i := range 15 {
		time.Sleep(100 * time.Millisecond)
		switch i % 3 {
		case 0:
			c.declare(1, used)
		case 1:
			c.declare(1, frame.QueueDeclare{Queue: "used", Passive: true})
		case 2:
			c.get(1, "used", false)
		}
	}
	eventually(t, "the queue that is not used any more is gone", func() bool {
		_, err := s.broker.Groups.Get("amqp///used")
		return err != nil
	})
}

func TestDeliveryLimit(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.declare(1, frame.QueueDeclare{Queue: "q", Durable: true, Arguments: frame.Table{
		{Name: "x-queue-type", Value: frame.String("quorum")}, {Name: "x-delivery-limit", Value: frame.Int(2)},
	}})
	c.put(1, "", "q", "poison")
	c.consume(1, "q", "", false)
	for i := range 3 {
		e, m := c.deliver(1, "poison")
		n, counted := e.props.Headers.Get("x-delivery-count")
		if m.Redelivered != (i > 0) || counted != (i > 0) || counted && n.Num != uint64(i) {
			t.Errorf("delivery %d: redelivered %v, counted %v", i, m.Redelivered, n)
		}
		c.send(1, &frame.BasicNack{DeliveryTag: m.DeliveryTag, Requeue: true})
	}
	quiet[*frame.BasicDeliver](c, 1)
}

// What a message was delivered before a restart counts towards the limit.
func TestDeliveryLimitOverRestart(t *testing.T) {
	s := startServer(t, testOptions{})
	c := open(t, s)
	limited := frame.QueueDeclare{Queue: "q", Durable: true, Arguments: frame.Table{{Name: "x-delivery-limit", Value: frame.Int(3)}}}
	c.declare(1, limited)
	c.put(1, "", "q", "poison")
	c.consume(1, "q", "", false)
	for range 2 {
		_, m := c.deliver(1, "poison")
		c.send(1, &frame.BasicNack{DeliveryTag: m.DeliveryTag, Requeue: true})
	}
	c.deliver(1, "poison")
	s.stop()
	mem := s.mem.Reopen()
	t.Cleanup(mem.Close)
	c = open(t, serveOn(t, testOptions{}, mem, mem.Broker()))
	c.declare(1, limited)
	c.consume(1, "q", "", false)
	_, m := c.deliver(1, "poison")
	c.send(1, &frame.BasicNack{DeliveryTag: m.DeliveryTag, Requeue: true})
	quiet[*frame.BasicDeliver](c, 1)
}

// Durable exchanges, queues, bindings and their messages survive a restart; the
// others do not.
func TestRestart(t *testing.T) {
	s := startServer(t, testOptions{})
	c := open(t, s)
	alt := frame.Table{{Name: "alternate-exchange", Value: frame.String("amq.fanout")}}
	c.exchange(frame.ExchangeDeclare{Exchange: "keep", Type: "topic", Durable: true, Arguments: alt})
	c.exchange(frame.ExchangeDeclare{Exchange: "lose", Type: "topic"})
	c.declare(1, frame.QueueDeclare{Queue: "keep", Durable: true})
	c.declare(1, frame.QueueDeclare{Queue: "lose"})
	c.bind("keep", "keep", "a.*")
	c.bind("keep", "lose", "b.*")
	c.bind("lose", "keep", "#")
	call[*frame.ExchangeBindOk](c, 1, &frame.ExchangeBind{Destination: "keep", Source: "amq.direct", RoutingKey: "a.k"})
	c.put(1, "keep", "a.1", "one")
	c.put(1, "lose", "b.1", "two")
	c.put(1, "", "undeclared", "three")
	c.consume(1, "undeclared", "u", false)
	c.deliver(1, "three")
	e, _ := c.get(1, "keep", false)
	if string(e.body) != "one" {
		t.Fatalf("got %q", e.body)
	}
	s.stop()
	mem := s.mem.Reopen()
	t.Cleanup(mem.Close)
	s = serveOn(t, testOptions{}, mem, mem.Broker())
	c = open(t, s)
	c.exchange(frame.ExchangeDeclare{Exchange: "keep", Type: "topic", Durable: true, Arguments: alt})
	c.declare(1, frame.QueueDeclare{Queue: "keep", Durable: true})
	for _, m := range []frame.Method{
		&frame.ExchangeDeclare{Exchange: "lose", Passive: true}, &frame.QueueDeclare{Queue: "lose", Passive: true},
		&frame.QueueDeclare{Queue: "undeclared", Passive: true},
	} {
		c.channel(2)
		c.send(2, m)
		c.channelClosed(2, 404)
	}
	c.put(1, "keep", "a.2", "four")
	c.put(1, "keep", "b.2", "not bound")
	c.put(1, "amq.direct", "a.k", "five")
	store(t, s, "lose.b.2", shard.Record{Value: []byte("unbound at restart")})
	c.consume(1, "keep", "", false)
	got := map[string]bool{} // by body: redelivered; order holds within a topic
	for range 4 {
		e := expectEvent[*frame.BasicDeliver](c, 1)
		got[string(e.body)] = e.method.(*frame.BasicDeliver).Redelivered
	}
	if want := map[string]bool{"one": true, "two": false, "four": false, "five": false}; !maps.Equal(got, want) {
		t.Errorf("after the restart: %v", got)
	}
	quiet[*frame.BasicDeliver](c, 1)
	c.consume(1, "undeclared", "", false)
	c.deliver(1, "three")
}
