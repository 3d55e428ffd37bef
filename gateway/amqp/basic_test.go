package amqp

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

func TestConsumerTags(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	a := call[*frame.BasicConsumeOk](c, 1, &frame.BasicConsume{Queue: "q"})
	b := call[*frame.BasicConsumeOk](c, 1, &frame.BasicConsume{Queue: "q"})
	if a.ConsumerTag == "" || a.ConsumerTag == b.ConsumerTag {
		t.Errorf("tags %q and %q", a.ConsumerTag, b.ConsumerTag)
	}
	c.send(1, &frame.BasicConsume{Queue: "q", ConsumerTag: "mine", NoWait: true})
	call[*frame.BasicCancelOk](c, 1, &frame.BasicCancel{ConsumerTag: "unknown"})
	call[*frame.BasicCancelOk](c, 1, &frame.BasicCancel{ConsumerTag: "mine"})
	c.consume(1, "q", "mine", false)
	c.send(1, &frame.BasicConsume{Queue: "q", ConsumerTag: "mine"})
	c.connectionClosed(530)
}

func TestExclusiveConsumer(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	call[*frame.BasicConsumeOk](c, 1, &frame.BasicConsume{Queue: "q", ConsumerTag: "x", Exclusive: true})
	c.channel(2)
	c.send(2, &frame.BasicConsume{Queue: "q"})
	c.channelClosed(2, 403)
	call[*frame.BasicCancelOk](c, 1, &frame.BasicCancel{ConsumerTag: "x"})
	c.channel(2)
	c.consume(2, "q", "y", false)
	c.send(1, &frame.BasicConsume{Queue: "q", Exclusive: true})
	c.channelClosed(1, 403)
}

func TestNoLocal(t *testing.T) {
	s := startServer(t, testOptions{})
	c, other := open(t, s), open(t, s)
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	call[*frame.BasicConsumeOk](c, 1, &frame.BasicConsume{Queue: "q", NoLocal: true})
	c.put(1, "", "q", "own")
	other.put(1, "", "q", "other")
	c.deliver(1, "other")
	quiet[*frame.BasicDeliver](c, 1)
}

func TestAckMultipleNackRejectRecover(t *testing.T) {
	s := startServer(t, testOptions{})
	c := open(t, s)
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	c.consume(1, "q", "", false)
	tags := make([]uint64, 10)
	for i := range tags {
		c.put(1, "", "q", fmt.Sprint(i))
		_, m := c.deliver(1, fmt.Sprint(i))
		if tags[i] = m.DeliveryTag; m.Redelivered || tags[i] != uint64(i+1) {
			t.Errorf("delivery %d: %+v", i, m)
		}
	}
	unacked := func() int64 {
		g, err := s.broker.Groups.Get("amqp///q")
		if err != nil {
			t.Fatal(err)
		}
		return g.Stats().Unacked
	}
	c.send(1, &frame.BasicAck{DeliveryTag: tags[1]})
	c.send(1, &frame.BasicAck{DeliveryTag: tags[3], Multiple: true}) // 0, 2, 3
	eventually(t, "6 are left", func() bool { return unacked() == 6 })
	c.send(1, &frame.BasicReject{DeliveryTag: tags[4]})
	c.send(1, &frame.BasicReject{DeliveryTag: tags[5], Requeue: true})
	if _, m := c.deliver(1, "5"); !m.Redelivered {
		t.Error("a requeued message is not marked redelivered")
	}
	c.send(1, &frame.BasicNack{DeliveryTag: tags[7], Multiple: true}) // 6, 7
	eventually(t, "3 are left", func() bool { return unacked() == 3 })
	call[*frame.BasicRecoverOk](c, 1, &frame.BasicRecover{Requeue: true}) // 8, 9, 5
	var again []string
	for range 3 {
		e := expectEvent[*frame.BasicDeliver](c, 1)
		if !e.method.(*frame.BasicDeliver).Redelivered {
			t.Error("a recovered message is not marked redelivered")
		}
		again = append(again, string(e.body))
	}
	slices.Sort(again)
	if !slices.Equal(again, []string{"5", "8", "9"}) {
		t.Errorf("recovered %q", again)
	}
	c.send(1, &frame.BasicAck{Multiple: true}) // all
	eventually(t, "none is left", func() bool { return unacked() == 0 })
	for _, m := range []frame.Method{
		&frame.BasicAck{DeliveryTag: 99}, &frame.BasicAck{}, &frame.BasicNack{DeliveryTag: 1}, &frame.BasicReject{DeliveryTag: 1},
	} {
		c.channel(2)
		c.send(2, m)
		c.channelClosed(2, 406)
	}
}

func TestUnackedReturn(t *testing.T) {
	s := startServer(t, testOptions{})
	a, b := open(t, s), open(t, s)
	a.declare(1, frame.QueueDeclare{Queue: "q"})
	a.put(1, "", "q", "x")
	a.channel(2)
	a.consume(2, "q", "", false)
	a.deliver(2, "x")
	call[*frame.ChannelCloseOk](a, 2, &frame.ChannelClose{})
	a.consume(1, "q", "", false)
	if _, m := a.deliver(1, "x"); !m.Redelivered {
		t.Error("not redelivered after the channel closed")
	}
	_ = a.nc.Close()
	b.consume(1, "q", "", false)
	if _, m := b.deliver(1, "x"); !m.Redelivered {
		t.Error("not redelivered after the connection closed")
	}
}

// A cancelled consumer's deliveries stay with the channel.
func TestCancelKeepsUnacked(t *testing.T) {
	s := startServer(t, testOptions{})
	c := open(t, s)
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	c.put(1, "", "q", "1")
	c.consume(1, "q", "x", false)
	_, m := c.deliver(1, "1")
	call[*frame.BasicCancelOk](c, 1, &frame.BasicCancel{ConsumerTag: "x"})
	c.put(1, "", "q", "2")
	quiet[*frame.BasicDeliver](c, 1)
	c.send(1, &frame.BasicAck{DeliveryTag: m.DeliveryTag})
	c.wantGet(1, "q", "2")
	g, err := s.broker.Groups.Get("amqp///q")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "all is settled", func() bool { st := g.Stats(); return st.Unacked == 0 && st.Ready == 0 && st.Acked == 2 })
}

// A cancel loses nothing that was on its way to a consumer without
// acknowledgements.
func TestCancelWithoutAcks(t *testing.T) {
	s := startServer(t, testOptions{})
	c := open(t, s)
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	const n = 3000
	var b []byte
	for i := range n {
		b = publishFrames(b, 1, "", "q", frame.Properties{}, fmt.Append(nil, i), false)
	}
	c.write(b)
	for expect[*frame.BasicAck](c, 1).DeliveryTag < n {
	}
	got := 0
	for round := 0; got < n; round++ {
		tag := fmt.Sprint("c", round)
		c.consume(1, "q", tag, true)
		for range 200 {
			if got == n {
				break
			}
			c.deliver(1, fmt.Sprint(got))
			got++
		}
		c.send(1, &frame.BasicCancel{ConsumerTag: tag})
		expect[*frame.BasicCancelOk](c, 1)
		for len(c.queue) > 0 {
			c.deliver(1, fmt.Sprint(got))
			got++
		}
	}
	c.wantGet(1, "q", "")
}

func TestCancelNotify(t *testing.T) {
	s := startServer(t, testOptions{})
	a, b := open(t, s), open(t, s)
	a.declare(1, frame.QueueDeclare{Queue: "q"})
	a.consume(1, "q", "tag", false)
	call[*frame.QueueDeleteOk](b, 1, &frame.QueueDelete{Queue: "q"})
	if m := expect[*frame.BasicCancel](a, 1); m.ConsumerTag != "tag" || !m.NoWait {
		t.Errorf("cancel = %+v", m)
	}
	a.declare(1, frame.QueueDeclare{Queue: "q"})
	a.consume(1, "q", "tag", false)
	b.put(1, "", "q", "x")
	a.deliver(1, "x")
	a.declare(1, frame.QueueDeclare{Queue: "s", Durable: true, Arguments: frame.Table{{Name: "x-queue-type", Value: frame.String("stream")}}})
	call[*frame.BasicQosOk](a, 1, &frame.BasicQos{PrefetchCount: 10})
	a.consume(1, "s", "of the stream", false)
	call[*frame.QueueDeleteOk](b, 1, &frame.QueueDelete{Queue: "s"})
	if m := expect[*frame.BasicCancel](a, 1); m.ConsumerTag != "of the stream" {
		t.Errorf("cancel = %+v", m)
	}
}

func TestQosPerConsumer(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	c.consume(1, "q", "before", false) // qos is for new consumers
	call[*frame.BasicCancelOk](c, 1, &frame.BasicCancel{ConsumerTag: "before"})
	call[*frame.BasicQosOk](c, 1, &frame.BasicQos{PrefetchCount: 2})
	c.consume(1, "q", "a", false)
	c.consume(1, "q", "b", false)
	for i := range 6 {
		c.put(1, "", "q", fmt.Sprint(i))
	}
	var tags []uint64
	by := map[string]int{}
	for range 4 {
		m := expect[*frame.BasicDeliver](c, 1)
		tags = append(tags, m.DeliveryTag)
		by[m.ConsumerTag]++
	}
	quiet[*frame.BasicDeliver](c, 1)
	if by["a"] != 2 || by["b"] != 2 {
		t.Errorf("delivered %v", by)
	}
	c.send(1, &frame.BasicAck{DeliveryTag: tags[0]})
	expect[*frame.BasicDeliver](c, 1)
	quiet[*frame.BasicDeliver](c, 1)
}

func TestQosPerChannel(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	c.declare(1, frame.QueueDeclare{Queue: "r"})
	call[*frame.BasicQosOk](c, 1, &frame.BasicQos{PrefetchCount: 3, Global: true})
	c.consume(1, "q", "a", false)
	c.consume(1, "r", "b", false)
	for i := range 4 {
		c.put(1, "", "q", fmt.Sprint(i))
		c.put(1, "", "r", fmt.Sprint(i))
	}
	var last uint64
	for range 3 {
		last = expect[*frame.BasicDeliver](c, 1).DeliveryTag
	}
	quiet[*frame.BasicDeliver](c, 1)
	c.send(1, &frame.BasicAck{DeliveryTag: last, Multiple: true})
	for range 3 {
		expect[*frame.BasicDeliver](c, 1)
	}
	quiet[*frame.BasicDeliver](c, 1)
	call[*frame.BasicQosOk](c, 1, &frame.BasicQos{Global: true}) // no bound
	for range 2 {
		expect[*frame.BasicDeliver](c, 1)
	}
}

func TestConsumerPriority(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	call[*frame.BasicQosOk](c, 1, &frame.BasicQos{PrefetchCount: 1})
	c.consume(1, "q", "low", false)
	call[*frame.BasicConsumeOk](c, 1, &frame.BasicConsume{Queue: "q", ConsumerTag: "high", Arguments: frame.Table{{Name: "x-priority", Value: frame.Int(5)}}})
	for _, want := range []string{"high", "low"} {
		c.put(1, "", "q", "x")
		if m := expect[*frame.BasicDeliver](c, 1); m.ConsumerTag != want {
			t.Errorf("delivered to %s, want %s", m.ConsumerTag, want)
		}
	}
}

func TestGet(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	if _, ok := c.get(1, "q", false); ok {
		t.Error("a message from an empty queue")
	}
	for i := range 3 {
		c.put(1, "", "q", fmt.Sprint(i))
	}
	e, _ := c.get(1, "q", false)
	m := e.method.(*frame.BasicGetOk)
	if string(e.body) != "0" || m.MessageCount != 2 || m.Redelivered || m.DeliveryTag != 1 {
		t.Errorf("got %q %+v", e.body, m)
	}
	c.wantGet(1, "q", "1")
	c.send(1, &frame.BasicNack{DeliveryTag: 1, Requeue: true})
	e, _ = c.get(1, "q", false)
	if m := e.method.(*frame.BasicGetOk); string(e.body) != "0" || !m.Redelivered || m.DeliveryTag != 3 {
		t.Errorf("got %q %+v", e.body, m)
	}
	// A get sees what the same channel has published, confirmed or not.
	c.channel(2)
	for i := range 20 {
		c.declare(2, frame.QueueDeclare{Queue: fmt.Sprint("fresh", i)})
		c.publish(2, "", fmt.Sprint("fresh", i), "x")
		c.wantGet(2, fmt.Sprint("fresh", i), "x")
	}
}

// TestGetHoldsNothing: a channel that got from a queue does not stand in the way of an exclusive
// consumer, nor the other way round, and keeps nothing of queues that were deleted.
func TestGetHoldsNothing(t *testing.T) {
	limits := gateway.DefaultLimits()
	limits.MaxSubscriptions = 3
	c := open(t, startServer(t, testOptions{limits: limits}))
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	c.wantGet(1, "q", "")
	call[*frame.BasicConsumeOk](c, 1, &frame.BasicConsume{Queue: "q", ConsumerTag: "x", Exclusive: true})
	c.wantGet(1, "q", "")
	call[*frame.QueueDeleteOk](c, 1, &frame.QueueDelete{Queue: "q"})
	for i := range 10 {
		name := strconv.Itoa(i)
		c.declare(1, frame.QueueDeclare{Queue: name})
		c.put(1, "", name, name)
		e, _ := c.get(1, name, false)
		c.send(1, &frame.BasicAck{DeliveryTag: e.method.(*frame.BasicGetOk).DeliveryTag})
		c.consume(1, name, name, false)
		call[*frame.QueueDeleteOk](c, 1, &frame.QueueDelete{Queue: name})
	}
}

func TestSlowConsumerIsPaused(t *testing.T) {
	l := gateway.DefaultLimits()
	l.MaxOutboundBytes = 256 << 10
	s := startServer(t, testOptions{limits: l})
	c, p := open(t, s), open(t, s)
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	call[*frame.BasicConsumeOk](c, 1, &frame.BasicConsume{Queue: "q"})
	body := string(make([]byte, 50_000))
	const n = 1000
	for i := range n {
		p.publish(1, "", "q", fmt.Sprintf("%06d%s", i, body))
	}
	p.put(1, "", "q", "end")
	g, err := s.broker.Groups.Get("amqp///q")
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond) // nobody reads: the socket's buffers fill
	if st := g.Stats(); st.Ready == 0 {
		t.Errorf("all %d messages were taken for a client that does not read", n)
	}
	var kc *conn
	s.srv.mu.Lock()
	for k := range s.srv.mu.conns {
		kc = k
		kc.out.mu.Lock()
		if size := len(kc.out.mu.buf) + kc.out.mu.writing; size > 16<<20 {
			t.Errorf("%d bytes are queued for one connection", size)
		}
		kc.out.mu.Unlock()
	}
	s.srv.mu.Unlock()
	for i := range n {
		e := expectEvent[*frame.BasicDeliver](c, 1)
		if string(e.body[:6]) != fmt.Sprintf("%06d", i) {
			t.Fatalf("message %d is %s", i, e.body[:6])
		}
		c.send(1, &frame.BasicAck{DeliveryTag: e.method.(*frame.BasicDeliver).DeliveryTag})
	}
	c.deliver(1, "end")
}

func TestStreamQueue(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.declare(1, frame.QueueDeclare{Queue: "s", Durable: true, Arguments: frame.Table{{Name: "x-queue-type", Value: frame.String("stream")}}})
	for i := range 4 {
		c.put(1, "", "s", fmt.Sprint(i))
	}
	from := func(tag string, v frame.Value) *frame.BasicConsume {
		return &frame.BasicConsume{Queue: "s", ConsumerTag: tag, Arguments: frame.Table{{Name: "x-stream-offset", Value: v}}}
	}
	c.channel(2)
	c.send(2, from("", frame.String("first"))) // without prefetch
	c.channelClosed(2, 406)
	call[*frame.BasicQosOk](c, 1, &frame.BasicQos{PrefetchCount: 10})
	for round := range 2 { // nothing is taken away
		tag := fmt.Sprint("first", round)
		call[*frame.BasicConsumeOk](c, 1, from(tag, frame.String("first")))
		for i := range 4 {
			e, m := c.deliver(1, fmt.Sprint(i))
			if at, ok := e.props.Headers.Get("x-stream-offset"); !ok || at.Num != uint64(i) {
				t.Errorf("message %d lies at %v", i, at)
			}
			c.send(1, &frame.BasicAck{DeliveryTag: m.DeliveryTag})
		}
		call[*frame.BasicCancelOk](c, 1, &frame.BasicCancel{ConsumerTag: tag})
	}
	call[*frame.BasicConsumeOk](c, 1, from("offset", frame.Int(2)))
	c.deliver(1, "2")
	c.deliver(1, "3")
	call[*frame.BasicCancelOk](c, 1, &frame.BasicCancel{ConsumerTag: "offset"})
	call[*frame.BasicConsumeOk](c, 1, from("ago", frame.String("10Y")))
	c.deliver(1, "0")
	for i := range 3 {
		c.deliver(1, fmt.Sprint(i+1))
	}
	call[*frame.BasicCancelOk](c, 1, &frame.BasicCancel{ConsumerTag: "ago"})
	call[*frame.BasicConsumeOk](c, 1, from("next", frame.String("next")))
	c.put(1, "", "s", "4")
	c.deliver(1, "4")
	call[*frame.BasicConsumeOk](c, 1, from("time", frame.Value{Kind: frame.KindTimestamp, Num: uint64(time.Now().Unix()) + 3600}))
	c.put(1, "", "s", "5")
	if _, m := c.deliver(1, "5"); m.ConsumerTag != "next" {
		t.Errorf("a message before its time went to %s", m.ConsumerTag)
	}
	quiet[*frame.BasicDeliver](c, 1)
	c.bind("s", "amq.fanout", "") // while "next" consumes
	c.put(1, "amq.fanout", "", "6")
	c.deliver(1, "6")
	for _, odd := range []string{"last", "", "s", "5", "-5s", "5w", "99999999999Y", "2000000000Y"} {
		c.channel(2)
		call[*frame.BasicQosOk](c, 2, &frame.BasicQos{PrefetchCount: 10})
		c.send(2, from("odd", frame.String(odd)))
		c.channelClosed(2, 406)
	}
	c.channel(2)
	c.send(2, &frame.QueuePurge{Queue: "s"})
	c.connectionClosed(540)
}

// One message is one record, whatever is bound.
func TestOneCopy(t *testing.T) {
	s := startServer(t, testOptions{})
	c := open(t, s)
	c.exchange(frame.ExchangeDeclare{Exchange: "x", Type: "fanout"})
	for i := range 40 {
		q := fmt.Sprint("q", i)
		c.declare(1, frame.QueueDeclare{Queue: q})
		c.bind(q, "x", "")
	}
	c.put(1, "x", "", "m")
	for i := range 40 {
		c.wantGet(1, fmt.Sprint("q", i), "m")
	}
	records := int64(0)
	for _, topic := range s.broker.Topics.List() {
		for i := range topic.Shards {
			b, err := s.broker.Log.Bounds(t.Context(), topic.Shard(i))
			if err != nil && shard.KindOf(err) != shard.KindNotFound {
				t.Fatal(err)
			}
			records += b.End
		}
	}
	if records != 1 {
		t.Errorf("%d records for one message in 40 queues", records)
	}
}

func TestUnackedList(t *testing.T) {
	k := new(consumer)
	var u unackedList
	for i := range 1000 {
		u.add(k, shard.DeliveryTag{Offset: int64(i)})
	}
	var taken []uint64
	take := func(e unacked) { taken = append(taken, e.tag) }
	for i := uint64(2); i <= 1000; i++ {
		if !u.take(i, false, take) {
			t.Fatalf("tag %d is unknown", i)
		}
	}
	if u.count() != 1 || len(u.list) > 128 {
		t.Errorf("%d left of %d kept", u.count(), len(u.list))
	}
	if u.take(2, false, take) || u.take(5000, true, take) || u.take(0, false, take) {
		t.Error("an unknown tag was taken")
	}
	taken = nil
	if !u.take(0, true, take) || !slices.Equal(taken, []uint64{1}) || u.count() != 0 {
		t.Errorf("taken %v", taken)
	}
}

func TestConfirmTracker(t *testing.T) {
	var tr confirmTracker
	var got []string
	emit := func(seq uint64, multiple, ok bool) { got = append(got, fmt.Sprint(seq, multiple, ok)) }
	for _, step := range []struct {
		seq  uint64
		o    outcome
		want []string
	}{
		{2, confirmed, nil}, {1, confirmed, []string{"2 true true"}}, {3, confirmed, []string{"3 false true"}},
		{6, confirmed, nil}, {5, refused, nil}, {4, refused, []string{"5 true false", "6 false true"}},
	} {
		got = nil
		tr.set(step.seq, step.o)
		if tr.emit(emit); !slices.Equal(got, step.want) {
			t.Errorf("after %d: %q, want %q", step.seq, got, step.want)
		}
	}
}
