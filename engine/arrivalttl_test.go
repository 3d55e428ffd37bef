package engine

import (
	"context"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/catalog/catalogtest"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

type nobody struct{}

func (nobody) Deliver([]shard.Delivery) {}
func (nobody) Closed(error)             {}

// TestGroupTimeFromArrival: the time of a message in a group counts from its arrival,
// whatever time its writer gave it, after a flush and a crash too.
func TestGroupTimeFromArrival(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	o := quiet()
	o.Now = func() time.Time { return now }
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), mem.New(nil))
	ctx := context.Background()
	id := r.topic("a", shard.TopicConfig{RetentionMs: -1}).Shard(0)
	g, err := r.Broker().Groups.Create(ctx, shard.GroupConfig{Name: "g", Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Bindings().Add(ctx, shard.Binding{ID: "a", Filter: shard.LiteralFilter("a")}); err != nil {
		t.Fatal(err)
	}
	for _, off := range []time.Duration{-time.Hour, 0, time.Hour} {
		b := shard.BatchOf(shard.Record{Timestamp: now.Add(off).UnixMilli(), Value: []byte(off.String())})
		if _, err := shard.AppendWait(ctx, r.Engine, id, b, shard.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	count := func() (n int) {
		g, err := r.Broker().Groups.Get("g")
		if err != nil {
			t.Fatal(err)
		}
		g.(shard.LimitedGroup).Limit(shard.GroupLimits{TTL: time.Minute, HasTTL: true})
		c, err := g.Attach(shard.ConsumerConfig{Pull: true}, nobody{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, ok := c.Get(); ok; _, ok = c.Get() {
			n++
		}
		return n
	}
	if n := count(); n != 3 {
		t.Errorf("%d messages of 3 as they came", n)
	}
	if err := r.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	r.crash()
	now = now.Add(59 * time.Second)
	if n := count(); n != 3 {
		t.Errorf("%d messages of 3 after a crash and 59 s", n)
	}
	now = now.Add(2 * time.Second)
	if n := count(); n != 0 {
		t.Errorf("%d messages after 61 s", n)
	}
}
