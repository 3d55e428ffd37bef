package gatewaytest

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// TestRevoked: the connections of an account that is deleted, loses its rank or has
// another password end, in every protocol; nobody else's do.
func TestRevoked(t *testing.T) {
	changes := map[string]func(h *house, u shard.User) error{
		"deleted": func(h *house, u shard.User) error { return h.broker.Users.Delete(context.Background(), u.Name) },
		"another password": func(h *house, u shard.User) error {
			return h.broker.Users.Put(context.Background(), account(h.t, u.Name))
		},
		"no superuser": func(h *house, u shard.User) error {
			u.Superuser = false
			return h.broker.Users.Put(context.Background(), u)
		},
	}
	kinds := []string{"mqtt", "mqtt5", "kafka", "nats", "amqp"}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			bob, ann := account(t, "bob"), account(t, "ann")
			bob.Superuser = true
			h := open(t, nil, bob, ann)
			var bobs, others []*wire
			for _, kind := range kinds {
				for _, user := range []string{"bob", "ann", ""} {
					w := h.dial(kind, nil)
					if why := w.login(user); why != "" {
						t.Fatalf("%s: %s logs in: %s", kind, user, why)
					}
					if user == "bob" {
						bobs = append(bobs, w)
					} else {
						others = append(others, w)
					}
				}
			}
			limited := bob
			limited.BytesPerSecond, limited.NKey = 1<<30, "UNEW"
			if err := h.broker.Users.Put(context.Background(), limited); err != nil {
				t.Fatal(err)
			}
			if err := change(h, bob); err != nil {
				t.Fatal(err)
			}
			for _, w := range bobs {
				if _, err := io.Copy(io.Discard, w.r); isTimeout(err) {
					t.Errorf("%s: the connection goes on", w.kind)
				}
			}
			for _, w := range others {
				_ = w.SetReadDeadline(time.Now().Add(time.Millisecond))
				if _, err := w.r.ReadByte(); !isTimeout(err) {
					t.Errorf("%s: another's connection ended: %v", w.kind, err)
				}
			}
		})
	}
}

func isTimeout(err error) bool {
	ne, ok := err.(interface{ Timeout() bool })
	return ok && ne.Timeout()
}
