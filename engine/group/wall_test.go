package group_test

import (
	"testing"

	"github.com/robustmq/robustmq-go/engine/group"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// Subjects under a prefix are kept from a group, fed or read back, counted or delivered.
func TestNotUnder(t *testing.T) {
	mem := shardmem.New(shardmem.Options{Groups: group.Options{IdleMessages: 1}})
	t.Cleanup(mem.Close)
	b := mem.Broker()
	g := makeGroup(t, b, shard.GroupConfig{Name: "g", Durable: true}, ">")
	g.(shard.LimitedGroup).Limit(shard.GroupLimits{NotUnder: []string{"a.", "b."}})
	for _, v := range []string{"1", "2", "3"} {
		publish(t, b, "a.x", "theirs")
		publish(t, b, "b.x.y", "theirs")
		publish(t, b, "ax", v)
	}
	if n := g.Stats().Ready; n != 3 {
		t.Errorf("%d are ready", n)
	}
	got := &receiver{}
	attach(t, g, shard.ConsumerConfig{NoAck: true}, got)
	publish(t, b, "a.x", "theirs")
	publish(t, b, "ax", "4")
	for i, d := range got.await(t, 4) {
		if v := string(d.Record.Value); v != []string{"1", "2", "3", "4"}[i] {
			t.Errorf("delivery %d is %q", i, v)
		}
	}
}
