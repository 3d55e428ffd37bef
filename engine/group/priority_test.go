package group_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// publishAt publishes a message for each priority, named "priority order".
func publishAt(t testing.TB, b shard.Broker, subject string, priorities ...int) (want []string) {
	t.Helper()
	ctx := context.Background()
	topic, err := b.Topics.Resolve(ctx, subject, true)
	if err != nil {
		t.Fatal(err)
	}
	var bld shard.Builder
	for i, p := range priorities {
		v := fmt.Sprintf("%d %03d", p, i)
		bld.Add(&shard.Record{Timestamp: time.Now().UnixMilli(), Value: []byte(v), Headers: []shard.Header{{Name: shard.HeaderPriority, Value: fmt.Append(nil, p)}}})
		want = append(want, v)
	}
	if _, err := shard.AppendWait(ctx, b.Log, topic.ShardOf(nil, subject), bld.Build(), shard.AppendOptions{}); err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(want, func(a, b string) int { return strings.Compare(b[:1], a[:1]) })
	return want
}

// TestPriorities: the highest first, of one priority the oldest, whether the
// messages were there before the limit, came after it, or are read after a
// restart; what comes back keeps its place.
func TestPriorities(t *testing.T) {
	mem := shardmem.New(shardmem.Options{})
	defer func() { mem.Close() }()
	g := makeGroup(t, mem.Broker(), shard.GroupConfig{Name: "g", Durable: true}, "q")
	var mixed []int
	for i := range 300 { // more than a group without consumers holds as a rule
		mixed = append(mixed, i*7%5)
	}
	early := publishAt(t, mem.Broker(), "q", 0, 2, 1)
	g.(shard.LimitedGroup).Limit(shard.GroupLimits{MaxPriority: 3})
	if got := drainGroup(t, g, 3); !slices.Equal(got, early) {
		t.Errorf("what was there came as %q", got)
	}
	publishAt(t, mem.Broker(), "q", mixed...)
	r := &receiver{}
	c := attach(t, g, shard.ConsumerConfig{Windows: []*shard.Window{shard.NewWindow(1)}}, r)
	first := r.await(t, 1)
	c.Close() // and it comes back
	want := publishAtWant(mixed, 3)
	if got := values(first); got[0] != want[0] {
		t.Errorf("first came %q, want %q", got[0], want[0])
	}
	mem = mem.Reopen()
	g, err := mem.Broker().Groups.Get("g")
	if err != nil {
		t.Fatal(err)
	}
	g.(shard.LimitedGroup).Limit(shard.GroupLimits{MaxPriority: 3})
	for end := time.Now().Add(10 * time.Second); g.Stats().Ready < 300 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if got := drainGroup(t, g, 300); !slices.Equal(got, want) {
		t.Errorf("after a restart they came as\n%q\nwant\n%q", got, want)
	}
}

// publishAtWant is the order of publishAt's messages where priorities end at most.
func publishAtWant(priorities []int, most int) []string {
	type message struct {
		p int
		v string
	}
	var ms []message
	for i, p := range priorities {
		ms = append(ms, message{min(p, most), fmt.Sprintf("%d %03d", p, i)})
	}
	slices.SortStableFunc(ms, func(a, b message) int { return b.p - a.p })
	var vs []string
	for _, m := range ms {
		vs = append(vs, m.v)
	}
	return vs
}

// drainGroup takes n messages one by one and acknowledges them.
func drainGroup(t testing.TB, g shard.Group, n int) (vs []string) {
	t.Helper()
	c := attach(t, g, shard.ConsumerConfig{Pull: true}, &receiver{})
	defer c.Close()
	for range n {
		d, ok := c.Get()
		if !ok {
			t.Fatalf("nothing came after %d of %d", len(vs), n)
		}
		c.Ack(d.Tag)
		vs = append(vs, string(d.Record.Value))
	}
	return vs
}
