// Package matrix holds the cross-protocol matrix: for every [Case], what is written with the
// library of one protocol and what the libraries of all four then read.
//
// By default a reader gets the same name in its own spelling, the same value, and every property
// in the field that its protocol has for it, else as a header of the same name; nothing else.
// Where that is not so, the case has a [Cell] that says what is read instead, and why. The tests
// of this package hold a real broker to each cell, and docs/protocols/README.md, which is written
// from the same table, to the table.
package matrix
