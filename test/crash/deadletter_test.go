package crash

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/robustmq/robustmq-go/test/e2e/clients"
	"github.com/robustmq/robustmq-go/test/harness"
)

const (
	sourceQueue, deadQueue = "crash.source", "crash.dead"
	deadLetters            = 5000
)

// TestKillWhileDeadLettering kills the broker while a consumer rejects what a publisher confirms,
// so that it moves into a dead-letter queue. Afterwards each confirmed message is in one of the two
// queues; being in both, or twice, is allowed.
func TestKillWhileDeadLettering(t *testing.T) {
	b := harness.NewBroker(t, harness.Options{Args: busy})
	ctx, cancel := context.WithTimeout(t.Context(), stepWithin)
	defer cancel()
	declareDeadLetters(t, b)
	var rejected atomic.Int64
	consumed := make(chan error, 1)
	go func() { consumed <- rejectAll(ctx, b.Ports.AMQP, &rejected) }()
	published := make(chan map[string]bool, 1)
	go func() { published <- publishConfirmed(ctx, b.Ports.AMQP) }()
	for rejected.Load() < deadLetters/5 { // in the middle: far from empty, far from done
		select {
		case err := <-consumed:
			t.Fatalf("the consumer ended before the broker: %v", err)
		case <-ctx.Done():
			t.Fatalf("%d rejected: %v", rejected.Load(), ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
	b.Kill()
	confirmed := <-published
	if err := <-consumed; err == nil {
		t.Error("the consumer goes on without a broker")
	}
	if len(confirmed) == 0 {
		t.Fatal("nothing was confirmed")
	}
	if err := b.Start(ctx); err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	counts := map[string]int{}
	for _, queue := range []string{sourceQueue, deadQueue} {
		n, err := emptied(b.Ports.AMQP, queue, got)
		if err != nil {
			t.Fatal(err)
		}
		counts[queue] = n
	}
	lost := 0
	for v := range confirmed {
		if !got[v] {
			lost++
		}
	}
	t.Logf("%d confirmed, %d rejected; afterwards %v", len(confirmed), rejected.Load(), counts)
	if lost > 0 {
		t.Errorf("%d of %d confirmed messages are in neither queue", lost, len(confirmed))
	}
	if counts[deadQueue] == 0 {
		t.Error("nothing was dead-lettered before the kill: the test tested nothing")
	}
}

func declareDeadLetters(t *testing.T, b *harness.Broker) {
	t.Helper()
	c, ch, err := clients.DialAMQP(b.Ports.AMQP)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for queue, args := range map[string]amqp.Table{
		deadQueue:   nil,
		sourceQueue: {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": deadQueue},
	} {
		if _, err := ch.QueueDeclare(queue, true, false, false, false, args); err != nil {
			t.Fatal(err)
		}
	}
}

// rejectAll rejects what comes until the connection is gone.
func rejectAll(ctx context.Context, port int, rejected *atomic.Int64) error {
	c, ch, err := clients.DialAMQP(port)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := ch.Qos(200, 0, false); err != nil {
		return err
	}
	came, err := ch.ConsumeWithContext(ctx, sourceQueue, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	for m := range came {
		if err := m.Reject(false); err != nil {
			return err
		}
		rejected.Add(1)
	}
	return fmt.Errorf("no more comes: %w", amqp.ErrClosed)
}

// publishConfirmed publishes until all is sent or the connection is gone, and returns what was
// confirmed.
func publishConfirmed(ctx context.Context, port int) map[string]bool {
	confirmed := map[string]bool{}
	c, ch, err := clients.DialAMQP(port)
	if err != nil {
		return confirmed
	}
	defer c.Close()
	if err := ch.Confirm(false); err != nil {
		return confirmed
	}
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, deadLetters))
	sent := 0
	for ; sent < deadLetters; sent++ {
		if ch.PublishWithContext(ctx, "", sourceQueue, false, false, amqp.Publishing{Body: []byte(strconv.Itoa(sent)), DeliveryMode: amqp.Persistent}) != nil {
			break
		}
	}
	for range sent {
		confirm, open := <-confirms
		if !open {
			break
		}
		if confirm.Ack {
			confirmed[strconv.FormatUint(confirm.DeliveryTag-1, 10)] = true
		}
	}
	return confirmed
}

// emptied takes all there is of a queue, and tells how many messages that was.
func emptied(port int, queue string, into map[string]bool) (int, error) {
	c, ch, err := clients.DialAMQP(port)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	for n := 0; ; n++ {
		m, more, err := ch.Get(queue, true)
		if err != nil || !more {
			return n, err
		}
		into[string(m.Body)] = true
	}
}
