// Package producer remembers, per shard, what idempotent producers and dedupe
// ids have already appended, so that a retry is recognised.
//
// # Nouns
//
//   - Table: one shard's memory. Check asks before offsets are assigned, Add
//     notes after; Snapshot and Restore carry it over restarts.
//   - Producer: a producer id with its epoch and its last five batches, by the
//     rules of Kafka's idempotent producer (KIP-98, KIP-360).
//   - Dedupe id: a name given to one append; a second append of that name
//     within the window is a duplicate. Replay finds it in the log, where the
//     record has it in shard.HeaderDedupeID.
//
// # Promises
//
// A Table is not safe for concurrent use: it belongs to whoever orders its
// shard. It is bounded in entries and in time; what was used longest ago is
// forgotten first. It never reads a clock: every call is told the time in
// milliseconds since the epoch.
//
// # Rules for producers
//
// An epoch below the known one is fenced. A new epoch begins at sequence 0. In
// the known epoch a batch must follow the last one, sequences wrapping from
// 2^31-1 to 0, or equal one of the last five exactly, and then is a duplicate.
// A producer that is not known is believed, whatever its sequence.
//
// # Snapshot format
//
// Part of the format, never change. Integers are varints (signed ones zigzag),
// always in their shortest form. The caller keeps the bytes under a checksum.
//
//	version byte (1)
//	count of producers, each, least recently used first:
//	  id, epoch, last use; count of batches (0..5), each, oldest first:
//	    first sequence, last sequence, first offset, last offset, timestamp
//	count of dedupe ids, each, oldest first:
//	  length, bytes; first offset, last offset, timestamp, time of the append
package producer
