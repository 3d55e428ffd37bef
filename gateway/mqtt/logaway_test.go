package mqtt

import (
	"testing"

	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
)

// TestLogAwayCodes: while a log is away, clients are told to try again later.
func TestLogAwayCodes(t *testing.T) {
	err := shard.At(shard.ErrLogAway, "append batch", shard.ID{Topic: 1}, -1)
	for p, want := range map[packet.Type]packet.Code{packet.CONNACK: packet.ServerUnavailable, packet.PUBACK: packet.QuotaExceeded,
		packet.PUBREC: packet.QuotaExceeded, packet.SUBACK: packet.QuotaExceeded} {
		if c := codeFor(p, err); c != want {
			t.Errorf("%v: %v, want %v", p, c, want)
		}
	}
}
