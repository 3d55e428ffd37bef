// Package hostile attacks a real broker at every port while well-behaved clients use it.
//
// Each attack is a phase: huge lengths, every prefix of a valid conversation, random bytes (from a
// fixed seed), slow loris, floods to the cap of connections, decompression bombs. In all of them the
// broker ends the connection, with the protocol's error where the protocol has one; its memory
// (VmRSS) stays within [memoryBound] of what it was before; and the clients' messages get through.
// How long those took is printed, never asserted.
package hostile
