package mqtt

import (
	"fmt"
	"slices"
	"testing"

	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
)

// TestRelayed: topics that are never stored still reach live subscribers, and a
// publisher is not told that they are kept.
func TestRelayed(t *testing.T) {
	b := newBed(t, bedOptions{})
	sub := b.connect(clean(5, "s"))
	sub.send(&packet.Subscribe{ID: 1, Filters: []packet.Subscription{{Filter: "_INBOX/me/+", QoS: 2}, {Filter: "$SRV/#", QoS: 1}}})
	sub.expect("SUBACK 1 [0 0]")
	p := b.connect(clean(5, "p"))
	p.publish("_INBOX/me/1", "r", 1, 1)
	p.expect("PUBACK 1")
	sub.expect(`PUBLISH _INBOX/me/1 "r" q0`)
	p.publish("$SRV/PING", "s", 2, 2)
	p.expect("PUBREC 2")
	sub.expect(`PUBLISH $SRV/PING "s" q0`)
	p.publish("_INBOX/nobody", "r", 1, 3)
	p.expect("PUBACK 3 0x10")
	p.publish("_INBOX/me/1", "r", 1, 4, retained)
	p.expect("PUBACK 4 0x83")
	p.publish("_INBOX/me/1", "r", 0, 0, retained)
	sub.expect(`PUBLISH _INBOX/me/1 "r" q0`)
	for i, topic := range []string{"$SYS", "$SYS/x", "$SYS.x"} {
		p.publish(topic, "lie", 1, uint16(i+5))
		p.expect(fmt.Sprintf("PUBACK %d 0x87", i+5))
	}
	old := b.connect(clean(4, "old"))
	old.publish("_INBOX/nobody", "r", 1, 1)
	old.expect("PUBACK 1")
	if ts := b.mem.Broker().Topics.List(); len(ts) != 0 {
		t.Fatalf("topics were made: %v", ts[0].Name)
	}
	if n := b.srv.retained.count(); n != 0 {
		t.Fatalf("%d retained", n)
	}
	for topic, code := range map[string]packet.Code{"$SYS/x": packet.NotAuthorized, "_INBOX/x": packet.RetainNotSupported} {
		c := clean(5, "w")
		c.Will = &packet.Will{Topic: topic, Payload: []byte("w"), Retain: true}
		w := b.dial(5)
		w.send(c)
		w.expect(fmt.Sprintf("CONNACK false 0x%02x", uint8(code)))
	}
}

// TestDollarTopics: a topic under '$' that is not the broker's own is a topic as
// others, but that leading wildcards do not match it [MQTT-4.7.2-1].
func TestDollarTopics(t *testing.T) {
	for _, topic := range []string{"$a2a/v1/agents/x/card", "$sparkplug/certificates/g/n", "$x", "$KV/b/k"} {
		t.Run(topic, func(t *testing.T) {
			b := newBed(t, bedOptions{})
			away := b.connect(kept(5, "away"))
			away.subscribe(topic, 1)
			away.bye()
			everything := b.connect(clean(5, "everything"))
			for _, f := range []string{"#", "+/#", "+/v1/#"} {
				for qos := range uint8(2) {
					everything.subscribe(f, qos)
				}
			}
			p := b.connect(clean(5, "p"))
			p.publish(topic, "card", 1, 1, retained)
			p.expect("PUBACK 1")
			s := b.connect(clean(5, "s"))
			s.subscribe(topic, 1)
			s.expect("PUBLISH " + topic + ` "card" q1 id1 retain`)
			again := b.connect(kept(5, "away")).present(true)
			again.expect("PUBLISH " + topic + ` "card" q1 id1`)
			everything.quiet()
			b = b.restart(bedOptions{})
			s = b.connect(clean(5, "s"))
			s.subscribe(topic, 0)
			s.expect("PUBLISH " + topic + ` "card" q0 retain`)
		})
	}
}

// TestSlashedSubjects: a subject that holds a slash is a name that MQTT is shown as
// it stands, and whoever subscribes to what it is shown gets it, at every QoS and
// whatever others do.
func TestSlashedSubjects(t *testing.T) {
	for subject, shown := range map[string]string{"dd/y": "dd/y", "a.b/c": "a/b/c", "x/": "x/", "/": "/"} {
		for _, alone := range []bool{true, false} {
			t.Run(fmt.Sprint(subject, " alone ", alone), func(t *testing.T) {
				b := newBed(t, bedOptions{})
				if !alone {
					b.connect(clean(5, "all")).subscribe("#", 0)
				}
				var subs []*peer
				for qos := range uint8(3) {
					s := b.connect(clean(5, fmt.Sprint("s", qos)))
					s.subscribe(shown, qos)
					subs = append(subs, s)
				}
				b.foreign(subject, shard.Record{Value: []byte("v")})
				for qos, s := range subs {
					want := fmt.Sprintf("PUBLISH %s \"v\" q%d", shown, qos)
					if qos > 0 {
						want += " id1"
					}
					s.expect(want)
				}
			})
		}
	}
}

// TestResponseTopic: a Response Topic is the subject by which others answer, and
// for MQTT what it was.
func TestResponseTopic(t *testing.T) {
	b := newBed(t, bedOptions{})
	ask := func(p *peer, topic string) {
		p.publish("svc", "ask", 0, 0, func(k *packet.Publish) {
			k.Props = k.Props.AddStr(packet.PropResponseTopic, topic).AddUser("reply-to", []byte("mine"))
		})
	}
	p, s := b.connect(clean(5, "p")), b.connect(clean(5, "s"))
	s.subscribe("svc", 0)
	for topic, subject := range map[string]string{"plain": "plain", "rpc/resp/1": "rpc.resp.1", "a.b/c": "a.b.c", "a.b": "a.b", "$x/y": "$x.y"} {
		ask(p, topic)
		s.expect(`PUBLISH svc "ask" q0 8:` + topic + " 38:reply-to=mine")
		rs := b.stored("svc")
		if got := rs[len(rs)-1].HeaderString(shard.HeaderReplyTo); got != subject {
			t.Errorf("%s is stored as %s, want %s", topic, got, subject)
		}
	}
	// What earlier versions stored, and what others write.
	own := shard.Header{Name: shard.HeaderMQTT, Value: []byte("0")}
	reply := func(name, v string) shard.Header { return shard.Header{Name: name, Value: []byte(v)} }
	for _, c := range []struct {
		headers []shard.Header
		want    string
	}{
		{[]shard.Header{reply("reply-to", "rpc/resp.1"), own}, " 8:rpc/resp.1"},
		{[]shard.Header{reply("reply-to", "rpc.resp.1")}, " 8:rpc/resp/1"},
		{[]shard.Header{reply("reply-to", "amq.gen-X")}, " 8:amq/gen-X"},
		{[]shard.Header{reply("reply-to", "dd/y")}, " 38:reply-to=dd/y"}, // MQTT has no name for it
		{[]shard.Header{reply(shard.HeaderReplySubject, "_INBOX.q.1")}, " 8:_INBOX/q/1"},
		{[]shard.Header{reply("reply-to", "amq.rabbitmq.reply-to.T"), reply(shard.HeaderReplySubject, "_INBOX.amqp.T")}, " 8:_INBOX/amqp/T"},
		{[]shard.Header{reply(shard.HeaderReplySubject, "q"), reply("reply-to", "q")}, " 8:q"},
	} {
		b.foreign("svc", shard.Record{Value: []byte("ask"), Headers: slices.Clone(c.headers)})
		s.expect(`PUBLISH svc "ask" q0` + c.want)
	}
}
