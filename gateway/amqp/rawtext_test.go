package amqp

import (
	"encoding/json"
	"testing"

	"github.com/robustmq/robustmq-go/internal/codectest"
)

// TestStoredTopology: durable exchanges, queues and bindings are after a restart what
// they were before, whatever bytes their names and keys have; and what earlier
// versions stored is read.
func TestStoredTopology(t *testing.T) {
	codectest.Run(t, 1000, codectest.Codec[storedBinding]{Encode: func(b storedBinding) ([]byte, error) { return json.Marshal(b) },
		Decode: func(p []byte) (b storedBinding, err error) { err = json.Unmarshal(p, &b); return b, err }})
	codectest.Run(t, 1000, codectest.Codec[storedQueue]{Encode: func(q storedQueue) ([]byte, error) { return json.Marshal(q) },
		Decode: func(p []byte) (q storedQueue, err error) { err = json.Unmarshal(p, &q); return q, err }})
	for _, key := range []string{"", "a.b", "caf\xe9.\xff", `\ufffd`, "\ufffd", "\x00", `{"b":"eA=="}`} {
		p, err := json.Marshal(storedBinding{Source: rawText(key), Dest: "q", Key: rawText(key)})
		if err != nil {
			t.Fatal(err)
		}
		var b storedBinding
		if err := json.Unmarshal(p, &b); err != nil || string(b.Key) != key || string(b.Source) != key {
			t.Fatalf("%q was read as %q: %v", key, b.Key, err)
		}
	}
	var old storedBinding
	if err := json.Unmarshal([]byte(`{"source":"x","dest":"q","key":"k\u00e9"}`), &old); err != nil || old.Key != "ké" {
		t.Fatalf("read %+v: %v", old, err)
	}
}
