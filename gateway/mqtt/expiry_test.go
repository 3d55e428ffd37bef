package mqtt

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
)

// restedGroups lets everything else of a group happen after each SetData.
type restedGroups struct{ shard.Groups }

type restedGroup struct{ shard.Group }

func (gs restedGroups) Get(name string) (shard.Group, error) {
	g, err := gs.Groups.Get(name)
	return restedGroup{g}, err
}

func (g restedGroup) SetData(ctx context.Context, data []byte, expireAfter time.Duration) error {
	defer synctest.Wait()
	return g.Group.SetData(ctx, data, expireAfter)
}

// TestShorterSessionExpiryKeepsWhatWaits: the session expiry of the connection
// that ended decides whether the session lives; that of the next one counts from
// its own end on [MQTT-3.1.2-23].
func TestShorterSessionExpiryKeepsWhatWaits(t *testing.T) {
	expiring := func(secs uint32) *packet.Connect {
		c := &packet.Connect{Version: 5, ClientID: "s"}
		c.Props = c.Props.AddNum(packet.PropSessionExpiry, secs)
		return c
	}
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprint("restart ", restart), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opts := bedOptions{broker: func(br *shard.Broker) { br.Groups = restedGroups{br.Groups} }}
				b := newBed(t, opts)
				s := b.connect(expiring(60))
				s.subscribe("t", 1)
				s.close()
				p := b.connect(clean(5, "p"))
				for i := range 5 {
					p.publish("t", fmt.Sprint(i), 1, uint16(i+1))
					p.expect(fmt.Sprint("PUBACK ", i+1))
				}
				if restart {
					b.crash()
					b = b.restart(opts)
				}
				time.Sleep(30 * time.Second)
				s = b.connect(expiring(2)).present(true)
				for i := range 5 {
					s.expect(fmt.Sprintf("PUBLISH t \"%d\" q1 id%d", i, i+1))
				}
				s.close()
				time.Sleep(time.Second)
				s = b.connect(expiring(2)).present(true) // and it still has what was not acknowledged
				for i := range 5 {
					s.expect(fmt.Sprintf("PUBLISH t \"%d\" q1 id%d dup", i, i+1))
				}
				s.close()
				time.Sleep(3 * time.Second)
				b.connect(expiring(2)).present(false)
			})
		})
	}
}
