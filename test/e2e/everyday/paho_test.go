package everyday

import (
	"testing"

	"github.com/robustmq/robustmq-go/test/harness"
)

// TestPaho: testdata/paho_client.py.
func TestPaho(t *testing.T) {
	b := harness.NewBroker(t, harness.Options{})
	python(t, b, "paho_client.py", b.Ports.MQTT)
}
