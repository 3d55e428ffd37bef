package everyday

import (
	"testing"

	"github.com/robustmq/robustmq-go/test/harness"
)

// TestPikaKilled: testdata/pika_killed.py.
func TestPikaKilled(t *testing.T) {
	b := harness.NewBroker(t, harness.Options{})
	python(t, b, "pika_killed.py", b.Ports.AMQP)
}

// TestMQTTJSKilled: testdata/mqttjs_killed.js.
func TestMQTTJSKilled(t *testing.T) {
	b := harness.NewBroker(t, harness.Options{})
	node(t, b, "mqttjs_killed.js", b.Ports.MQTT)
}
