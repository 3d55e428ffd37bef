// Package gateway is what all protocol gateways share: listeners with TLS and
// WebSocket, connection caps and budgets, authentication and authorisation, and
// the drain on shutdown.
//
// # Nouns
//
//   - Protocol: one line of the table in cmd/robustmq: a name, its default
//     listeners, and the constructor of its Server.
//   - Server: a protocol's side of things; it serves one connection a call.
//   - Conn: a network connection (TCP, TLS or WebSocket alike) with its number,
//     principal and limits.
//   - Auth: who somebody is and what they may do, for every protocol alike.
//
// # Promises
//
// A Server's ServeConn runs on a goroutine of its own; a panic in it is logged
// and ends that connection only. A connection that does not authenticate in time
// is closed. Over the cap of connections, new ones are closed at once.
//
// A user's limits (shard.User) hold for each gateway by itself. Over
// MaxConnections a protocol refuses the login in its own words. BytesPerSecond
// is a bucket that all connections of the user share: of what they send, frames
// and all, with a second's worth (4 KiB at least) at once. It is kept by not
// reading, so that the client's writes wait; nothing is refused for it. A client
// that has to wait for longer than its keep-alive loses the connection by that.
//
// A gateway imports this package, package shard and its codec, and nothing else
// of this project.
package gateway
