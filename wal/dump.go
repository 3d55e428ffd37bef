package wal

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/robustmq/robustmq-go/internal/vfs"
)

// Source names a log to be looked at.
type Source struct {
	Dir string
	FS  vfs.FS // default vfs.OS
	All bool   // also what lies before the trim mark and is still on disk
}

func (src Source) fs() vfs.FS {
	if src.FS == nil {
		return vfs.OS{}
	}
	return src.FS
}

// Dump reads a log as Replay would, changing nothing, and calls fn (which may
// be nil) for each entry. It takes no lock: run it on a copy, or expect the
// files that a live WAL reuses meanwhile to be reported as damaged. An error is
// about reading (or fn's own); what is wrong with the log is in Recovery.
func Dump(src Source, fn func(Pos, Entry) error) (Recovery, error) {
	fsys := src.fs()
	s := &scan{fs: fsys, dir: src.Dir, mode: vfs.ReadOnly, fn: fn}
	defer s.close()
	f, err := fsys.Open(markName(src.Dir), vfs.ReadOnly)
	switch {
	case err == nil:
		m, ok, err := readMark(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return s.rec, fmt.Errorf("dump wal: %w", err)
		}
		s.rec.MarkLost = !ok
		if s.rec.Start = m.Pos; !src.All {
			s.mark, s.known = m.Pos, ok
		}
	case errors.Is(err, fs.ErrNotExist):
		s.rec.MarkLost = true
	default:
		return s.rec, fmt.Errorf("dump wal: %w", err)
	}
	err = s.run()
	s.rec.End = s.end
	if err != nil {
		return s.rec, fmt.Errorf("dump wal: %w", err)
	}
	return s.rec, nil
}

// Verify reads every byte of a log from the trim mark on. The error is that of
// reading, or the first loss found (errors.Is ErrCorrupt).
func Verify(src Source) (Recovery, error) {
	rec, err := Dump(src, nil)
	if err == nil {
		err = rec.Err()
	}
	return rec, err
}
