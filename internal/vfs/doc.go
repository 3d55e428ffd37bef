// Package vfs is the one way RobustMQ touches local disks. Code that must
// survive a power cut (the WAL, the directory object store) is written against
// FS and File, so that the same code runs over three things:
//
//   - OS, the real file system: Sync is fdatasync where the platform has it;
//   - Mem, an in-memory file system that knows which bytes and which directory
//     entries have been synced, and whose CrashClone is the disk as it could look
//     after a power cut;
//   - Inject, a decorator that makes any operation fail, or stop half way.
//
// # Nouns
//
// FS is a tree of files. File is an open file, addressed by offset (there is no
// cursor). Locker, Linker and Preallocator are optional powers: the helpers
// Lock, Link and Preallocate ask for them and answer errors.ErrUnsupported when
// they are missing.
//
// # What is promised
//
//   - File.Sync returning nil: every WriteAt and Truncate on that file that had
//     returned before the call survives a power cut.
//   - FS.SyncDir returning nil: every creation, Rename, Link and Remove directly
//     in that directory that had returned before the call survives.
//   - FS.MkdirAll returning nil: the directories survive (the implementation
//     syncs the parents of what it made).
//   - Nothing else survives for certain. Writes that were not synced may be there
//     wholly, in part (in any subset of their 512-byte sectors), or not at all,
//     in any order; directory changes likewise, each one atomic in itself.
//
// Paths are the platform's (path/filepath). All methods may be called
// concurrently; writes to overlapping ranges are the caller's to order.
//
// # What it does not do
//
// No buffering, no retries, no handles that follow a file by name: after a
// Rename an open File goes on naming the same bytes.
package vfs
