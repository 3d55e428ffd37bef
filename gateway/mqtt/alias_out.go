package mqtt

import "github.com/robustmq/robustmq-go/gateway/mqtt/packet"

// aliasRoom is what a topic alias may add to a packet.
func aliasRoom(aliasMax uint16) int {
	if aliasMax > 0 {
		return 4
	}
	return 0
}

// useAlias replaces a topic that was sent before by its alias [MQTT-3.3.2-11].
func (c *client) useAlias(p *packet.Publish, topic string) {
	if a, ok := c.aliases[topic]; ok {
		p.Topic = nil
		p.Props = p.Props.AddNum(packet.PropTopicAlias, uint32(a))
	} else if len(c.aliases) < int(c.aliasMax) && len(topic) > 3 {
		if c.aliases == nil {
			c.aliases = make(map[string]uint16)
		}
		a := uint16(len(c.aliases) + 1)
		c.aliases[topic] = a
		p.Props = p.Props.AddNum(packet.PropTopicAlias, uint32(a))
	}
	c.encProps = p.Props
}
