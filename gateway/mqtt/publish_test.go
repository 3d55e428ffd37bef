package mqtt

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// stored reads all records of a topic's first shard.
func (b *bed) stored(topic string) []shard.Record {
	b.t.Helper()
	broker := b.mem.Broker()
	tp, ok := broker.Topics.ByName(topic)
	if !ok {
		b.t.Fatalf("topic %q does not exist", topic)
	}
	res, err := broker.Log.Read(context.Background(), tp.Shard(0), 0, shard.ReadOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	var out []shard.Record
	for _, batch := range res.Batches {
		rs, err := batch.Records()
		if err != nil {
			b.t.Fatal(err)
		}
		out = append(out, rs...)
	}
	return out
}

func showRecord(r *shard.Record) string {
	var s strings.Builder
	if r.Key != nil {
		fmt.Fprintf(&s, "key=%s ", r.Key)
	}
	fmt.Fprintf(&s, "%q", r.Value)
	for _, h := range r.Headers {
		fmt.Fprintf(&s, " %s=%s", h.Name, h.Value)
	}
	return s.String()
}

// TestStoredForm pins what a PUBLISH becomes.
func TestStoredForm(t *testing.T) {
	b := newBed(t, bedOptions{})
	_, err := b.mem.Broker().Topics.Create(context.Background(), shard.Topic{Name: "telemetry", Captures: []string{"sensors.>"}})
	if err != nil {
		t.Fatal(err)
	}
	p := b.connect(clean(5, "p"))
	full := packet.Props(nil).AddNum(packet.PropPayloadFormat, 1).AddNum(packet.PropMessageExpiry, 60).
		AddStr(packet.PropContentType, "text/plain").AddStr(packet.PropResponseTopic, "re/ply").
		AddData(packet.PropCorrelationData, []byte("id")).AddUser("k", []byte("1")).AddUser("k", []byte("2")).
		AddUser("robustmq-mqtt", []byte("9")).AddUser("content-type", []byte("mine"))
	for i, c := range []struct {
		topic, store string
		mod          func(*packet.Publish)
		want         string
	}{
		{"plain", "plain", func(*packet.Publish) {}, `"x" robustmq-mqtt=1`},
		{"a/b", "a.b", retained, `"x" robustmq-mqtt=1r`},
		{"dot.ted/x", "dot.ted.x", func(*packet.Publish) {}, `"x" robustmq-mqtt-topic=dot.ted/x robustmq-mqtt=1`},
		{"sensors/k/t", "telemetry", func(*packet.Publish) {}, `key=sensors.k.t "x" robustmq-subject=sensors.k.t robustmq-mqtt=1`},
		{"props", "props", func(p *packet.Publish) { p.Props = full },
			`"x" robustmq-mqtt-format=1 expiration=60000 content-type=text/plain reply-to=re.ply robustmq-mqtt-response=re/ply correlation-id=id robustmq-mqtt=1 k=1 k=2 content-type=mine`},
		{"empty", "empty", func(p *packet.Publish) { p.Payload = nil }, `"" robustmq-mqtt=1`},
		{" \x01/é", " \x01.é", func(*packet.Publish) {}, `"x" robustmq-mqtt=1`},
	} {
		p.publish(c.topic, "x", 1, uint16(i+1), c.mod)
		p.expect(fmt.Sprintf("PUBACK %d", i+1))
		rs := b.stored(c.store)
		if got := showRecord(&rs[len(rs)-1]); got != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.topic, got, c.want)
		}
		if rs[0].Value == nil {
			t.Errorf("%s: payload is null", c.topic)
		}
	}
	p.bye()
}

// TestOneReadIsOneBatch: what comes in one read for one shard is one batch.
func TestOneReadIsOneBatch(t *testing.T) {
	var batches atomic.Int64
	b := newBed(t, bedOptions{mem: shardmem.Options{FailAppend: func(_ shard.ID, b *shard.Batch, _ shard.AppendOptions) error {
		batches.Add(1)
		return nil
	}}})
	p := b.connect(clean(4, "p"))
	var ps []packet.Packet
	for i := range 20 {
		topic := []string{"one", "two"}[i%2]
		ps = append(ps, &packet.Publish{Topic: []byte(topic), QoS: uint8(i % 3), ID: uint16(i + 1), Payload: []byte("m")})
	}
	p.send(ps...)
	for i := range 20 {
		switch i % 3 {
		case 1:
			p.expect(fmt.Sprintf("PUBACK %d", i+1))
		case 2:
			p.expect(fmt.Sprintf("PUBREC %d", i+1))
		}
	}
	if n := batches.Load(); n != 2 {
		t.Fatalf("%d batches", n)
	}
	if n := len(b.stored("one")) + len(b.stored("two")); n != 20 {
		t.Fatalf("%d records", n)
	}
	p.bye()
}

// TestAckOrder: acknowledgements keep the order of arrival though a later append
// completes first [MQTT-4.6.0-2], and reading goes on meanwhile.
func TestAckOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, bedOptions{mem: shardmem.Options{Delay: time.Second}})
		p := b.connect(clean(5, "p"))
		for i := range 9 {
			p.publish(fmt.Sprintf("t%d", i%3), "m", uint8(1+i%2), uint16(i+1))
		}
		p.send(&packet.Ping{Kind: packet.PINGREQ})
		p.expect("PINGRESP")
		for i := range 9 {
			p.expect(fmt.Sprintf("%s %d", []string{"PUBACK", "PUBREC"}[i%2], i+1))
		}
		p.bye()
	})
}

// TestAppendErrors: what failed is never acknowledged as if it had not.
func TestAppendErrors(t *testing.T) {
	var fail atomic.Pointer[shard.Error]
	o := bedOptions{mem: shardmem.Options{FailAppend: func(shard.ID, *shard.Batch, shard.AppendOptions) error {
		if e := fail.Load(); e != nil {
			return e
		}
		return nil
	}}}
	b := newBed(t, o)
	p := b.connect(clean(5, "p"))
	for i, c := range []struct {
		err  *shard.Error
		code string
	}{
		{shard.ErrWALFull, "0x97"},
		{shard.ErrBatchTooLarge, "0x97"},
		{shard.Errorf(shard.KindDenied, "no"), "0x87"},
		{shard.Errorf(shard.KindInvalid, "no"), "0x90"},
		{shard.ErrClosed, "0x83"},
		{shard.Errorf(shard.KindMoved, "no"), "0x83"},
		{shard.Errorf(shard.KindInternal, "no"), "0x80"},
	} {
		fail.Store(c.err)
		p.publish("t", "m", 1, uint16(2*i+1))
		p.expect(fmt.Sprintf("PUBACK %d %s", 2*i+1, c.code))
		p.publish("t", "m", 2, uint16(2*i+2))
		p.expect(fmt.Sprintf("PUBREC %d %s", 2*i+2, c.code))
	}
	fail.Store(nil)
	p.publish("t", "m", 2, 2) // the identifier is free again
	p.expect("PUBREC 2")
	p.bye()
	fail.Store(shard.ErrWALFull)
	for _, qos := range []uint8{1, 2} {
		q := b.connect(clean(4, "q"))
		q.publish("t", "m", qos, 1)
		q.ended()
	}
	q := b.connect(clean(4, "q"))
	q.publish("t", "m", 0, 0)
	q.send(&packet.Ping{Kind: packet.PINGREQ})
	q.expect("PINGRESP")
	q.bye()
}

func TestPublishNotAllowed(t *testing.T) {
	b := newBed(t, bedOptions{mem: shardmem.Options{ACLs: []shard.ACL{{Principal: "*", Resource: "subject", Filter: "open.>", Operation: shard.OpAll}}}})
	p := b.connect(clean(5, "p"))
	p.publish("closed/x", "m", 0, 0)
	p.publish("closed/x", "m", 1, 1)
	p.expect("PUBACK 1 0x87")
	p.publish("closed/x", "m", 2, 2)
	p.expect("PUBREC 2 0x87")
	p.publish("open/x", "m", 1, 3)
	p.expect("PUBACK 3")
	p.publish("$SYS/x", "m", 1, 4)
	p.expect("PUBACK 4 0x87")
	p.send(&packet.Subscribe{ID: 1, Filters: []packet.Subscription{{Filter: "closed/#"}, {Filter: "open/#"}, {Filter: "#"}, {Filter: "a/b#"}}})
	p.expect("SUBACK 1 [135 0 135 143]")
	p.bye()
	q := b.connect(clean(4, "q"))
	q.send(&packet.Subscribe{ID: 1, Filters: []packet.Subscription{{Filter: "closed/#"}, {Filter: "open/#"}, {Filter: "a/b#"}}})
	q.expect("SUBACK 1 [128 0 128]")
	q.publish("closed/x", "m", 1, 1) // MQTT 3.1.1 [MQTT-3.3.5-2]
	q.ended()
}

// TestInflightBytes: a connection is not read while too much of it is not
// durable, and is read again.
func TestInflightBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, bedOptions{mem: shardmem.Options{Delay: time.Second},
			limits: func(l *gateway.Limits) { l.MaxInflightBytes = 1000 }})
		p := b.connect(clean(4, "p"))
		p.publish("t", strings.Repeat("x", 2000), 1, 1)
		start := time.Now()
		p.send(&packet.Ping{Kind: packet.PINGREQ})
		p.expect("PUBACK 1", "PINGRESP")
		if time.Since(start) < time.Second {
			t.Fatal("read on over the bound")
		}
		p.bye()
	})
}

func TestTopicAliasIn(t *testing.T) {
	b := newBed(t, bedOptions{})
	sub := b.connect(clean(5, "s"))
	sub.subscribe("#", 0)
	p := b.connect(clean(5, "p"))
	set := func(n uint32) func(*packet.Publish) {
		return func(k *packet.Publish) { k.Props = k.Props.AddNum(packet.PropTopicAlias, n) }
	}
	p.publish("a", "1", 0, 0, set(1))
	p.publish("b", "2", 0, 0, set(2))
	p.publish("", "3", 0, 0, set(1))
	p.publish("c", "4", 0, 0, set(1))
	p.publish("", "5", 0, 0, set(1))
	sub.expect(`PUBLISH a "1" q0`, `PUBLISH b "2" q0`, `PUBLISH a "3" q0`, `PUBLISH c "4" q0`, `PUBLISH c "5" q0`)
}

func TestTopicAliasOut(t *testing.T) {
	b := newBed(t, bedOptions{})
	c := clean(5, "s")
	c.Props = c.Props.AddNum(packet.PropTopicAliasMaximum, 1)
	sub := b.connect(c)
	sub.subscribe("#", 0)
	p := b.connect(clean(5, "p"))
	for i := range 2 {
		p.publish("first", "1", 0, 0)
		sub.expect([]string{`PUBLISH first "1" q0 35:1`, `PUBLISH  "1" q0 35:1`}[i])
		p.publish("second", "2", 0, 0)
		sub.expect(`PUBLISH second "2" q0`)
	}
}

func TestMaximumPacketSizeOfClient(t *testing.T) { // [MQTT-3.1.2-24]
	b := newBed(t, bedOptions{})
	c := clean(5, "s")
	c.Props = c.Props.AddNum(packet.PropMaximumPacketSize, 50)
	sub := b.connect(c)
	sub.subscribe("#", 0)
	p := b.connect(clean(5, "p"))
	p.publish("t", strings.Repeat("x", 60), 0, 0)
	p.publish("t", "small", 0, 0)
	sub.expect(`PUBLISH t "small" q0`)
	if n := b.stats.Dropped.Load(); n != 1 {
		t.Fatalf("%d dropped", n)
	}
}

// TestProperties: what the publisher sent arrives in order, and nothing else.
func TestProperties(t *testing.T) {
	b := newBed(t, bedOptions{})
	sub := b.connect(clean(5, "s"))
	sub.subscribe("t", 0)
	p := b.connect(clean(5, "p"))
	full := packet.Props(nil).AddNum(packet.PropPayloadFormat, 1).AddNum(packet.PropMessageExpiry, 60).
		AddStr(packet.PropContentType, "text/plain").AddStr(packet.PropResponseTopic, "re/ply").
		AddData(packet.PropCorrelationData, []byte{0, 255}).AddUser("z", []byte("1")).AddUser("a", []byte("2")).
		AddUser("z", []byte("1")).AddUser("content-type", []byte("mine")).AddUser("correlation-id", nil)
	p.publish("t", "x", 0, 0, func(k *packet.Publish) { k.Props = full })
	got, ok := sub.read().(*packet.Publish)
	if !ok || string(got.Props) != string(full) {
		t.Fatalf("got  %q\nwant %q", got.Props, full)
	}
	p.publish("t", "x", 0, 0)
	sub.expect(`PUBLISH t "x" q0`)
	user := packet.Props(nil).AddUser("content-type", []byte("mine"))
	p.publish("t", "x", 0, 0, func(k *packet.Publish) { k.Props = user })
	sub.expect(`PUBLISH t "x" q0 38:content-type=mine`)
}

// foreign appends a record as another protocol's gateway does.
func (b *bed) foreign(subject string, r shard.Record) {
	b.t.Helper()
	broker := b.mem.Broker()
	tp, err := broker.Topics.Resolve(context.Background(), subject, true)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Timestamp = time.Now().UnixMilli()
	if _, err := shard.AppendWait(context.Background(), broker.Log, tp.ShardOf(r.Key, subject), shard.BatchOf(r), shard.AppendOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

func header(kv ...string) (hs []shard.Header) {
	for i := 0; i < len(kv); i += 2 {
		hs = append(hs, shard.Header{Name: kv[i], Value: []byte(kv[i+1])})
	}
	return hs
}

func TestForeignMessages(t *testing.T) {
	b := newBed(t, bedOptions{})
	slash, dot := b.connect(clean(5, "slash")), b.connect(clean(4, "dot"))
	slash.subscribe("a/+", 0)
	dot.subscribe("a.b", 0)
	b.foreign("a.b", shard.Record{Value: []byte("v"), Headers: header("content-type", "x/y", "reply-to", "r", "correlation-id", "c",
		"expiration", "1500", "n", "1", "n", "2", "content-type", "z", "bin", "\xff", "robustmq-type", "t", "type", "ty")})
	slash.expect(`PUBLISH a/b "v" q0 3:x/y 8:r 9:c 2:2 38:n=1 38:n=2 38:content-type=z 38:type=ty`)
	dot.expect(`PUBLISH a.b "v" q0`)
	b.foreign("a.b", shard.Record{Key: []byte("k")}) // null value
	slash.expect(`PUBLISH a/b "" q0`)
	dot.expect(`PUBLISH a.b "" q0`)
	b.foreign("a.+", shard.Record{Value: []byte("no MQTT topic")})
	b.foreign("a.c", shard.Record{Value: []byte("v"), Headers: header("robustmq-reply-subject", "_INBOX.x.1", "reply-to", "bad/#")})
	slash.expect(`PUBLISH a/c "v" q0 8:_INBOX/x/1 38:reply-to=bad/#`)
	b.foreign("a.c", shard.Record{Value: []byte("late"), Headers: header("expiration", "0")})
	slash.quiet()
	dot.quiet()
}

func TestMessageExpiry(t *testing.T) { // [MQTT-3.3.2-5] [MQTT-3.3.2-6]
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, bedOptions{})
		p := b.connect(clean(5, "p"))
		exp := func(k *packet.Publish) { k.Props = k.Props.AddNum(packet.PropMessageExpiry, 10); k.Retain = true }
		p.publish("t", "x", 1, 1, exp)
		p.expect("PUBACK 1")
		time.Sleep(4 * time.Second)
		s := b.connect(clean(5, "s"))
		s.subscribe("t", 0)
		s.expect(`PUBLISH t "x" q0 retain 2:6`)
		s.bye()
		time.Sleep(6 * time.Second)
		for _, v := range versions {
			s := b.connect(clean(v, "s"))
			s.subscribe("t", 0)
			s.quiet()
			s.bye()
		}
		p.bye()
		if n := b.srv.retained.count(); n != 0 {
			t.Fatalf("%d retained", n)
		}
	})
}

// TestSlowConsumer: QoS 0 is dropped and counted, and memory is bounded.
func TestSlowConsumer(t *testing.T) {
	b := newBed(t, bedOptions{limits: func(l *gateway.Limits) { l.MaxOutboundBytes = 64 << 10 }})
	slow := b.connect(clean(4, "slow"))
	slow.subscribe("t", 0)
	p := b.connect(clean(4, "p"))
	const n = 200
	for i := range n {
		p.publish("t", strings.Repeat("x", 4000), 1, uint16(i+1))
		p.expect(fmt.Sprintf("PUBACK %d", i+1))
	}
	got := 0
	for {
		if _, err := slow.next(200 * time.Millisecond); err != nil {
			break
		}
		got++
	}
	dropped := int(b.stats.Dropped.Load())
	if got == 0 || dropped == 0 || got+dropped != n {
		t.Fatalf("%d delivered, %d dropped", got, dropped)
	}
}
