package wal

import (
	"fmt"

	"github.com/robustmq/robustmq-go/internal/vfs"
	"github.com/robustmq/robustmq-go/shard"
)

// DamageKind says what was found damaged.
type DamageKind uint8

// Kinds of damage.
const (
	DamagedEntry  DamageKind = iota + 1 // one entry, named: its data fails its checksum
	DamagedRange                        // bytes that held entries no longer to be told
	DamagedHeader                       // a header of a file or group; no entry is lost
	MissingFile                         // whole files are gone
	Unreadable                          // the disk cannot read what may have been the end of the log
)

var damageNames = [...]string{"none", "damaged entry", "damaged range", "damaged header", "missing file", "unreadable tail"}

// String gives the kind in words.
func (k DamageKind) String() string {
	if int(k) < len(damageNames) {
		return damageNames[k]
	}
	return "unknown damage"
}

// Damage is a stretch of the log that was synced and no longer is what it was.
// It is an error that wraps ErrCorrupt.
type Damage struct {
	Kind       DamageKind
	From, To   Pos      // half-open
	Named      bool     // the fields below are known for certain
	Shard      shard.ID // whose entry it was
	Epoch      int32
	BaseOffset int64 // first offset of the batch that is lost
}

// Error implements error.
func (d Damage) Error() string {
	s := fmt.Sprintf("wal: corrupt: %s from %s to %s", d.Kind, d.From, d.To)
	if d.Named {
		s += fmt.Sprintf(": shard %s, base offset %d, epoch %d", d.Shard, d.BaseOffset, d.Epoch)
	}
	return s
}

// Unwrap returns ErrCorrupt.
func (d Damage) Unwrap() error { return ErrCorrupt }

// Lost reports whether acknowledged entries are or may be gone.
func (d Damage) Lost() bool { return d.Kind != DamagedHeader }

// Recovery is what a replay found.
type Recovery struct {
	Start     Pos   // the trim mark
	End       Pos   // where the log ended
	Files     int   // read
	Entries   int64 // handed to fn
	Bytes     int64 // of data in them
	Skipped   int64 // entries passed over because they lie before the trim mark
	Torn      Pos   // where the cut-off, never acknowledged last group breaks off
	TornBytes int64 // dropped there; 0 if none
	Damaged   []Damage
	MarkLost  bool // the trim mark was unreadable: all there is was replayed
}

// Err returns the first loss among the damages as an error, nil if none.
func (r Recovery) Err() error {
	for _, d := range r.Damaged {
		if d.Lost() {
			return d
		}
	}
	return nil
}

// Replay reads the log from the trim mark on and calls fn for each entry in
// append order; e.Data is valid only during the call. It must be called once,
// before all else. What is damaged is left out and listed in Recovery, never
// served; entries after it are still replayed. An error means that the WAL
// cannot be used (fn failed, the disk cannot be read, ErrVersion): close it.
func (w *WAL) Replay(fn func(Pos, Entry) error) (Recovery, error) {
	w.mu.Lock()
	if w.state != stateOpen || w.err != nil {
		w.mu.Unlock()
		return Recovery{}, fmt.Errorf("replay wal: %w", ErrNotReplayed)
	}
	w.err = ErrNotReplayed // until this ends well
	w.mu.Unlock()
	s := &scan{fs: w.fs, dir: w.opt.Dir, mode: vfs.ReadWrite, mark: w.trim, known: !w.mark.lost, fn: fn}
	s.rec.Start, s.rec.MarkLost = w.trim, w.mark.lost
	err := s.run()
	s.rec.End = s.end
	if err == nil {
		err = w.settle(s)
	}
	if err != nil {
		s.close()
		return s.rec, fmt.Errorf("replay wal: %w", err)
	}
	w.mu.Lock()
	w.err = nil
	w.state = stateReplayed
	w.mu.Unlock()
	for _, d := range s.rec.Damaged {
		w.opt.Logger.Error("wal damaged", "err", d)
	}
	go w.w.run()
	go w.prepareLoop()
	return s.rec, nil
}

// settle makes what was replayed durable and sorts the files: what holds
// entries is kept for ReadAt, the rest is for reuse.
func (w *WAL) settle(s *scan) error {
	var last *scanned
	for _, f := range s.files {
		if !f.blank {
			last = f
		}
	}
	if err := repairHeaders(s.files); err != nil {
		return err
	}
	if last != nil {
		// After a mere kill the last group may be in memory only; it is about
		// to be served as if it had been synced.
		if err := w.syncFile("replay", last.file); err != nil {
			return err
		}
		w.shorten(last.file, s.rec)
		w.w.prev = s.end
	}
	spare, err := w.openOld(s.old)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lastNo = s.mark.File
	for _, f := range s.files {
		w.lastNo = max(w.lastNo, f.file.no)
		switch {
		case !f.blank:
			w.files[f.file.no] = f.file
		case f.state == headerBad && s.claimed(f.file.no):
			_ = f.file.f.Close() // evidence: it held entries that can no longer be read
		default:
			spare = append(spare, f.file)
		}
	}
	for _, f := range spare {
		w.remove(w.poolLocked(f))
	}
	w.w.marked = true
	w.pos = Pos{w.lastNo + 1, dataStart}
	w.synced = w.pos
	w.live = w.liveLocked()
	return nil
}

// repairHeaders writes the copy of a header that is damaged, or was torn with
// the first group, from the one that is not.
func repairHeaders(files []*scanned) error {
	for _, f := range files {
		if f.hurt < 0 {
			continue
		}
		var b [fileHeaderLen]byte
		f.hdr.encode(b[:])
		if err := writeFull(f.file, b[:], f.hurt); err != nil {
			return err
		}
	}
	return nil
}

// openOld opens the files before the trim mark.
func (w *WAL) openOld(nos []uint64) (out []*logFile, err error) {
	for _, no := range nos {
		f := &logFile{no: no, name: fileName(w.opt.Dir, no)}
		if f.f, err = w.fs.Open(f.name, vfs.ReadWrite|vfs.Direct); err == nil {
			out = append(out, f)
			f.size, err = f.f.Size()
		}
		if err != nil {
			for _, o := range out {
				_ = o.f.Close()
			}
			return nil, err
		}
	}
	return out, nil
}

// claimed reports whether a later file says that no held part of the log.
func (s *scan) claimed(no uint64) bool {
	for _, f := range s.files {
		if !f.blank && f.hdr.PrevFile == no {
			return true
		}
	}
	return false
}

// shorten gives back the reserved space behind the end of the last file, so
// that a process that keeps starting and dying does not fill the disk. Where
// there is anything to look into it is left alone.
func (w *WAL) shorten(f *logFile, rec Recovery) {
	size := alignUp(f.end+syncMarkLen, pageLen)
	if rec.TornBytes > 0 || len(rec.Damaged) > 0 || f.size <= size {
		return
	}
	if err := f.f.Truncate(size); err != nil {
		w.opt.Logger.Warn("wal file not shortened", "file", f.name, "err", err)
		return
	}
	f.size = size
}
