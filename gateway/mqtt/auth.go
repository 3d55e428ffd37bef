package mqtt

import (
	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
)

// exchange is the enhanced authentication of a connection (4.12): SCRAM, with the
// credentials that Kafka's clients use.
type exchange struct {
	method  string          // of the CONNECT; "" without one
	scram   *gateway.Scram  // nil while no exchange is under way
	connect *packet.Connect // waits for its CONNACK; nil when authenticating again
}

// beginAuth starts the exchange that a CONNECT asks for. The user is whom it
// proves: user name and password of the CONNECT are not looked at.
func (c *client) beginAuth(p *packet.Connect, method string) error {
	c.exchange = exchange{method: method, connect: p}
	return c.restartAuth(p.Props)
}

// restartAuth starts an exchange with the client's first message, asking for it
// where the properties hold none.
func (c *client) restartAuth(ps packet.Props) error {
	x := &c.exchange
	var ok bool
	if x.scram, ok = c.srv.env.Auth.Scram(x.method); !ok { // [MQTT-4.12.0-1]
		return protocolError(packet.BadAuthenticationMethod, "authentication method is not supported")
	}
	if data, ok := ps.Find(packet.PropAuthData); ok {
		return c.stepAuth(data.Data)
	}
	c.control(&packet.Auth{Code: packet.ContinueAuthentication, Props: x.props(nil)})
	return nil
}

// handleAuth goes on with an exchange, or starts one anew [MQTT-4.12.1-1].
func (c *client) handleAuth(p *packet.Auth) error {
	x := &c.exchange
	switch {
	case x.method == "": // [MQTT-4.12.0-6]
		return protocolError(packet.ProtocolError, "AUTH without an authentication method in CONNECT")
	case p.Props.Str(packet.PropAuthMethod) != x.method: // [MQTT-4.12.0-5]
		return protocolError(packet.ProtocolError, "AUTH with another authentication method than CONNECT")
	case p.Code == packet.ReAuthenticate && c.connected && x.scram == nil:
		return c.restartAuth(p.Props)
	case p.Code == packet.ContinueAuthentication && x.scram != nil: // [MQTT-4.12.0-3]
		data, _ := p.Props.Find(packet.PropAuthData)
		return c.stepAuth(data.Data)
	}
	return protocolError(packet.ProtocolError, "AUTH that no exchange waits for")
}

// stepAuth takes the client's next message, and lets it in with the last one.
func (c *client) stepAuth(data []byte) error {
	x := &c.exchange
	answer, who, done, err := x.scram.Step(c.nc.RemoteAddr(), data)
	if err == nil && done && c.connected && who.Name != c.who.Name {
		err = gateway.ErrBadCredentials // whose session this is does not change
	}
	switch {
	case err != nil: // [MQTT-4.12.0-4] [MQTT-4.12.1-2]
		c.srv.env.Stats.AuthFailures.Add(1)
		return protocolError(packet.NotAuthorized, err.Error())
	case !done: // [MQTT-4.12.0-2]
		c.control(&packet.Auth{Code: packet.ContinueAuthentication, Props: x.props(answer)})
		return nil
	}
	p := x.connect
	x.scram, x.connect = nil, nil
	if p == nil {
		c.control(&packet.Auth{Code: packet.Success, Props: x.props(answer)})
		return nil
	}
	c.who = who
	return c.enter(p, &packet.Connack{Props: x.props(answer)})
}

// mayAuth tells whether a packet may come before the CONNACK of an exchange
// [MQTT-3.1.2-30].
func (c *client) mayAuth(t packet.Type) bool {
	return c.exchange.connect != nil && (t == packet.AUTH || t == packet.DISCONNECT)
}

// props names the method in what is sent [MQTT-4.12.0-5].
func (x *exchange) props(data []byte) packet.Props {
	ps := packet.Props(nil).AddStr(packet.PropAuthMethod, x.method)
	if data != nil {
		ps = ps.AddData(packet.PropAuthData, data)
	}
	return ps
}
