package shardtest

import (
	"context"
	"testing"

	"github.com/robustmq/robustmq-go/shard"
)

// Instance is a broker under test.
type Instance struct {
	Broker shard.Broker
	// Reopen, if not nil, stops the broker and gives one with what was durable.
	// The old one must not be used any more.
	Reopen func(t *testing.T) Instance
	// Crash, if not nil, is Reopen without the time to write anything down.
	Crash func(t *testing.T) Instance
	// AutoTopics is how many topics may make themselves; 0 leaves out the test
	// of that bound.
	AutoTopics int
}

// Factory makes a broker and cleans it up (t.Cleanup).
type Factory func(t *testing.T) Instance

// Run runs the suite.
func Run(t *testing.T, f Factory) {
	for _, s := range []struct {
		name  string
		tests []test
	}{
		{"Log", logTests}, {"Producer", producerTests}, {"Topics", topicTests}, {"Live", liveTests},
		{"State", stateTests}, {"Groups", groupTests}, {"Bindings", bindingTests}, {"Restart", restartTests},
		{"Cluster", clusterTests},
	} {
		t.Run(s.name, func(t *testing.T) {
			for _, x := range s.tests {
				t.Run(x.name, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(context.Background(), patience)
					defer cancel()
					in := f(t)
					x.run(&env{T: t, Instance: in, ctx: ctx})
				})
			}
		})
	}
}

type test struct {
	name string
	run  func(e *env)
}
