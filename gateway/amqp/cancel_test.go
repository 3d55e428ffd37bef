package amqp

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
)

// TestCancelThenClose: clients shut down by cancel, then close of the channel or connection. What
// they had not settled goes back to the queue, and a single active consumer makes way.
func TestCancelThenClose(t *testing.T) {
	s := startServer(t, testOptions{})
	for name, end := range map[string]func(c *testClient){
		"channel":    func(c *testClient) { call[*frame.ChannelCloseOk](c, 1, &frame.ChannelClose{}) },
		"connection": func(c *testClient) { call[*frame.ConnectionCloseOk](c, 0, &frame.ConnectionClose{}) },
		"abort":      func(c *testClient) { _ = c.nc.Close() },
	} {
		for _, single := range []bool{false, true} {
			c, other := open(t, s), open(t, s)
			args := frame.Table{{Name: "x-single-active-consumer", Value: frame.Bool(single)}}
			other.declare(1, frame.QueueDeclare{Queue: name, Arguments: args})
			other.put(1, "", name, "1")
			c.consume(1, name, "x", false)
			c.deliver(1, "1")
			call[*frame.BasicCancelOk](c, 1, &frame.BasicCancel{ConsumerTag: "x"})
			end(c)
			other.consume(1, name, "y", false)
			if _, m := other.deliver(1, "1"); !m.Redelivered {
				t.Errorf("%s: not marked as redelivered", name)
			}
			call[*frame.QueueDeleteOk](other, 1, &frame.QueueDelete{Queue: name})
		}
	}
}

// TestClientClosesTheStream: after close-ok it is the client that ends the stream; who reads its end
// together with close-ok may take it for an abort.
func TestClientClosesTheStream(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	c.send(0, &frame.ConnectionClose{})
	begun := time.Now()
	expect[*frame.ConnectionCloseOk](c, 0)
	if err := c.nc.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.nc.Read(make([]byte, 1)); errors.Is(err, io.EOF) && time.Since(begun) < byeTimeout/2 {
		t.Error("the server ended the stream")
	}
	if err := errors.Join(c.nc.(interface{ CloseWrite() error }).CloseWrite(), c.nc.SetReadDeadline(time.Now().Add(patience))); err != nil {
		t.Fatal(err)
	}
	if _, err := c.nc.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the stream goes on: %v", err)
	}
}
