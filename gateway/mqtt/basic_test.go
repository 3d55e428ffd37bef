package mqtt

import (
	"testing"

	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
)

func TestPublishQoSToLive(t *testing.T) {
	eachVersion(t, func(t *testing.T, v packet.Version) {
		b := newBed(t, bedOptions{})
		sub := b.connect(clean(v, "sub"))
		sub.subscribe("a/+/c", 0)
		pub := b.connect(clean(v, "pub"))
		pub.publish("a/b/c", "zero", 0, 0)
		sub.expect(`PUBLISH a/b/c "zero" q0`)
		pub.publish("a/b/c", "one", 1, 5)
		pub.expect("PUBACK 5")
		sub.expect(`PUBLISH a/b/c "one" q0`)
		pub.publish("a/b/c", "two", 2, 6)
		pub.expect("PUBREC 6")
		pub.publish("a/b/c", "two", 2, 6, func(p *packet.Publish) { p.Dup = true })
		pub.expect("PUBREC 6")
		pub.send(&packet.Ack{Kind: packet.PUBREL, ID: 6})
		pub.expect("PUBCOMP 6")
		sub.expect(`PUBLISH a/b/c "two" q0`)
		sub.quiet()
		pub.send(&packet.Ping{Kind: packet.PINGREQ})
		pub.expect("PINGRESP")
		pub.bye()
		sub.bye()
	})
}
