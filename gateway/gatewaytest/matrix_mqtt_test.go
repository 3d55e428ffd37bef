package gatewaytest

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
)

// mqttVerbs are the packets of the protocol that clients send.
func mqttVerbs(*testing.T) (names []string) {
	servers := map[packet.Type]bool{packet.CONNACK: true, packet.SUBACK: true, packet.UNSUBACK: true, packet.PINGRESP: true}
	for t := packet.Type(1); t < 16; t++ {
		if !servers[t] {
			names = append(names, t.String())
		}
	}
	return names
}

func (w *wire) packets(ps ...packet.Packet) {
	var b []byte
	for _, p := range ps {
		b = p.Append(b, packet.V5)
	}
	_, _ = w.Write(b)
}

// packet reads one packet; nil when the connection ends.
func (w *wire) packet() packet.Packet {
	var b []byte
	for {
		h, n, err := packet.DecodeHeader(b)
		if err != nil {
			return nil
		}
		if n > 0 {
			body := make([]byte, h.Len)
			if _, err := io.ReadFull(w.r, body); err != nil {
				return nil
			}
			p, err := packet.Decode(h, body, packet.V5)
			if err != nil {
				return nil
			}
			return p
		}
		c, err := w.r.ReadByte()
		if err != nil {
			return nil
		}
		b = append(b, c)
	}
}

// connect logs in by CONNECT and gives its answer.
func (c *cell) connect(w *wire, user string, k *packet.Connect) *packet.Connack {
	k.Version = packet.V5
	if user != "" {
		k.HasUser, k.User, k.HasPassword, k.Password = true, user, true, []byte(password)
	}
	w.packets(k)
	ack, ok := w.packet().(*packet.Connack)
	if !ok {
		return &packet.Connack{Code: packet.UnspecifiedError}
	}
	return ack
}

func mqttRows() protocolRows {
	p := protocolRows{name: "mqtt", verbs: mqttVerbs, free: []string{"PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "UNSUBSCRIBE", "PINGREQ", "DISCONNECT"}}
	p.rows = []row{
		{verb: "CONNECT", object: "own credentials, or none", early: true, try: func(c *cell) string { return outcome(c.wire("mqtt5") != nil) }},
		{verb: "CONNECT", object: "own session", try: session(true)},
		{verb: "CONNECT", object: "another's session, with a denied subscription", try: session(false)},
		{verb: "CONNECT", object: "will on own subject", try: will("own")},
		{verb: "CONNECT", object: "will on a denied subject", try: will("den")},
		{verb: "AUTH", object: "own credentials, by SCRAM", early: true, try: authSCRAM},
	}
	for _, o := range []struct {
		object  string
		subject func(c *cell) string
	}{
		{"own topic", func(c *cell) string { return c.name("own") }},
		{"captured topic", func(c *cell) string { return captured(c) + ".ok" }},
		{"denied topic", func(c *cell) string { return c.name("den") }},
		{"denied topic that own topic captures", func(c *cell) string { return captured(c) + ".den" }},
		{"denied topic that is relayed", func(c *cell) string { return c.name("_INBOX") }},
	} {
		for _, retain := range []bool{false, true} {
			r := row{verb: "PUBLISH", object: o.object, try: func(c *cell) string {
				topic := strings.ReplaceAll(o.subject(c), ".", "/")
				w := c.wire("mqtt5")
				w.packets(&packet.Publish{Topic: []byte(topic), Payload: []byte("x"), QoS: 1, ID: 1, Retain: retain})
				ack, ok := w.packet().(*packet.Ack)
				return outcome(ok && ack.Code != packet.NotAuthorized)
			}}
			if retain {
				r.object += ", retained"
			}
			p.rows = append(p.rows, r)
		}
	}
	for _, s := range []struct{ object, kind, share string }{
		{"own topics", "own", ""}, {"denied topics", "den", ""}, {"topics of which one is denied", "mix", ""},
		{"own topics, shared", "own", "$share/g/"}, {"topics of which one is denied, shared", "mix", "$share/g/"},
	} {
		for qos := range uint8(2) {
			p.rows = append(p.rows, row{verb: "SUBSCRIBE", object: fmt.Sprintf("%s, QoS %d", s.object, qos), try: subscribed(s.kind, s.share, qos)})
		}
	}
	p.rows = append(p.rows, row{verb: "SUBSCRIBE", object: "retained messages of which one is denied", try: retainedSeen})
	return p
}

// mqttRoot is a connection of the superuser that publishes.
func (c *cell) mqttRoot() *wire {
	w := c.h.dial("mqtt5", nil)
	c.connect(w, "root", &packet.Connect{ClientID: fmt.Sprintf("root-%d", c.n), CleanStart: true})
	return w
}

func (w *wire) publishMQTT(topics ...string) {
	for i, t := range topics {
		w.packets(&packet.Publish{Topic: []byte(t), Payload: []byte("x"), QoS: 1, ID: uint16(i + 1)})
		w.packet()
	}
}

// seen reads messages until one of topic ok, and tells whether one of topic den came.
func (w *wire) seen(ok, den string) string {
	got := inPart
	for {
		m, is := w.packet().(*packet.Publish)
		switch {
		case !is:
			return "closed"
		case string(m.Topic) == den:
			got = yes
		case string(m.Topic) == ok:
			return got
		}
	}
}

func subscribed(kind, share string, qos uint8) func(c *cell) string {
	return func(c *cell) string {
		at := strings.ReplaceAll(c.name(kind), ".", "/")
		root, w := c.mqttRoot(), c.wire("mqtt5")
		w.packets(&packet.Subscribe{ID: 1, Filters: []packet.Subscription{{Filter: share + at + "/#", QoS: qos}}})
		ack, ok := w.packet().(*packet.Suback)
		if !ok || ack.Codes[0] == packet.NotAuthorized {
			return no
		}
		root.publishMQTT(at+"/den", at+"/ok")
		return w.seen(at+"/ok", at+"/den")
	}
}

func retainedSeen(c *cell) string {
	at := strings.ReplaceAll(c.name("mix"), ".", "/")
	root, w := c.mqttRoot(), c.wire("mqtt5")
	for i, topic := range []string{"/den", "/ok"} {
		root.packets(&packet.Publish{Topic: []byte(at + topic), Payload: []byte("x"), QoS: 1, ID: uint16(i + 1), Retain: true})
		root.packet()
	}
	w.packets(&packet.Subscribe{ID: 1, Filters: []packet.Subscription{{Filter: at + "/#"}}})
	ack, ok := w.packet().(*packet.Suback)
	if !ok || ack.Codes[0] == packet.NotAuthorized {
		return no
	}
	// What is retained for a second subscription comes after all that is for the first.
	w.packets(&packet.Subscribe{ID: 2, Filters: []packet.Subscription{{Filter: at + "/ok"}}})
	got := inPart
	for seen := 0; seen < 2; {
		m, is := w.packet().(*packet.Publish)
		if !is {
			continue
		}
		if string(m.Topic) == at+"/den" {
			got = yes
		}
		if string(m.Topic) == at+"/ok" {
			seen++
		}
	}
	return got
}

// session tells whether a session goes on for who connects by its client identifier.
func session(own bool) func(c *cell) string {
	return func(c *cell) string {
		id, filter, owner := c.name("session"), "den/#", "root"
		if own {
			owner, filter = c.who.user, "own/#"
		}
		expiry := packet.Props(nil).AddNum(packet.PropSessionExpiry, 1000)
		w := c.h.dial("mqtt5", nil)
		c.connect(w, owner, &packet.Connect{ClientID: id, CleanStart: true, Props: expiry})
		w.packets(&packet.Subscribe{ID: 1, Filters: []packet.Subscription{{Filter: filter, QoS: 1}}})
		w.packet()
		w.packets(&packet.Disconnect{})
		_, _ = io.Copy(io.Discard, w.r)
		ack := c.connect(c.dial("mqtt5"), c.who.user, &packet.Connect{ClientID: id, Props: expiry})
		if ack.Code != packet.Success {
			return no
		}
		return outcome(ack.SessionPresent)
	}
}

// will tells whether a CONNECT with a will is taken.
func will(kind string) func(c *cell) string {
	return func(c *cell) string {
		topic := strings.ReplaceAll(c.name(kind), ".", "/")
		ack := c.connect(c.dial("mqtt5"), c.who.user, &packet.Connect{ClientID: c.name("will"), CleanStart: true, Will: &packet.Will{Topic: topic, Payload: []byte("gone"), QoS: 1}})
		return outcome(ack.Code == packet.Success)
	}
}

func authSCRAM(c *cell) string {
	if c.who.user == "" {
		return "-"
	}
	client, err := scram.SHA256.NewClient(c.who.user, password, "")
	if err != nil {
		c.t.Fatal(err)
	}
	conv := client.NewConversation()
	first, _ := conv.Step("")
	props := func(data string) packet.Props {
		return packet.Props(nil).AddStr(packet.PropAuthMethod, "SCRAM-SHA-256").AddData(packet.PropAuthData, []byte(data))
	}
	w := c.dial("mqtt5")
	w.packets(&packet.Connect{Version: packet.V5, ClientID: c.name("scram"), CleanStart: true, Props: props(first)})
	auth, ok := w.packet().(*packet.Auth)
	if !ok {
		return no
	}
	data, _ := auth.Props.Find(packet.PropAuthData)
	final, err := conv.Step(string(data.Data))
	if err != nil {
		c.t.Fatal(err)
	}
	w.packets(&packet.Auth{Code: packet.ContinueAuthentication, Props: props(final)})
	ack, ok := w.packet().(*packet.Connack)
	return outcome(ok && ack.Code == packet.Success)
}
