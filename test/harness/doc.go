// Package harness runs a real RobustMQ broker, the real servers it can stand on and the real
// clients of each protocol, as processes, for end-to-end tests, the demo and benchmarks.
//
// Nouns:
//
//   - Broker: one `robustmq serve` process with its data directory and its ports, which can be
//     stopped (SIGTERM), killed (SIGKILL) and restarted on the same ports and data.
//   - Proc: any child process; its output is kept line by line with the time each line was read.
//   - Service: a real MinIO, versitygw or etcd, empty, on a loopback port of its own.
//   - Client: a native tool (MQTT.js, mosquitto, Kafka's console tools, kcat, nats, pika) that
//     consumes; it knows when the tool is really subscribed, and which lines are messages.
//
// Promises: everything listens on and connects to 127.0.0.1 only; every wait is bounded by a
// context or a stated time-out; no child outlives the test process (on Linux: not even when it is
// killed); output is kept up to a cap. All methods of Proc, Broker, Service and Client may be
// called concurrently, but Stop, Kill and Restart of one Broker only one at a time.
//
// Tools are looked for in $ROBUSTMQ_TOOLS, or .tools at the top of the repository, then on the
// PATH; test/tools/install.sh puts them there. $ROBUSTMQ_BIN names a ready-made broker binary;
// without it the binary is built once per process.
package harness
