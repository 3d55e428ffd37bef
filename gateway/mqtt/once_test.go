package mqtt

import (
	"fmt"
	"strings"
	"testing"

	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
)

// TestReleasedBeforeGivenAgain: PUBCOMP comes while the window keeps the group from
// giving the message again; it is not sent anew to a later connection
// [MQTT-4.3.3-7].
func TestReleasedBeforeGivenAgain(t *testing.T) {
	b := newBed(t, bedOptions{})
	narrow := kept(5, "s")
	narrow.Props = narrow.Props.AddNum(packet.PropReceiveMaximum, 1)
	s := b.connect(kept(5, "s"))
	s.subscribe("t", 2)
	p := b.connect(clean(5, "p"))
	for i := range 3 {
		p.publish("t", fmt.Sprint(i), 1, uint16(i+1))
		p.expect(fmt.Sprintf("PUBACK %d", i+1))
	}
	s.expect(`PUBLISH t "0" q1 id1`, `PUBLISH t "1" q1 id2`, `PUBLISH t "2" q1 id3`)
	s.send(&packet.Ack{Kind: packet.PUBACK, ID: 1}, &packet.Ack{Kind: packet.PUBACK, ID: 2}, &packet.Ack{Kind: packet.PUBACK, ID: 3})
	for i := range 3 {
		p.publish("t", fmt.Sprint(i), 2, uint16(i+1))
		p.finishPublish(2, uint16(i+1))
	}
	s.expect(`PUBLISH t "0" q2 id4`, `PUBLISH t "1" q2 id5`, `PUBLISH t "2" q2 id6`)
	s.send(&packet.Ack{Kind: packet.PUBREC, ID: 5}, &packet.Ack{Kind: packet.PUBREC, ID: 6})
	s.expect("PUBREL 5", "PUBREL 6")
	s.close()
	for range 2 { // 0 fills the window; 1 and 2 are finished, and are not given again
		s = b.connect(narrow).present(true)
		if k := show(s.read()); k == "PUBREL 5" {
			s.expect("PUBREL 6")
			s.send(&packet.Ack{Kind: packet.PUBCOMP, ID: 5}, &packet.Ack{Kind: packet.PUBCOMP, ID: 6})
			s.expect(`PUBLISH t "0" q2 id4 dup`)
		} else if k != `PUBLISH t "0" q2 id4 dup` {
			t.Fatal(k)
		}
		s.send(&packet.Ping{Kind: packet.PINGREQ})
		s.expect("PINGRESP")
		s.bye()
	}
	s = b.connect(narrow).present(true)
	s.expect(`PUBLISH t "0" q2 id4 dup`)
	s.send(&packet.Ack{Kind: packet.PUBREC, ID: 4})
	s.expect("PUBREL 4")
	s.send(&packet.Ack{Kind: packet.PUBCOMP, ID: 4})
	s.quiet()
	s.bye()
	owners, err := b.mem.Broker().State.Owners(b.ctx, "mqtt/session/")
	if err != nil || len(owners) != 1 {
		t.Fatal(owners, err)
	}
	_ = b.mem.Broker().State.Range(b.ctx, owners[0], keyOut, func(key string, _ shard.StateValue) bool {
		t.Errorf("%s is left over", key)
		return true
	})
}

// TestIncomingQoS2ReleasedAfterCrash: PUBREC went out, the note of it was lost
// with the process. PUBREL says that the client had it, so the packet identifier
// is free, for a message of the same payload too [MQTT-4.3.3-12].
func TestIncomingQoS2ReleasedAfterCrash(t *testing.T) {
	b := newBed(t, bedOptions{})
	b.state.lose = func(ops []shard.StateOp) bool { return strings.Contains(string(ops[0].Value), `"r":true`) }
	p := b.connect(kept(5, "p"))
	p.publish("t", "on", 2, 1)
	p.expect("PUBREC 1")
	b.crash()
	b = b.restart(bedOptions{})
	p = b.connect(kept(5, "p")).present(true)
	p.send(&packet.Ack{Kind: packet.PUBREL, ID: 1})
	p.expect("PUBCOMP 1")
	p.publish("t", "on", 2, 1)
	p.expect("PUBREC 1")
	if n := len(b.stored("t")); n != 2 {
		t.Fatalf("%d records", n)
	}
}
