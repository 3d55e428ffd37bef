package gateway

import "sync/atomic"

// Stats counts what a protocol did since the process started. Gateways add to
// it; the admin gateway reads it.
type Stats struct {
	Connections    atomic.Int64 // open now
	Accepted       atomic.Int64
	Refused        atomic.Int64 // over a cap, or not logged in in time
	AuthFailures   atomic.Int64
	MessagesIn     atomic.Int64
	BytesIn        atomic.Int64
	MessagesOut    atomic.Int64
	BytesOut       atomic.Int64
	Dropped        atomic.Int64 // at-most-once messages to slow consumers
	SlowConsumers  atomic.Int64 // disconnected for being slow
	ProtocolErrors atomic.Int64
	Subscriptions  atomic.Int64 // open now
	DamagePassed   atomic.Int64 // offsets of damaged records that consumers were led past
}
