package mqtt

import (
	"fmt"
	"testing"

	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
)

// TestShared: each message goes to one member.
func TestShared(t *testing.T) {
	eachVersion(t, func(t *testing.T, v packet.Version) {
		b := newBed(t, bedOptions{})
		members := []*peer{b.connect(clean(v, "a")), b.connect(clean(v, "b")), b.connect(clean(v, "c"))}
		for i, m := range members {
			m.subscribe("$share/g/t/+", uint8(i))
		}
		other := b.connect(clean(v, "other"))
		other.subscribe("$share/h/t/+", 1)
		p := b.connect(clean(v, "p"))
		const n = 30
		for i := range n {
			p.publish("t/x", fmt.Sprint(i), 1, uint16(i+1))
			p.expect(fmt.Sprintf("PUBACK %d", i+1))
			k := other.read().(*packet.Publish)
			other.finishReceive(k)
		}
		seen := make(map[string]int)
		for i, m := range members {
			own := 0
			for {
				k, err := m.next(100 * 1e6)
				if err != nil {
					break
				}
				pub, ok := k.(*packet.Publish)
				if !ok || pub.QoS != min(uint8(i), 1) {
					t.Fatalf("member %d: %s", i, show(k))
				}
				m.finishReceive(pub)
				seen[string(pub.Payload)]++
				own++
			}
			if own == 0 {
				t.Errorf("member %d got nothing", i)
			}
		}
		if len(seen) != n {
			t.Fatalf("%d of %d messages arrived", len(seen), n)
		}
		for k, c := range seen {
			if c != 1 {
				t.Errorf("%s arrived %d times", k, c)
			}
		}
	})
}

// TestSharedGoesOn: what a member did not acknowledge goes to another, without
// DUP, and the group is gone with its last member.
func TestSharedGoesOn(t *testing.T) {
	b := newBed(t, bedOptions{})
	a := b.connect(clean(5, "a"))
	a.subscribe("$share/g/t", 1)
	p := b.connect(clean(5, "p"))
	p.publish("t", "m", 1, 1)
	p.expect("PUBACK 1")
	a.expect(`PUBLISH t "m" q1 id1`)
	c := b.connect(clean(5, "c"))
	c.subscribe("$share/g/t", 1)
	a.close()
	c.expect(`PUBLISH t "m" q1 id1`)
	if n := len(b.mem.Broker().Groups.List("mqtt/share/")); n != 1 {
		t.Fatalf("%d groups", n)
	}
	c.bye()
	if n := len(b.mem.Broker().Groups.List("mqtt/share/")); n != 0 {
		t.Fatalf("%d groups are left over", n)
	}
}

// TestSharedQoS2StaysWithMember [MQTT-4.8.2-4].
func TestSharedQoS2StaysWithMember(t *testing.T) {
	b := newBed(t, bedOptions{})
	a := b.connect(kept(5, "a"))
	a.subscribe("$share/g/t", 2)
	p := b.connect(clean(5, "p"))
	p.publish("t", "m", 2, 1)
	p.finishPublish(2, 1)
	a.expect(`PUBLISH t "m" q2 id1`)
	c := b.connect(clean(5, "c"))
	c.subscribe("$share/g/t", 2)
	a.close()
	c.quiet()
	a = b.connect(kept(5, "a")).present(true)
	a.expect(`PUBLISH t "m" q2 id1 dup`)
	a.send(&packet.Ack{Kind: packet.PUBREC, ID: 1})
	a.expect("PUBREL 1")
	a.close()
	c.quiet()
	a = b.connect(kept(5, "a")).present(true)
	a.expect("PUBREL 1")
	a.send(&packet.Ack{Kind: packet.PUBCOMP, ID: 1})
	a.bye()
	b.connect(kept(5, "a")).present(true).quiet()
}

// TestSharedHeldByPersistentSession: a shared subscription collects while its
// holder is away, over a restart too, and ends with the session.
func TestSharedHeldByPersistentSession(t *testing.T) {
	b := newBed(t, bedOptions{})
	a := b.connect(kept(5, "a"))
	a.subscribe("$share/g/t", 1)
	a.bye()
	p := b.connect(clean(5, "p"))
	p.publish("t", "m", 1, 1)
	p.expect("PUBACK 1")
	b.crash()
	b = b.restart(bedOptions{})
	a = b.connect(kept(5, "a")).present(true)
	a.expect(`PUBLISH t "m" q1 id1`)
	a.send(&packet.Ack{Kind: packet.PUBACK, ID: 1})
	a.bye()
	b.connect(clean(5, "a")).bye()
	if n := len(b.mem.Broker().Groups.List("mqtt/")); n != 0 {
		t.Fatalf("%d groups are left over", n)
	}
}

// TestSharedNoRetained: retained messages are not sent for a shared subscription.
func TestSharedNoRetained(t *testing.T) {
	b := newBed(t, bedOptions{})
	p := b.connect(clean(5, "p"))
	p.publish("t", "m", 1, 1, retained)
	p.expect("PUBACK 1")
	a := b.connect(clean(5, "a"))
	a.subscribe("$share/g/t", 1)
	a.quiet()
}
