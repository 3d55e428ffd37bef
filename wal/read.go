package wal

import (
	"errors"
	"fmt"
	"io"

	"github.com/robustmq/robustmq-go/internal/raw"
)

const readAhead = 4096 // most entries need one read

// ReadAt reads and verifies the entry at pos, which must be a position that
// WALDone or Replay gave. It fails with ErrTrimmed, ErrBadPos, ErrCorrupt (as a
// Damage, with what is known of the entry) or an error of the disk.
func (w *WAL) ReadAt(pos Pos) (Entry, error) {
	e, _, err := w.ReadBuf(pos, nil)
	return e, err
}

// ReadBuf is ReadAt into buf, which is grown when too small and returned:
// Entry.Data aliases it.
func (w *WAL) ReadBuf(pos Pos, buf []byte) (Entry, []byte, error) {
	f, err := w.acquire(pos)
	if err != nil {
		return Entry{}, buf, fmt.Errorf("read wal at %s: %w", pos, err)
	}
	e, buf, err := f.read(pos.Off, f.end, buf, w.opt.MaxEntryBytes)
	w.release(f.logFile)
	if err != nil {
		return Entry{}, buf, fmt.Errorf("read wal at %s: %w", pos, err)
	}
	return e, buf, nil
}

// held is a file that cannot be reused for now, and where the log ends in it.
type held struct {
	*logFile
	end int64
}

func (w *WAL) acquire(pos Pos) (held, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.state == stateOpen:
		return held{}, ErrNotReplayed
	case w.state >= stateClosing:
		return held{}, ErrClosed
	case pos.Less(w.trim):
		return held{}, ErrTrimmed
	}
	f := w.files[pos.File]
	if f == nil || pos.Off < dataStart || pos.Off >= f.end {
		return held{}, ErrBadPos
	}
	f.refs++
	return held{f, f.end}, nil
}

func (w *WAL) release(f *logFile) {
	w.mu.Lock()
	f.refs--
	var drop []*logFile
	if f.refs == 0 && f.retired {
		drop = w.poolLocked(f)
		w.kickLocked()
	}
	w.mu.Unlock()
	w.remove(drop)
}

// read reads one entry that ends at or before end.
func (f held) read(off, end int64, buf []byte, maxData int) (Entry, []byte, error) {
	want := min(max(int64(cap(buf)), readAhead), end-off)
	if want < entryHeaderLen {
		return Entry{}, buf, ErrBadPos
	}
	if int64(cap(buf)) < want {
		buf = raw.Bytes(int(want))
	}
	n, err := f.f.ReadAt(buf[:want], off)
	if err != nil && !errors.Is(err, io.EOF) {
		return Entry{}, buf, fmt.Errorf("read %s: %w", f.name, err)
	}
	buf = buf[:n]
	h, ok := decodeEntryHeader(buf, f.tag)
	bad := Damage{Kind: DamagedRange, From: Pos{f.no, off}, To: Pos{f.no, off + entryHeaderLen}}
	if !ok || off+entryHeaderLen+int64(h.Len) > end {
		return Entry{}, buf, bad
	}
	size := entryHeaderLen + int64(h.Len)
	if size > int64(n) {
		grown := raw.Bytes(int(size))
		n := copy(grown, buf)
		buf = grown
		if err := readFull(f.logFile, buf[n:], off+int64(n)); err != nil {
			return Entry{}, buf, err
		}
	}
	data := buf[entryHeaderLen:size:size]
	if !h.bears(data) {
		return Entry{}, buf, Damage{Kind: DamagedEntry, From: bad.From, To: Pos{f.no, off + entrySize(int(h.Len))},
			Named: true, Shard: h.Shard, Epoch: h.Epoch, BaseOffset: h.Base}
	}
	return Entry{Shard: h.Shard, Epoch: h.Epoch, Data: data}, buf, nil
}

// readFull reads all of b. The end of the file is damage: the entry said there is more.
func readFull(f *logFile, b []byte, off int64) error {
	n, err := f.f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return Damage{Kind: DamagedRange, From: Pos{f.no, off + int64(n)}, To: Pos{f.no, off + int64(len(b))}}
	}
	return fmt.Errorf("read %s: %w", f.name, err)
}
