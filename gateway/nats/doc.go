// Package nats is the NATS gateway: the text protocol of NATS core over the
// shards.
//
// # Nouns
//
//   - conn: one client; its read loop parses, publishes and subscribes.
//   - target: where messages of one subject go: a shard, or a relay in memory.
//   - outbox: what is queued for one client, bounded; past the bound the client
//     is a slow consumer and is disconnected, as its protocol says.
//
// # Promises
//
// Every message is stored, but those to reply inboxes, to subjects under '$', and
// requests to subjects that no topic captures, which are relayed in memory.
// Messages of one connection keep their order for every subscriber: what one
// socket read brings for one shard in a row becomes one batch. NATS core has no
// acknowledgement, so publishers never wait for a disk; when the log is full the
// connection is not read until there is room. PONG follows everything that was
// sent before its PING.
//
// The parser checks every length before it takes memory: a control line is at
// most 4 KiB, a payload at most what INFO says.
package nats
