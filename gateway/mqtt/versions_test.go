package mqtt

import (
	"fmt"
	"strings"
	"testing"

	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
)

// TestDupOfMQTT31: MQTT 3.1 marks PUBREL, SUBSCRIBE and UNSUBSCRIBE that are sent
// again; later versions reserve that bit.
func TestDupOfMQTT31(t *testing.T) {
	eachVersion(t, func(t *testing.T, v packet.Version) {
		again := func(ps ...packet.Packet) (b []byte) {
			for _, p := range ps {
				at := len(b)
				b = p.Append(b, v)
				b[at] |= 8
			}
			return b
		}
		b := newBed(t, bedOptions{})
		p := b.connect(clean(v, "p"))
		p.publish("t", "x", 2, 1)
		p.expect("PUBREC 1")
		p.raw(again(&packet.Ack{Kind: packet.PUBREL, ID: 1}))
		if v != packet.V31 {
			if v >= packet.V5 {
				p.expect("DISCONNECT 0x81")
			}
			p.ended()
			return
		}
		p.expect("PUBCOMP 1")
		p.raw(again(&packet.Subscribe{ID: 2, Filters: []packet.Subscription{{Filter: "a", QoS: 1}}}, &packet.Unsubscribe{ID: 3, Filters: []string{"a"}}))
		p.expect("SUBACK 2 [1]", "UNSUBACK 3 []")
	})
}

// TestMaximumPacketSizeOfConnack: the client's bound holds for the first packet too,
// for one that refuses and for the last one [MQTT-3.1.2-24].
func TestMaximumPacketSizeOfConnack(t *testing.T) {
	b := newBed(t, bedOptions{config: func(c *Config) { c.ResponseInformation = "replies/" + strings.Repeat("x", 100) + "/" }})
	ask := func(size uint32, user string) *peer {
		c := clean(5, "c")
		c.Props = c.Props.AddNum(packet.PropMaximumPacketSize, size).AddNum(packet.PropRequestResponseInfo, 1)
		if user != "" {
			c.HasUser, c.User = true, user
		}
		p := b.dial(5)
		p.send(c)
		return p
	}
	size := func(k packet.Packet) int { return len(k.Append(nil, 5)) }
	p := ask(1000, "")
	full := size(p.read())
	if full < 100 {
		t.Fatalf("CONNACK of %d bytes", full)
	}
	p.close()
	p = ask(uint32(full-1), "")
	k := p.read()
	if n := size(k); n >= full || show(k)[:len("CONNACK false 0x00")] != "CONNACK false 0x00" {
		t.Fatalf("%s of %d bytes", show(k), n)
	}
	least := size(k)
	p.close()
	ask(uint32(least-1), "").ended()
	for bound := range uint32(40) {
		if bound == 0 { // a protocol error
			continue
		}
		p := ask(bound, "nobody")
		if k, err := p.next(5e9); err == nil {
			if n := size(k); n > int(bound) {
				t.Errorf("a refusal of %d bytes for a bound of %d", n, bound)
			}
		} else if bound >= 5 {
			t.Errorf("no refusal for a bound of %d", bound)
		}
		p.ended()
	}
}

// TestUnsubscribeInvalid: a filter that cannot be is not one that is not there.
func TestUnsubscribeInvalid(t *testing.T) {
	b := newBed(t, bedOptions{})
	p := b.connect(clean(5, "p"))
	p.send(&packet.Unsubscribe{ID: 1, Filters: []string{"a#", "a/#/b", "$share/x", "$share//a", "none", strings.Repeat("x/", shard.MaxSubjectDepth)}})
	p.expect("UNSUBACK 1 [143 143 143 143 17 143]")
	p.send(&packet.Subscribe{ID: 2, Filters: []packet.Subscription{{Filter: "a#"}}})
	p.expect("SUBACK 2 [143]")
	old := b.connect(clean(4, "old"))
	old.send(&packet.Unsubscribe{ID: 1, Filters: []string{"a#"}})
	old.expect("UNSUBACK 1 []")
}

// TestFailedReceiptOfNothing: PUBREC with a failure ends a message, known or not.
func TestFailedReceiptOfNothing(t *testing.T) {
	b := newBed(t, bedOptions{})
	p := b.connect(clean(5, "p"))
	p.send(&packet.Ack{Kind: packet.PUBREC, ID: 7, Code: packet.UnspecifiedError}, &packet.Ack{Kind: packet.PUBREC, ID: 8}, &packet.Ping{Kind: packet.PINGREQ})
	p.expect("PUBREL 8 0x92", "PINGRESP")
}

// TestMalformedConnect: who sends a CONNECT of MQTT 5 that is wrong is told why;
// earlier versions have no word for it.
func TestMalformedConnect(t *testing.T) {
	b := newBed(t, bedOptions{})
	v5 := func(flags byte, rest string) string {
		return "\x00\x04MQTT\x05" + string(flags) + "\x00\x00" + rest
	}
	whole := func(body string) []byte { return append([]byte{0x10, byte(len(body))}, body...) }
	for _, c := range []struct {
		what string
		raw  []byte
		code uint8
	}{
		{"reserved flag", whole(v5(3, "\x00\x00\x01a")), 0x81},
		{"will QoS 3", whole(v5(0x1e, "\x00\x00\x01a\x00\x00\x01w\x00\x00")), 0x81},
		{"will flags without a will", whole(v5(0x22, "\x00\x00\x01a")), 0x81},
		{"ends in the client identifier", whole(v5(2, "\x00\x00\x09a")), 0x81},
		{"ends after the flags", whole("\x00\x04MQTT\x05\x02"), 0x81},
		{"ends after the version", whole("\x00\x04MQTT\x05"), 0x81},
		{"client identifier is not UTF-8", whole(v5(2, "\x00\x00\x02\xff\xfe")), 0x81},
		{"bytes after the end", whole(v5(2, "\x00\x00\x01ax")), 0x81},
		{"unknown property", whole(v5(2, "\x02\x7f\x00\x00\x01a")), 0x81},
		{"property twice", whole(v5(2, "\x0a\x21\x00\x01\x21\x00\x01\x11\x00\x00\x00\x00\x00\x01a")), 0x82},
		{"receive maximum 0", whole(v5(2, "\x03\x21\x00\x00\x00\x01a")), 0x82},
		{"another protocol", whole("\x00\x04MQXX\x05\x02\x00\x00\x00\x00\x01a"), 0x84},
		{"client identifier is too long", (&packet.Connect{Version: 5, CleanStart: true, ClientID: strings.Repeat("x", 60000)}).Append(nil, 5), 0x85},
		{"flags of the fixed header", append([]byte{0x11}, whole(v5(2, "\x00\x00\x01a"))[1:]...), 0x81},
		{"too large", append([]byte("\x10\xff\xff\xff\x7f"), v5(2, "\x00\x00\x01a")...), 0x95},
	} {
		p := b.dial(5)
		go func() { _, _ = p.nc.Write(c.raw) }()
		k, err := p.next(5e9)
		if err != nil {
			t.Errorf("%s: no answer: %v", c.what, err)
			continue
		}
		if got := show(k); got != fmt.Sprintf("CONNACK false 0x%02x", c.code) {
			t.Errorf("%s: %s, want 0x%02x", c.what, got, c.code)
		}
		p.ended()
	}
	for _, v := range []byte{3, 4} {
		name := map[byte]string{3: "\x00\x06MQIsdp", 4: "\x00\x04MQTT"}[v]
		p := b.dial(packet.Version(v))
		p.raw(whole(name + string(v) + "\x03\x00\x00\x00\x01a"))
		p.ended()
	}
}

// TestDupAfterKill: what may have been delivered by a process that was killed comes
// with DUP; what came after it does not.
func TestDupAfterKill(t *testing.T) {
	b := newBed(t, bedOptions{})
	s := b.connect(kept(4, "s"))
	s.subscribe("t", 1)
	p := b.connect(clean(4, "p"))
	p.publish("t", "one", 1, 1)
	p.expect("PUBACK 1")
	s.expect(`PUBLISH t "one" q1 id1`)
	b.kill()
	b = startBed(t, b.mem.Crash(), bedOptions{})
	s = b.connect(kept(4, "s")).present(true)
	m, ok := s.read().(*packet.Publish)
	if !ok || string(m.Payload) != "one" || !m.Dup {
		t.Fatalf("got %s", show(m))
	}
	p = b.connect(clean(4, "p"))
	p.publish("t", "two", 1, 1)
	p.expect("PUBACK 1")
	if m, ok = s.read().(*packet.Publish); !ok || string(m.Payload) != "two" || m.Dup {
		t.Fatalf("got %s", show(m))
	}
}
