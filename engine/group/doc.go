// Package group is the consumer-group machine: cursors with individual
// acknowledgement that competing consumers share. AMQP queues, MQTT sessions and
// shared subscriptions are groups; the contract is that of shard.Groups.
//
// # For the log's owner (kept stable)
//
//	m := group.NewManager(group.Options{Log, State, Topics, Logger, Now})
//	m.Load(ctx)                             // once, before feeding: restores durable groups
//	m.Durable(topic, index, batch, origin)  // in shard order, after the batch became visible
//	m.TopicDeleted(num)                     // its cursors are dropped
//	m.Pinned(id)                            // lowest offset that a durable group needs
//	m.Close()                               // writes what is left to write
//
// Durable should run before the publisher is told, or a group may not have yet
// what the publisher knows to be there. It calls no Receiver and waits for no
// disk.
//
// # Nouns
//
//   - Feed: one shard as seen here: its fed end, and the cursors on it.
//   - Cursor: a group's place in a shard: what is outstanding (queued, delayed or
//     delivered), and from where on it reads. Below the floor all is done.
//   - Live, catching up: a live cursor is fed from memory. One whose group is
//     full, or that was restored, reads the log instead and rejoins under the
//     feed's lock, where nothing is lost, repeated or reordered.
//     The group keeps a list of those that read; nothing that is done for a message
//     looks at the others.
//   - Attended: a group with consumers that do not pull; Interest asks an index of
//     the bindings of such.
//   - Binding: a filter with a start, and once removed an end, in each shard that
//     held anything at the time. A shard that did not starts (and ends) at 0.
//   - Dying: given up (rejected, expired, too many) and with the group's undertaker;
//     outstanding until that says it is durable elsewhere.
//   - Rejected: kept out of a full group as it was fed; done, before it was ready.
//     What is read from the log is not looked at again: it was taken when it came.
//   - Rewind: a cursor goes back to read again what it no longer holds in memory.
//
// # Invariants
//
//	floor <= offset of each outstanding entry < position
//	live: position = max(next, feed end); else position = next
//	each offset in [floor, position) is outstanding, acknowledged or not the group's
//
// # Locking
//
// Feed before group; no other lock is held while a group's is taken, and the locks of indexes and of the timer are taken last. Receivers
// are called by a few workers with no lock held, one group by one worker at a
// time. Windows are acquired under the group's lock and released outside it.
//
// # State
//
// Owner "group/" + name; part of the format, never change. Each value begins with
// a version byte (1, or 2 of a cursor with counts); integers are varints, strings have a length before them.
//
//	g               ack timeout ns, max deliver, expire after ns, idle since ms (0: in use), data
//	b/<serial>      id, filter, start, not-from, data, headers, starts, removed byte, ends
//	c/<topic>/<index>  floor, delivered high mark, runs done above the floor (gap, length),
//	                   in version 2 deliveries of what is not done (gap, count less 2)
//
// Owner "groups": key stopped, that the manager was closed and all deliveries are
// noted; without it what was in the log may have been delivered (stopped.go).
//
// One write per group is under way at a time; what changes meanwhile goes in the
// next. An acknowledgement is thus durable within one write of an idle group. A
// crash may bring back what was acknowledged just before it, as redelivered.
// Delivery counts go with whatever write comes next (Options.LazyWrite after a
// delivery at the latest): after a crash they may be too low, and for what a
// consumer handed back undelivered just before it one too high, so that
// Config.MaxDeliver gives it up a delivery early. At most maxSavedCounts a cursor
// are kept; all others count from 1.
package group
