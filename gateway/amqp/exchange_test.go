package amqp

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// open gives a connection with channel 1 in confirm mode and channel 999 spare.
func open(t testing.TB, s *testServer) *testClient {
	t.Helper()
	c := dial(t, s)
	c.channel(999)
	c.channel(1)
	c.confirms(1)
	return c
}

func (c *testClient) bind(queue, exchange, key string, args ...frame.Field) {
	c.t.Helper()
	call[*frame.QueueBindOk](c, 1, &frame.QueueBind{Queue: queue, Exchange: exchange, RoutingKey: key, Arguments: args})
}

func (c *testClient) exchange(m frame.ExchangeDeclare) {
	c.t.Helper()
	call[*frame.ExchangeDeclareOk](c, 1, &m)
}

// drain takes all messages of a queue and gives their bodies.
func (c *testClient) drain(queue string) (out []string) {
	c.t.Helper()
	for {
		e, ok := c.get(1, queue, true)
		if !ok {
			return out
		}
		out = append(out, string(e.body))
	}
}

func (c *testClient) wantDrain(queue string, want ...string) {
	c.t.Helper()
	if got := c.drain(queue); !slices.Equal(got, want) {
		c.t.Fatalf("queue %s holds %q, want %q", queue, got, want)
	}
}

func TestDefaultExchange(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	c.put(1, "", "q", "a")
	m := c.wantGet(1, "q", "a").method.(*frame.BasicGetOk)
	if m.Exchange != "" || m.RoutingKey != "q" {
		t.Errorf("delivered as %+v", m)
	}
	c.put(1, "", "", "to nobody")
	for _, x := range []frame.Method{
		&frame.ExchangeDeclare{Type: "direct"}, &frame.ExchangeDelete{}, &frame.QueueBind{Queue: "q"}, &frame.QueueUnbind{Queue: "q"},
	} {
		c.channel(2)
		c.send(2, x)
		c.channelClosed(2, 403)
	}
}

func TestDirectExchange(t *testing.T) {
	for _, name := range []string{"amq.direct", "my.direct"} {
		c := open(t, startServer(t, testOptions{}))
		if name != "amq.direct" {
			c.exchange(frame.ExchangeDeclare{Exchange: name, Type: "direct"})
		}
		c.declare(1, frame.QueueDeclare{Queue: "q"})
		c.bind("q", name, "k.1")
		c.bind("q", name, "*") // no wildcard here
		c.put(1, name, "k.1", "a")
		c.put(1, name, "k.2", "b")
		c.put(1, name, "x", "c")
		c.put(1, name, "*", "d")
		m := c.wantGet(1, "q", "a").method.(*frame.BasicGetOk)
		if m.Exchange != name || m.RoutingKey != "k.1" {
			t.Errorf("delivered as %+v", m)
		}
		c.wantDrain("q", "d")
	}
}

func TestFanoutExchange(t *testing.T) {
	for _, name := range []string{"amq.fanout", "fan"} {
		c := open(t, startServer(t, testOptions{}))
		if name == "fan" {
			c.exchange(frame.ExchangeDeclare{Exchange: name, Type: "fanout"})
		}
		for _, q := range []string{"q1", "q2"} {
			c.declare(1, frame.QueueDeclare{Queue: q})
			c.bind(q, name, "ignored")
		}
		c.put(1, name, "", "a")
		c.put(1, name, "some.key", "b")
		for _, q := range []string{"q1", "q2"} {
			if m := c.wantGet(1, q, "a").method.(*frame.BasicGetOk); m.Exchange != name || m.RoutingKey != "" {
				t.Errorf("delivered as %+v", m)
			}
			if m := c.wantGet(1, q, "b").method.(*frame.BasicGetOk); m.RoutingKey != "some.key" {
				t.Errorf("delivered as %+v", m)
			}
		}
	}
}

func TestTopicExchange(t *testing.T) {
	for _, name := range []string{"amq.topic", "tops"} {
		c := open(t, startServer(t, testOptions{}))
		if name == "tops" {
			c.exchange(frame.ExchangeDeclare{Exchange: name, Type: "topic"})
		}
		for pattern, want := range map[string][]string{
			"#": {"a", "a.b", "a.b.c", "x.b.c.d", ""}, "*": {"a"}, "a.*": {"a.b"}, "a.#": {"a", "a.b", "a.b.c"},
			"#.c": {"a.b.c"}, "*.b.#": {"a.b", "a.b.c", "x.b.c.d"}, "#.b.#.d": {"x.b.c.d"}, "": {""},
		} {
			c.declare(1, frame.QueueDeclare{Queue: "the-queue"})
			c.bind("the-queue", name, pattern)
			if pattern == "" { // queue.bind with an empty queue name means another thing
				c.bind("the-queue", name, "")
			}
			for _, key := range []string{"a", "a.b", "a.b.c", "x.b.c.d", ""} {
				c.put(1, name, key, key+"!")
			}
			for i := range want {
				want[i] += "!"
			}
			if got := c.drain("the-queue"); !slices.Equal(got, want) {
				t.Errorf("%s: pattern %q took %q, want %q", name, pattern, got, want)
			}
			call[*frame.QueueDeleteOk](c, 1, &frame.QueueDelete{Queue: "the-queue"})
		}
	}
}

func TestHeadersExchange(t *testing.T) {
	for _, name := range []string{"amq.headers", "amq.match", "heads"} {
		c := open(t, startServer(t, testOptions{}))
		if name == "heads" {
			c.exchange(frame.ExchangeDeclare{Exchange: name, Type: "headers"})
		}
		match := func(kind string, fs ...frame.Field) []frame.Field {
			return append([]frame.Field{{Name: "x-match", Value: frame.String(kind)}}, fs...)
		}
		a1, b2 := frame.Field{Name: "a", Value: frame.Int(1)}, frame.Field{Name: "b", Value: frame.String("2")}
		for _, q := range []string{"all", "any", "there", "nothing"} {
			c.declare(1, frame.QueueDeclare{Queue: q})
		}
		c.declare(1, frame.QueueDeclare{Queue: "named"})
		c.bind("named", name, "", match("all", frame.Field{Name: "priority", Value: frame.String("high")})...)
		c.write(publishFrames(nil, 1, name, "k", frame.Properties{Flags: frame.HasHeaders | frame.HasPriority,
			Headers: frame.Table{{Name: "priority", Value: frame.String("high")}}}, []byte("beside a property"), true))
		expect[*frame.BasicAck](c, 1)
		c.wantDrain("named", "beside a property")
		c.bind("nothing", name, "", match("any")...)
		c.bind("all", name, "", match("all", a1, b2)...)
		c.bind("any", name, "", match("any", a1, b2)...)
		c.bind("there", name, "", match("all", frame.Field{Name: "a", Value: frame.Value{Kind: frame.KindVoid}})...)
		for body, hs := range map[string]frame.Table{
			"both": {a1, b2}, "one": {b2}, "other": {{Name: "a", Value: frame.Int(9)}}, "none": nil,
		} {
			c.write(publishFrames(nil, 1, name, "k", frame.Properties{Flags: frame.HasHeaders, Headers: hs}, []byte(body), false))
			expect[*frame.BasicAck](c, 1)
		}
		for q, want := range map[string]string{"all": "both", "any": "both one", "there": "both other", "nothing": ""} {
			got := c.drain(q)
			slices.Sort(got)
			if strings.Join(got, " ") != want {
				t.Errorf("%s: queue %s took %q, want %q", name, q, got, want)
			}
		}
		c.send(1, &frame.QueueBind{Queue: "all", Exchange: name, Arguments: match("most", a1)})
		c.channelClosed(1, 406)
	}
}

func TestExchangeDeclare(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	x := frame.ExchangeDeclare{Exchange: "x", Type: "topic", Durable: true}
	c.exchange(x)
	c.exchange(x)
	c.exchange(frame.ExchangeDeclare{Exchange: "x", Passive: true})
	c.exchange(frame.ExchangeDeclare{Exchange: "amq.direct", Type: "direct", Durable: true})
	for _, d := range []struct {
		m    frame.ExchangeDeclare
		code uint16
	}{
		{frame.ExchangeDeclare{Exchange: "nope", Passive: true}, 404},
		{frame.ExchangeDeclare{Exchange: "x", Type: "fanout", Durable: true}, 406},
		{frame.ExchangeDeclare{Exchange: "x", Type: "topic"}, 406},
		{frame.ExchangeDeclare{Exchange: "x", Type: "topic", Durable: true, AutoDelete: true}, 406},
		{frame.ExchangeDeclare{Exchange: "x", Type: "topic", Durable: true, Internal: true}, 406},
		{frame.ExchangeDeclare{Exchange: "y", Type: "x-odd"}, 406},
		{frame.ExchangeDeclare{Exchange: "amq.mine", Type: "direct"}, 403},
		{frame.ExchangeDeclare{Exchange: "a..b", Type: "direct"}, 406},
		{frame.ExchangeDeclare{Exchange: "a.*", Type: "direct"}, 406},
	} {
		c.channel(2)
		c.send(2, &d.m)
		if m := c.channelClosed(2, d.code); m.ClassID != 40 || m.MethodID != 10 {
			t.Errorf("close = %+v", m)
		}
	}
	c.channel(2)
	c.publish(2, "x", strings.Repeat(".", 200), "x")
	c.channelClosed(2, 406)
	c.publish(1, "nope", "k", "x")
	if m := c.channelClosed(1, 404); m.ReplyText != "NOT_FOUND - no exchange 'nope' in vhost '/'" || m.ClassID != 60 || m.MethodID != 40 {
		t.Errorf("close = %+v", m)
	}
}

func TestInternalExchange(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.exchange(frame.ExchangeDeclare{Exchange: "in", Type: "fanout", Internal: true})
	c.publish(1, "in", "", "x")
	c.channelClosed(1, 403)
}

func TestExchangeDelete(t *testing.T) {
	s := startServer(t, testOptions{})
	c := open(t, s)
	c.exchange(frame.ExchangeDeclare{Exchange: "x", Type: "fanout"})
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	c.bind("q", "x", "")
	c.channel(2)
	c.send(2, &frame.ExchangeDelete{Exchange: "x", IfUnused: true})
	c.channelClosed(2, 406)
	call[*frame.ExchangeDeleteOk](c, 1, &frame.ExchangeDelete{Exchange: "x"})
	call[*frame.ExchangeDeleteOk](c, 1, &frame.ExchangeDelete{Exchange: "x"})
	if _, ok := s.broker.Topics.ByName("x"); ok {
		t.Error("the empty topic of a deleted exchange is still there")
	}
	// Declared again, the old binding is not.
	c.exchange(frame.ExchangeDeclare{Exchange: "x", Type: "fanout"})
	c.put(1, "x", "", "a")
	c.wantDrain("q")
	call[*frame.ExchangeDeleteOk](c, 1, &frame.ExchangeDelete{Exchange: "x"})
	if _, ok := s.broker.Topics.ByName("x"); !ok {
		t.Error("a topic with messages went with its exchange")
	}
	c.channel(2)
	c.send(2, &frame.ExchangeDelete{Exchange: "amq.topic"})
	c.channelClosed(2, 403)
}

func TestAutoDeleteExchange(t *testing.T) {
	s := startServer(t, testOptions{})
	c := open(t, s)
	c.exchange(frame.ExchangeDeclare{Exchange: "top", Type: "fanout", AutoDelete: true})
	c.exchange(frame.ExchangeDeclare{Exchange: "mid", Type: "fanout", AutoDelete: true})
	call[*frame.ExchangeBindOk](c, 1, &frame.ExchangeBind{Destination: "mid", Source: "top"})
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	c.bind("q", "mid", "")
	call[*frame.QueueDeleteOk](c, 1, &frame.QueueDelete{Queue: "q"})
	gone := func(names ...string) {
		t.Helper()
		for _, x := range names {
			c.channel(2)
			c.send(2, &frame.ExchangeDeclare{Exchange: x, Passive: true})
			c.channelClosed(2, 404)
		}
	}
	gone("mid", "top")
	c.exchange(frame.ExchangeDeclare{Exchange: "end", Type: "fanout"})
	for _, x := range []string{"one", "two"} {
		c.exchange(frame.ExchangeDeclare{Exchange: x, Type: "fanout", AutoDelete: true})
		call[*frame.ExchangeBindOk](c, 1, &frame.ExchangeBind{Destination: "end", Source: x})
	}
	call[*frame.ExchangeDeleteOk](c, 1, &frame.ExchangeDelete{Exchange: "end"})
	gone("one", "two")
}

func TestAlternateExchange(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.exchange(frame.ExchangeDeclare{Exchange: "main", Type: "direct", Arguments: frame.Table{{Name: "alternate-exchange", Value: frame.String("rest")}}})
	c.exchange(frame.ExchangeDeclare{Exchange: "rest", Type: "fanout"})
	c.declare(1, frame.QueueDeclare{Queue: "known"})
	c.declare(1, frame.QueueDeclare{Queue: "unknown"})
	c.bind("known", "main", "k")
	c.bind("unknown", "rest", "")
	c.put(1, "main", "k", "a")
	c.put(1, "main", "other", "b")
	c.wantDrain("known", "a")
	m := c.wantGet(1, "unknown", "b").method.(*frame.BasicGetOk)
	if m.Exchange != "main" || m.RoutingKey != "other" {
		t.Errorf("delivered as %+v", m)
	}
	c.wantDrain("unknown")
}

func TestExchangeToExchange(t *testing.T) {
	s := startServer(t, testOptions{})
	c := open(t, s)
	c.exchange(frame.ExchangeDeclare{Exchange: "in", Type: "topic"})
	c.exchange(frame.ExchangeDeclare{Exchange: "mid", Type: "topic"})
	c.exchange(frame.ExchangeDeclare{Exchange: "out", Type: "fanout"})
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	c.bind("q", "out", "")
	call[*frame.ExchangeBindOk](c, 1, &frame.ExchangeBind{Destination: "mid", Source: "in", RoutingKey: "a.#"})
	call[*frame.ExchangeBindOk](c, 1, &frame.ExchangeBind{Destination: "out", Source: "mid", RoutingKey: "#.z"})
	call[*frame.ExchangeBindOk](c, 1, &frame.ExchangeBind{Destination: "in", Source: "out"}) // a cycle
	for _, key := range []string{"a.z", "a.b.z", "a.b", "b.z", "z"} {
		c.put(1, "in", key, key)
	}
	m := c.wantGet(1, "q", "a.z").method.(*frame.BasicGetOk)
	if m.Exchange != "in" {
		t.Errorf("delivered as %+v", m)
	}
	c.wantDrain("q", "a.b.z")
	// One copy each: the group is bound to the sources.
	for _, key := range []string{"in.a.z", "in.b.z"} {
		if topic, _ := s.broker.Topics.Resolve(t.Context(), key, false); topic == nil || topic.Name != "in" {
			t.Errorf("subject %s is in topic %v", key, topic)
		}
	}
	if b, _ := s.broker.Log.Bounds(t.Context(), topicNamed(t, s, "in").Shard(0)); b.End != 5 {
		t.Errorf("%d records for 5 publishes", b.End)
	}
	// Mandatory sees over bindings of exchanges.
	c.write(publishFrames(nil, 1, "in", "a.q.z", frame.Properties{}, []byte("m1"), true))
	c.write(publishFrames(nil, 1, "in", "a.q", frame.Properties{}, []byte("m2"), true))
	if e := expectEvent[*frame.BasicReturn](c, 1); string(e.body) != "m2" {
		t.Errorf("returned %q", e.body)
	}
	c.wantDrain("q", "m1")
	call[*frame.ExchangeUnbindOk](c, 1, &frame.ExchangeUnbind{Destination: "mid", Source: "in", RoutingKey: "a.#"})
	c.publish(1, "in", "a.z", "after")
	c.wantDrain("q")
	c.send(1, &frame.ExchangeBind{Destination: "mid", Source: "gone"})
	c.channelClosed(1, 404)
}

func topicNamed(t testing.TB, s *testServer, name string) *shard.Topic {
	t.Helper()
	topic, ok := s.broker.Topics.ByName(name)
	if !ok {
		t.Fatalf("no topic %s", name)
	}
	return topic
}

// What other protocols write into a subject reaches queues by amq.topic, under
// the subject as routing key.
func TestForeignMessages(t *testing.T) {
	s := startServer(t, testOptions{})
	c := open(t, s)
	c.declare(1, frame.QueueDeclare{Queue: "bound"})
	c.declare(1, frame.QueueDeclare{Queue: "sensors.kitchen"})
	c.bind("bound", "amq.topic", "sensors.#")
	store(t, s, "sensors.kitchen", shard.Record{Value: []byte("21")})
	if m := c.wantGet(1, "bound", "21").method.(*frame.BasicGetOk); m.Exchange != "amq.topic" || m.RoutingKey != "sensors.kitchen" {
		t.Errorf("delivered as %+v", m)
	}
	if m := c.wantGet(1, "sensors.kitchen", "21").method.(*frame.BasicGetOk); m.Exchange != "" || m.RoutingKey != "sensors.kitchen" {
		t.Errorf("delivered as %+v", m)
	}
	// And what AMQP writes lies under the subject.
	c.put(1, "amq.topic", "sensors.attic", "22")
	if r := lastRecord(t, s, "sensors.attic"); string(r.Value) != "22" || len(r.Headers) != 0 {
		t.Errorf("stored %+v", r)
	}
}

// store appends a record as another protocol's gateway does.
func store(t testing.TB, s *testServer, subject string, r shard.Record) {
	t.Helper()
	topic, err := s.broker.Topics.Resolve(t.Context(), subject, true)
	if err != nil {
		t.Fatal(err)
	}
	if topic.Name != subject {
		r.Headers = append(r.Headers, shard.Header{Name: shard.HeaderSubject, Value: []byte(subject)})
	}
	if r.Timestamp == 0 {
		r.Timestamp = 1
	}
	if _, err := shard.AppendWait(t.Context(), s.broker.Log, topic.ShardOf(r.Key, subject), shard.BatchOf(r), shard.AppendOptions{}); err != nil {
		t.Fatal(err)
	}
}

// lastRecord reads the newest record of a subject's topic.
func lastRecord(t testing.TB, s *testServer, subject string) shard.Record {
	t.Helper()
	topic, err := s.broker.Topics.Resolve(t.Context(), subject, false)
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.broker.Log.Read(t.Context(), topic.Shard(0), 0, shard.ReadOptions{MaxBytes: 64 << 20})
	if err != nil || len(res.Batches) == 0 {
		t.Fatalf("read %s: %d batches, %v", subject, len(res.Batches), err)
	}
	rs, err := res.Batches[len(res.Batches)-1].Records()
	if err != nil {
		t.Fatal(err)
	}
	return rs[len(rs)-1]
}

func TestIntersect(t *testing.T) {
	pat := func(s string) []shard.Token {
		f, err := shard.ParseAMQPFilter("", s)
		if err != nil {
			t.Fatal(err)
		}
		return f.Tokens
	}
	patterns := []string{"#", "*", "a", "a.#", "#.a", "a.*", "*.a", "#.a.#", "#.b.#", "a.#.b", "*.*", "#.*", "*.#", "a.b", "a.#.b.#.c", "#.#"}
	words := []string{"a", "b", "c"}
	var keys []string
	for n := 1; n <= 4; n++ {
		for i := range pow(len(words), n) {
			var k []string
			for range n {
				k = append(k, words[i%len(words)])
				i /= len(words)
			}
			keys = append(keys, strings.Join(k, "."))
		}
	}
	for _, a := range patterns {
		for _, b := range patterns {
			both, ok := intersect(pat(a), pat(b))
			if !ok {
				t.Fatalf("%s and %s: too many patterns", a, b)
			}
			for _, k := range keys {
				want := shard.Filter{Tokens: pat(a)}.Match(k) && shard.Filter{Tokens: pat(b)}.Match(k)
				got := slices.ContainsFunc(both, func(ts []shard.Token) bool { return shard.Filter{Tokens: ts}.Match(k) })
				if got != want {
					t.Fatalf("%s and %s: %s matches %v, want %v (%v)", a, b, k, got, want, both)
				}
			}
		}
	}
	long := strings.Repeat("#.a.", 50) + "#"
	other := strings.Repeat("#.b.", 50) + "#"
	if _, ok := intersect(pat(long), pat(other)); ok {
		t.Error("an intersection without bound was taken")
	}
}

func pow(b, n int) int {
	if n == 0 {
		return 1
	}
	return b * pow(b, n-1)
}

func TestConjunction(t *testing.T) {
	cond := func(s string) shard.HeaderCond { return shard.HeaderCond{Name: s} }
	all := &shard.HeaderMatch{Conds: []shard.HeaderCond{cond("a"), cond("b")}}
	anyOf := &shard.HeaderMatch{Any: true, Conds: []shard.HeaderCond{cond("c"), cond("d")}}
	if none := conjunction([]*shard.HeaderMatch{all, {Any: true}}); len(none) > 0 {
		t.Errorf("any of nothing is met by %v", none)
	}
	for mask := range 16 {
		var r shard.Record
		for i, n := range []string{"a", "b", "c", "d"} {
			if mask>>i&1 == 1 {
				r.Headers = append(r.Headers, shard.Header{Name: n})
			}
		}
		want := all.Match(&r) && anyOf.Match(&r)
		got := slices.ContainsFunc(conjunction([]*shard.HeaderMatch{all, anyOf}), func(m *shard.HeaderMatch) bool { return m.Match(&r) })
		if got != want {
			t.Errorf("%04b: %v, want %v", mask, got, want)
		}
	}
}

func TestManyBindings(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.exchange(frame.ExchangeDeclare{Exchange: "x", Type: "direct"})
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	for i := range 100 {
		c.bind("q", "x", fmt.Sprint("k", i))
	}
	c.bind("q", "x", "k7")
	c.put(1, "x", "k7", "once")
	c.wantDrain("q", "once")
	call[*frame.QueueUnbindOk](c, 1, &frame.QueueUnbind{Queue: "q", Exchange: "x", RoutingKey: "k7"})
	call[*frame.QueueUnbindOk](c, 1, &frame.QueueUnbind{Queue: "q", Exchange: "x", RoutingKey: "k7"})
	c.put(1, "x", "k7", "no more")
	c.put(1, "x", "k8", "still")
	c.wantDrain("q", "still")
}

// TestQueueAndExchangeOfOneName: what is published to an exchange goes to the queues
// that are bound to it, what is published to the default exchange to the queue of that
// name, though both have the same subject.
func TestQueueAndExchangeOfOneName(t *testing.T) {
	s := startServer(t, testOptions{})
	c := open(t, s)
	c.exchange(frame.ExchangeDeclare{Exchange: "orders", Type: "fanout"})
	for _, q := range []string{"orders", "orders.eu", "bound", "all"} {
		c.declare(1, frame.QueueDeclare{Queue: q, Durable: true})
	}
	c.bind("bound", "orders", "")
	c.bind("all", "amq.topic", "#")
	c.put(1, "orders", "", "to all that are bound")
	c.put(1, "", "orders", "to one queue")
	c.put(1, "orders", "eu", "to all that are bound, too")
	c.put(1, "", "orders.eu", "to another queue")
	c.put(1, "amq.topic", "orders", "to the subject space")
	c.wantDrain("orders", "to one queue")
	c.wantDrain("orders.eu", "to another queue")
	c.wantDrain("bound", "to all that are bound", "to all that are bound, too")
	c.wantDrain("all", "to all that are bound", "to one queue", "to all that are bound, too", "to another queue", "to the subject space")
	c.bind("orders", "orders", "") // as several frameworks do: once each
	c.put(1, "orders", "", "a")
	c.put(1, "", "orders", "b")
	c.wantDrain("orders", "a", "b")
	c.wantDrain("bound", "a")
}
