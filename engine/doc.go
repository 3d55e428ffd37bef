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
// After a failed fdatasync, or when the lease of the catalog session may be over,
// nothing is acknowledged any more; what was acknowledged and is in memory is
// brought to the store if that can be done, and ownership is given up.
//
// A commit whose outcome is not known is repeated with the same segment before
// anything else is flushed.
//
// What is damaged is reported by every read, with shard, offset and where reading
// may go on; it is never passed over, and its offsets are never given out again.
// Damage found in the WAL is noted in the state log before the WAL is trimmed. A
// slot of the state log that lost records is refused (Options.AcceptDamage serves
// it), all others serve. A shard's last batch is never compacted away: where it
// ends is how the next offset is known after a restart.
//
// After a crash, records of object-durable topics that were in the WAL and not
// acknowledged are visible at once, and committed within the flush interval.
//
// What idempotent producers appended is in the state log as a note: before the first
// of them, each 8 MiB or 30 s of a shard's log, and when the engine closes. Of a
// topic made since notes are kept, a shard without one has no such producer. What
// has to be read for an append is read off its caller's goroutine: the append is
// parked, with its context, and others pass.
//
// An engine that is idle writes nothing; Close leaves an empty WAL.
package engine
