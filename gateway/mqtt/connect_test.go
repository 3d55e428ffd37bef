package mqtt

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// user is an account for the in-memory broker.
func user(t testing.TB, name, password string) shard.User {
	t.Helper()
	u, err := gateway.NewUser(name, password)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestConnect holds CONNECTs against the CONNACK they get, "" for none.
func TestConnect(t *testing.T) {
	b := newBed(t, bedOptions{
		mem: shardmem.Options{
			Users: []shard.User{user(t, "ann", "secret")},
			ACLs:  []shard.ACL{{Principal: "*", Resource: "subject", Filter: "open.>", Operation: shard.OpAll}},
		},
	})
	login := func(v packet.Version, name, password string) *packet.Connect {
		return &packet.Connect{Version: v, CleanStart: true, ClientID: "c", HasUser: true, User: name, HasPassword: true, Password: []byte(password)}
	}
	with := func(c *packet.Connect, f func(*packet.Connect)) *packet.Connect { f(c); return c }
	will := func(topic string) func(*packet.Connect) {
		return func(c *packet.Connect) { c.Will = &packet.Will{Topic: topic, Payload: []byte("x")} }
	}
	for _, c := range []struct {
		name string
		in   *packet.Connect
		want string // prefix
	}{
		{"anonymous 3.1", clean(3, "a"), "CONNACK false 0x00"},
		{"anonymous 3.1.1", clean(4, "a"), "CONNACK false 0x00"},
		{"anonymous 5", clean(5, "a"), "CONNACK false 0x00 33:4096 39:16777216 34:64"},
		{"password 3.1.1", login(4, "ann", "secret"), "CONNACK false 0x00"},
		{"password 5", login(5, "ann", "secret"), "CONNACK false 0x00"},
		{"wrong password 3.1.1", login(4, "ann", "wrong"), "CONNACK false 0x04"},
		{"wrong password 5", login(5, "ann", "wrong"), "CONNACK false 0x86"},
		{"unknown user 5", login(5, "bob", "secret"), "CONNACK false 0x86"},
		{"no client id 3.1", clean(3, ""), "CONNACK false 0x02"},
		{"no client id 3.1.1", clean(4, ""), "CONNACK false 0x00"},
		{"no client id, kept 3.1.1 [MQTT-3.1.3-8]", kept(4, ""), "CONNACK false 0x02"},
		{"no client id 5 [MQTT-3.1.3-6]", clean(5, ""), "CONNACK false 0x00 18:auto-"},
		{"long client id", clean(5, strings.Repeat("x", 1025)), "CONNACK false 0x85"},
		{"auth method [MQTT-4.12.0-1]", with(clean(5, "a"), func(c *packet.Connect) { c.Props = c.Props.AddStr(packet.PropAuthMethod, "SCRAM") }), "CONNACK false 0x8c"},
		{"response information [MQTT-3.1.2-28]", with(clean(5, "a/b"), func(c *packet.Connect) { c.Props = c.Props.AddNum(packet.PropRequestResponseInfo, 1) }),
			"CONNACK false 0x00 33:4096 39:16777216 34:64 26:response/a_b/"},
		{"will", with(clean(5, "a"), will("open/w")), "CONNACK false 0x00"},
		{"will not allowed 5", with(clean(5, "a"), will("closed/w")), "CONNACK false 0x87"},
		{"will not allowed 3.1.1", with(clean(4, "a"), will("closed/w")), "CONNACK false 0x05"},
		{"will with a wildcard 5", with(clean(5, "a"), will("open/#")), "CONNACK false 0x90"},
		{"will with a wildcard 3.1.1", with(clean(4, "a"), will("open/+")), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := b.dial(c.in.Version)
			p.t = t
			p.send(c.in)
			if c.want == "" {
				p.ended()
				return
			}
			got := show(p.read())
			if !strings.HasPrefix(got, c.want) {
				t.Fatalf("got %s, want %s...", got, c.want)
			}
			if !strings.HasPrefix(c.want, "CONNACK false 0x00") { // [MQTT-3.2.2-7]
				p.ended()
				return
			}
			p.bye()
		})
	}
}

func TestConnectUnsupportedLevel(t *testing.T) {
	b := newBed(t, bedOptions{})
	p := b.dial(packet.V5)
	p.raw([]byte("\x10\x0c\x00\x04MQTT\x06\x02\x00\x00\x00\x00"))
	p.v = packet.V311 // the server cannot answer in a level it does not know
	p.expect("CONNACK false 0x01")
	p.ended()
	p = b.dial(packet.V311)
	p.raw([]byte("\x10\x0c\x00\x04MQTT\x02\x02\x00\x00\x00\x00"))
	p.expect("CONNACK false 0x01")
	p.ended()
}

func TestAnonymousOff(t *testing.T) {
	b := newBed(t, bedOptions{auth: gateway.AuthConfig{AnonymousOff: true}})
	for _, v := range versions {
		p := b.dial(v)
		p.send(clean(v, "a"))
		if v == packet.V5 {
			p.expect("CONNACK false 0x87")
		} else {
			p.expect("CONNACK false 0x05")
		}
		p.ended()
	}
}

// TestViolations sends bytes after a CONNECT and holds what ends the connection
// against the reason.
func TestViolations(t *testing.T) {
	b := newBed(t, bedOptions{config: func(c *Config) { c.ReceiveMaximum = 2; c.MaxPacketSize = 2048 }})
	alias := func(n uint32) packet.Packet {
		return &packet.Publish{Topic: []byte("a"), Props: packet.Props(nil).AddNum(packet.PropTopicAlias, n)}
	}
	for _, c := range []struct {
		name string
		send packet.Packet
		want string
	}{
		{"second CONNECT [MQTT-3.1.0-2]", clean(5, "x"), "DISCONNECT 0x82"},
		{"CONNACK", &packet.Connack{}, "DISCONNECT 0x82"},
		{"SUBACK", &packet.Suback{ID: 1, Codes: []packet.Code{0}}, "DISCONNECT 0x82"},
		{"PINGRESP", &packet.Ping{Kind: packet.PINGRESP}, "DISCONNECT 0x82"},
		{"AUTH [MQTT-4.12.0-6]", &packet.Auth{Code: 0x18, Props: packet.Props(nil).AddStr(packet.PropAuthMethod, "x")}, "DISCONNECT 0x82"},
		{"wildcard topic [MQTT-3.3.2-2]", &packet.Publish{Topic: []byte("a/#")}, "DISCONNECT 0x90"},
		{"alias 0 [MQTT-3.3.2-8]", alias(0), "DISCONNECT 0x94"},
		{"alias too large [MQTT-3.3.2-9]", alias(65), "DISCONNECT 0x94"},
		{"alias unknown", &packet.Publish{Props: packet.Props(nil).AddNum(packet.PropTopicAlias, 3)}, "DISCONNECT 0x82"},
		{"subscription identifier [MQTT-3.3.4-6]", &packet.Publish{Topic: []byte("a"), Props: packet.Props(nil).AddNum(packet.PropSubscriptionID, 3)}, "DISCONNECT 0x82"},
		{"response topic [MQTT-3.3.2-14]", &packet.Publish{Topic: []byte("a"), Props: packet.Props(nil).AddStr(packet.PropResponseTopic, "a/+")}, "DISCONNECT 0x82"},
		{"no-local share [MQTT-3.8.3-4]", &packet.Subscribe{ID: 1, Filters: []packet.Subscription{{Filter: "$share/a/b", NoLocal: true}}}, "DISCONNECT 0x82"},
		{"expiry raised from 0", &packet.Disconnect{Props: packet.Props(nil).AddNum(packet.PropSessionExpiry, 9)}, "DISCONNECT 0x82"},
		{"packet too large [MQTT-3.2.2-15]", rawPacket("\x30\x80\x20"), "DISCONNECT 0x95"},
		{"malformed", rawPacket("\x82\x03\x00\x01\x00\x00"), "DISCONNECT 0x82"},
		{"reserved flags [MQTT-2.1.3-1]", rawPacket("\xc1\x00"), "DISCONNECT 0x81"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := b.connect(clean(5, "v"))
			p.t = t
			p.send(c.send)
			p.expect(c.want)
			p.ended()
		})
	}
	t.Run("3.1.1 just closes", func(t *testing.T) {
		p := b.connect(clean(4, "v"))
		p.send(clean(4, "v"))
		p.ended()
	})
	t.Run("not CONNECT first [MQTT-3.1.0-1]", func(t *testing.T) {
		p := b.dial(5)
		p.send(&packet.Ping{Kind: packet.PINGREQ})
		p.ended()
	})
}

// rawPacket is bytes that pass for a packet.
type rawPacket string

func (r rawPacket) Type() packet.Type                          { return packet.Type(r[0] >> 4) }
func (r rawPacket) Append(dst []byte, _ packet.Version) []byte { return append(dst, r...) }

func TestReceiveMaximumOfServer(t *testing.T) { // [MQTT-3.3.4-7]
	b := newBed(t, bedOptions{config: func(c *Config) { c.ReceiveMaximum = 2 }})
	p := b.connect(clean(5, "v"))
	p.publish("a", "1", 2, 1)
	p.expect("PUBREC 1")
	p.publish("a", "2", 2, 2)
	p.expect("PUBREC 2")
	p.send(&packet.Ack{Kind: packet.PUBREL, ID: 1})
	p.expect("PUBCOMP 1")
	p.publish("a", "3", 2, 3)
	p.expect("PUBREC 3")
	p.publish("a", "4", 1, 4)
	p.expect("DISCONNECT 0x93")
	p.ended()
}

func TestTakeover(t *testing.T) { // [MQTT-3.1.4-3]
	eachVersion(t, func(t *testing.T, v packet.Version) {
		b := newBed(t, bedOptions{})
		first := b.connect(clean(v, "same"))
		second := make(chan *peer)
		go func() { second <- b.connect(clean(v, "same")) }()
		if v == packet.V5 {
			first.expect("DISCONNECT 0x8e")
		}
		first.ended()
		p := <-second
		p.send(&packet.Ping{Kind: packet.PINGREQ})
		p.expect("PINGRESP")
		p.bye()
	})
}

// TestTakeoverBeforeConnack: who loses its client identifier while it still waits
// for it is told nothing, for DISCONNECT must not come before CONNACK
// [MQTT-3.14.0-1].
func TestTakeoverBeforeConnack(t *testing.T) {
	b := newBed(t, bedOptions{})
	holder := func() *client {
		b.srv.mu.Lock()
		defer b.srv.mu.Unlock()
		return b.srv.mu.clients["same"]
	}
	first := b.connect(clean(5, "same")) // which does not read, so that others wait for it
	was := holder()
	second := b.dial(5)
	second.send(clean(5, "same"))
	for holder() == was {
		time.Sleep(time.Millisecond)
	}
	third := b.dial(5)
	third.send(clean(5, "same"))
	if k, err := second.next(5 * time.Second); err == nil || isTimeout(err) {
		t.Fatalf("got %v, %v", k, err)
	}
	first.expect("DISCONNECT 0x8e")
	first.ended()
	if k, ok := third.read().(*packet.Connack); !ok || k.Code != packet.Success {
		t.Fatalf("got %v", k)
	}
	third.bye()
}

func TestKeepAlive(t *testing.T) { // [MQTT-3.1.2-22]
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, bedOptions{})
		c := clean(5, "k")
		c.KeepAlive = 10
		p := b.connect(c)
		for range 5 {
			time.Sleep(14 * time.Second)
			p.send(&packet.Ping{Kind: packet.PINGREQ})
			p.expect("PINGRESP")
		}
		start := time.Now()
		k, err := p.next(time.Hour)
		if err != nil || show(k) != "DISCONNECT 0x8d" {
			t.Fatalf("%v %v", k, err)
		}
		if d := time.Since(start); d != 15*time.Second {
			t.Fatalf("ended after %v", d)
		}
		p.ended()
	})
}

func TestNoKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, bedOptions{})
		p := b.connect(clean(4, "k"))
		time.Sleep(24 * time.Hour)
		p.send(&packet.Ping{Kind: packet.PINGREQ})
		p.expect("PINGRESP")
		p.bye()
	})
}

func TestServerKeepAlive(t *testing.T) { // [MQTT-3.2.2-21]
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, bedOptions{config: func(c *Config) { c.MaxKeepAlive = 20 * time.Second }})
		p := b.connect(clean(5, "k"))
		if got := p.ack.Props.Num(packet.PropServerKeepAlive, 0); got != 20 {
			t.Fatalf("server keep alive %d", got)
		}
		k, err := p.next(30*time.Second + time.Millisecond)
		if err != nil || show(k) != "DISCONNECT 0x8d" {
			t.Fatalf("%v %v", k, err)
		}
		p.ended()
	})
}

func TestDrain(t *testing.T) {
	for _, c := range []struct {
		name  string
		nodes []shard.Node
		want  string
	}{
		{"alone", []shard.Node{{ID: 1}}, "DISCONNECT 0x8b"},
		{"another node", []shard.Node{{ID: 1}, {ID: 2, Addresses: map[string]string{"mqtt": "b:1883"}}}, "DISCONNECT 0x9c b:1883"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, bedOptions{broker: func(b *shard.Broker) { b.Cluster = fleet{b.Cluster, c.nodes} }})
			p5, p4 := b.connect(clean(5, "a")), b.connect(clean(4, "b"))
			done := make(chan struct{})
			go func() {
				defer close(done)
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				defer cancel()
				b.srv.Drain(ctx)
			}()
			p5.expect(c.want)
			p5.ended()
			p4.ended()
			<-done
			p := b.dial(5)
			p.send(clean(5, "late"))
			p.expect("CONNACK false 0x88")
			p.ended()
		})
	}
}

// fleet is a cluster of several nodes.
type fleet struct {
	shard.Cluster
	nodes []shard.Node
}

func (f fleet) Nodes() []shard.Node { return f.nodes }
func (f fleet) Self() shard.Node    { return f.nodes[0] }

// TestReasonStrings: version 5 clients are told why, unless they do not ask.
func TestReasonStrings(t *testing.T) {
	b := newBed(t, bedOptions{})
	p := b.connect(clean(5, "p"))
	p.publish("$SYS/x", "m", 1, 1)
	if a := p.read().(*packet.Ack); a.Props.Str(packet.PropReasonString) == "" {
		t.Error("PUBACK gives no reason")
	}
	p.send(&packet.Subscribe{ID: 1, Filters: []packet.Subscription{{Filter: "a#"}}})
	if a := p.read().(*packet.Suback); a.Props.Str(packet.PropReasonString) == "" {
		t.Error("SUBACK gives no reason")
	}
	p.send(clean(5, "p"))
	if d := p.read().(*packet.Disconnect); d.Props.Str(packet.PropReasonString) == "" {
		t.Error("DISCONNECT gives no reason")
	}
	c := clean(5, "q")
	c.Props = c.Props.AddNum(packet.PropRequestProblemInfo, 0)
	q := b.connect(c)
	q.publish("$SYS/x", "m", 1, 1)
	if a := q.read().(*packet.Ack); len(a.Props) != 0 { // [MQTT-3.1.2-29]
		t.Error("PUBACK gives a reason unasked")
	}
}

// TestAnswersNotTaken: a client that asks and does not read is not read either.
func TestAnswersNotTaken(t *testing.T) {
	b := newBed(t, bedOptions{config: func(c *Config) { c.WriteTimeout = 300 * time.Millisecond }})
	p := b.connect(clean(4, "p"))
	pings := make([]byte, 0, 64<<10)
	for len(pings) < cap(pings) {
		pings = append(pings, 0xc0, 0)
	}
	sent := 0
	for range 1000 {
		_ = p.nc.SetWriteDeadline(time.Now().Add(5 * time.Second))
		n, err := p.nc.Write(pings)
		sent += n
		if err != nil {
			break
		}
	}
	if sent > 4<<20 {
		t.Fatalf("%d bytes of PINGREQ were read", sent)
	}
	<-p.done
}

// TestPrefixesOfConversation cuts a conversation everywhere; the server has to
// let go of each, and serve the next.
func TestPrefixesOfConversation(t *testing.T) {
	b := newBed(t, bedOptions{})
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		var conv []byte
		c := clean(v, "cut")
		c.Will = &packet.Will{Topic: "w", Payload: []byte("bye"), QoS: 1}
		for _, k := range []packet.Packet{c,
			&packet.Subscribe{ID: 1, Filters: []packet.Subscription{{Filter: "x/#"}}},
			&packet.Publish{Topic: []byte("x/y"), QoS: 2, ID: 3, Payload: []byte("hello"), Retain: true},
			&packet.Ack{Kind: packet.PUBREL, ID: 3},
			&packet.Unsubscribe{ID: 2, Filters: []string{"x/#"}},
			&packet.Ping{Kind: packet.PINGREQ},
			&packet.Disconnect{},
		} {
			conv = k.Append(conv, v)
		}
		for cut := range len(conv) + 1 {
			p := b.dial(v)
			go discard(p.nc)
			_, _ = p.nc.Write(conv[:cut])
			p.close()
		}
	}
}

func discard(c net.Conn) {
	b := make([]byte, 4096)
	for {
		if _, err := c.Read(b); err != nil {
			return
		}
	}
}
