// Package shardtest is the suite that every implementation of package shard
// passes.
//
//	func TestBroker(t *testing.T) {
//		shardtest.Run(t, func(t *testing.T) shardtest.Instance { ... })
//	}
//
// Each test gets a broker of its own from the factory. What needs a restart runs
// where the instance has a Reopen.
//
// # Differences between implementations that are allowed
//
//   - Messages may reach groups and durable live subscribers a moment after
//     their append completed; the suite waits.
//   - A channel of Log.Wait for an offset past the end may wake too early;
//     whoever waits looks again.
//   - The first number of a counter (Cluster.NextIDs), and revisions of state,
//     need only rise.
package shardtest
