package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/robustmq/robustmq-go/internal/crc32c"
	"github.com/robustmq/robustmq-go/shard"
)

// Version 1 of the format. Everything here is part of the format: never change
// it, add v2.go instead. All integers are little endian, all checksums CRC-32C.
const (
	version1 = 1

	fileMagic = "RMQ-WAL\n"
	markMagic = "RMQ-TRM\n"

	fileHeaderLen  = 64
	fileHeaderCopy = 4096 // offset of the second copy of the file header
	dataStart      = 8192 // offset of the first group
	groupHeaderLen = 24
	entryHeaderLen = 44
	syncMarkLen    = 8
	markLen        = 56
	markSlot       = 4096 // distance of the two slots of the trim mark

	groupMagic = 0x50524757 // "WGRP"
	syncMagic  = 0x4e595357 // "WSYN"

	groupAlign = 8
	entryAlign = 4
	pageLen    = 4096 // writes are padded to pages so that none has to be read first
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func crc(b []byte) uint32                { return crc32.Checksum(b, castagnoli) }
func crcMore(c uint32, b []byte) uint32  { return crc32.Update(c, castagnoli, b) }
func alignUp(n int64, align int64) int64 { return (n + align - 1) &^ (align - 1) }

// entrySize is what an entry of n data bytes takes in a group.
func entrySize(n int) int64 { return alignUp(entryHeaderLen+int64(n), entryAlign) }

// fileHeader stands twice at the head of every file that was ever written to.
type fileHeader struct {
	File     uint64   // number of the file; must equal that of its name
	Tag      uint64   // random; repeated in every group and entry of this use of the file
	ID       [16]byte // of the WAL
	PrevFile uint64   // number of the file before, 0 for none
	PrevEnd  int64    // where the log ends in it: all before is synced, nothing after counts
}

func (h fileHeader) encode(b []byte) {
	clear(b[:fileHeaderLen])
	copy(b, fileMagic)
	le := binary.LittleEndian
	le.PutUint32(b[8:], version1)
	le.PutUint64(b[16:], h.File)
	le.PutUint64(b[24:], h.Tag)
	copy(b[32:], h.ID[:])
	le.PutUint64(b[48:], h.PrevFile)
	le.PutUint64(b[56:], uint64(h.PrevEnd))
	le.PutUint32(b[12:], crcMore(crc(b[:12]), b[16:fileHeaderLen]))
}

// checkPreamble checks what file header and trim mark have in common. The
// version is looked at before the checksum: another version may have another.
func checkPreamble(b []byte, magic string, length int) error {
	if len(b) < length || string(b[:8]) != magic {
		return fmt.Errorf("%w: no magic", ErrCorrupt)
	}
	le := binary.LittleEndian
	if v := le.Uint32(b[8:]); v != version1 {
		return fmt.Errorf("%w: have %d, know %d", ErrVersion, v, version1)
	}
	if le.Uint32(b[12:]) != crcMore(crc(b[:12]), b[16:length]) {
		return fmt.Errorf("%w: checksum of header", ErrCorrupt)
	}
	return nil
}

func decodeFileHeader(b []byte) (h fileHeader, err error) {
	if err := checkPreamble(b, fileMagic, fileHeaderLen); err != nil {
		return h, err
	}
	le := binary.LittleEndian
	h.File, h.Tag = le.Uint64(b[16:]), le.Uint64(b[24:])
	copy(h.ID[:], b[32:48])
	h.PrevFile, h.PrevEnd = le.Uint64(b[48:]), int64(le.Uint64(b[56:]))
	if h.PrevEnd < 0 {
		return h, fmt.Errorf("%w: negative offset in header", ErrCorrupt)
	}
	return h, nil
}

// trimMark is one slot of the trim mark file.
type trimMark struct {
	Gen uint64 // the slot with the higher one counts
	Pos Pos    // entries before are not replayed
	ID  [16]byte
}

func (m trimMark) encode(b []byte) {
	clear(b[:markLen])
	copy(b, markMagic)
	le := binary.LittleEndian
	le.PutUint32(b[8:], version1)
	le.PutUint64(b[16:], m.Gen)
	le.PutUint64(b[24:], m.Pos.File)
	le.PutUint64(b[32:], uint64(m.Pos.Off))
	copy(b[40:], m.ID[:])
	le.PutUint32(b[12:], crcMore(crc(b[:12]), b[16:markLen]))
}

func decodeTrimMark(b []byte) (m trimMark, err error) {
	if err := checkPreamble(b, markMagic, markLen); err != nil {
		return m, err
	}
	le := binary.LittleEndian
	m.Gen = le.Uint64(b[16:])
	m.Pos = Pos{le.Uint64(b[24:]), int64(le.Uint64(b[32:]))}
	copy(m.ID[:], b[40:])
	if m.Pos.Off < 0 {
		return m, fmt.Errorf("%w: negative offset in trim mark", ErrCorrupt)
	}
	return m, nil
}

// groupHeader starts each group: what one write and one sync made durable.
type groupHeader struct {
	Tag   uint64
	Len   uint32 // bytes of entries after the header
	Count uint32 // entries
}

// groupCRC covers the header and where it stands.
func groupCRC(b []byte, at Pos) uint32 {
	var w [16]byte
	binary.LittleEndian.PutUint64(w[:], at.File)
	binary.LittleEndian.PutUint64(w[8:], uint64(at.Off))
	return crcMore(crcMore(crc(b[:4]), b[8:groupHeaderLen]), w[:])
}

func (g groupHeader) encode(b []byte, at Pos) {
	le := binary.LittleEndian
	le.PutUint32(b, groupMagic)
	le.PutUint64(b[8:], g.Tag)
	le.PutUint32(b[16:], g.Len)
	le.PutUint32(b[20:], g.Count)
	le.PutUint32(b[4:], groupCRC(b, at))
}

func decodeGroupHeader(b []byte, at Pos) (g groupHeader, ok bool) {
	le := binary.LittleEndian
	if len(b) < groupHeaderLen || le.Uint32(b) != groupMagic || le.Uint32(b[4:]) != groupCRC(b, at) {
		return g, false
	}
	g.Tag, g.Len, g.Count = le.Uint64(b[8:]), le.Uint32(b[16:]), le.Uint32(b[20:])
	return g, true
}

// A sync mark at an offset says: everything before it in this file is synced.
func encodeSyncMark(b []byte, tag uint64, at Pos) {
	le := binary.LittleEndian
	le.PutUint32(b, syncMagic)
	le.PutUint32(b[4:], syncMarkCRC(tag, at))
}

func syncMarkCRC(tag uint64, at Pos) uint32 {
	var w [24]byte
	le := binary.LittleEndian
	le.PutUint64(w[:], tag)
	le.PutUint64(w[8:], at.File)
	le.PutUint64(w[16:], uint64(at.Off))
	return crc(w[:])
}

func isSyncMark(b []byte, tag uint64, at Pos) bool {
	le := binary.LittleEndian
	return len(b) >= syncMarkLen && le.Uint32(b) == syncMagic && le.Uint32(b[4:]) == syncMarkCRC(tag, at)
}

// entryHeader stands before the data of each entry. Its own checksum lets a
// damaged entry still say which shard and offset it held.
type entryHeader struct {
	Len   uint32 // bytes of data
	Tag   uint64
	Shard shard.ID
	Base  int64 // first 8 bytes of the data, big endian: the base offset of a RecordBatch v2
	Epoch int32
	CRC   uint32 // of the data
}

func baseOffset(data []byte) int64 {
	if len(data) < 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(data))
}

func (e entryHeader) encode(b []byte) {
	le := binary.LittleEndian
	le.PutUint32(b, e.Len)
	le.PutUint64(b[8:], e.Tag)
	le.PutUint64(b[16:], uint64(e.Shard.Topic))
	le.PutUint64(b[24:], uint64(e.Base))
	le.PutUint32(b[32:], e.Shard.Index)
	le.PutUint32(b[36:], uint32(e.Epoch))
	le.PutUint32(b[40:], e.CRC)
	le.PutUint32(b[4:], crcMore(crc(b[:4]), b[8:entryHeaderLen]))
}

// decodeEntryHeader accepts a header that is whole and bears the tag.
func decodeEntryHeader(b []byte, tag uint64) (e entryHeader, ok bool) {
	le := binary.LittleEndian
	if len(b) < entryHeaderLen || le.Uint64(b[8:]) != tag ||
		le.Uint32(b[4:]) != crcMore(crc(b[:4]), b[8:entryHeaderLen]) {
		return e, false
	}
	e.Len, e.Tag = le.Uint32(b), tag
	e.Shard = shard.ID{Topic: shard.TopicNum(le.Uint64(b[16:])), Index: le.Uint32(b[32:])}
	e.Base = int64(le.Uint64(b[24:]))
	e.Epoch, e.CRC = int32(le.Uint32(b[36:])), le.Uint32(b[40:])
	return e, true
}

// bears reports whether data is what the header was written for.
func (e entryHeader) bears(data []byte) bool {
	return crc(data) == e.CRC && baseOffset(data) == e.Base
}

// putEntry writes header, data and padding and returns the size taken.
func putEntry(b []byte, e *Entry, tag uint64) int64 {
	h := entryHeader{Len: uint32(len(e.Data)), Tag: tag, Shard: e.Shard, Base: baseOffset(e.Data), Epoch: e.Epoch}
	h.CRC = crc32c.Copy(b[entryHeaderLen:], e.Data)
	h.encode(b)
	size := entrySize(len(e.Data))
	clear(b[entryHeaderLen+len(e.Data) : size])
	return size
}
