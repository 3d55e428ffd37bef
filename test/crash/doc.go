// Package crash kills a broker at random moments and looks for what it had acknowledged.
//
// Four writers, one of each protocol, publish numbered messages with acknowledgements; two durable
// readers, an AMQP queue and an MQTT session, take all of them. Each round ends with SIGKILL; the
// broker starts again on the same data, and a Kafka client reads what is new in every shard.
//
//   - [Ledger]: what one writer sent, what was acknowledged and what was read back.
//   - [Writer]: publishes into a ledger until it is stopped or its connection is gone.
//   - [Sink]: a durable reader that reconnects, and how often it got each message.
//
// NATS core has no acknowledgement: its writer is load, and only order and content of what is read
// back are held to.
//
// TestKillWhileDeadLettering does it once while rejected messages move to a dead-letter queue.
package crash
