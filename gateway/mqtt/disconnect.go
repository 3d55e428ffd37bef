package mqtt

import "github.com/robustmq/robustmq-go/gateway/mqtt/packet"

// handleDisconnect ends the connection as the client wishes.
func (c *client) handleDisconnect(p *packet.Disconnect) error {
	if v, ok := p.Props.Find(packet.PropSessionExpiry); ok {
		if c.expiry == 0 && v.Num != 0 { // 3.14.2.2.2
			return protocolError(packet.ProtocolError, "session expiry cannot be raised from 0")
		}
		c.expiry = c.srv.cfg.boundExpiry(v.Num)
	}
	if p.Code == packet.Success { // [MQTT-3.14.4-3]
		c.will = nil
	}
	return errLeft
}
