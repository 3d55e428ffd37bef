// Package live matches subjects with filters, and hands new messages to live
// subscribers.
//
// # For the log's owner (kept stable)
//
//	hub := live.NewHub(logger, now)
//	hub.Assigned(topic, index, batch, origin) // offsets are assigned; in shard order
//	hub.Durable(topic, index, batch, origin)  // visible; in shard order
//	hub.Subscribe, hub.Relay, hub.Interest    // shard.Live
//
// # Nouns
//
//   - Index: filters of both spaces in two tries, and what they match, cached by
//     subject. Package group has one of its own.
//   - Hub: the live subscribers, a shard.Live.
//   - Set: the values under one filter. A name's match is its sets, so that another
//     subscriber of a filter changes the set and no match.
//   - Plan: the subscribers of a set, an immutable list that a change replaces in
//     part. Who is in several sets of a match is found beside, see reach.
//   - Run: consecutive messages of a batch with the same match; what is delivered
//     in one call.
//
// # Promises
//
// All calls may be concurrent, but those of Assigned for one shard must be made
// in its order, one at a time, and so must those of Durable. A batch is decoded
// only where a filter can match its topic, and once for all. A match that is
// cached allocates nothing. A batch that cannot be decoded is skipped and logged
// once per topic.
//
// Subscription.Remove and Close wait for a delivery that runs, so that none
// begins after they return: call them neither from within Deliver nor while
// holding a lock that Deliver takes.
package live
