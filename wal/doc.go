// Package wal is the write-ahead log of a gateway: one log for all its shards.
// An entry that its Waiter was told of survives a crash of the process and a
// power cut, as far as the disk keeps what it has synced.
//
// # Nouns
//
// An Entry is one record batch of one shard. A Pos is its place. A group is
// what one synced write (or a write and an fdatasync) made durable: everything that was queued
// when the group before it was done. The trim mark is the Pos before which
// entries are committed elsewhere. A file is a fixed-size piece of the log,
// zeroed or reused before the writer needs it. A tag is a random number drawn
// for each use of a file.
//
// # What is promised
//
//   - Order: positions rise in the order of Append, Replay hands entries out in
//     that order, and waiters are called in it.
//   - Durability: WALDone(pos, nil) comes after the synced write returned. A failed
//     write or sync is never tried again: the WAL has failed, for ever, and
//     says so to every waiter.
//   - Nothing unverified is returned: every byte of an entry is under a CRC-32C
//     that Replay, ReadAt and Dump check.
//   - A cut-off last group, never acknowledged, is dropped from its first fault
//     on. A fault anywhere else is reported by position, with shard and base
//     offset where the entry's header is whole, and the entries around it are
//     still replayed.
//   - Trim is durable when it returns. Entries appended but not acknowledged
//     before a crash may or may not be replayed.
//   - Concurrency: all methods after Replay may be called from anywhere. Two
//     goroutines run, one that writes and syncs, one that prepares files;
//     neither polls nor waits on a timer.
//
// It does not know record batches (Data is opaque, but for its first eight bytes
// being the base offset), does not de-duplicate, and does not bound the queue:
// Options.MaxBytes counts it, the caller's budget keeps it short.
//
// # Files
//
//	00000000000000000007.wal   a piece of the log; the number is never used again
//	trim                       the trim mark
//	joined                     what the catalog's record of the log has to be like
//	lock                       flock of the process that has the log open
//
// All integers are little endian; all checksums are CRC-32C (Castagnoli). The
// version is compared before the checksum of what holds it.
//
// # A file, version 1
//
//	0       file header
//	4096    file header, second copy
//	8192    group, group, ... each at a multiple of 8; then perhaps a sync mark;
//	        then zeros, or what the file held in its former use
//
// The header is written together with the first group. A file whose header
// carries another number than its name has not been used since it was renamed.
//
//	file header, 64 bytes
//	 0  8  magic "RMQ-WAL\n"
//	 8  4  version (1)
//	12  4  checksum of all other bytes of the header
//	16  8  number of the file
//	24  8  tag of this use of the file
//	32 16  id of the log
//	48  8  number of the file before it that holds entries, 0 if none
//	56  8  offset at which the log ends in that file: what is before was synced
//	       when this header was written, what is after is not part of the log
//
//	group header, 24 bytes
//	 0  4  magic "WGRP"
//	 4  4  checksum of all other bytes of the header, then of the number of the
//	       file and the offset of the header as two 8-byte integers
//	 8  8  tag
//	16  4  bytes of entries that follow, not counting the padding to 8
//	20  4  number of entries
//
//	entry, 44 bytes and its data, padded with zeros to a multiple of 4
//	 0  4  length of data
//	 4  4  checksum of all other bytes of this header
//	 8  8  tag
//	16  8  topic number
//	24  8  first 8 bytes of the data, read big endian: the base offset
//	32  4  shard index
//	36  4  ownership epoch
//	40  4  checksum of data
//	44  .  data
//
//	sync mark, 8 bytes
//	 0  4  magic "WSYN"
//	 4  4  checksum of tag, number of the file, own offset (8 bytes each)
//
// The tag is never shown to clients. A client that puts bytes looking like an
// entry into a message cannot know it, so that a reader who has lost its place
// and searches for the next header is not led astray; and bytes of a file's
// former use bear another tag.
//
// Not under a checksum: padding, and what follows the last group.
//
// # The trim mark, version 1
//
// Two slots at 0 and 4096, written in turn; the one with the higher generation
// that can be read counts.
//
//	 0  8  magic "RMQ-TRM\n"
//	 8  4  version (1)
//	12  4  checksum of all other bytes of the slot
//	16  8  generation
//	24  8  file number, 32 8 offset
//	40 16  id of the log
//
// # What is noted of the catalog, version 1
//
// A file of its own, replaced as a whole.
//
//	 0  8  magic "RMQ-JND\n"
//	 8  4  version (1)
//	12  4  checksum of all other bytes
//	16  8  highest revision of the catalog seen
//	24 16  mark of the last join, 40 16 mark of the one before
//	56  2  length of what follows
//	58  .  id of the cluster
//
// # Torn or damaged?
//
// A group is written only after the one before it was synced. So a group header
// or a sync mark at some offset is a witness that all before it was synced: a
// fault there is damage. The writer leaves a sync mark when its queue has
// been empty for 2 ms, not synced itself (Close does sync it), and the next group overwrites
// it. The header of a file is witness for the files before it, up to the offset
// it names. A fault in the last group with no witness after it is a torn write.
//
// Two cases cannot be told apart from a torn write, and are taken for one: damage
// to the last group when the power failed before the disk had the sync mark, and
// a last file that is missing altogether.
//
// To find its place again after a fault, the reader looks for the next group
// header or sync mark at multiples of 8, and inside for entry headers at
// multiples of 4.
//
// # Restart
//
// Replay syncs the last file before it returns, because after a mere kill its
// end may be in memory only. The log then goes on in a new file; a torn end is
// left where it is, outside the range that the new file's header names.
//
// # What is assumed of the disk
//
//  1. After fdatasync returned nil, the file's bytes and size survive; after
//     fsync of a directory, its names do.
//  2. Rename is atomic.
//  3. What was not synced may be there in any subset of its sectors. A write
//     changes no byte outside its range, and a byte that it repeats stays what it
//     was: the page in which the log ends is written again with each group, as
//     the page cache does too.
//  4. An error of fdatasync is reported once to somebody: after it nothing is
//     known, and no later success means anything.
package wal
