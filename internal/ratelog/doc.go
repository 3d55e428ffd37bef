// Package ratelog bounds how often a log line is written.
//
// A client that repeats what is refused can cause a line each time, thousands a second.
// Handler passes the first lines of a message, then one a second; how many were held back
// is told by the next line that passes, in the attribute "suppressed", or by a line of
// its own when none follows.
//
//   - A line's kind is its level and its message: attributes do not count, for a client
//     chooses some of them.
//   - At most maxKinds kinds are told apart; what is beyond shares one.
//
// Handlers are safe for concurrent use.
package ratelog
