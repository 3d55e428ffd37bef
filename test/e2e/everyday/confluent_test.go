package everyday

import (
	"testing"

	"github.com/robustmq/robustmq-go/test/harness"
)

// TestConfluentKafka: testdata/confluent.py.
func TestConfluentKafka(t *testing.T) {
	b := harness.NewBroker(t, harness.Options{Config: "kafka:\n  auto_create_topics: false\n"})
	python(t, b, "confluent.py", b.Ports.Kafka)
}
