package mqtt

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// gatheringTopics makes topics once so many are asked for at a time.
type gatheringTopics struct {
	shard.Topics
	mu   sync.Mutex
	cond sync.Cond
	n    int
	need int
}

func (g *gatheringTopics) Resolve(ctx context.Context, subject string, create bool) (*shard.Topic, error) {
	if create {
		g.mu.Lock()
		g.n++
		g.cond.Broadcast()
		for g.n < g.need {
			g.cond.Wait()
		}
		g.mu.Unlock()
	}
	return g.Topics.Resolve(ctx, subject, create)
}

// TestFirstUsesTogether: the topics that one read uses for the first time are made
// together, and the messages keep their order. What may not be published makes none.
func TestFirstUsesTogether(t *testing.T) {
	g := &gatheringTopics{need: 8}
	g.cond.L = &g.mu
	b := newBed(t, bedOptions{
		mem:    shardmem.Options{ACLs: []shard.ACL{{Principal: "*", Resource: "subject", Filter: "open.>", Operation: shard.OpAll}}},
		broker: func(b *shard.Broker) { g.Topics, b.Topics = b.Topics, g },
	})
	s := b.connect(clean(5, "s"))
	s.subscribe("open/#", 0)
	p := b.connect(clean(5, "p"))
	const n = 200
	var ps []packet.Packet
	for i := range n {
		topic := fmt.Sprint("open/", i)
		if i%10 == 9 {
			topic = fmt.Sprint("shut/", i)
		}
		ps = append(ps, &packet.Publish{Topic: []byte(topic), Payload: []byte("m"), QoS: 1, ID: uint16(i + 1)})
	}
	go p.send(ps...)
	for i := range n {
		want := fmt.Sprintf("PUBACK %d", i+1)
		if i%10 == 9 {
			want += " 0x87"
		}
		p.expect(want)
	}
	for i := range n {
		if i%10 != 9 {
			s.expect(fmt.Sprintf("PUBLISH open/%d \"m\" q0", i))
		}
	}
	for _, topic := range b.mem.Broker().Topics.List() {
		if topic.Name[:5] != "open." {
			t.Errorf("topic %s was made for nobody", topic.Name)
		}
	}
	one := b.connect(clean(5, "one")) // whom nobody else has to wait for
	one.publish("open/alone", "m", 1, 1)
	if k, err := one.next(5 * time.Second); err != nil || show(k) != "PUBACK 1" {
		t.Errorf("%v %v", k, err)
	}
}
