// Package catalogtest holds what tests of the catalog and of its users share.
//
//   - Run is the conformance suite. It runs on an etcd inside the test process
//     and, with ROBUSTMQ_TEST_ETCD=host:port, on that one, under a prefix of its own.
//   - Etcd is a server that can be stopped, restarted and compacted; Proxy can
//     stall and cut the way to one.
//   - Faults loses the answers of transactions, or fails them.
//
// What real etcd servers do differently is noted where the suite meets it.
package catalogtest
