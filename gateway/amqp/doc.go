// Package amqp is the AMQP 0-9-1 gateway, with the extensions that RabbitMQ's
// clients use.
//
// # Nouns
//
//   - conn, channel: a connection and its channels. One goroutine reads, one
//     writes; completions and deliveries come from others and only encode into
//     the connection's output.
//   - vhost: exchanges, queues and bindings, seen by all connections; durable
//     ones are kept in shard.State under "amqp/vhost/<name>".
//   - exchange: a prefix of the subject space. Exchange X with routing key k is
//     subject X.k, the default exchange with key k is subject k, and amq.topic is
//     the subject space itself.
//   - dead letter: what a queue gives up (shard.Undertaker), published anew by the
//     gateway.
//   - queue: a shard.Group "amqp/<vhost>/<queue>" whose bindings are what is
//     bound to the queue, exchange to exchange bindings resolved.
//
// # Promises
//
// A publish is appended once, whatever is bound. A confirm says that it is as
// durable as its topic demands; confirms come in the order of publishing. What
// one socket read brought for one shard is one batch. When appends are refused
// for now, the client is told connection.blocked, and what it published is kept
// and appended later: nothing is lost or turned over.
//
// # Reserved headers
//
// robustmq-amqp-types keeps the types of the headers table: one kind octet per
// table field, in order; tables and arrays are followed by a uvarint length and
// their encoded value. The fields are the record's last headers that are not
// reserved. robustmq-amqp keeps what has no common name, as text: "d" and the
// delivery mode, "t" and the timestamp in seconds, "c" and the cluster id to the
// end, each only where the publisher set it. robustmq-amqp-deaths lists the queues
// in which a dead letter died since somebody published or rejected it: vhost, NUL,
// queue, NUL, NUL each, in order.
package amqp
