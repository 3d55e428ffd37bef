// Package mqtt is the MQTT gateway: MQTT 3.1, 3.1.1 and 5.0 on TCP, TLS and
// WebSocket.
//
// # Nouns
//
//   - Server: what all connections share: the sessions by client identifier, the
//     retained messages, the wills that wait.
//   - client: one connection with the session it serves. A session without a
//     connection lives in shard.State and shard.Groups only, so a reconnect and a
//     restart take the same path.
//   - receiver: a client's consumer of one group: its session's, or that of a
//     shared subscription.
//   - outbound: what waits to be written to one connection.
//   - ackFIFO: the acknowledgements owed to a publisher, in order of arrival.
//
// # Promises
//
// PUBACK and PUBREC are sent only once the message is as durable as its topic
// demands, in the order of the PUBLISHes. What one socket read brings for one
// shard is appended as one batch. A subscription at QoS 0 is live (shard.Live);
// at QoS 1 and 2 it is a binding of the session's group, durable when the
// session outlives its connection. Unacknowledged messages keep their packet
// identifiers over reconnects; at QoS 2 over crashes too.
//
// An idle connection has one goroutine, which reads; a second one exists only
// while there is something to write. No method of the engine is called while a
// client's mu is held, since the engine calls Deliver under locks of its own.
//
// # State
//
// Owner "mqtt/session/<client id>":
//
//	meta         session expiry, time of disconnection (JSON)
//	sub/<filter> a subscription (JSON)
//	in/<id>      a QoS 2 message received and not released (JSON)
//	out/<id>     a message sent and not finished (JSON)
//	will         the will, while the session is connected or the will is delayed (JSON)
//
// Owner "mqtt/retained/<00 to ff>": key topic, value a record batch of one.
// Owner "mqtt/share/<name>/<filter>": the persistent sessions that hold the
// shared subscription, by client identifier.
package mqtt
