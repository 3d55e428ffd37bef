package amqp

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// gatheringTopics makes topics once five are asked for at a time.
type gatheringTopics struct {
	shard.Topics
	mu    sync.Mutex
	cond  sync.Cond
	asked int
}

func (g *gatheringTopics) Resolve(ctx context.Context, subject string, create bool) (*shard.Topic, error) {
	if create {
		g.mu.Lock()
		g.asked++
		g.cond.Broadcast()
		for g.asked < 5 {
			g.cond.Wait()
		}
		g.mu.Unlock()
	}
	return g.Topics.Resolve(ctx, subject, create)
}

// TestFirstUsesTogether: the topics that one read uses for the first time are made
// together, by the default exchange and by amq.topic.
func TestFirstUsesTogether(t *testing.T) {
	g := &gatheringTopics{}
	g.cond.L = &g.mu
	s := startServer(t, testOptions{broker: func(b *shard.Broker) { g.Topics, b.Topics = b.Topics, g }})
	c := open(t, s)
	c.confirms(1)
	var b []byte
	for i := range 20 {
		b = publishFrames(b, 1, []string{"", "amq.topic"}[i%2], fmt.Sprint("first.", i), frame.Properties{}, []byte("x"), false)
	}
	c.write(b)
	for done := uint64(0); done < 20; {
		done = expectEvent[*frame.BasicAck](c, 1).method.(*frame.BasicAck).DeliveryTag
	}
	for i := range 20 {
		if r := lastRecord(t, s, fmt.Sprint("first.", i)); string(r.Value) != "x" {
			t.Errorf("first.%d holds %q", i, r.Value)
		}
	}
}
