package everyday

import (
	"testing"

	"github.com/robustmq/robustmq-go/test/harness"
)

// TestCelery: testdata/celery_round.py, a real application with its default settings.
func TestCelery(t *testing.T) {
	b := harness.NewBroker(t, harness.Options{})
	python(t, b, "celery_round.py", b.Ports.AMQP)
}
