package catalog

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/robustmq/robustmq-go/shard"
)

// TestOverlapping compares what is found by name and by beginning with a look at
// every filter of every topic.
func TestOverlapping(t *testing.T) {
	var s TopicSet
	ed, num := new(edit), shard.TopicNum(0)
	add := func(x shard.Topic) {
		num++
		x.Num, x.Shards = num, 1
		s.put(topicRow{topic: &x}, ed)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	name := func(sep string, words ...string) string {
		n := make([]string, 1+rnd.IntN(3))
		for i := range n {
			n[i] = words[rnd.IntN(len(words))]
		}
		return strings.Join(n, sep)
	}
	add(shard.Topic{Name: shard.CatchAllTopic})
	add(shard.Topic{Name: "a.internal", Internal: true})
	add(shard.Topic{Name: "many", Captures: []string{"a.>", "b.*", "c"}})
	add(shard.Topic{Name: "deep", Captures: []string{"*.a.b"}})
	for range 60 {
		add(shard.Topic{Name: name(".", "a", "b", "ab", "d", ""), Auto: true})
		add(shard.Topic{Name: name("/", "a", "b", "ab", "a.b", "d"), Auto: true}) // as NATS and AMQP may spell it
	}
	var filters []shard.Filter
	for range 300 {
		f, err := shard.ParseSubjectFilter(name(".", "a", "b", "c", "ab", "*"))
		if err != nil {
			t.Fatal(err)
		}
		filters = append(filters, f)
		m := name("/", "a", "b", "a.b", "", "+", "ab")
		if rnd.IntN(3) == 0 {
			m += "/#"
		}
		if f, err = shard.ParseMQTTFilter(m); err == nil {
			filters = append(filters, f)
		}
	}
	checkOverlapping(t, &s, filters)
	for _, x := range slices.Collect(s.All()) { // removing moves what is walked over
		if x.Num%2 == 0 {
			s.remove(x, ed)
		}
	}
	checkOverlapping(t, &s, filters)
	for _, x := range slices.Collect(s.All()) {
		s.remove(x, ed)
	}
	if n := s.slashed.n; n != 0 {
		t.Errorf("%d flat names are left over", n)
	}
}

func checkOverlapping(t *testing.T, s *TopicSet, filters []shard.Filter) {
	t.Helper()
	for _, f := range filters {
		var want, got []string
		for x := range s.All() {
			if !x.Internal && (x.Name == shard.CatchAllTopic || slices.ContainsFunc(x.Filters(), f.Overlaps)) {
				want = append(want, x.Name)
			}
		}
		for x := range s.Overlapping(f) {
			got = append(got, x.Name)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("filter %s: got %q, want %q", f, got, want)
		}
	}
}

// TestOverlappingAllocates nothing for the topics that a filter does not reach: a
// subscription is made among a hundred thousand of them.
func TestOverlappingAllocates(t *testing.T) {
	var s TopicSet
	ed := new(edit)
	for i := range 5000 {
		s.put(topicRow{topic: &shard.Topic{Name: fmt.Sprintf("device.%d", i), Num: shard.TopicNum(i + 1), Shards: 1}}, ed)
	}
	for _, c := range []struct {
		filter string
		topics int
	}{{"device/17", 1}, {"home/17", 0}, {"home/+/x", 0}, {"home/#", 0}} {
		f, err := shard.ParseMQTTFilter(c.filter)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		allocs := testing.AllocsPerRun(3, func() {
			n = 0
			for range s.Overlapping(f) {
				n++
			}
		})
		if n != c.topics || allocs > 50 {
			t.Errorf("%s: %d topics, %v allocations", c.filter, n, allocs)
		}
	}
}
