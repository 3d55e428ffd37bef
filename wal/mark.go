package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/robustmq/robustmq-go/internal/vfs"
)

const fileSuffix = ".wal"

func fileName(dir string, no uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", no, fileSuffix))
}
func markName(dir string) string { return filepath.Join(dir, "trim") }
func lockName(dir string) string { return filepath.Join(dir, "lock") }

// parseName returns the file number of a name, 0 if it is not one of ours.
func parseName(name string) uint64 {
	s, ok := strings.CutSuffix(name, fileSuffix)
	if !ok || len(s) != 20 {
		return 0
	}
	no, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return no
}

// markFile is the trim mark: two slots written in turn, so that a torn write
// leaves the one before.
type markFile struct {
	f    vfs.File
	m    trimMark
	lost bool // there was a log but no readable mark
}

// readMark returns the newest slot. ok is false when neither can be read.
func readMark(f vfs.File) (m trimMark, ok bool, err error) {
	var b [markSlot + markLen]byte
	n, err := f.ReadAt(b[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return m, false, fmt.Errorf("read trim mark: %w", err)
	}
	var version error
	for _, at := range []int{0, markSlot} {
		s, err := decodeTrimMark(b[min(at, n):n])
		switch {
		case errors.Is(err, ErrVersion):
			version = fmt.Errorf("read trim mark: %w", err)
		case err == nil && (!ok || s.Gen > m.Gen):
			m, ok = s, true
		}
	}
	if !ok && version != nil {
		return m, false, version
	}
	return m, ok, nil
}

// openMark reads the trim mark, or makes one. What it read is synced before it
// is relied upon: after a mere kill it may be in memory only, and files are
// reused on the strength of it.
func (w *WAL) openMark() (*markFile, error) {
	f, err := w.fs.Open(markName(w.opt.Dir), vfs.ReadWrite)
	if err == nil {
		m, ok, err := readMark(f)
		if err == nil {
			err = w.sync("mark-read", f)
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if ok {
			w.id = m.ID
			return &markFile{f: f, m: m}, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return w.makeMark()
}

// makeMark writes a mark from which all there is will be replayed.
func (w *WAL) makeMark() (*markFile, error) {
	nos, err := listFiles(w.fs, w.opt.Dir)
	if err != nil {
		return nil, err
	}
	m := &markFile{lost: len(nos) > 0, m: trimMark{Gen: 1}}
	if _, err := io.ReadFull(w.opt.Rand, m.m.ID[:]); err != nil {
		return nil, fmt.Errorf("read random id: %w", err)
	}
	for _, no := range nos { // the log knows its name better
		if h, state, err := headerOf(w.fs, w.opt.Dir, no); err == nil && state != headerBad {
			m.m.ID = h.ID
		}
	}
	tmp := markName(w.opt.Dir) + ".tmp"
	if m.f, err = w.fs.Open(tmp, vfs.ReadWrite|vfs.Create); err != nil {
		return nil, err
	}
	var b [markSlot + markLen]byte
	m.m.encode(b[:])
	m.m.encode(b[markSlot:])
	_, err = m.f.WriteAt(b[:], 0)
	if err == nil {
		err = w.sync("mark-new", m.f)
	}
	if err == nil {
		err = w.fs.Rename(tmp, markName(w.opt.Dir))
	}
	if err == nil {
		err = w.syncDir("mark-dir")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make trim mark: %w", err), m.f.Close())
	}
	w.id = m.m.ID
	return m, nil
}

// set makes a new mark durable.
func (m *markFile) set(w *WAL, p Pos) error {
	next := trimMark{Gen: m.m.Gen + 1, Pos: p, ID: w.id}
	var b [markLen]byte
	next.encode(b[:])
	if _, err := m.f.WriteAt(b[:], int64(next.Gen%2)*markSlot); err != nil {
		return fmt.Errorf("write trim mark: %w", err)
	}
	if err := w.sync("mark", m.f); err != nil {
		return fmt.Errorf("sync trim mark: %w", err)
	}
	m.m = next
	return nil
}

// Trim says that the entries before upto are committed elsewhere. When it
// returns nil a restart does not replay them, and files that held nothing else
// are reused or removed. A position at or before the last Trim does nothing; one
// past Position fails with ErrBadPos. A failure to write the mark fails the WAL.
func (w *WAL) Trim(upto Pos) error {
	w.trimming.Lock()
	defer w.trimming.Unlock()
	w.mu.Lock()
	err, pos, old := w.usable(), w.pos, w.trim
	w.mu.Unlock()
	switch {
	case err != nil:
		return err
	case pos.Less(upto):
		return fmt.Errorf("trim to %s: %w: the log ends at %s", upto, ErrBadPos, pos)
	case !old.Less(upto):
		return nil
	}
	if err := w.mark.set(w, upto); err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.failLocked(err)
		return w.err
	}
	w.mu.Lock()
	w.trim = upto
	var drop []*logFile
	for _, no := range slices.Sorted(maps.Keys(w.files)) {
		if f := w.files[no]; f != w.cur && !upto.Less(Pos{no, f.end}) {
			delete(w.files, no)
			f.retired = true
			if f.refs == 0 {
				drop = append(drop, w.poolLocked(f)...)
			}
		}
	}
	w.live = w.liveLocked()
	w.kickLocked()
	w.mu.Unlock()
	w.remove(drop)
	return nil
}

// liveLocked adds up what lies between the trim mark and the end.
func (w *WAL) liveLocked() (n int64) {
	for no, f := range w.files {
		start := int64(dataStart)
		if no == w.trim.File {
			start = max(start, w.trim.Off)
		}
		n += max(0, f.end-start)
	}
	return n
}

// poolLocked keeps a retired file for reuse and returns what is too many. The
// oldest go first, so that what is left on disk has no holes.
func (w *WAL) poolLocked(f *logFile) (drop []*logFile) {
	w.pool = append(w.pool, f)
	if n := len(w.pool) - w.opt.FreeFiles; n > 0 {
		drop = slices.Clone(w.pool[:n])
		w.pool = slices.Delete(w.pool, 0, n)
	}
	return drop
}

// remove deletes retired files. A failure costs disk space only: the next start
// finds them before the trim mark.
func (w *WAL) remove(fs []*logFile) {
	for _, f := range fs {
		if err := errors.Join(f.f.Close(), w.fs.Remove(f.name)); err != nil {
			w.opt.Logger.Warn("wal file not removed", "file", f.name, "err", err)
		}
	}
}
