package amqp

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
)

// routing is a topology as RabbitMQ routes in it: the model that ours is held against.
type routing struct {
	types, alternates map[string]string
	bindings          []frame.QueueBind // of a queue, or of an exchange where it begins with x
}

func (m *routing) takes(b *frame.QueueBind, key string) bool {
	switch m.types[b.Exchange] {
	case typeDirect:
		return b.RoutingKey == key
	case typeTopic:
		return wordsMatch(wordsOf(b.RoutingKey), wordsOf(key))
	}
	return true
}

func wordsOf(key string) []string {
	if key == "" {
		return nil
	}
	return strings.Split(key, ".")
}

func wordsMatch(pattern, key []string) bool {
	switch {
	case len(pattern) == 0:
		return len(key) == 0
	case pattern[0] == "#":
		return wordsMatch(pattern[1:], key) || len(key) > 0 && wordsMatch(pattern, key[1:])
	case len(key) == 0:
		return false
	}
	return (pattern[0] == "*" || pattern[0] == key[0]) && wordsMatch(pattern[1:], key[1:])
}

// route gives the queues that a message reaches.
func (m *routing) route(exchange string, keys []string) map[string]bool {
	queues, seen := map[string]bool{}, map[string]bool{exchange: true}
	for work := []string{exchange}; len(work) > 0; work = work[1:] {
		taken := false
		follow := func(to string) {
			taken = true
			if !strings.HasPrefix(to, "x") {
				queues[to] = true
			} else if !seen[to] {
				seen[to] = true
				work = append(work, to)
			}
		}
		for i := range m.bindings {
			b := &m.bindings[i]
			if b.Exchange == work[0] && slices.ContainsFunc(keys, func(k string) bool { return m.takes(b, k) }) {
				follow(b.Queue)
			}
		}
		if alt := m.alternates[work[0]]; !taken && alt != "" {
			follow(alt)
		}
	}
	return queues
}

func randomRouting(r *rand.Rand) *routing {
	m := &routing{types: map[string]string{}, alternates: map[string]string{}}
	exchanges := []string{"x0", "x1", "x2", "x3"}
	patterns := []string{"", "a", "b", "a.b", "#", "*", "a.*", "*.b", "#.b", "a.#", "*.*"}
	for _, x := range exchanges {
		m.types[x] = []string{typeDirect, typeTopic, typeTopic, typeFanout}[r.IntN(4)]
		if r.IntN(2) == 0 {
			m.alternates[x] = exchanges[r.IntN(len(exchanges))]
		}
	}
	for range 3 + r.IntN(8) {
		b := frame.QueueBind{Exchange: exchanges[r.IntN(len(exchanges))], RoutingKey: patterns[r.IntN(len(patterns))]}
		if b.Queue = fmt.Sprint("q", r.IntN(4)); r.IntN(2) == 0 {
			b.Queue = exchanges[r.IntN(len(exchanges))]
		}
		m.bindings = append(m.bindings, b)
	}
	return m
}

// TestRoutingIsRabbitMQs: in random topologies with exchange bindings and alternate exchanges, messages
// with one key or more reach the queues that RabbitMQ's rules name, and no other.
func TestRoutingIsRabbitMQs(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	keySet := []string{"", "a", "b", "a.b", "c", "b.b.b"}
	twice := 0
	for round := range 60 {
		m := randomRouting(r)
		c := open(t, startServer(t, testOptions{}))
		for x, typ := range m.types {
			d := frame.ExchangeDeclare{Exchange: x, Type: typ}
			if alt := m.alternates[x]; alt != "" {
				d.Arguments = frame.Table{{Name: "alternate-exchange", Value: frame.String(alt)}}
			}
			c.exchange(d)
		}
		for i := range 4 {
			c.declare(1, frame.QueueDeclare{Queue: fmt.Sprint("q", i)})
		}
		for _, b := range m.bindings {
			if strings.HasPrefix(b.Queue, "x") {
				call[*frame.ExchangeBindOk](c, 1, &frame.ExchangeBind{Destination: b.Queue, Source: b.Exchange, RoutingKey: b.RoutingKey})
			} else {
				c.bind(b.Queue, b.Exchange, b.RoutingKey)
			}
		}
		for n := range 8 {
			x := fmt.Sprint("x", r.IntN(4))
			keys := []string{keySet[r.IntN(len(keySet))]}
			for range r.IntN(3) {
				keys = append(keys, keySet[r.IntN(len(keySet))])
			}
			cc := keysHeader(keys[1:])
			c.publishTo(x, keys[0], fmt.Sprint(n), false, cc)
			expect[*frame.BasicAck](c, 1)
			want := m.route(x, keys)
			for i := range 4 {
				q, got := fmt.Sprint("q", i), 0
				for e, ok := c.get(1, q, true); ok; e, ok = c.get(1, q, true) {
					if got++; string(e.body) != fmt.Sprint(n) {
						t.Errorf("round %d: %s has %q", round, q, e.body)
					}
				}
				if want[q] != (got > 0) {
					t.Errorf("round %d: %s, %q: %s has it %d times, want %v; %+v", round, x, keys, q, got, want[q], *m)
				}
				if got > 1 {
					twice++
				}
			}
		}
	}
	t.Logf("%d queues had a message twice", twice)
}

func keysHeader(ks []string) frame.Field { return keys("CC", ks...) }
