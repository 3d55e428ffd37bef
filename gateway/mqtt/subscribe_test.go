package mqtt

import (
	"fmt"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
)

// TestQoSMatrix: a message arrives with the lower of both QoS [MQTT-3.8.4-8].
func TestQoSMatrix(t *testing.T) {
	eachVersion(t, func(t *testing.T, v packet.Version) {
		b := newBed(t, bedOptions{})
		p := b.connect(clean(v, "p"))
		id := uint16(0)
		for want := range uint8(3) {
			s := b.connect(clean(v, fmt.Sprint("s", want)))
			topic := fmt.Sprint("t/", want)
			s.subscribe(topic, want)
			for q := range uint8(3) {
				id++
				p.publish(topic, fmt.Sprint(q), q, id*uint16(min(q, 1)))
				p.finishPublish(q, id)
				k, ok := s.read().(*packet.Publish)
				if !ok || k.QoS != min(q, want) || string(k.Payload) != fmt.Sprint(q) || k.Dup || k.Retain {
					t.Fatalf("published at %d, subscribed at %d: %v", q, want, show(k))
				}
				s.finishReceive(k)
			}
			s.quiet()
			s.bye()
		}
	})
}

// finishPublish reads what a PUBLISH at a QoS is answered with.
func (p *peer) finishPublish(qos uint8, id uint16) {
	p.t.Helper()
	switch qos {
	case 1:
		p.expect(fmt.Sprintf("PUBACK %d", id))
	case 2:
		p.expect(fmt.Sprintf("PUBREC %d", id))
		p.send(&packet.Ack{Kind: packet.PUBREL, ID: id})
		p.expect(fmt.Sprintf("PUBCOMP %d", id))
	}
}

// finishReceive acknowledges a PUBLISH.
func (p *peer) finishReceive(k *packet.Publish) {
	p.t.Helper()
	switch k.QoS {
	case 1:
		p.send(&packet.Ack{Kind: packet.PUBACK, ID: k.ID})
	case 2:
		p.send(&packet.Ack{Kind: packet.PUBREC, ID: k.ID})
		p.expect(fmt.Sprintf("PUBREL %d", k.ID))
		p.send(&packet.Ack{Kind: packet.PUBCOMP, ID: k.ID})
	}
}

// TestOverlapping: subscriptions that overlap get a message once, at the highest
// QoS and with all identifiers, QoS 0 ones among them [MQTT-3.3.4-2] [MQTT-3.3.4-4].
func TestOverlapping(t *testing.T) {
	eachVersion(t, func(t *testing.T, v packet.Version) {
		for _, qs := range [][3]uint8{{0, 0, 0}, {1, 2, 1}, {0, 1, 0}, {2, 0, 1}} {
			b := newBed(t, bedOptions{})
			s := b.connect(clean(v, "s"))
			for i, f := range []string{"a/#", "a/+", "a/b"} {
				s.subscribe(f, qs[i], func(k *packet.Subscribe) {
					if v == packet.V5 {
						k.Props = k.Props.AddNum(packet.PropSubscriptionID, uint32(i+1))
					}
				})
			}
			p := b.connect(clean(v, "p"))
			p.publish("a/b", "m", 2, 1)
			p.finishPublish(2, 1)
			k, ok := s.read().(*packet.Publish)
			if !ok || k.QoS != max(qs[0], qs[1], qs[2]) {
				t.Fatalf("%v: %v", qs, show(k))
			}
			seen := make(map[uint32]bool)
			for v, rest, ok := k.Props.Next(); ok; v, rest, ok = rest.Next() {
				seen[v.Num] = true
			}
			if v == packet.V5 && len(seen) != 3 {
				t.Fatalf("%v: %v", qs, show(k))
			}
			s.finishReceive(k)
			s.quiet()
		}
	})
}

func TestNoLocal(t *testing.T) { // [MQTT-3.8.3-3]
	b := newBed(t, bedOptions{})
	s := b.connect(clean(5, "s"))
	other := b.connect(clean(5, "other"))
	local := func(k *packet.Subscribe) { k.Filters[0].NoLocal = true }
	s.subscribe("zero", 0, local)
	s.subscribe("one", 1, local)
	for i, topic := range []string{"zero", "one"} {
		s.publish(topic, "mine", 1, uint16(i+1))
		s.expect(fmt.Sprintf("PUBACK %d", i+1))
		s.quiet()
		other.publish(topic, "theirs", 0, 0)
		s.expect(fmt.Sprintf(`PUBLISH %s "theirs" q0`, topic))
	}
	s.subscribe("one", 1)
	s.publish("one", "mine", 1, 9)
	for range 2 {
		if k := s.read(); show(k) != "PUBACK 9" && show(k) != `PUBLISH one "mine" q1 id1` {
			t.Fatal(show(k))
		}
	}
}

// TestResubscribe changes the QoS of a subscription back and forth.
func TestResubscribe(t *testing.T) { // [MQTT-3.8.4-3]
	b := newBed(t, bedOptions{})
	s, p := b.connect(clean(4, "s")), b.connect(clean(4, "p"))
	for i, q := range []uint8{0, 1, 2, 0, 1, 0} {
		s.subscribe("t", q)
		p.publish("t", fmt.Sprint(i), 2, uint16(i+1))
		p.finishPublish(2, uint16(i+1))
		k, ok := s.read().(*packet.Publish)
		if !ok || k.QoS != q || string(k.Payload) != fmt.Sprint(i) {
			t.Fatalf("%d: %v", i, show(k))
		}
		s.finishReceive(k)
		s.quiet()
	}
}

func TestUnsubscribe(t *testing.T) {
	b := newBed(t, bedOptions{})
	s, p := b.connect(clean(5, "s")), b.connect(clean(5, "p"))
	s.subscribe("zero", 0)
	s.subscribe("one", 1)
	s.subscribe("$share/g/two", 1)
	s.send(&packet.Unsubscribe{ID: 5, Filters: []string{"zero", "one", "never", "$share/g/two"}})
	s.expect("UNSUBACK 5 [0 0 17 0]") // [MQTT-3.11.3-2]
	for i, topic := range []string{"zero", "one", "two"} {
		p.publish(topic, "m", 1, uint16(i+1))
		p.expect(fmt.Sprintf("PUBACK %d", i+1))
	}
	s.quiet()
	if n := b.stats.Subscriptions.Load(); n != 0 {
		t.Fatalf("%d subscriptions", n)
	}
}

func TestFilters(t *testing.T) {
	b := newBed(t, bedOptions{limits: func(l *gateway.Limits) { l.MaxSubscriptions = 4 }})
	s := b.connect(clean(5, "s"))
	var fs []packet.Subscription
	for _, f := range []string{"a/#/b", "a+", "#a", "$share/x", "$share//x", "$share/a+/x", "$share/a/", "/", "+/+", "a//b", "#", "e", "/"} {
		fs = append(fs, packet.Subscription{Filter: f})
	}
	s.send(&packet.Subscribe{ID: 1, Filters: fs})
	s.expect("SUBACK 1 [143 143 143 143 143 143 143 0 0 0 0 151 0]") // [MQTT-3.8.4-6]
}

// TestReceiveMaximumOfClient: no more is sent than the client allows, PUBREL
// included [MQTT-3.3.4-9].
func TestReceiveMaximumOfClient(t *testing.T) {
	b := newBed(t, bedOptions{})
	c := clean(5, "s")
	c.Props = c.Props.AddNum(packet.PropReceiveMaximum, 2)
	s := b.connect(c)
	s.subscribe("t", 2)
	p := b.connect(clean(5, "p"))
	for i := range 5 {
		p.publish("t", fmt.Sprint(i), 2, uint16(i+1))
		p.finishPublish(2, uint16(i+1))
	}
	s.expect(`PUBLISH t "0" q2 id1`, `PUBLISH t "1" q2 id2`)
	s.quiet()
	s.send(&packet.Ack{Kind: packet.PUBREC, ID: 1})
	s.expect("PUBREL 1")
	s.quiet()
	s.send(&packet.Ack{Kind: packet.PUBCOMP, ID: 1})
	s.expect(`PUBLISH t "2" q2 id3`)
	s.send(&packet.Ack{Kind: packet.PUBREC, ID: 2, Code: packet.QuotaExceeded})
	s.expect(`PUBLISH t "3" q2 id4`)
	s.quiet()
	s.send(&packet.Ack{Kind: packet.PUBREC, ID: 99})
	s.expect("PUBREL 99 0x92")
}

func TestRetainedAtQoS(t *testing.T) {
	b := newBed(t, bedOptions{})
	p := b.connect(clean(5, "p"))
	for i := range 5 {
		p.publish(fmt.Sprint("r/", i), "x", 1, uint16(i+1), retained)
		p.expect(fmt.Sprintf("PUBACK %d", i+1))
	}
	c := clean(5, "s")
	c.Props = c.Props.AddNum(packet.PropReceiveMaximum, 2)
	s := b.connect(c)
	s.subscribe("r/+", 2)
	for range 5 {
		k, ok := s.read().(*packet.Publish)
		if !ok || k.QoS != 1 || !k.Retain {
			t.Fatalf("got %v", show(k))
		}
		s.finishReceive(k)
	}
	s.quiet()
}

// TestForeignAtQoS: what came by another protocol has the subscription's QoS.
func TestForeignAtQoS(t *testing.T) {
	b := newBed(t, bedOptions{})
	s := b.connect(clean(4, "s"))
	s.subscribe("a/#", 2)
	b.foreign("a.b", shard.Record{Value: []byte("v")})
	s.expect(`PUBLISH a/b "v" q2 id1`)
	b.foreign("a.#", shard.Record{Value: []byte("no MQTT topic")})
	b.foreign("a", shard.Record{Value: []byte("parent")})
	s.expect(`PUBLISH a "parent" q2 id2`)
}

// TestManyMixedSubscriptions: each new subscription is compared with the others
// once, so that many at QoS 0 and 1 in one session stay cheap; what two of them
// match comes once.
func TestManyMixedSubscriptions(t *testing.T) {
	b := newBed(t, bedOptions{})
	s, p := b.connect(clean(5, "s")), b.connect(clean(5, "p"))
	k := &packet.Subscribe{ID: 1}
	for i := range 2000 {
		k.Filters = append(k.Filters, packet.Subscription{Filter: fmt.Sprintf("many/%d", i), QoS: uint8(i % 2)})
	}
	s.send(k)
	if a, err := s.next(30 * time.Second); err != nil || a.Type() != packet.SUBACK {
		t.Fatalf("got %v, %v", a, err)
	}
	s.subscribe("many/#", 0)
	p.publish("many/7", "m", 1, 1)
	s.expect(`PUBLISH many/7 "m" q1 id1`)
	p.publish("many/8", "m", 1, 2)
	s.expect(`PUBLISH many/8 "m" q0`)
	s.quiet()
}
