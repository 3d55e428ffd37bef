package amqp

import (
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
)

// TestBindingsOneByOne: what bindings add one after the other is what all of them resolve to, in
// whatever order they come and go.
func TestBindingsOneByOne(t *testing.T) {
	s := startServer(t, testOptions{})
	c := open(t, s)
	c.declare(1, frame.QueueDeclare{Queue: "q"})
	types := map[string]string{"up": "topic", "t": "topic", "d": "direct", "f": "fanout", "h": "headers"}
	for name, kind := range types {
		c.exchange(frame.ExchangeDeclare{Exchange: name, Type: kind})
	}
	sources := []string{"up", "t", "t", "d", "f", "h", "amq.topic"}
	keys := []string{"", "a", "a.*", "#", "t.a", "d.b", "*.b.#"}
	rng := rand.New(rand.NewPCG(1, 2))
	vh := s.srv.vhosts["/"]
	q := vh.queue("q")
	for i := range 400 {
		source, key := sources[rng.IntN(len(sources))], keys[rng.IntN(len(keys))]
		args := frame.Table{{Name: "n", Value: frame.Int(int64(rng.IntN(2)))}}
		if i < 100 && source == "amq.topic" {
			continue // none is by the subject space at first
		}
		switch n := rng.IntN(10); {
		case n < 6:
			call[*frame.QueueBindOk](c, 1, &frame.QueueBind{Queue: "q", Exchange: source, RoutingKey: key, Arguments: args})
		case n < 8:
			call[*frame.QueueUnbindOk](c, 1, &frame.QueueUnbind{Queue: "q", Exchange: source, RoutingKey: key, Arguments: args})
		case n < 9:
			call[*frame.ExchangeBindOk](c, 1, &frame.ExchangeBind{Destination: "t", Source: "up", RoutingKey: key})
		default:
			call[*frame.ExchangeUnbindOk](c, 1, &frame.ExchangeUnbind{Destination: "t", Source: "up", RoutingKey: key})
		}
		want, err := vh.effective(q)
		if err != nil {
			t.Fatal(err)
		}
		have := q.group.Bindings().List()
		if len(have) != len(want)+1 {
			t.Fatalf("after %d changes: %d bindings, want %d and the default one", i+1, len(have), len(want))
		}
		for _, b := range have {
			if w, ok := want[b.ID]; b.ID != bindingDefault && (!ok || w.Filter.String() != b.Filter.String() || string(w.Data) != string(b.Data)) {
				t.Fatalf("after %d changes: binding %s has data %s, want %v", i+1, strconv.Quote(b.ID), b.Data, w)
			}
		}
	}
}
