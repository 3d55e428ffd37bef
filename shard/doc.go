// Package shard is the one API between the protocol gateways and the storage
// engine: the model of RobustMQ, and nothing of how it is stored.
//
// # Nouns
//
//   - Subject: the dotted name a message is published to, "sensors.kitchen.temp".
//   - Topic: a named set of shards plus the subject filters it captures. Every
//     subject is captured by exactly one topic.
//   - Shard: an ordered, append-only sequence of record batches with contiguous
//     64-bit offsets. The only storage there is.
//   - Record: offset, timestamp, key, headers, value.
//   - Batch: records in the Kafka RecordBatch v2 encoding, the one format in
//     memory, in the WAL, in segments and on the Kafka wire.
//   - Group: a durable or transient cursor that competing consumers share, with
//     individual acknowledgement.
//
// # Promises
//
//   - Order: a shard's batches are read in the order in which they were given
//     their offsets; appends of one goroutine to one shard keep their order, and
//     their completions come in that order.
//   - Durability: an append completes without error when it is as durable as its
//     topic demands (Durability), and is visible to readers only from then on.
//     At-most-once live subscribers may see it earlier.
//   - One write: no reader, group or binding makes a copy.
//
// # Layers
//
// The package imports nothing of this project. Gateways know only this package
// and package gateway; package engine implements the interfaces here, shardmem
// implements them in memory for tests, and shardtest is the suite both pass.
package shard
