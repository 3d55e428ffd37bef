package group_test

import (
	"context"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

func TestPinned(t *testing.T) {
	mem := shardmem.New(shardmem.Options{})
	defer func() { mem.Close() }()
	b := mem.Broker()
	publish(t, b, "q", "0", "1")
	topic, _ := b.Topics.ByName("q")
	id := topic.Shard(0)
	pinned := func(want int64) {
		t.Helper()
		// A cursor that has just caught up holds its end for a moment longer.
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			got, ok := mem.Groups().Pinned(id)
			if ok == (want >= 0) && (!ok || got == want) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("pinned %d %v, want %d", got, ok, want)
			}
		}
	}
	makeGroup(t, b, shard.GroupConfig{Name: "transient"}, "q")
	g := makeGroup(t, b, shard.GroupConfig{Name: "g", Durable: true}, "q")
	pinned(-1)
	publish(t, b, "q", "2", "3", "4")
	pinned(2)
	r := &receiver{}
	c := attach(t, g, shard.ConsumerConfig{}, r)
	ds := r.await(t, 3)
	c.Ack(ds[0].Tag, ds[2].Tag)
	pinned(3)
	mem = mem.Reopen()
	pinned(3)
	b = mem.Broker()
	g, err := b.Groups.Get("g")
	if err != nil {
		t.Fatal(err)
	}
	c = attach(t, g, shard.ConsumerConfig{}, r)
	c.Ack(tags(r.await(t, 1))...)
	pinned(-1)
	c.Close()
	publish(t, b, "q", "5")
	pinned(5)
	if _, err := g.Purge(context.Background()); err != nil {
		t.Fatal(err)
	}
	pinned(-1)
}
