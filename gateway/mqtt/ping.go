package mqtt

import "github.com/robustmq/robustmq-go/gateway/mqtt/packet"

// handlePing answers PINGREQ [MQTT-3.12.4-1].
func (c *client) handlePing(p *packet.Ping) error {
	if p.Kind != packet.PINGREQ {
		return protocolError(packet.ProtocolError, "PINGRESP came from a client")
	}
	c.control(&packet.Ping{Kind: packet.PINGRESP})
	return nil
}
