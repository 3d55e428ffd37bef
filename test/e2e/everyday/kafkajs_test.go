package everyday

import (
	"testing"

	"github.com/robustmq/robustmq-go/test/harness"
)

// TestKafkaJS: testdata/kafkajs.js.
func TestKafkaJS(t *testing.T) {
	b := harness.NewBroker(t, harness.Options{Config: "kafka:\n  auto_create_topics: false\n"})
	node(t, b, "kafkajs.js", b.Ports.Kafka)
}
