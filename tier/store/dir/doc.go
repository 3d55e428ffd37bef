// Package dir is a Store in a directory of a local file system: the store of
// the single binary that was given no bucket.
//
// An object is a regular file whose path below the root is its key. Put writes
// a file under ".tmp" in the root, syncs it, links it to its final name (link(2)
// refuses a name that exists: that is the conditional write), syncs the folder
// the name is in, and removes the temporary name. A reader therefore sees a
// whole object or none, and an object that Put acknowledged survives a power
// cut. Folders on the way are synced into their parents before the first Put
// below them returns, whoever made them, and are never removed.
//
// Put answers ErrExists only after it has synced the folder, so that the
// object that was found is as durable as one's own.
//
// A sync that failed is not repeated as if the second answer could be believed:
// when the data of a new object cannot be synced, that object is dropped; when
// a folder cannot be synced, the store refuses every later Put and Delete with
// ErrBroken until it is opened again.
//
// Objects of a megabyte or more are written past the page cache while the disk is
// fast (see write.go): the copy costs more than the disk, and who reads the
// object brings it into the cache.
//
// What a crash left under ".tmp" is removed by Open. An open Store holds a lock
// on the directory (".lock"); any number of read-only Stores may be open beside
// it.
//
// The file system must have hard links. Every file operation goes through
// package vfs, and a test crashes the store before each of them.
package dir
