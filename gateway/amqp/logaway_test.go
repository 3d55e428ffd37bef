package amqp

import (
	"strings"
	"testing"

	"github.com/robustmq/robustmq-go/shard"
)

// TestLogAwayWords: while a log is away, a queue is where RabbitMQ says that a queue
// is whose node is down.
func TestLogAwayWords(t *testing.T) {
	err := shard.At(shard.ErrLogAway, "append batch", shard.ID{Topic: 1}, -1)
	if f := faultOf(err); f.code != codeNotFound || !strings.Contains(f.text, "home node of durable queue is down or inaccessible") {
		t.Errorf("fault %+v", f)
	}
	if !retriable(err) {
		t.Error("an append is not tried again")
	}
}
