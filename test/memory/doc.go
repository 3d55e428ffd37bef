// Package memory runs a broker with a memory limit under loads that once had no bound, and holds
// it to the limit: its peak of resident memory, that it serves on afterwards, and that it says what
// it refuses.
//
//   - many groups on one subject, which nobody reads;
//   - the object store away until the log is full;
//   - a backlog of many times the limit in one AMQP queue and in one MQTT session;
//   - thousands of connections of all protocols that do not read.
//
// -scale is the part of the full loads that is run, 1/20 by default; `make memory` runs all of them.
package memory
