package mqtt

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
)

func withWill(c *packet.Connect, w packet.Will) *packet.Connect {
	w.Topic, w.Payload = "w/t", []byte("gone")
	c.Will = &w
	return c
}

func delayed(secs uint32) packet.Will {
	return packet.Will{Props: packet.Props(nil).AddNum(packet.PropWillDelay, secs)}
}

func TestWill(t *testing.T) { // [MQTT-3.1.2-8]
	eachVersion(t, func(t *testing.T, v packet.Version) {
		b := newBed(t, bedOptions{})
		s := b.connect(clean(v, "s"))
		s.subscribe("w/#", 0)
		w := packet.Will{QoS: 1, Retain: true}
		if v == packet.V5 {
			w.Props = packet.Props(nil).AddStr(packet.PropContentType, "t").AddUser("k", []byte("v"))
		}
		b.connect(withWill(clean(v, "a"), w)).bye() // [MQTT-3.1.2-10]
		s.quiet()
		b.connect(withWill(clean(v, "a"), w)).close()
		if v == packet.V5 {
			s.expect(`PUBLISH w/t "gone" q0 3:t 38:k=v`)
		} else {
			s.expect(`PUBLISH w/t "gone" q0`)
		}
		late := b.connect(clean(packet.V311, "late"))
		late.subscribe("w/t", 0)
		late.expect(`PUBLISH w/t "gone" q0 retain`)
		p := b.connect(withWill(clean(v, "a"), packet.Will{}))
		go discard(p.nc)
		p.raw([]byte{0xf8, 0}) // malformed
		s.expect(`PUBLISH w/t "gone" q0`)
	})
}

func TestWillOnDisconnectWithWill(t *testing.T) {
	b := newBed(t, bedOptions{})
	s := b.connect(clean(5, "s"))
	s.subscribe("w/#", 0)
	p := b.connect(withWill(clean(5, "a"), packet.Will{}))
	p.send(&packet.Disconnect{Code: packet.DisconnectWithWill})
	p.ended()
	s.expect(`PUBLISH w/t "gone" q0`)
}

func TestWillOnTakeover(t *testing.T) {
	b := newBed(t, bedOptions{})
	s := b.connect(clean(5, "s"))
	s.subscribe("w/#", 0)
	first := b.connect(withWill(clean(5, "a"), packet.Will{}))
	go discard(first.nc)
	b.connect(clean(5, "a"))
	s.expect(`PUBLISH w/t "gone" q0`)
}

// TestWillOfASessionThatEnds: DISCONNECT takes the will back, and else it is
// published once, though the session was written down with it and ends with the
// connection [MQTT-3.1.2-10].
func TestWillOfASessionThatEnds(t *testing.T) {
	b := newBed(t, bedOptions{})
	s := b.connect(clean(5, "s"))
	s.subscribe("w/#", 0)
	ends := func() *packet.Connect {
		p := clean(5, "a")
		p.CleanStart = false
		return withWill(p, packet.Will{})
	}
	b.connect(kept(5, "a")).bye()
	b.connect(ends()).bye()
	s.quiet()

	p := b.connect(withWill(kept(5, "a"), packet.Will{}))
	p.send(&packet.Disconnect{Props: packet.Props(nil).AddNum(packet.PropSessionExpiry, 0)})
	p.ended()
	s.quiet()

	b.connect(kept(5, "a")).bye()
	b.connect(ends()).close()
	s.expect(`PUBLISH w/t "gone" q0`)
	s.quiet()
}

// TestWillDelay: the will waits for the delay or the end of the session,
// whichever is first, and not when the client is back [MQTT-3.1.3-9].
func TestWillDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, bedOptions{})
		s := b.connect(clean(5, "s"))
		s.subscribe("w/#", 0)
		due := func(want time.Duration) {
			t.Helper()
			start := time.Now()
			k, err := s.next(2 * time.Hour)
			if err != nil || show(k) != `PUBLISH w/t "gone" q0` {
				t.Fatalf("%v %v", k, err)
			}
			if d := time.Since(start).Round(time.Second); d != want {
				t.Fatalf("after %v, want %v", d, want)
			}
		}
		b.connect(withWill(kept(5, "a"), delayed(100))).close()
		due(100 * time.Second)
		b.connect(withWill(kept(5, "a"), delayed(7200))).close()
		due(time.Hour) // the session's end

		b.connect(withWill(clean(5, "a"), delayed(100))).close()
		due(0) // the session ended with the connection

		b.connect(withWill(kept(5, "a"), delayed(100))).close()
		time.Sleep(50 * time.Second)
		b.connect(kept(5, "a")).bye() // back in time
		time.Sleep(100 * time.Second)
		s.quiet()

		b.connect(withWill(kept(5, "a"), delayed(100))).close()
		time.Sleep(50 * time.Second)
		p := b.connect(clean(5, "a")) // back, but with another session
		due(0)
		p.bye()
		s.bye()
	})
}

// TestWillSurvivesRestart: a will that waits, and that of a client that was
// connected when the process ended, are published by the next.
func TestWillSurvivesRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, bedOptions{})
		b.connect(withWill(kept(5, "a"), delayed(100))).close()
		b.connect(withWill(kept(5, "b"), delayed(200)))
		start := time.Now()
		time.Sleep(50 * time.Second)
		b.crash()
		b = b.restart(bedOptions{})
		again := time.Since(start)
		s := b.connect(clean(5, "s"))
		s.subscribe("w/#", 0)
		for _, want := range []time.Duration{100 * time.Second, again + 200*time.Second} {
			k, err := s.next(time.Hour)
			if err != nil || show(k) != `PUBLISH w/t "gone" q0` {
				t.Fatalf("%v %v", k, err)
			}
			if d := time.Since(start); (d - want).Abs() > time.Second {
				t.Fatalf("after %v, want %v", d, want)
			}
		}
		s.bye()
	})
}
