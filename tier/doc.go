// Package tier holds segment objects: immutable objects in a store that carry
// the batches of many shards (level 0, straight from the WAL) or of one (level
// 1, compacted), and the reader with its cache.
//
// # Nouns
//
//   - Batch: one record batch in the Kafka RecordBatch v2 encoding, as it was
//     produced, with its base offset assigned.
//   - Frame: a batch in an object, after the checksum of its head.
//   - Extent: the contiguous frames of one shard in one object, in offset order.
//     Offsets inside an extent rise; they may have gaps (compaction by key).
//   - Index: all extents of an object, with sparse entries to search by offset
//     and by time.
//   - Builder makes an object; Reader reads extents of objects through a block
//     cache; Cursor is a reader's position that reads ahead; Merge streams one
//     shard's extents for compaction; Verify and Dump look at whole objects.
//
// # Promises
//
// Whatever Reader, Merge and Scan hand out has had its checksums verified since
// it was read from the store or the cache: the shard, the offsets, the epoch,
// the length (head checksum) and the rest of the batch (the batch's own
// checksum). What does not verify is a [CorruptError] that names the object, the
// shard and the range of offsets that cannot be had; the offsets around it, and
// other shards, are served on.
//
// Not promised: that an object named by a caller still exists
// (store.ErrNotFound: ask the catalog again).
//
// # Keys
//
//	segments/<level>/<hash>/<epoch>-<ulid>   a segment: see [Key]
//	clusters/<id of the cluster>             a marker: see [MarkerKey]
//	clusters/<id of the cluster>.rev/<n>     how far its catalog was: see [RevisionKey]
//
// A cluster puts its marker before its first segment. Its key is what is read,
// and when it was put; so the store needs no conditional writes, and of two
// clusters in one store neither hides the other.
//
// # Format, version 1
//
// All integers are big endian. CRC means CRC-32C (Castagnoli).
//
//	object   +--------+---------------------+---------------------+-----+-------+---------+
//	         | header | extent of shard a   | extent of shard b   | ... | index | trailer |
//	         +--------+---------------------+---------------------+-----+-------+---------+
//	header   +-----------------+--------------+--------------+
//	16 bytes | magic (8)       | version u32  | CRC u32      |  CRC over the 12 bytes before it
//	         +-----------------+--------------+--------------+
//	extent   +-------+-------+-----
//	         | frame | frame | ...        no space between frames, nor between extents
//	         +-------+-------+-----
//	frame    +--------------+--------------------------------------+
//	         | head CRC u32 | batch (61 bytes or more)             |
//	         +--------------+--------------------------------------+
//	index    +-----------------+-----------+-----------+-----
//	         | extents n u32   | extent 1  | extent 2  | ...        sorted by shard, then by base
//	         +-----------------+-----------+-----------+-----
//	trailer  +--------------+---------------+---------------+-----------------+
//	40 bytes | index at u64 | index len u32 | index CRC u32 | object size u64 |
//	         +--------------+----+----------+----+----------+-----------------+
//	         | CRC u32           | version u32   | magic (8)                    |
//	         +-------------------+---------------+------------------------------+
//
// The head CRC covers 33 bytes: topic number u64 and shard index u32 (which are
// not stored in the frame: a frame read as another shard's does not verify),
// then the first 21 bytes of the batch: base offset, length, leader epoch,
// magic, and the batch's own CRC. The batch's CRC covers the batch from byte 21
// on. The trailer's CRC covers the 24 bytes before it and the 12 after it. So
// every byte of the object is under a checksum.
//
// An extent in the index:
//
//	topic u64 | shard index u32 | base i64 | last i64 | at u64 | len u64 |
//	records u64 | min time i64 | max time i64 | entries n u32 | n entries
//
// and an entry, one for the first frame that begins 64 KiB or more after the
// extent's begin or the entry before:
//
//	base offset of the frame i64 | frame's place from the extent's begin u64 |
//	largest timestamp of the extent before this frame i64
//
// at and len are in bytes and count the head checksums; base and last are
// offsets; times are milliseconds, as the batches carry them: min time is the
// smallest base timestamp, max time the largest max timestamp. Extents cover
// the bytes from 16 to the index without space between them.
//
// The version stands twice, in the header and in the trailer, and is compared on
// its own: an object of another version is a [VersionError], never a corrupt one.
package tier
