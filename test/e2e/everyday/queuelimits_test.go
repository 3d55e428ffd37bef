package everyday

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/robustmq/robustmq-go/test/e2e/clients"
	"github.com/robustmq/robustmq-go/test/harness"
)

// queueChannel opens a channel with confirms.
func queueChannel(t *testing.T, b *harness.Broker) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(fmt.Sprintf("amqp://%s:%s@%s/", harness.User, harness.Password, harness.Addr(b.Ports.AMQP)))
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	must(t, err)
	must(t, ch.Confirm(false))
	return ch
}

// bodies takes n messages of a queue.
func bodies(t *testing.T, ch *amqp.Channel, queue string, n int) (got []string) {
	t.Helper()
	for end := time.Now().Add(answeredWithin); len(got) < n; {
		d, ok, err := ch.Get(queue, true)
		must(t, err)
		if ok {
			got = append(got, string(d.Body))
		} else if time.Now().After(end) {
			t.Fatalf("%s holds %q, want %d", queue, got, n)
		}
	}
	return got
}

// TestQueueLimits publishes to a queue that is full: amqp091-go is told by a nack.
// Then the broker is restarted, and what MQTT clients publish
// before any AMQP client is there meets the same limits.
func TestQueueLimits(t *testing.T) {
	b := harness.NewBroker(t, harness.Options{})
	ch := queueChannel(t, b)
	_, err := ch.QueueDeclare("dead", true, false, false, false, nil)
	must(t, err)
	_, err = ch.QueueDeclare("full", true, false, false, false, amqp.Table{
		"x-max-length": int32(3), "x-overflow": "reject-publish-dlx", "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead",
	})
	must(t, err)
	_, err = ch.QueueDeclare("ranked", true, false, false, false, amqp.Table{"x-max-priority": int32(9)})
	must(t, err)
	for i := range 5 {
		c, err := ch.PublishWithDeferredConfirm("", "full", false, false, amqp.Publishing{Body: []byte(strconv.Itoa(i)), DeliveryMode: amqp.Persistent})
		must(t, err)
		if taken := c.Wait(); taken != (i < 3) {
			t.Errorf("publish %d: taken is %v", i, taken)
		}
	}
	if got, want := bodies(t, ch, "dead", 2), "[3 4]"; fmt.Sprint(got) != want {
		t.Errorf("dead letters are %v, want %s", got, want)
	}
	for i, p := range []uint8{1, 9, 4} {
		c, err := ch.PublishWithDeferredConfirm("", "ranked", false, false, amqp.Publishing{Body: []byte(strconv.Itoa(i)), Priority: p, DeliveryMode: amqp.Persistent})
		must(t, err)
		c.Wait()
	}
	bodies(t, ch, "full", 1) // room for one more
	must(t, b.Restart(t.Context()))
	m, err := clients.DialMQTT(t.Context(), b.Ports.MQTT, paho.ClientConfig{}, paho.Connect{ClientID: "limits", CleanStart: true})
	must(t, err)
	for i := 10; i < 14; i++ {
		_, err = m.Publish(t.Context(), &paho.Publish{Topic: "full", QoS: 1, Payload: []byte(strconv.Itoa(i))})
		must(t, err)
	}
	must(t, m.Disconnect(&paho.Disconnect{}))
	time.Sleep(time.Second) // for a limit that begins with the connection, too late
	ch = queueChannel(t, b)
	if got, want := bodies(t, ch, "full", 3), "[1 2 10]"; fmt.Sprint(got) != want {
		t.Errorf("the full queue holds %v, want %s", got, want)
	}
	if got, want := bodies(t, ch, "dead", 3), "[11 12 13]"; fmt.Sprint(got) != want {
		t.Errorf("dead letters are %v, want %s", got, want)
	}
	if got, want := bodies(t, ch, "ranked", 3), "[1 2 0]"; fmt.Sprint(got) != want {
		t.Errorf("by priority came %v, want %s", got, want)
	}
}
