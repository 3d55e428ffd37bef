package group_test

import (
	"context"
	"testing"

	"github.com/robustmq/robustmq-go/engine/group"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// fullState takes no change.
type fullState struct{ shard.State }

func (fullState) Apply(_ context.Context, _ string, _ []shard.StateOp, done func(error)) {
	done(shard.ErrWALFull)
}

// noTopics is a log without topics.
type noTopics struct{}

func (noTopics) ByNum(shard.TopicNum) (*shard.Topic, bool)      { return nil, false }
func (noTopics) Overlapping(shard.Filter, func(t *shard.Topic)) {}

// TestFullLogHoldsNoStartUp: groups are loaded though nothing can be noted.
func TestFullLogHoldsNoStartUp(t *testing.T) {
	mem := shardmem.New(shardmem.Options{})
	makeGroup(t, mem.Broker(), shard.GroupConfig{Name: "g", Durable: true}, "q")
	mem = mem.Reopen()
	defer mem.Close()
	b := mem.Broker()
	if err := shard.ApplyWait(t.Context(), b.State, "groups", shard.StateOp{Key: "stopped", Value: []byte{1}}); err != nil {
		t.Fatal(err)
	}
	m := group.NewManager(group.Options{Log: b.Log, State: fullState{b.State}, Topics: noTopics{}})
	defer m.Close()
	if err := m.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Get("g"); err != nil {
		t.Fatal(err)
	}
}
