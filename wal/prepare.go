package wal

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/robustmq/robustmq-go/internal/vfs"
)

const (
	retryFull = time.Second
	zeroChunk = 1 << 20
	zeroSync  = 8 << 20 // so that a group never waits behind more than this
)

// kickLocked wakes the goroutine that prepares files.
func (w *WAL) kickLocked() {
	w.prepKick = true
	w.prep.Signal()
}

// prepareLoop keeps one file ready for the writer: its name durable, its bytes
// written once, so that syncing a group there changes no metadata. Lack of disk
// space is not a failure: it is tried again when something was trimmed or
// refused.
func (w *WAL) prepareLoop() {
	defer close(w.pdone)
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		for w.state != stateClosed && (w.next != nil || w.err != nil || w.prepErr != nil && !w.prepKick) {
			w.prep.Wait()
		}
		if w.state == stateClosed {
			return
		}
		w.prepKick = false
		no := w.lastNo + 1
		first := w.cur == nil
		f := (*logFile)(nil)
		if len(w.pool) > 0 {
			f = w.pool[0]
			w.pool = slices.Delete(w.pool, 0, 1)
		}
		w.mu.Unlock()
		nf, err := w.prepare(no, f, !first)
		w.mu.Lock()
		switch {
		case err == nil:
			w.lastNo, w.next, w.prepErr = no, nf, nil
		case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
			if w.prepErr == nil {
				w.opt.Logger.Warn("wal: disk full, waiting for a trim", "dir", w.opt.Dir, "err", err)
			}
			w.prepErr = err
			time.AfterFunc(retryFull, func() { // room may come without a trim
				w.mu.Lock()
				defer w.mu.Unlock()
				w.kickLocked()
			})
		default:
			w.failLocked(err)
		}
		w.work.Broadcast()
	}
}

// prepare makes file no out of old, or of nothing. The first file of a process
// is only reserved, not zeroed, so that a start takes no time.
func (w *WAL) prepare(no uint64, old *logFile, zero bool) (*logFile, error) {
	tag, err := w.newTag()
	if err != nil {
		return nil, err
	}
	f := &logFile{no: no, name: fileName(w.opt.Dir, no), tag: tag}
	if old != nil {
		f.f, f.size = old.f, old.size
		err = w.fs.Rename(old.name, f.name)
	} else {
		f.f, err = w.fs.Open(f.name, vfs.ReadWrite|vfs.Create|vfs.Direct)
	}
	if err == nil {
		err = w.extend(f, zero)
	}
	if err == nil {
		err = w.syncDir("dir")
	}
	if err != nil {
		err = fmt.Errorf("prepare %s: %w", f.name, err)
		if f.f != nil {
			err = errors.Join(err, f.f.Close(), w.fs.Remove(f.name))
		}
		return nil, err
	}
	return f, nil
}

// extend brings f to its size.
func (w *WAL) extend(f *logFile, zero bool) error {
	if f.size >= w.opt.FileBytes {
		return nil
	}
	if err := vfs.Preallocate(f.f, w.opt.FileBytes); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	if zero {
		chunk := vfs.Aligned(min(zeroChunk, w.opt.FileBytes))
		for off := f.size; off < w.opt.FileBytes; {
			n := min(int64(len(chunk)), w.opt.FileBytes-off)
			if err := writeFull(f, chunk[:n], off); err != nil {
				return err
			}
			off += n
			if off%zeroSync == 0 || off == w.opt.FileBytes {
				if err := w.syncFile("zero", f); err != nil {
					return err
				}
			}
		}
	}
	f.size = w.opt.FileBytes
	return nil
}
