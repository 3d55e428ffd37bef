// Package lint holds rules about this repository as tests: which package may import which, that
// every package and folder is described, how long functions may be, and what text may not occur.
// `go test ./...` is all it takes to enforce them; the package exports nothing.
//
// A rule that today's code breaks in places is a ratchet: the offenders are listed in testdata,
// the list may only shrink, and a line that is no longer needed fails the test too.
package lint
