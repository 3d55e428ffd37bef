// Package engine implements package shard: it joins the write-ahead log, the
// segment objects and the catalog, and is the only package that knows all three.
//
// # Nouns
//
//   - shardLog: one shard's state in its owner: offsets, the tail that is not
//     flushed or still in memory, producers, and who waits for its end.
//   - slot: the unit of ownership; slotOf maps a shard or a name to one of 256.
//   - flush: everything in the WAL that no object holds yet, written as one
//     segment object and committed in one catalog transaction.
//   - feed: hands batches that became visible to live subscribers and groups, in
//     shard order.
//   - state: small keyed values, in one internal compacted topic with a shard per
//     slot.
//
// # Promises
//
// A batch gets its offset and its place in the WAL under one lock, so WAL order is
// offset order. It becomes visible, and its append completes, when it is as
// durable as its topic demands: when the WAL's fdatasync returned, or when the
// segment that holds it is committed. The WAL is trimmed only after the commit.
// After a failed fdatasync, or when the catalog session is lost, nothing is
// acknowledged any more.
package engine
