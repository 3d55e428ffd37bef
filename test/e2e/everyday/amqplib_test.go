package everyday

import (
	"testing"

	"github.com/robustmq/robustmq-go/test/harness"
)

// TestAmqplib: testdata/amqplib.js.
func TestAmqplib(t *testing.T) {
	b := harness.NewBroker(t, harness.Options{})
	node(t, b, "amqplib.js", b.Ports.AMQP)
}
