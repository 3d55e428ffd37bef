package mqtt

import (
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

// present fails unless the CONNACK said so of the session.
func (p *peer) present(want bool) *peer {
	p.t.Helper()
	if p.v != packet.V31 && p.ack.SessionPresent != want { // [MQTT-3.2.2-2] [MQTT-3.2.2-3]
		p.t.Fatalf("session present: %v", p.ack.SessionPresent)
	}
	return p
}

// TestOffline: a persistent session gets on return what came meanwhile.
func TestOffline(t *testing.T) {
	eachVersion(t, func(t *testing.T, v packet.Version) {
		b := newBed(t, bedOptions{})
		s := b.connect(kept(v, "s")).present(false)
		s.subscribe("one/#", 1)
		s.subscribe("two", 2)
		s.subscribe("zero", 0)
		s.bye()
		p := b.connect(clean(v, "p"))
		for i, topic := range []string{"one/a", "two", "one/b"} {
			p.publish(topic, fmt.Sprint(i), 2, uint16(i+1))
			p.finishPublish(2, uint16(i+1))
		}
		s = b.connect(kept(v, "s")).present(true)
		got := make(map[string]bool)
		for range 3 {
			k, ok := s.read().(*packet.Publish)
			if !ok {
				t.Fatal(show(k))
			}
			got[fmt.Sprintf("%s %s q%d", k.Topic, k.Payload, k.QoS)] = true
			s.finishReceive(k)
		}
		if !got["one/a 0 q1"] || !got["two 1 q2"] || !got["one/b 2 q1"] {
			t.Fatal(got)
		}
		p.publish("zero", "live again", 0, 0)
		s.expect(`PUBLISH zero "live again" q0`)
		s.bye()
		s = b.connect(kept(v, "s")).present(true)
		s.quiet()
		s.bye()
		s = b.connect(clean(v, "s")).present(false) // [MQTT-3.1.2-4]
		p.publish("two", "x", 1, 9)
		p.expect("PUBACK 9")
		s.quiet()
		s.bye()
		b.connect(kept(v, "s")).present(false).bye()
	})
}

// unfinished leaves two messages at each QoS in various states and tells what a
// new connection has to see.
func unfinished(b *bed, v packet.Version) []string {
	s := b.connect(kept(v, "s")).present(false)
	s.subscribe("q1", 1)
	s.subscribe("q2", 2)
	p := b.connect(clean(v, "p"))
	for i := range 3 {
		p.publish("q1", fmt.Sprint("a", i), 1, uint16(10+i))
		p.finishPublish(1, uint16(10+i))
		s.read()
		p.publish("q2", fmt.Sprint("b", i), 2, uint16(20+i))
		p.finishPublish(2, uint16(20+i))
		s.read()
	}
	s.send(&packet.Ack{Kind: packet.PUBACK, ID: 1}) // a0 is done
	s.send(&packet.Ack{Kind: packet.PUBREC, ID: 2}) // b0 waits for PUBCOMP
	s.expect("PUBREL 2")
	s.send(&packet.Ack{Kind: packet.PUBREC, ID: 4}) // b1 is done
	s.expect("PUBREL 4")
	s.send(&packet.Ack{Kind: packet.PUBCOMP, ID: 4}, &packet.Ping{Kind: packet.PINGREQ})
	s.expect("PINGRESP")
	p.bye()
	return []string{"PUBREL 2", `PUBLISH q1 "a1" q1 id3 dup`, `PUBLISH q1 "a2" q1 id5 dup`, `PUBLISH q2 "b2" q2 id6 dup`}
}

// sees fails unless exactly these packets come, in any order but by topic.
func (p *peer) sees(want []string) {
	p.t.Helper()
	missing := make(map[string]bool)
	for _, w := range want {
		missing[w] = true
	}
	for range want {
		k := show(p.read())
		if !missing[k] {
			p.t.Fatalf("unexpected %s; missing %v", k, missing)
		}
		delete(missing, k)
	}
	p.quiet()
}

// TestResend: after a reconnect, unacknowledged messages come again with DUP and
// their packet identifiers, and PUBREL likewise [MQTT-4.4.0-1].
func TestResend(t *testing.T) {
	eachVersion(t, func(t *testing.T, v packet.Version) {
		b := newBed(t, bedOptions{})
		want := unfinished(b, v)
		for range 2 {
			s := func() *peer {
				b.srv.mu.Lock()
				old := b.srv.mu.clients["s"]
				b.srv.mu.Unlock()
				if old != nil {
					old.nc.Close()
					<-old.done
				}
				return b.connect(kept(v, "s")).present(true)
			}()
			s.sees(want)
		}
		s := b.connect2(kept(v, "s"))
		s.sees(want)
		s.send(&packet.Ack{Kind: packet.PUBCOMP, ID: 2}, &packet.Ack{Kind: packet.PUBACK, ID: 3}, &packet.Ack{Kind: packet.PUBACK, ID: 5},
			&packet.Ack{Kind: packet.PUBREC, ID: 6})
		s.expect("PUBREL 6")
		s.send(&packet.Ack{Kind: packet.PUBCOMP, ID: 6}, &packet.Ping{Kind: packet.PINGREQ})
		s.expect("PINGRESP")
		s.bye()
		s = b.connect(kept(v, "s")).present(true)
		s.quiet()
	})
}

// connect2 takes a session over from a connection that still lives.
func (b *bed) connect2(c *packet.Connect) *peer {
	b.t.Helper()
	b.srv.mu.Lock()
	old := b.srv.mu.clients[c.ClientID]
	b.srv.mu.Unlock()
	if old != nil {
		old.nc.Close()
	}
	return b.connect(c)
}

// TestResendAfterCrash is TestResend over a crash of the broker. At QoS 1 the
// packet identifier may be new: the client cannot tell.
func TestResendAfterCrash(t *testing.T) {
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		b := newBed(t, bedOptions{})
		unfinished(b, v)
		if err := b.mem.Settle(b.ctx); err != nil {
			t.Fatal(err)
		}
		time.Sleep(400 * time.Millisecond) // cursors are written behind
		b.crash()
		b = b.restart(bedOptions{})
		s := b.connect(kept(v, "s")).present(true)
		got := make(map[string]bool)
		for len(got) < 5 {
			switch k := s.read().(type) {
			case *packet.Publish:
				if !k.Dup {
					t.Errorf("DUP is not set: %s", show(k))
				}
				got[fmt.Sprintf("%s %d", k.Payload, int(k.ID)*int(k.QoS/2))] = true
			case *packet.Ack:
				got[show(k)] = true
				if k.ID == 4 {
					s.send(&packet.Ack{Kind: packet.PUBCOMP, ID: 4})
				}
			default:
				t.Fatal(show(k))
			}
		}
		// PUBREL 4 is outdated, and harmless: the note that it was done is
		// written late.
		for _, w := range []string{"PUBREL 2", "PUBREL 4", "a1 0", "a2 0", "b2 6"} {
			if !got[w] {
				t.Errorf("%s is missing in %v", w, got)
			}
		}
		s.quiet()
		p := b.connect(clean(v, "p"))
		p.publish("q2", "after", 2, 1)
		p.finishPublish(2, 1)
		k, ok := s.read().(*packet.Publish)
		if !ok || string(k.Payload) != "after" || k.Dup || k.ID == 2 || k.ID == 6 {
			t.Fatal(show(k))
		}
		s.bye()
		s = b.connect(kept(v, "s")).present(true)
		for range 5 {
			if k := show(s.read()); k == "PUBREL 4" {
				t.Fatal("PUBREL of what is done comes again")
			}
		}
	}
}

// TestIncomingQoS2OverReconnect: a QoS 2 message sent again after a reconnect,
// or after a crash, is stored once [MQTT-4.3.3-10].
func TestIncomingQoS2(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprint("crash ", crash), func(t *testing.T) {
			b := newBed(t, bedOptions{})
			p := b.connect(kept(5, "p"))
			again := func() {
				if !crash {
					p.close()
				} else {
					b.crash()
					b = b.restart(bedOptions{})
				}
				p = b.connect(kept(5, "p")).present(true)
			}
			dup := func(k *packet.Publish) { k.Dup = true }
			p.publish("t", "m", 2, 7)
			p.expect("PUBREC 7")
			again()
			p.publish("t", "m", 2, 7, dup)
			p.expect("PUBREC 7")
			again()
			p.send(&packet.Ack{Kind: packet.PUBREL, ID: 7})
			p.expect("PUBCOMP 7")
			again()
			p.send(&packet.Ack{Kind: packet.PUBREL, ID: 7})
			p.expect("PUBCOMP 7 0x92")
			p.publish("t", "next", 2, 7)
			p.expect("PUBREC 7")
			if rs := b.stored("t"); len(rs) != 2 {
				t.Fatalf("%d records", len(rs))
			}
			p.close()
		})
	}
}

// TestIncomingQoS2FateUnknown: the process died before it noted that the append
// had succeeded; whether it had is looked up, however long ago that was.
func TestIncomingQoS2FateUnknown(t *testing.T) {
	for _, appended := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var fail atomic.Bool
			b := newBed(t, bedOptions{mem: shardmem.Options{FailAppend: func(shard.ID, *shard.Batch, shard.AppendOptions) error {
				if fail.Load() {
					return shard.ErrClosed
				}
				return nil
			}}})
			other := b.connect(clean(4, "other"))
			other.publish("t", "before", 1, 1)
			other.expect("PUBACK 1")
			b.state.lose = func(ops []shard.StateOp) bool { return strings.Contains(string(ops[0].Value), `"r":true`) }
			fail.Store(!appended)
			p := b.connect(kept(5, "p"))
			p.publish("t", "m", 2, 7)
			p.read()
			fail.Store(false)
			other.publish("t", "after", 1, 2)
			other.expect("PUBACK 2")
			b.crash()
			time.Sleep(time.Hour / 2)
			b = b.restart(bedOptions{})
			p = b.connect(kept(5, "p")).present(true)
			p.publish("t", "m", 2, 7, func(k *packet.Publish) { k.Dup = appended }) // some clients forget DUP
			p.expect("PUBREC 7")
			p.send(&packet.Ack{Kind: packet.PUBREL, ID: 7})
			p.expect("PUBCOMP 7")
			p.publish("t", "m", 2, 7)
			p.expect("PUBREC 7")
			if n := len(b.stored("t")); n != 4 {
				t.Fatalf("appended %v: %d records", appended, n)
			}
			p.bye()
		})
	}
}

func TestSessionExpiry(t *testing.T) { // [MQTT-3.1.2-23]
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, bedOptions{config: func(c *Config) { c.MaxSessionExpiry = 0 }})
		s := b.connect(kept(5, "s"))
		s.subscribe("t", 1)
		s.bye()
		time.Sleep(59 * time.Minute)
		b.connect(kept(5, "s")).present(true).bye()
		time.Sleep(61 * time.Minute)
		if n := b.srv.disconnected(); n != 0 {
			t.Fatalf("%d sessions", n)
		}
		owners, err := b.mem.Broker().State.Owners(b.ctx, "mqtt/")
		if err != nil || len(owners) != 0 {
			t.Fatalf("state is left over: %q %v", owners, err)
		}
		if gs := b.mem.Broker().Groups.List("mqtt/"); len(gs) != 0 {
			t.Fatalf("groups are left over: %d", len(gs))
		}
		s = b.connect(kept(5, "s")).present(false)
		s.send(&packet.Disconnect{Props: packet.Props(nil).AddNum(packet.PropSessionExpiry, 10)}) // shorter
		s.ended()
		time.Sleep(11 * time.Second)
		b.connect(kept(5, "s")).present(false).bye()
		three := b.connect(kept(4, "three"))
		three.bye()
		time.Sleep(1000 * time.Hour)
		b.connect(kept(4, "three")).present(true).bye()
	})
}

// TestSessionExpiryOverRestart: a session's time goes on while no process runs.
func TestSessionExpiryOverRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, bedOptions{})
		for _, id := range []string{"a", "b"} {
			s := b.connect(kept(5, id))
			s.subscribe("t", 1)
			s.bye()
		}
		b.crash()
		time.Sleep(30 * time.Minute)
		b = b.restart(bedOptions{})
		b.connect(kept(5, "a")).present(true).bye()
		time.Sleep(31 * time.Minute)
		b.connect(kept(5, "b")).present(false).bye()
	})
}

func TestMaxSessionExpiry(t *testing.T) {
	b := newBed(t, bedOptions{config: func(c *Config) { c.MaxSessionExpiry = time.Minute }})
	p := b.connect(kept(5, "s"))
	if got := p.ack.Props.Num(packet.PropSessionExpiry, 0); got != 60 {
		t.Fatalf("session expiry %d", got)
	}
}

// TestTakeoverKeepsSession: a second connection gets what the first did not
// acknowledge.
func TestTakeoverKeepsSession(t *testing.T) {
	eachVersion(t, func(t *testing.T, v packet.Version) {
		b := newBed(t, bedOptions{})
		first := b.connect(kept(v, "s"))
		first.subscribe("t", 1)
		p := b.connect(clean(v, "p"))
		p.publish("t", "m", 1, 1)
		p.expect("PUBACK 1")
		first.expect(`PUBLISH t "m" q1 id1`)
		go discard(first.nc)
		second := b.connect(kept(v, "s")).present(true)
		second.expect(`PUBLISH t "m" q1 id1 dup`)
		second.send(&packet.Ack{Kind: packet.PUBACK, ID: 1})
		second.bye()
	})
}

// TestRetainedUnackedIsResent: a retained message has no group; it survives a
// reconnect all the same.
func TestRetainedUnackedIsResent(t *testing.T) {
	b := newBed(t, bedOptions{})
	p := b.connect(clean(5, "p"))
	p.publish("r", "x", 1, 1, retained)
	p.expect("PUBACK 1")
	s := b.connect(kept(5, "s"))
	s.subscribe("r", 1)
	s.expect(`PUBLISH r "x" q1 id1 retain`)
	s.bye()
	s = b.connect(kept(5, "s")).present(true)
	s.expect(`PUBLISH r "x" q1 id1 dup retain`)
	s.send(&packet.Ack{Kind: packet.PUBACK, ID: 1})
	s.bye()
	s = b.connect(kept(5, "s")).present(true)
	s.quiet()
}

func TestListSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, bedOptions{config: func(c *Config) { c.MaxSessionExpiry = 0 }})
		s := b.connect(kept(5, "b"))
		s.subscribe("t", 1)
		s.subscribe("u", 0)
		s.bye()
		left := time.Now()
		three := b.connect(kept(4, "a"))
		three.bye()
		time.Sleep(time.Minute)
		on := b.connect(kept(4, "c"))
		on.subscribe("t", 0)
		got, err := b.srv.ListSessions(b.ctx)
		if err != nil {
			t.Fatal(err)
		}
		want := []gateway.SessionInfo{
			{ID: "a", Left: left, Group: sessionPrefix + "a"},
			{ID: "b", Left: left, Expires: left.Add(time.Hour), Subscriptions: 2, Group: sessionPrefix + "b"},
			{ID: "c", Connected: true, Subscriptions: 1, Group: sessionPrefix + "c"},
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("got  %v\nwant %v", got, want)
		}
		on.bye()
	})
}

// FuzzSessionState feeds the values of a session's state.
func FuzzSessionState(f *testing.F) {
	f.Add("meta", []byte(`{"expiry":60,"left":5,"v":5}`))
	f.Add("sub/a/#", []byte(`{"o":45,"i":7}`))
	f.Add("sub/$share/g/a", []byte(`{"o":1}`))
	f.Add("in/7", []byte(`{"d":"x","r":true,"s":[1,2,3],"t":4}`))
	f.Add("out/9", []byte(`{"q":1,"s":[1,2,3]}`))
	f.Add("out/9", []byte(`{"q":2,"m":"AAAA","t":"a"}`))
	f.Add("out/9", []byte(`{"q":2,"r":true}`))
	f.Add("will", []byte(`{"topic":"w","qos":1,"payload":"eA==","delay":3}`))
	f.Fuzz(func(t *testing.T, key string, data []byte) {
		c := &client{}
		if err := c.loadKey(key, data); err != nil {
			return
		}
		for id, e := range c.session.out.byID {
			k := e.kept(true)
			d := &client{}
			if err := d.loadKey(idKey(keyOut, id), put("x", k).Value); err != nil {
				t.Fatalf("%+v is not read back: %v", k, err)
			}
		}
		for _, sb := range c.session.subs {
			if again, err := newSub(sb.filter, sb.opts.Options(), sb.id); err != nil || again.name != sb.name {
				t.Fatalf("%q: %v", sb.filter, err)
			}
		}
		if w, err := parseWill(data); err == nil && !validTopic(w.Topic) {
			t.Fatal("will with an invalid topic")
		}
	})
}
