package amqp

import (
	"fmt"
	"testing"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// The name of a queue that was deleted is 404 until somebody declares it, or a later
// message lies under it: then that is what comes, and nothing that the queue had.
func TestDeletedQueueIsGone(t *testing.T) {
	for _, captured := range []bool{false, true} {
		for _, durable := range []bool{false, true} {
			t.Run(fmt.Sprintf("captured %v, durable %v", captured, durable), func(t *testing.T) {
				s := startServer(t, testOptions{})
				if captured {
					if _, err := s.broker.Topics.Create(t.Context(), shard.Topic{Name: "many", Shards: 3, Captures: []string{"jobs.>"}}); err != nil {
						t.Fatal(err)
					}
				}
				c := open(t, s)
				gone := func() {
					t.Helper()
					for _, m := range []frame.Method{&frame.BasicConsume{Queue: "jobs.a"}, &frame.BasicGet{Queue: "jobs.a"}} {
						c.channel(2)
						c.send(2, m)
						c.channelClosed(2, 404)
					}
				}
				for _, old := range []string{"", "old"} { // no message, or what was worked off
					c.declare(1, frame.QueueDeclare{Queue: "jobs.a", Durable: durable})
					if old != "" {
						c.put(1, "", "jobs.a", old)
						c.wantGet(1, "jobs.a", old)
					}
					call[*frame.QueueDeleteOk](c, 1, &frame.QueueDelete{Queue: "jobs.a"})
					gone()
				}
				c.put(1, "", "jobs.other", "x")
				gone()
				if durable { // over a restart, too
					s.stop()
					mem := s.mem.Reopen()
					t.Cleanup(mem.Close)
					s = serveOn(t, testOptions{}, mem, mem.Broker())
					c = open(t, s)
					gone()
				}
				c.put(1, "", "jobs.a", "new")
				c.wantGet(1, "jobs.a", "new")
				c.wantGet(1, "jobs.a", "")
				call[*frame.QueueDeleteOk](c, 1, &frame.QueueDelete{Queue: "jobs.a"})
				gone()
				c.declare(1, frame.QueueDeclare{Queue: "jobs.a"})
				c.wantGet(1, "jobs.a", "")
			})
		}
	}
}

// A vhost remembers no more deleted names than it may, and forgets the oldest.
func TestDeletedNamesAreBounded(t *testing.T) {
	var n deletedNames
	stored := map[string]bool{}
	for i := range 3 * maxDeleted {
		name := fmt.Sprint("q", i%(2*maxDeleted))
		stored[keyDeleted+name] = true
		for _, key := range n.add(name, &ends{durable: true}) {
			delete(stored, key)
		}
		if i%3 == 0 { // it is declared again
			delete(n.by, name)
			delete(stored, keyDeleted+name)
		}
	}
	if len(n.by) > maxDeleted || len(n.order) > 2*maxDeleted || len(stored) != len(n.by) {
		t.Errorf("%d names, %d in order, %d stored", len(n.by), len(n.order), len(stored))
	}
	if n.by[fmt.Sprint("q", maxDeleted-2)] == nil {
		t.Error("the newest is forgotten")
	}
}
