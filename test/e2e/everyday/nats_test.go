package everyday

import (
	"testing"

	"github.com/robustmq/robustmq-go/test/harness"
)

// TestNATSNode: testdata/nats_node.js. (nats-py is in test/e2e/nats.)
func TestNATSNode(t *testing.T) {
	b := harness.NewBroker(t, harness.Options{})
	node(t, b, "nats_node.js", b.Ports.NATS)
}
