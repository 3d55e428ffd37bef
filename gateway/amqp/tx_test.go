package amqp

import (
	"strings"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// commit-ok says that acknowledgements are as durable as what was published.
func TestTxCommitWaitsForAcks(t *testing.T) {
	hold := make(chan chan struct{}, 1)
	s := startServer(t, testOptions{mem: shardmem.Options{FailState: func(owner string) error {
		if strings.HasSuffix(owner, "/q") {
			select {
			case wait := <-hold:
				hold <- wait
				<-wait
			default:
			}
		}
		return nil
	}}})
	c := open(t, s)
	c.declare(1, frame.QueueDeclare{Queue: "q", Durable: true})
	c.put(1, "", "q", "x")
	c.channel(2)
	call[*frame.TxSelectOk](c, 2, &frame.TxSelect{})
	e, _ := c.get(2, "q", false)
	stored := make(chan struct{})
	hold <- stored
	c.send(2, &frame.BasicAck{DeliveryTag: e.method.(*frame.BasicGetOk).DeliveryTag})
	c.send(2, &frame.TxCommit{})
	_ = c.nc.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, _ := c.nc.Read(make([]byte, 100)); n > 0 {
		t.Error("commit-ok came before the acknowledgement was stored")
	}
	close(stored)
	expect[*frame.TxCommitOk](c, 2)
}

// What was acknowledged by a commit does not come back after a crash.
func TestTxOverCrash(t *testing.T) {
	s := startServer(t, testOptions{})
	c := open(t, s)
	c.declare(1, frame.QueueDeclare{Queue: "q", Durable: true})
	c.channel(2)
	call[*frame.TxSelectOk](c, 2, &frame.TxSelect{})
	for range 20 {
		c.put(1, "", "q", "x")
		e, _ := c.get(2, "q", false)
		c.send(2, &frame.BasicAck{DeliveryTag: e.method.(*frame.BasicGetOk).DeliveryTag})
	}
	call[*frame.TxCommitOk](c, 2, &frame.TxCommit{})
	s.stop()
	mem := s.mem.Crash()
	t.Cleanup(mem.Close)
	c = open(t, serveOn(t, testOptions{}, mem, mem.Broker()))
	c.wantGet(1, "q", "")
}

// What an open transaction settled is neither recovered nor settled again; a rollback
// gives it back to the channel, in its place.
func TestTxHoldsWhatItSettles(t *testing.T) {
	s := startServer(t, testOptions{})
	c := open(t, s)
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	tx := func(channel uint16, bodies ...string) []uint64 {
		c.channel(channel)
		call[*frame.TxSelectOk](c, channel, &frame.TxSelect{})
		var tags []uint64
		for _, body := range bodies {
			c.put(1, "", "q", body)
			e, _ := c.get(channel, "q", false)
			tags = append(tags, e.method.(*frame.BasicGetOk).DeliveryTag)
		}
		return tags
	}
	tags := tx(2, "a", "b", "c")
	c.send(2, &frame.BasicAck{DeliveryTag: tags[1]})
	call[*frame.BasicRecoverOk](c, 2, &frame.BasicRecover{Requeue: true})
	c.wantGet(1, "q", "a")
	c.wantGet(1, "q", "c")
	c.wantGet(1, "q", "") // b is acknowledged
	call[*frame.TxRollbackOk](c, 2, &frame.TxRollback{})
	c.send(2, &frame.BasicNack{DeliveryTag: tags[1], Requeue: true})
	call[*frame.TxCommitOk](c, 2, &frame.TxCommit{})
	c.wantGet(1, "q", "b")

	tags = tx(3, "d", "e")
	c.send(3, &frame.BasicAck{DeliveryTag: tags[0]})
	call[*frame.TxRollbackOk](c, 3, &frame.TxRollback{})
	c.send(3, &frame.BasicAck{DeliveryTag: tags[1], Multiple: true}) // both, in order
	call[*frame.TxCommitOk](c, 3, &frame.TxCommit{})
	c.wantGet(1, "q", "")

	tags = tx(4, "f")
	c.send(4, &frame.BasicAck{DeliveryTag: tags[0]})
	c.send(4, &frame.BasicAck{DeliveryTag: tags[0]})
	c.channelClosed(4, 406)
	if m := c.wantGet(1, "q", "f").method.(*frame.BasicGetOk); !m.Redelivered {
		t.Error("f is not marked as redelivered")
	}
}
