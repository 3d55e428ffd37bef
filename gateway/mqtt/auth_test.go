package mqtt

import (
	"strings"
	"testing"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
	"github.com/xdg-go/scram"
)

const scram256 = gateway.MechanismScram256

// prover is the client's side of SCRAM.
type prover struct {
	t      testing.TB
	method string
	conv   *scram.ClientConversation
}

func newProver(t testing.TB, method, user, password string) *prover {
	t.Helper()
	g := scram.SHA256
	if method == gateway.MechanismScram512 {
		g = scram.SHA512
	}
	c, err := g.NewClient(user, password, "")
	if err != nil {
		t.Fatal(err)
	}
	return &prover{t: t, method: method, conv: c.NewConversation()}
}

// next gives the properties that answer the server's.
func (v *prover) next(theirs packet.Props) packet.Props {
	v.t.Helper()
	if len(theirs) > 0 && theirs.Str(packet.PropAuthMethod) != v.method {
		v.t.Fatalf("the method is %q [MQTT-4.12.0-5]", theirs.Str(packet.PropAuthMethod))
	}
	text, err := v.conv.Step(theirs.Str(packet.PropAuthData))
	if err != nil {
		v.t.Fatal(err)
	}
	return packet.Props(nil).AddStr(packet.PropAuthMethod, v.method).AddStr(packet.PropAuthData, text)
}

// TestSessionOfAnotherUser: a client identifier is no credential, so another
// user goes on with a session only where its subscriptions are allowed to them.
func TestSessionOfAnotherUser(t *testing.T) {
	b := newBed(t, bedOptions{mem: shardmem.Options{
		Users: []shard.User{user(t, "ann", "secret"), user(t, "bob", "secret"), user(t, "cid", "secret")},
		ACLs: []shard.ACL{
			{Principal: "ann", Resource: "subject", Filter: ">", Operation: shard.OpAll},
			{Principal: "bob", Resource: "subject", Filter: "open.>", Operation: shard.OpAll},
			{Principal: "cid", Resource: "subject", Filter: ">", Operation: shard.OpAll},
		},
	}})
	as := func(name string, id ...string) *peer {
		k := kept(5, append(id, "device")[0])
		k.HasUser, k.User, k.HasPassword, k.Password = true, name, true, []byte("secret")
		return b.connect(k)
	}
	p := as("ann").present(false)
	p.subscribe("open/#", 1)
	p.subscribe("closed/#", 1)
	as("ann", "other").publish("closed/x", "for ann", 1, 1)
	p.expect(`PUBLISH closed/x "for ann" q1 id1`)
	p.bye()
	p = as("cid").present(true)
	p.expect(`PUBLISH closed/x "for ann" q1 id1 dup`)
	p.bye()
	p = as("bob").present(false)
	p.quiet()
	p.subscribe("open/#", 1)
	p.bye()
	as("ann").present(true).bye()
	as("bob").present(true).bye()
}

// goOn answers the server's AUTH.
func (v *prover) goOn(p *peer) {
	v.t.Helper()
	a, ok := p.read().(*packet.Auth)
	if !ok || a.Code != packet.ContinueAuthentication {
		v.t.Fatalf("got %v, want AUTH 0x18", a)
	}
	p.send(&packet.Auth{Code: packet.ContinueAuthentication, Props: v.next(a.Props)})
}

// letIn reads the CONNACK of success.
func letIn(p *peer) *packet.Connack {
	p.t.Helper()
	k := p.read()
	ack, ok := k.(*packet.Connack)
	if !ok || ack.Code != packet.Success || ack.Props.Str(packet.PropAuthMethod) == "" {
		p.t.Fatalf("got %s, want CONNACK 0x00 with a method", show(k))
	}
	return ack
}

func scramConnect(id string, ps packet.Props) *packet.Connect {
	c := clean(packet.V5, id)
	c.Props = append(c.Props, ps...)
	return c
}

func scramBed(t *testing.T) *bed {
	t.Helper()
	return newBed(t, bedOptions{
		auth: gateway.AuthConfig{AnonymousOff: true},
		mem: shardmem.Options{
			Users: []shard.User{user(t, "ann", "secret"), user(t, "bob", "secret")},
			ACLs:  []shard.ACL{{Principal: "ann", Resource: "subject", Filter: "anns.>", Operation: shard.OpAll}},
		},
	})
}

// TestEnhancedAuthentication logs in by SCRAM and proves itself again while
// messages flow [MQTT-4.12].
func TestEnhancedAuthentication(t *testing.T) {
	b := scramBed(t)
	for _, method := range []string{scram256, gateway.MechanismScram512} {
		p := b.dial(packet.V5)
		v := newProver(t, method, "ann", "secret")
		p.send(scramConnect("c-"+method, v.next(nil)))
		v.goOn(p)
		v.next(letIn(p).Props)
		if !v.conv.Valid() {
			t.Error("the server has proved nothing")
		}
		p.subscribe("anns/x", 1) // who it is shows in the rules
		for range 2 {
			v = newProver(t, method, "ann", "secret")
			p.send(&packet.Auth{Code: packet.ReAuthenticate, Props: v.next(nil)})
			p.publish("anns/x", "between", 0, 0)
			a, ok := p.read().(*packet.Auth)
			if !ok || a.Code != packet.ContinueAuthentication {
				t.Fatalf("got %v, want AUTH 0x18", a)
			}
			p.expect(`PUBLISH anns/x "between" q0`)
			p.send(&packet.Auth{Code: packet.ContinueAuthentication, Props: v.next(a.Props)})
			if a, ok = p.read().(*packet.Auth); !ok || a.Code != packet.Success {
				t.Fatalf("got %v, want AUTH 0x00", a)
			}
			v.next(a.Props)
			if !v.conv.Valid() {
				t.Error("the server has proved nothing")
			}
		}
		p.bye()
	}
}

// TestEnhancedAuthenticationAsked has the server ask for the first message.
func TestEnhancedAuthenticationAsked(t *testing.T) {
	b := scramBed(t)
	p := b.dial(packet.V5)
	p.send(scramConnect("a", packet.Props(nil).AddStr(packet.PropAuthMethod, scram256)))
	v := newProver(t, scram256, "ann", "secret")
	v.goOn(p)
	v.goOn(p)
	letIn(p)
	p.bye()
}

// TestEnhancedAuthenticationRefused holds what is wrong with an exchange before
// its CONNACK against the code.
func TestEnhancedAuthenticationRefused(t *testing.T) {
	b := scramBed(t)
	method := func(m string) packet.Props { return packet.Props(nil).AddStr(packet.PropAuthMethod, m) }
	for _, c := range []struct {
		name string
		talk func(p *peer)
		want string
	}{
		{"unknown method [MQTT-4.12.0-1]", func(p *peer) { p.send(scramConnect("a", method("PLAIN"))) }, "0x8c"},
		{"wrong password [MQTT-4.12.0-4]", func(p *peer) {
			v := newProver(p.t, scram256, "ann", "wrong")
			p.send(scramConnect("a", v.next(nil)))
			v.goOn(p)
		}, "0x87"},
		{"unknown user, not told before the proof", func(p *peer) {
			v := newProver(p.t, scram256, "eve", "secret")
			p.send(scramConnect("a", v.next(nil)))
			v.goOn(p)
		}, "0x87"},
		{"the password of CONNECT proves nothing", func(p *peer) {
			c := scramConnect("a", method(scram256).AddStr(packet.PropAuthData, "n,,n=ann,r="))
			c.HasUser, c.User, c.HasPassword, c.Password = true, "ann", true, []byte("secret")
			p.send(c)
		}, "0x87"},
		{"another method [MQTT-4.12.0-5]", func(p *peer) {
			p.send(scramConnect("a", method(scram256)))
			p.read()
			p.send(&packet.Auth{Code: packet.ContinueAuthentication, Props: method("SCRAM-SHA-512")})
		}, "0x82"},
		{"again before the end", func(p *peer) {
			p.send(scramConnect("a", method(scram256)))
			p.read()
			p.send(&packet.Auth{Code: packet.ReAuthenticate, Props: method(scram256)})
		}, "0x82"},
		{"a second CONNECT [MQTT-3.1.0-2]", func(p *peer) {
			p.send(scramConnect("a", method(scram256)))
			p.read()
			p.send(clean(5, "a"))
		}, "0x82"},
		{"long client identifier", func(p *peer) { p.send(scramConnect(strings.Repeat("x", 1025), method(scram256))) }, "0x85"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := b.dial(packet.V5)
			p.t = t
			c.talk(p)
			if got := show(p.read()); !strings.HasPrefix(got, "CONNACK false "+c.want) {
				t.Fatalf("got %s, want CONNACK false %s", got, c.want)
			}
			p.ended()
		})
	}
	t.Run("a packet before CONNACK [MQTT-3.1.2-30]", func(t *testing.T) {
		p := b.dial(packet.V5)
		p.t = t
		p.send(scramConnect("a", method(scram256)))
		p.read()
		p.send(&packet.Ping{Kind: packet.PINGREQ})
		p.ended()
	})
	t.Run("DISCONNECT before CONNACK", func(t *testing.T) {
		p := b.dial(packet.V5)
		p.t = t
		p.send(scramConnect("a", method(scram256)))
		p.read()
		p.send(&packet.Disconnect{})
		p.ended()
	})
}

// TestReauthenticationRefused ends a connection whose client cannot prove itself
// again [MQTT-4.12.1-2].
func TestReauthenticationRefused(t *testing.T) {
	b := scramBed(t)
	for _, c := range []struct {
		name, method, user, password string
		want                         string
	}{
		{"wrong password", scram256, "ann", "wrong", "DISCONNECT 0x87"},
		{"another user", scram256, "bob", "secret", "DISCONNECT 0x87"},
		{"another method [MQTT-4.12.1-1]", gateway.MechanismScram512, "ann", "secret", "DISCONNECT 0x82"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := b.dial(packet.V5)
			p.t = t
			v := newProver(t, scram256, "ann", "secret")
			p.send(scramConnect("a", v.next(nil)))
			v.goOn(p)
			letIn(p)
			v = newProver(t, c.method, c.user, c.password)
			p.send(&packet.Auth{Code: packet.ReAuthenticate, Props: v.next(nil)})
			if c.method == scram256 {
				v.goOn(p)
			}
			p.expect(c.want)
			p.ended()
		})
	}
	t.Run("nothing to go on with", func(t *testing.T) {
		p := b.dial(packet.V5)
		p.t = t
		v := newProver(t, scram256, "ann", "secret")
		p.send(scramConnect("a", v.next(nil)))
		v.goOn(p)
		letIn(p)
		p.send(&packet.Auth{Code: packet.ContinueAuthentication, Props: packet.Props(nil).AddStr(packet.PropAuthMethod, scram256)})
		p.expect("DISCONNECT 0x82")
		p.ended()
	})
}
