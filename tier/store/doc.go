// Package store is what RobustMQ asks of object storage: five operations on
// immutable objects.
//
// Nouns:
//
//   - Object: bytes under a key. Written once, as a whole; never changed, only
//     deleted. A reader sees all of it or nothing.
//   - Key: slash separated names, see [CheckKey].
//   - Store: the interface. Implementations are in the folders mem, dir, s3 and
//     minio; package open chooses one by configuration.
//   - Decorator: a Store around a Store: retry, limit, metrics, prefix, fault.
//   - Kind: one of the sentinel errors below. It says what the caller should do.
//
// Promises of every Store: an object that Put acknowledged is durable and is
// seen by every later Get, Head and List (read after write); Put never replaces
// an object on a store whose conditional writes work ([Probe] tells); all
// methods may be called concurrently.
//
// Not promised: that Put is refused on a second try by every server that calls
// itself S3 compatible. Keys of RobustMQ are unique (epoch and ULID), and what
// counts is decided by the catalog, so a store without conditional writes is
// weaker but not wrong.
//
// After a Put that ended with [ErrTemporary] or with the caller's context done,
// the object may or may not be there.
package store
