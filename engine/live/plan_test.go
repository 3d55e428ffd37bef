package live

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/robustmq/robustmq-go/shard"
)

// TestDeliveryIsAsTheFilters: after any changes each subscriber gets a message once, with
// just those of its filters that match, and of each queue one member gets it.
func TestDeliveryIsAsTheFilters(t *testing.T) {
	filters := []string{"a.b", "a.*", "a.>", ">", "a.c", "mqtt:a/b", "mqtt:a/+", "mqtt:#"}
	rapid.Check(t, func(t *rapid.T) {
		h := NewHub(nil, nil)
		type one struct {
			filter, queue string
			durable       bool
		}
		subs := make([]shard.Subscription, rapid.IntRange(1, 6).Draw(t, "subscribers"))
		recs := make([]*recorder, len(subs))
		has := make([]map[shard.SubID]one, len(subs))
		for i := range subs {
			recs[i], has[i] = &recorder{}, make(map[shard.SubID]one)
			subs[i] = h.Subscribe(recs[i])
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			i := rapid.IntRange(0, len(subs)-1).Draw(t, "who")
			id := shard.SubID(rapid.IntRange(1, 4).Draw(t, "id"))
			switch rapid.IntRange(0, 3).Draw(t, "do") {
			case 0:
				subs[i].Remove(id)
				delete(has[i], id)
			case 1, 2:
				x := one{rapid.SampledFrom(filters).Draw(t, "filter"), rapid.SampledFrom([]string{"", "", "q", "r"}).Draw(t, "queue"), rapid.Bool().Draw(t, "durable")}
				f, err := parse(x.filter)
				if err != nil {
					t.Fatal(err)
				}
				if err := subs[i].Add(id, f, shard.LiveOptions{Queue: x.queue, Durable: x.durable}); err != nil {
					t.Fatal(err)
				}
				has[i][id] = x
			case 3:
				durable := rapid.Bool().Draw(t, "kind")
				publish := h.Assigned
				if durable {
					publish = h.Durable
				}
				publish(newTopic("a.b"), 0, shard.BatchOf(shard.Record{Value: []byte("v")}), 0)
				queues := make(map[string]int)
				for i := range subs {
					var direct []shard.SubID
					for id, x := range has[i] {
						f, _ := parse(x.filter)
						if x.durable != durable || !f.MatchMessage("a.b", &shard.Record{}) {
							continue
						}
						if x.queue != "" {
							queues[x.queue] += 0
						} else {
							direct = append(direct, id)
						}
					}
					slices.Sort(direct)
					for _, got := range recs[i].take() {
						if len(direct) > 0 && got == fmt.Sprintf("a.b v %v", direct) {
							direct = nil
							continue
						}
						var id shard.SubID
						if _, err := fmt.Sscanf(got, "a.b v [%d]", &id); err != nil || has[i][id].queue == "" {
							t.Fatalf("subscriber %d got %q", i, got)
						}
						queues[has[i][id].queue]++
					}
					if direct != nil {
						t.Fatalf("subscriber %d did not get it for %v", i, direct)
					}
				}
				for q, n := range queues {
					if n != 1 {
						t.Fatalf("queue %s got it %d times; %v", q, n, maps.Collect(maps.All(queues)))
					}
				}
			}
		}
	})
}

// equal is a hub with so many subscribers of one filter, of which one message was delivered.
func equal(tb testing.TB, n int) *Hub {
	h := NewHub(nil, nil)
	f := mustFilter(tb, "t")
	for range n {
		_ = h.Subscribe(&countingSub{}).Add(1, f, shard.LiveOptions{})
	}
	h.Assigned(newTopic("t"), 0, shard.BatchOf(shard.Record{}), 0)
	return h
}

// TestChangeCostsNoneOfTheOthers: a subscription to a filter of very many allocates little, and the next message
// of its subject is delivered without a new match.
func TestChangeCostsNoneOfTheOthers(t *testing.T) {
	bytes := func(n int) uint64 {
		h := equal(t, n)
		f := mustFilter(t, "t")
		m := h.index.match(names{subject: "t"})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		const changes = 200
		for range changes {
			s := h.Subscribe(&countingSub{})
			_ = s.Add(1, f, shard.LiveOptions{})
			s.Close()
		}
		runtime.ReadMemStats(&after)
		if h.index.match(names{subject: "t"}) != m {
			t.Errorf("%d subscribers: matched anew", n)
		}
		return (after.TotalAlloc - before.TotalAlloc) / changes
	}
	few, many := bytes(1_000), bytes(40_000)
	checkOneOfMany(t)
	t.Logf("a subscription and its end: %d bytes among 1,000, %d among 40,000", few, many)
	if many > few+16<<10 { // a rebuild is 40,000 pointers and more
		t.Errorf("%d bytes for a change among 40,000, %d among 1,000", many, few)
	}
}

// checkOneOfMany: a client may have very many subscriptions of one filter.
func checkOneOfMany(t *testing.T) {
	h, c := NewHub(nil, nil), &countingSub{}
	s, f := h.Subscribe(c), mustFilter(t, "t")
	h.Assigned(newTopic("t"), 0, shard.BatchOf(shard.Record{}), 0)
	const n = 20_000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range n {
		_ = s.Add(shard.SubID(i), f, shard.LiveOptions{})
		if i == 0 { // from here on it is kept
			h.Assigned(newTopic("t"), 0, shard.BatchOf(shard.Record{}), 0)
		}
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / n; each > 8<<10 {
		t.Errorf("%d bytes for each of %d subscriptions of a client", each, n)
	}
	for i := range n - 1 {
		s.Remove(shard.SubID(i))
	}
	h.Assigned(newTopic("t"), 0, shard.BatchOf(shard.Record{}), 0)
	if c.n != 2 {
		t.Errorf("%d messages", c.n)
	}
}

// BenchmarkCurveSubscribe: one subscription and its end, and then one message, among so many others of the same
// filter that are another's; change alone, and with a message of another subject after each.
func BenchmarkCurveSubscribe(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1_000, 10_000, 100_000} {
		h := equal(b, n)
		f, topic, batch := mustFilter(b, "t"), newTopic("other"), shard.BatchOf(shard.Record{})
		_ = h.Subscribe(&countingSub{}).Add(1, mustFilter(b, "other"), shard.LiveOptions{})
		change := func() {
			s := h.Subscribe(&countingSub{})
			_ = s.Add(1, f, shard.LiveOptions{})
			s.Close()
		}
		b.Run(fmt.Sprintf("change/subscribers=%d", n), func(b *testing.B) {
			for b.Loop() {
				change()
			}
		})
		b.Run(fmt.Sprintf("message/subscribers=%d", n), func(b *testing.B) {
			for b.Loop() {
				change()
				h.Assigned(topic, 0, batch, 0)
			}
		})
	}
}

// BenchmarkCurveMatchAfterChange: a message of a subject with 100 subscribers after each new filter, among so many
// filters.
func BenchmarkCurveMatchAfterChange(b *testing.B) {
	for _, n := range []int{100, 1_000, 10_000, 100_000} {
		h := equal(b, 100)
		others := h.Subscribe(&countingSub{})
		for i := range n {
			_ = others.Add(shard.SubID(i), mustFilter(b, fmt.Sprintf("mqtt:devices/d%d/cmd", i)), shard.LiveOptions{})
		}
		topic, batch, f := newTopic("t"), shard.BatchOf(shard.Record{}), mustFilter(b, "mqtt:devices/new/cmd")
		b.Run(fmt.Sprintf("filters=%d", n), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if i%2 == 0 {
					_ = others.Add(shard.SubID(n), f, shard.LiveOptions{})
				} else {
					others.Remove(shard.SubID(n))
				}
				h.Assigned(topic, 0, batch, 0)
			}
		})
	}
}
