// Package everyday runs the client libraries that applications use every day, unchanged and
// without special settings, against a real broker: what they do when all is well, and what they
// see when it is not (a wrong password, a message too large, a topic that does not exist, a broker
// that is killed and comes back, after which nothing acknowledged may be missing).
//
// A library of another language is driven by a script in testdata. A script takes the port as its
// argument, checks by itself, and prints "ok" last. Where it prints "kill" the test kills the
// broker, starts it again on the same ports and data, and then writes an empty line to the
// script's input.
package everyday
