package nats

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/robustmq/robustmq-go/shard"
)

// TestAhead: the publishes behind a command are found, whatever lies between.
func TestAhead(t *testing.T) {
	in := "PING\r\nPUB a 3\r\nx\ny\r\nSUB b 1\r\nhpub c r 12 14\r\nNATS/1.0\r\n\r\nzz\r\nPUB d 0\n\nPUB e 5\r\nhalf"
	for cut := range len(in) + 1 {
		p := parser{buf: []byte(in[:cut]), w: cut, maxPayload: 100, maxLine: 100}
		var got []string
		p.ahead(func(c *command) bool {
			got = append(got, string(c.subject)+string(c.reply))
			return true
		})
		if want := []string{"a", "cr", "d", "e"}[:len(got)]; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("cut at %d: %v", cut, got)
		}
		if cut == len(in) && len(got) != 4 {
			t.Fatalf("got %v", got)
		}
	}
}

// countingTopics counts how many topics are asked for at once.
type countingTopics struct {
	shard.Topics
	mu    sync.Mutex
	cond  sync.Cond
	asked int
}

func (c *countingTopics) Resolve(ctx context.Context, subject string, create bool) (*shard.Topic, error) {
	if create {
		c.mu.Lock()
		c.asked++
		c.cond.Broadcast()
		for c.asked < 5 {
			c.cond.Wait()
		}
		c.mu.Unlock()
	}
	return c.Topics.Resolve(ctx, subject, create)
}

// TestFirstUsesTogether: the topics that one read uses for the first time are made
// together; a request makes none.
func TestFirstUsesTogether(t *testing.T) {
	topics := &countingTopics{}
	topics.cond.L = &topics.mu
	b := newBed(t, bedOptions{broker: func(b *shard.Broker) { topics.Topics, b.Topics = b.Topics, topics }})
	c := b.dial(quiet)
	var lines []string
	for i := range 20 {
		lines = append(lines, fmt.Sprintf("PUB first.%d 1", i), "x", fmt.Sprintf("PUB asked.%d re 1", i), "x")
	}
	c.send(strings.Join(lines, "\r\n"))
	c.sync()
	for i := range 20 {
		if rs := b.stored(fmt.Sprint("first.", i)); len(rs) != 1 {
			t.Errorf("%d records in first.%d", len(rs), i)
		}
	}
	if n := len(b.mem.Broker().Topics.List()); n != 20 {
		t.Errorf("%d topics", n)
	}
}
