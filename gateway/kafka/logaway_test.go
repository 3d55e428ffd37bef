package kafka

import (
	"testing"

	"github.com/robustmq/robustmq-go/shard"
)

// TestLogAwayCodes: while a log is away, clients are told to try again later.
func TestLogAwayCodes(t *testing.T) {
	err := shard.At(shard.ErrLogAway, "append batch", shard.ID{Topic: 1}, -1)
	if c := errorCode(err); c != codeRequestTimedOut {
		t.Errorf("produce: %d", c)
	}
	if c := groupErrorCode(err); c != codeCoordinatorLoadInProgress {
		t.Errorf("groups: %d", c)
	}
}
