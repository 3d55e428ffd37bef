// Package kafka is the Apache Kafka gateway: it speaks the Kafka wire protocol
// to Kafka's own clients and tools.
//
// # Nouns
//
//   - api: one row of the table in apis.go. The table drives both dispatch and
//     the answer to ApiVersions, so what is advertised is what is implemented.
//     Each API key has a file of its own, named by its number.
//   - conn: a client connection: a reader, a processor and a writer. Requests
//     are processed in order; produce requests complete later, by the log.
//   - request: a frame on its way through a connection.
//   - coordinator, group: classic consumer groups (JoinGroup, SyncGroup). Members
//     and generations live in memory and, with the committed offsets, in
//     shard.State under the owner "kafka/group/<id>".
//   - fetch session: KIP-227 state, kept by the connection that made it.
//
// # Mapping
//
// Topic T, partition p is shard p of topic T; a record's subject is T unless it
// carries one. Record batches are stored as they came and fetched as they are
// stored. Names that Kafka cannot spell are mapped reversibly (kafkaName). A topic's
// id is a hash of the cluster's id followed by the topic's number.
//
// # Promises
//
//   - Responses are written in the order of the requests of their connection.
//   - A produced batch is checked before it is stored: one batch of format 2 per
//     partition, checksum, counts, every record well formed, compressed or not,
//     and no header of RobustMQ's own.
//   - Produce with acks 1 or all is answered when the batch is as durable as its
//     topic demands; acks 0 is not answered and waits for nothing.
//   - A committed offset is durable before the commit is answered. It belongs to
//     the topic's number, so that a topic made anew starts without offsets.
//   - Frames, arrays, groups, sessions and bytes in flight are bounded.
//
// The package does not do transactions, the consumer group protocol of KIP-848,
// share groups, delegation tokens or quotas: see skipped.md.
package kafka
