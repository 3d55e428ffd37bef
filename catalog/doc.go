// Package catalog keeps what a cluster has to agree on in etcd: who is there,
// who owns what, which topics exist, and which object holds which records.
//
// # Nouns
//
//   - Catalog: this process's view, complete and in memory. Reading it never
//     leaves the process. One watch over the whole prefix keeps it up to date.
//   - Session: this process's membership. Its incarnation is the revision at
//     which etcd made the key of the gateway.
//   - Slot: the unit of ownership. NumSlots of them, each with an epoch.
//   - Segment: an immutable object, and where in it each shard's records are.
//   - TopicSet: an immutable view of all topics.
//
// # Promises
//
//   - A commit of segments compares, in its own transaction, that the
//     incarnation of the committing gateway exists. Leases only tell who is
//     alive; that compare is the fence, and no correctness rests on clocks.
//   - A lost answer is never guessed: every transaction can be told from
//     others' by a unique key or mark, is repeated until etcd answers, and then
//     finds what an earlier attempt did.
//   - What a method has committed is in the view when it returns. Each change
//     enters the view once, whether it came by the watch or from a transaction
//     of ours. ClaimSlots returns when the view has all that former owners
//     committed.
//   - A shard's extents change atomically for readers: a swap shows no hole.
//   - One transaction per flush, whatever the number of shards in it.
//   - No call is without a deadline: the caller's, or 15 seconds.
//   - A watch that falls behind compaction lists everything again. One that
//     breaks is resumed from the revision after the last one it told.
//
// All methods of all types may be called concurrently.
//
// # Keys
//
// Below Config.Prefix; each value begins with a version byte, and each kind's
// layout is written in the file of that kind.
//
//	cluster/id           format version and id of the cluster   persistent
//	gateways/{id}        addresses, zone, version, WAL id        lease
//	slots/{nnn}          owner, incarnation, epoch, WAL ids      persistent
//	wals/{id}            owner, open, clean or abandoned         persistent
//	topics/{name}        number, shards, captures, settings      persistent
//	segments/{ulid}      object, extents                         until swapped away
//	segments/{ulid}/{n}  more extents of the same                with the segment
//	deletions/{ulid}     object of a removed segment             until it is deleted
//	counters/{name}      next number                             persistent
//	users/{name}         account (JSON)                          persistent
//	acls/{hash}          rule (JSON)                             persistent
//	quotas/{name}        limits (JSON)                           persistent
//	features/{name}      switch of the cluster (JSON)            persistent
//
// A varint is unsigned LEB128 in its shortest form unless called signed, which
// is zigzag; a string is a varint length and the bytes.
//
// # What is assumed of etcd
//
// 3.5 or newer; transactions are strictly serializable; watches tell whole
// revisions in order; the usual limits of 1.5 MiB a request and 128 operations
// a transaction. What the catalog does not do: spill history to objects, so
// its size in etcd grows with the number of segments that exist.
package catalog
