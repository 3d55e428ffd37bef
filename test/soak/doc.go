// Package soak runs a broker under steady load for a long time and looks for what grows.
//
// All four protocols publish at a fixed rate: an idempotent Kafka producer, MQTT QoS 1, AMQP with
// confirms, NATS core. A Kafka group commits, an AMQP queue and a durable MQTT session acknowledge,
// sessions come and go, and a compacted topic is rewritten over and over. Retention is minutes, so
// that what is written leaves again. The broker is restarted now and then, every second time by
// SIGKILL.
//
//   - [Plan]: how long, how fast, and with which sizes. Scaled divides sizes and time.
//   - [Sample]: the figures of one moment; the curves are made of them.
//   - [Judge]: what has to be flat, and what has to stay below a bound.
//
// The bound of the compacted topic counts what came since the last pass of merging.
//
// No time is judged: how long a restart took is printed, what it read from the store is judged.
package soak
