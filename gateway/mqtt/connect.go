package mqtt

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
)

// noExpiry is the session expiry interval that means never.
const noExpiry = 0xffffffff

// boundExpiry applies the configured bound to a session expiry in seconds.
func (cfg *Config) boundExpiry(secs uint32) uint32 {
	if m := uint32(cfg.MaxSessionExpiry / time.Second); m > 0 && secs > m {
		return m
	}
	return secs
}

// handleConnect logs the client in, or begins the exchange that does [MQTT-3.1.4-2].
func (c *client) handleConnect(p *packet.Connect) error {
	if c.connected || c.exchange.connect != nil { // [MQTT-3.1.0-2]
		return c.refused(protocolError(packet.ProtocolError, "second CONNECT"))
	}
	c.v = p.Version
	c.maxPacketOut = int(p.Props.Num(packet.PropMaximumPacketSize, 0)) // of CONNACK too [MQTT-3.1.2-24]
	if len(p.ClientID) > c.srv.cfg.MaxClientIDBytes {                  // [MQTT-3.1.3-8]
		return c.refused(protocolError(packet.ClientIDNotValid, "client identifier is too long"))
	}
	if method, ok := p.Props.Find(packet.PropAuthMethod); ok {
		return c.refused(c.beginAuth(p, string(method.Data)))
	}
	return c.refused(c.admit(p))
}

// refused answers a CONNECT that err ends with CONNACK.
func (c *client) refused(err error) error {
	if err != nil && !c.connected {
		c.refuse(c.v, err)
	}
	return err
}

// admit takes the client for the user of its CONNECT.
func (c *client) admit(p *packet.Connect) error {
	if err := c.logIn(p); err != nil {
		c.srv.env.Stats.AuthFailures.Add(1)
		return err
	}
	return c.enter(p, &packet.Connack{})
}

// enter takes the session over and answers CONNACK; who the client is is known.
func (c *client) enter(p *packet.Connect, ack *packet.Connack) error {
	if err := c.identify(p, ack); err != nil {
		return err
	}
	if err := c.openSession(p, ack); err != nil {
		return err
	}
	c.nc.Authenticated(c.who, c.id) // before the client knows: who looks then finds it
	c.answer(p, ack)
	c.connected = true
	if c.keepAlive == 0 {
		_ = c.nc.SetReadDeadline(time.Time{})
	}
	return c.resumeSession()
}

// identify settles the client identifier and the will.
func (c *client) identify(p *packet.Connect, ack *packet.Connack) error {
	c.id = p.ClientID
	if c.id == "" {
		if p.Version < packet.V5 && !p.CleanStart || p.Version == packet.V31 { // MQTT 3.1.1 [MQTT-3.1.3-8]
			return protocolError(packet.ClientIDNotValid, "client identifier is empty")
		}
		c.id = "auto-" + rand.Text() // [MQTT-3.1.3-6] [MQTT-3.2.2-16]
		ack.Props = ack.Props.AddStr(packet.PropAssignedClientID, c.id)
	}
	c.sessionOwner = sessionPrefix + c.id
	return c.takeWill(p)
}

// logIn authenticates by user name and password, without them by the client's
// certificate, or admits an anonymous client.
func (c *client) logIn(p *packet.Connect) (err error) {
	remote := c.nc.RemoteAddr()
	if !p.HasUser {
		var ok bool
		if c.who, ok = c.srv.env.Auth.Certificate(remote, c.nc.TLS); !ok {
			c.who, err = c.srv.env.Auth.Anonymous(remote)
		}
	} else {
		c.who, err = c.srv.env.Auth.Password(c.ctx, remote, p.User, string(p.Password))
	}
	if err == nil {
		return nil
	}
	if p.HasUser && shard.KindOf(err) == shard.KindDenied {
		return protocolError(packet.BadUserNameOrPassword, err.Error())
	}
	return protocolError(packet.NotAuthorized, err.Error())
}

// refuse answers CONNACK with a reason; nothing follows it [MQTT-3.2.2-7].
func (c *client) refuse(v packet.Version, err error) {
	code := codeFor(packet.CONNACK, err)
	c.v = min(max(v, packet.V31), packet.V5)
	c.linger.Store(true)
	if c.v >= packet.V5 && v <= packet.V5 {
		c.finish(c.fitting(&packet.Connack{Code: code, Props: addReason(nil, err.Error())}, &packet.Connack{Code: code}))
		return
	}
	if rc, ok := code.Connect3(); ok {
		c.finish((&packet.Connack{Code: packet.Code(rc)}).Append(nil, packet.V311))
		return
	}
	c.finish(nil)
}

// refuseUnread answers a CONNECT of which no more is known than its version.
func (c *client) refuseUnread(b []byte, err error) {
	if c.connected || c.exchange.connect != nil || packet.Type(b[0]>>4) != packet.CONNECT {
		return
	}
	if _, n, e := packet.DecodeHeader(append([]byte{byte(packet.CONNECT) << 4}, b[1:min(len(b), 8)]...)); e == nil && n > 0 {
		if v, ok := packet.ConnectVersion(b[n:]); ok {
			c.refuse(v, err)
		}
	}
}

// answer settles what both sides may do and queues the CONNACK.
func (c *client) answer(p *packet.Connect, ack *packet.Connack) {
	cfg := &c.srv.cfg
	ka := time.Duration(p.KeepAlive) * time.Second
	c.problemInfo = p.Props.Num(packet.PropRequestProblemInfo, 1) == 1
	c.aliasMax = uint16(min(p.Props.Num(packet.PropTopicAliasMaximum, 0), uint32(cfg.TopicAliasMaximum)))
	limit := min(int(p.Props.Num(packet.PropReceiveMaximum, 65535)), cfg.MaxInflight) // [MQTT-3.3.4-9]
	c.window.SetLimit(limit)
	if c.v >= packet.V5 {
		ps := ack.Props
		if asked := p.Props.Num(packet.PropSessionExpiry, 0); asked != c.expiry {
			ps = ps.AddNum(packet.PropSessionExpiry, c.expiry)
		}
		if cfg.MaxKeepAlive > 0 && (ka == 0 || ka > cfg.MaxKeepAlive) { // [MQTT-3.2.2-21]
			ka = cfg.MaxKeepAlive
			ps = ps.AddNum(packet.PropServerKeepAlive, uint32(ka/time.Second))
		}
		ps = ps.AddNum(packet.PropReceiveMaximum, uint32(cfg.ReceiveMaximum))
		ps = ps.AddNum(packet.PropMaximumPacketSize, uint32(cfg.MaxPacketSize))
		if cfg.TopicAliasMaximum > 0 {
			ps = ps.AddNum(packet.PropTopicAliasMaximum, uint32(cfg.TopicAliasMaximum))
		}
		ack.Props = ps
		if p.Props.Num(packet.PropRequestResponseInfo, 0) == 1 && cfg.ResponseInformation != "" { // [MQTT-3.1.2-28]
			ps = ps.AddStr(packet.PropResponseInfo, cfg.ResponseInformation+strings.ReplaceAll(c.id, "/", "_")+"/")
			if full := (&packet.Connack{Props: ps}); !c.tooLarge(len(full.Append(nil, c.v))) {
				ack.Props = ps
			}
		}
	}
	if c.v == packet.V31 {
		ack.SessionPresent = false
	}
	c.keepAlive = ka + ka/2
	c.control(ack)
}

// openSession takes the client identifier over and finds or makes its session.
func (c *client) openSession(p *packet.Connect, ack *packet.Connack) error {
	c.window = shard.NewWindow(1)
	if err := c.srv.claim(c); err != nil {
		return err
	}
	if err := c.srv.env.Auth.Join(c.nc, c.who); err != nil { // after a takeover, which frees a place
		c.srv.env.Stats.Refused.Add(1)
		return protocolError(packet.QuotaExceeded, err.Error())
	}
	ctx, cancel := context.WithTimeout(c.ctx, sessionTimeout)
	defer cancel()
	if c.v >= packet.V5 {
		c.expiry = c.srv.cfg.boundExpiry(p.Props.Num(packet.PropSessionExpiry, 0))
	} else if !p.CleanStart {
		c.expiry = c.srv.cfg.boundExpiry(noExpiry)
	}
	present, err := c.loadSession(ctx, p.CleanStart)
	if err != nil {
		return err
	}
	ack.SessionPresent = present // [MQTT-3.2.2-2] [MQTT-3.2.2-3]
	return c.saveMeta(ctx)
}

// sessionTimeout bounds what a CONNECT waits for the store.
const sessionTimeout = 20 * time.Second

// allowed asks the access rules.
func (c *client) allowed(op shard.Operation, subject string) bool {
	return c.srv.env.Auth.Allowed(c.who, c.nc.RemoteAddr(), op, gateway.ResourceSubject, subject)
}
