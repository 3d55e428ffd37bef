package amqp

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

func TestConfirmsComeInOrder(t *testing.T) {
	c := open(t, startServer(t, testOptions{mem: shardmem.Options{Delay: time.Millisecond}}))
	const n = 500
	var b []byte
	for i := range n {
		b = publishFrames(b, 1, "", fmt.Sprint("q", i%7), frame.Properties{}, []byte("x"), false)
	}
	c.write(b)
	last := uint64(0)
	for last < n {
		m := expect[*frame.BasicAck](c, 1)
		if m.DeliveryTag <= last || !m.Multiple && m.DeliveryTag != last+1 {
			t.Fatalf("%+v after %d", m, last)
		}
		last = m.DeliveryTag
	}
}

// What one read brings for one shard is one batch.
func TestPublishesAreBatched(t *testing.T) {
	var batches atomic.Int64
	s := startServer(t, testOptions{mem: shardmem.Options{FailAppend: func(shard.ID, *shard.Batch, shard.AppendOptions) error {
		batches.Add(1)
		return nil
	}}})
	c := open(t, s)
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	var b []byte
	const n = 2000
	for i := range n {
		b = publishFrames(b, 1, "", "q", frame.Properties{}, []byte(fmt.Sprint(i)), false)
	}
	c.write(b)
	for expect[*frame.BasicAck](c, 1).DeliveryTag < n {
	}
	if got := batches.Load(); got > n/10 {
		t.Errorf("%d messages of one burst made %d batches", n, got)
	}
	for i := range n {
		c.wantGet(1, "q", fmt.Sprint(i))
	}
}

func TestMandatory(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	c.bind("q", "amq.direct", "k")
	send := func(exchange, key string, returned bool) {
		t.Helper()
		p := frame.Properties{Flags: frame.HasMessageID | frame.HasHeaders, MessageID: "m", Headers: frame.Table{{Name: "h", Value: frame.Int(1)}}}
		c.write(publishFrames(nil, 1, exchange, key, p, []byte("body"), true))
		e, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		if m, ok := e.method.(*frame.BasicReturn); ok != returned {
			t.Errorf("%q %q: answered %T", exchange, key, e.method)
		} else if ok {
			if m.ReplyCode != 312 || m.ReplyText != "NO_ROUTE" || m.Exchange != exchange || m.RoutingKey != key || string(e.body) != "body" || !reflect.DeepEqual(e.props, p) {
				t.Errorf("return = %+v %+v %q", m, e.props, e.body)
			}
			expect[*frame.BasicAck](c, 1) // after the return
		}
	}
	send("", "q", false)
	send("", "nobody", true)
	send("", "", true)
	send("amq.direct", "k", false)
	send("amq.direct", "other", true)
	send("amq.topic", "q", true) // speaks of bindings
	send("amq.fanout", "", true)
	h := func(n int64) []frame.Field { return []frame.Field{{Name: "h", Value: frame.Int(n)}} }
	c.bind("q", "amq.headers", "", h(2)...)
	send("amq.headers", "", true)
	c.bind("q", "amq.headers", "", h(1)...)
	send("amq.headers", "", false)
}

// Refused for now: the client is told, nothing is lost or turned over.
func TestBlockedAndUnblocked(t *testing.T) {
	var full atomic.Bool
	s := startServer(t, testOptions{mem: shardmem.Options{FailAppend: func(shard.ID, *shard.Batch, shard.AppendOptions) error {
		if full.Load() {
			return shard.ErrWALFull
		}
		return nil
	}}})
	c := open(t, s)
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	c.put(1, "", "q", "0")
	full.Store(true)
	for i := 1; i <= 20; i++ {
		c.publish(1, "", "q", fmt.Sprint(i))
		time.Sleep(time.Millisecond)
	}
	if m := expect[*frame.ConnectionBlocked](c, 0); !strings.Contains(m.Reason, "low on") {
		t.Errorf("blocked: %q", m.Reason)
	}
	full.Store(false)
	expect[*frame.ConnectionUnblocked](c, 0)
	for expect[*frame.BasicAck](c, 1).DeliveryTag < 21 {
	}
	for i := range 21 {
		c.wantGet(1, "q", fmt.Sprint(i))
	}
}

func TestRefusedForGood(t *testing.T) {
	s := startServer(t, testOptions{mem: shardmem.Options{FailAppend: func(_ shard.ID, b *shard.Batch, _ shard.AppendOptions) error {
		if bytes.Contains(b.Raw(), []byte("poison")) {
			return shard.Errorf(shard.KindInvalid, "no")
		}
		return nil
	}}})
	c := open(t, s)
	c.put(1, "", "q", "fine")
	c.publish(1, "", "q", "poison")
	if m := expect[*frame.BasicNack](c, 1); m.DeliveryTag != 2 || m.Multiple {
		t.Errorf("nack = %+v", m)
	}
	c.put(1, "", "q", "fine")
	c.publish(999, "", "q", "poison") // without confirms
	c.connectionClosed(541)
}

// A batch over the topic's bound is appended message by message.
func TestBatchOverTheTopicsBound(t *testing.T) {
	s := startServer(t, testOptions{mem: shardmem.Options{MaxMessageBytes: 1000}})
	c := open(t, s)
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	var b []byte
	for i := range 10 {
		b = publishFrames(b, 1, "", "q", frame.Properties{}, fmt.Appendf(nil, "%d%s", i, make([]byte, 300)), false)
	}
	b = publishFrames(b, 1, "", "q", frame.Properties{}, make([]byte, 2000), false)
	c.write(b)
	if m := expect[*frame.BasicNack](c, 1); m.DeliveryTag != 11 || m.Multiple {
		t.Errorf("nack = %+v", m)
	}
	for i := range 10 {
		if e, ok := c.get(1, "q", true); !ok || e.body[0] != byte('0'+i) {
			t.Fatalf("message %d: %v %.1q", i, ok, e.body)
		}
	}
}

func TestTx(t *testing.T) {
	s := startServer(t, testOptions{})
	c := open(t, s)
	c.channel(2)
	c.declare(2, frame.QueueDeclare{Queue: "q"})
	call[*frame.TxSelectOk](c, 2, &frame.TxSelect{})
	c.publish(2, "", "q", "dropped")
	call[*frame.TxRollbackOk](c, 2, &frame.TxRollback{})
	c.publish(2, "", "q", "1")
	c.publish(2, "", "q", "2")
	c.wantGet(1, "q", "")
	call[*frame.TxCommitOk](c, 2, &frame.TxCommit{})
	e, _ := c.get(2, "q", false)
	tag := e.method.(*frame.BasicGetOk).DeliveryTag
	c.send(2, &frame.BasicAck{DeliveryTag: tag})
	call[*frame.TxRollbackOk](c, 2, &frame.TxRollback{}) // the ack is undone, the message stays unacknowledged
	c.send(2, &frame.BasicNack{DeliveryTag: tag, Requeue: true})
	call[*frame.TxCommitOk](c, 2, &frame.TxCommit{})
	if m := c.wantGet(1, "q", "1").method.(*frame.BasicGetOk); !m.Redelivered {
		t.Error("not marked redelivered")
	}
	c.wantGet(1, "q", "2")
	call[*frame.TxCommitOk](c, 2, &frame.TxCommit{}) // nothing to do
	c.publish(2, "nowhere", "q", "x")
	c.channelClosed(2, 404)
	c.send(1, &frame.TxSelect{})
	c.channelClosed(1, 406)
	c.channel(1)
	c.send(1, &frame.TxCommit{})
	c.channelClosed(1, 406)
}

func TestDirectReplyTo(t *testing.T) {
	s := startServer(t, testOptions{})
	c, w := open(t, s), open(t, s)
	w.declare(1, frame.QueueDeclare{Queue: "rpc"})
	w.consume(1, "rpc", "", true)
	p := frame.Properties{Flags: frame.HasReplyTo | frame.HasCorrelationID, ReplyTo: replyQueue, CorrelationID: "c1"}
	call[*frame.QueueDeclareOk](c, 1, &frame.QueueDeclare{Queue: replyQueue, Passive: true})
	c.consume(1, replyQueue, "replies", true)
	c.write(publishFrames(nil, 1, "", "rpc", p, []byte("request"), false))
	e, _ := w.deliver(1, "request")
	to := e.props.ReplyTo
	if !strings.HasPrefix(to, replyQueue+".") || e.props.CorrelationID != "c1" {
		t.Fatalf("request properties %+v", e.props)
	}
	if r := lastRecord(t, s, "rpc"); r.HeaderString(shard.HeaderReplySubject) != replySubject(to[len(replyQueue)+1:]) {
		t.Errorf("stored %+v", r.Headers)
	}
	call[*frame.QueueDeclareOk](w, 1, &frame.QueueDeclare{Queue: to, Passive: true})
	w.put(1, "", to, "reply")
	if e, m := c.deliver(1, "reply"); m.ConsumerTag != "replies" || e.props.Flags != 0 {
		t.Errorf("reply %+v %+v", m, e.props)
	}
	for _, topic := range s.broker.Topics.List() {
		if strings.Contains(topic.Name, "reply") || strings.Contains(topic.Name, "INBOX") {
			t.Errorf("a reply was stored in %s", topic.Name)
		}
	}
	call[*frame.BasicCancelOk](c, 1, &frame.BasicCancel{ConsumerTag: "replies"})
	w.write(publishFrames(nil, 1, "", to, frame.Properties{}, []byte("late"), true))
	if e := expectEvent[*frame.BasicReturn](w, 1); string(e.body) != "late" {
		t.Errorf("returned %q", e.body)
	}
	w.send(999, &frame.QueueDeclare{Queue: to, Passive: true})
	w.channelClosed(999, 404)
	for _, do := range []func(){
		func() { c.send(2, &frame.BasicConsume{Queue: replyQueue}) }, // it cannot acknowledge
		func() { c.write(publishFrames(nil, 2, "", "rpc", p, nil, false)) },
		func() {
			c.consume(2, replyQueue, "a", true)
			c.send(2, &frame.BasicConsume{Queue: replyQueue, NoAck: true})
		},
	} {
		c.channel(2)
		do()
		c.channelClosed(2, 406)
	}
}

// A NATS request reaches an AMQP worker, whose reply goes to the inbox.
func TestReplySubjectOfOthers(t *testing.T) {
	s := startServer(t, testOptions{})
	w := open(t, s)
	got := make(chan string, 1)
	sub := s.broker.Live.Subscribe(subscriberFunc(func(ms []shard.Message, _ []shard.SubID) { got <- string(ms[0].Record.Value) }))
	defer sub.Close()
	if err := sub.Add(1, shard.LiteralFilter("_INBOX.abc"), shard.LiveOptions{}); err != nil {
		t.Fatal(err)
	}
	w.declare(1, frame.QueueDeclare{Queue: "svc"})
	w.consume(1, "svc", "", true)
	store(t, s, "svc", shard.Record{Value: []byte("ask"), Headers: []shard.Header{{Name: shard.HeaderReplySubject, Value: []byte("_INBOX.abc")}}})
	e, _ := w.deliver(1, "ask")
	w.put(1, "", e.props.ReplyTo, "answer")
	if v := <-got; v != "answer" {
		t.Errorf("reply %q", v)
	}
}

type subscriberFunc func([]shard.Message, []shard.SubID)

func (f subscriberFunc) Deliver(ms []shard.Message, matched []shard.SubID) { f(ms, matched) }

func TestUserID(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	c.write(publishFrames(nil, 1, "", "q", frame.Properties{Flags: frame.HasUserID, UserID: "admin"}, []byte("x"), false))
	if e := c.wantGet(1, "q", "x"); e.props.UserID != "admin" {
		t.Errorf("properties %+v", e.props)
	}
	c.write(publishFrames(nil, 1, "", "q", frame.Properties{Flags: frame.HasUserID, UserID: "bob"}, nil, false))
	c.channelClosed(1, 406)
}

func TestBodies(t *testing.T) {
	c := open(t, startServer(t, testOptions{mem: shardmem.Options{MaxMessageBytes: 8 << 20}}))
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	for _, n := range []int{0, 1, 4087, 4088, 131064, 131065, 1 << 20, 3<<20 + 1} {
		body := make([]byte, n)
		for i := range body {
			body[i] = byte(rand.Uint32())
		}
		c.write(publishFrames(nil, 1, "", "q", frame.Properties{}, body, false))
		if e, ok := c.get(1, "q", true); !ok || !bytes.Equal(e.body, body) {
			t.Errorf("body of %d bytes: %v, %d bytes", n, ok, len(e.body))
		}
	}
}

// every gives properties that use everything.
func every() frame.Properties {
	return frame.Properties{
		Flags:       0xfffc &^ frame.HasUserID,
		ContentType: "a/b", ContentEncoding: "gzip", DeliveryMode: 2, Priority: 7, CorrelationID: "c", ReplyTo: "r", Expiration: "60000",
		MessageID: "m", Timestamp: 1700000000, Type: "t", AppID: "app", ClusterID: "cl",
		Headers: frame.Table{
			{Name: "t", Value: frame.Bool(true)}, {Name: "I", Value: frame.Value{Kind: frame.KindInt32, Num: 0xffffffff}},
			{Name: "l", Value: frame.Int(-5)}, {Name: "d", Value: frame.Value{Kind: frame.KindDouble, Num: 0x3ff8000000000000}},
			{Name: "D", Value: frame.Value{Kind: frame.KindDecimal, Num: 2<<32 | 314}}, {Name: "S", Value: frame.String("s")},
			{Name: "x", Value: frame.Value{Kind: frame.KindBytes, Str: "\x00\x01"}}, {Name: "T", Value: frame.Value{Kind: frame.KindTimestamp, Num: 99}},
			{Name: "V", Value: frame.Value{Kind: frame.KindVoid}}, {Name: "content-type", Value: frame.String("a header of that name")},
			{Name: "A", Value: frame.Value{Kind: frame.KindArray, List: frame.Table{{Value: frame.Int(1)}, {Value: frame.String("")}}}},
			{Name: "F", Value: frame.Nested(frame.Table{{Name: "k", Value: frame.Int(2)}})}, {Name: "S", Value: frame.String("again")},
		},
	}
}

// AMQP to AMQP is exact.
func TestPropertiesAreExact(t *testing.T) {
	s := startServer(t, testOptions{})
	c := open(t, s)
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	for _, p := range []frame.Properties{
		{}, every(), {Flags: frame.HasContentType}, {Flags: frame.HasPriority}, {Flags: frame.HasDeliveryMode, DeliveryMode: 1},
		{Flags: frame.HasTimestamp}, {Flags: frame.HasHeaders, Headers: frame.Table{{Name: "a", Value: frame.String("b")}}},
	} {
		c.write(publishFrames(nil, 1, "", "q", p, []byte("x"), false))
		if e := c.wantGet(1, "q", "x"); !reflect.DeepEqual(e.props, p) {
			t.Errorf("got  %+v\nwant %+v", e.props, p)
		}
	}
	// Names of ours are dropped.
	p := frame.Properties{Flags: frame.HasHeaders, Headers: frame.Table{{Name: "robustmq-subject", Value: frame.String("x")}, {Name: "a", Value: frame.String("b")}}}
	c.write(publishFrames(nil, 1, "", "q", p, []byte("x"), false))
	if e := c.wantGet(1, "q", "x"); !reflect.DeepEqual(e.props.Headers, p.Headers[1:]) {
		t.Errorf("headers %+v", e.props.Headers)
	}
}

// What others see of AMQP properties.
func TestPropertiesAsHeaders(t *testing.T) {
	p := every()
	r := shard.Record{Headers: appendHeaders(nil, &p)}
	for name, want := range map[string]string{
		"content-type": "a/b", "content-encoding": "gzip", "correlation-id": "c", "reply-to": "r", "message-id": "m", "type": "t",
		"app-id": "app", "priority": "7", "expiration": "60000", "t": "true", "I": "-1", "l": "-5", "d": "1.5", "D": "3.14", "S": "s",
		"x": "\x00\x01", "T": "99", "A": `[1,""]`, "F": `{"k":2}`, headerExtra: "d2t1700000000ccl",
	} {
		if got, ok := r.Header(name); !ok || string(got) != want {
			t.Errorf("header %s = %q, %v; want %q", name, got, ok, want)
		}
	}
	if v, ok := r.Header("V"); !ok || v != nil {
		t.Errorf("void became %q", v)
	}
}

// What AMQP sees of others' headers.
func TestForeignHeaders(t *testing.T) {
	long := strings.Repeat("x", 256)
	p := properties(&shard.Record{Headers: []shard.Header{
		{Name: "content-type", Value: []byte("text/plain")}, {Name: "content-type", Value: []byte("second")},
		{Name: "priority", Value: []byte("high")}, {Name: "message-id", Value: []byte(long)}, {Name: "reply-to", Value: nil},
		{Name: "bin", Value: []byte{0, 255}}, {Name: "null", Value: nil}, {Name: "rep", Value: []byte("1")}, {Name: "rep", Value: []byte("2")},
		{Name: shard.HeaderMQTT, Value: []byte("1")},
	}})
	want := frame.Properties{
		Flags: frame.HasContentType | frame.HasHeaders, ContentType: "text/plain",
		Headers: frame.Table{
			{Name: "content-type", Value: frame.String("second")}, {Name: "priority", Value: frame.String("high")},
			{Name: "message-id", Value: frame.String(long)}, {Name: "reply-to", Value: frame.Value{Kind: frame.KindVoid}},
			{Name: "bin", Value: frame.String("\x00\xff")}, {Name: "null", Value: frame.Value{Kind: frame.KindVoid}},
			{Name: "rep", Value: frame.Value{Kind: frame.KindArray, List: frame.Table{{Value: frame.String("1")}, {Value: frame.String("2")}}}},
		},
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got  %+v\nwant %+v", p, want)
	}
	// More headers than a content header holds: those that do not fit are left out.
	var r shard.Record
	for i := range 100 {
		r.Headers = append(r.Headers, shard.Header{Name: fmt.Sprint("h", i), Value: make([]byte, 3000)})
	}
	b := appendRecord(nil, 1, &r, 128<<10)
	f, _, err := frame.Parse(b, 128<<10)
	if err != nil {
		t.Fatal(err)
	}
	if h, err := frame.DecodeHeader(f.Payload); err != nil || len(h.Headers) < 30 {
		t.Errorf("%d headers, %v", len(h.Headers), err)
	}
}

// The exchange and routing key are exact, whatever topic holds the subject.
func TestAddressIsExact(t *testing.T) {
	s := startServer(t, testOptions{})
	c := open(t, s)
	store(t, s, "x.taken", shard.Record{Value: []byte("a topic of its own")})
	c.exchange(frame.ExchangeDeclare{Exchange: "x", Type: "topic"})
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	c.bind("q", "x", "#")
	c.bind("q", "amq.topic", "x.direct")
	for _, a := range [][2]string{{"x", "taken"}, {"x", "free"}, {"x", ""}, {"", "x.direct"}, {"amq.topic", "x.direct"}} {
		c.put(1, a[0], a[1], "m")
		if m := c.wantGet(1, "q", "m").method.(*frame.BasicGetOk); m.Exchange != a[0] || m.RoutingKey != a[1] {
			t.Errorf("published to %q %q, delivered as %q %q", a[0], a[1], m.Exchange, m.RoutingKey)
		}
	}
}

func FuzzProperties(f *testing.F) {
	p := every()
	f.Add([]byte("v"), appendHeaders(nil, &p)[10].Value, []byte("d2t5cx"), []byte("FA\x00"))
	f.Fuzz(func(t *testing.T, a, b, extra, types []byte) {
		r := shard.Record{Headers: []shard.Header{
			{Name: "content-type", Value: a}, {Name: string(b), Value: a}, {Name: headerExtra, Value: extra}, {Name: headerTypes, Value: types}, {Name: "z", Value: b},
		}}
		out := appendRecord(nil, 1, &r, 128<<10)
		fr, n, err := frame.Parse(out, 128<<10)
		if err != nil || n == 0 {
			t.Fatalf("header frame: %d, %v", n, err)
		}
		if _, err := frame.DecodeHeader(fr.Payload); err != nil {
			t.Fatalf("header does not decode: %v", err)
		}
	})
}
