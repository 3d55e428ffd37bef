// Package clients writes and reads messages with the Go client libraries of the four protocols,
// behind one shape.
//
// A [Message] is what the protocols have in common; a [Writer] writes it with the fields that its
// protocol has for it, a [Reader] subscribes and gives messages as its library showed them. What
// the broker does between the two is what tests look at, so nothing is mapped here that a library
// does not map itself.
package clients
