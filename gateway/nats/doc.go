// Package nats is the NATS gateway: the text protocol of NATS core over the
// shards.
//
// # Nouns
//
//   - conn: one client; its read loop parses, publishes and subscribes.
//   - parser: cuts the byte stream into commands; locked until login.
//   - publisher: gathers what one read brings for one shard into a batch.
//   - target: where messages of one subject go: a shard, or a relay in memory.
//   - outbox: what is queued for one client, in chunks that all clients share;
//     past its bound the client is a slow consumer and is disconnected, as its
//     protocol says.
//
// # Promises
//
// Every message is stored, but those to reply inboxes, to subjects under '$', and
// requests that nothing would keep, which are relayed in memory. Messages of one
// connection keep their order for every subscriber. NATS core has no
// acknowledgement, so publishers never wait for a disk; when the log is full the
// connection is not read until there is room. PONG follows everything that was
// sent before its PING.
//
// Every length is checked before memory is taken: a control line is at most
// 4 KiB, a CONNECT line 16 KiB, a payload what INFO says, and nothing at all is
// taken from who is not logged in but that. Neither parsing nor delivering
// allocates per message.
//
// Nothing that a client publishes or that records of other protocols hold can
// forge a command to another client: what the protocol cannot spell is
// percent-encoded in subjects and header names, and left out of header values.
//
// # Locks
//
// The outbox's mutex guards the connection's subscriptions too. Deliver runs
// under locks of the hub and the log, takes the outbox's, and never blocks:
// ending a connection or a subscription from there is left to other goroutines.
package nats
