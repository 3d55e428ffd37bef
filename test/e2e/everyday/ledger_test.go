package everyday

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/test/harness"
)

// aroundKill is how many messages are acknowledged before the broker is killed, and how many once
// it is back.
const aroundKill = 20

// ledger sends values one after the other, each until it is acknowledged, and kills the broker
// and starts it again meanwhile. It returns what was acknowledged. send may fail only while the
// broker is away; whether a value whose send failed is there, nobody knows.
func ledger(t *testing.T, b *harness.Broker, send func(value string) error) []string {
	t.Helper()
	var acknowledged []string
	back := make(chan error, 1)
	end := time.Now().Add(scriptWithin)
	for killed, after := false, -1; after < aroundKill; {
		value := fmt.Sprintf("%06d", len(acknowledged))
		if err := send(value); err == nil {
			acknowledged = append(acknowledged, value)
			if after >= 0 {
				after++
			}
		} else if !killed {
			t.Fatalf("send %s: %v", value, err)
		} else if time.Now().After(end) {
			t.Fatalf("send %s, the broker was killed and is back: %v", value, err)
		} else {
			time.Sleep(50 * time.Millisecond)
		}
		if !killed && len(acknowledged) == aroundKill {
			killed = true
			go func() {
				b.Kill()
				back <- b.Start(t.Context())
			}()
		}
		select {
		case err := <-back:
			must(t, err)
			after = 0
		default:
		}
	}
	return acknowledged
}

// complete reads until nothing of acknowledged is missing. next fails when nothing comes.
func complete(t *testing.T, acknowledged []string, next func() (string, error)) {
	t.Helper()
	missing := slices.Clone(acknowledged)
	for len(missing) > 0 {
		value, err := next()
		if err != nil {
			t.Fatalf("%d of %d acknowledged are lost: %v (%v)", len(missing), len(acknowledged), missing, err)
		}
		missing = slices.DeleteFunc(missing, func(v string) bool { return v == value })
	}
}
