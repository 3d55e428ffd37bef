package mqtt

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
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

// TestFailedConnectKeepsTheTime: a CONNECT that the store fails does not stop the
// time of the session that it would have resumed, nor that of its will.
func TestFailedConnectKeepsTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failing atomic.Bool
		b := newBed(t, bedOptions{mem: shardmem.Options{FailState: func(owner string) error {
			if failing.Load() && owner == sessionPrefix+"s" {
				return shard.Errorf(shard.KindUnavailable, "no store")
			}
			return nil
		}}})
		watch := b.connect(clean(5, "watch"))
		watch.subscribe("w", 0)
		c := kept(5, "s")
		c.Will = &packet.Will{Topic: "w", Payload: []byte("gone"), Props: packet.Props(nil).AddNum(packet.PropWillDelay, 60)}
		b.connect(c).close()
		time.Sleep(30 * time.Second)
		failing.Store(true)
		p := b.dial(5)
		p.send(kept(5, "s"))
		if k, ok := p.read().(*packet.Connack); !ok || !k.Code.Failed() {
			t.Fatalf("got %v", show(k))
		}
		p.ended()
		failing.Store(false)
		time.Sleep(31 * time.Second)
		watch.expect(`PUBLISH w "gone" q0`)
		time.Sleep(time.Hour)
		if owners, err := b.mem.Broker().State.Owners(b.ctx, sessionPrefix); err != nil || len(owners) != 0 {
			t.Fatalf("sessions are left over: %q %v", owners, err)
		}
	})
}
