package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/robustmq/robustmq-go/internal/vfs"
)

// writer is the state of the goroutine that writes and syncs. While it syncs
// one group the next one fills in WAL.queue.
type writer struct {
	w      *WAL
	file   *logFile
	off    int64 // where the next group goes
	fresh  bool  // the header of file is yet to be written
	marked bool  // a sync mark stands at off, or is not needed
	buf    []byte
	head   []byte // what stands between the page border before off, and off
	prev   Pos    // end of the log as it was replayed

	unsynced bool // the sync mark has not been synced

	idle  *time.Timer // wakes the writer when the queue has been empty for markAfter
	quiet bool        // it has; guarded by w.mu
}

// markAfter is how long the queue is empty before a sync mark is written: one
// that is about to be overwritten is of no use.
const markAfter = 2 * time.Millisecond

func (wr *writer) run() {
	defer close(wr.w.wdone)
	wr.idle = time.AfterFunc(markAfter, wr.beQuiet)
	wr.w.mu.Lock()
	wr.quiet = wr.w.opt.markAtOnce
	wr.w.mu.Unlock()
	defer wr.idle.Stop()
	for {
		batch := wr.take()
		if batch == nil {
			wr.drain()
			return
		}
		rest := batch
		for len(rest) > 0 {
			n, err := wr.group(rest)
			if err != nil {
				wr.fail(rest, err)
				return
			}
			rest = rest[n:]
		}
		wr.giveBack(batch)
	}
}

// beQuiet tells the writer that nothing came for a while.
func (wr *writer) beQuiet() {
	wr.w.mu.Lock()
	defer wr.w.mu.Unlock()
	wr.quiet = len(wr.w.queue) == 0
	wr.w.work.Broadcast()
}

// take waits for entries and returns all there are; nil when it is time to end.
// When none came for a while it leaves a sync mark, which is not synced itself: after a
// mere kill the next start can tell the last group from a torn one.
func (wr *writer) take() []item {
	w := wr.w
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.err == nil && len(w.queue) == 0 {
		closing := w.state == stateClosing
		if !wr.marked && (closing || wr.quiet) || closing && wr.unsynced {
			w.mu.Unlock()
			err := wr.mark(closing)
			w.mu.Lock()
			if err != nil {
				w.failLocked(err)
			}
			continue
		}
		if closing {
			return nil
		}
		if !wr.marked {
			wr.idle.Reset(markAfter)
		}
		w.work.Wait()
	}
	wr.idle.Stop()
	wr.quiet = w.opt.markAtOnce
	if w.err != nil {
		return nil
	}
	batch := w.queue
	w.queue, w.spare = w.spare[:0], nil
	w.inflight = len(batch)
	return batch
}

// drain tells the waiters of what is still queued that the WAL has failed.
func (wr *writer) drain() {
	w := wr.w
	w.mu.Lock()
	rest, err := w.queue, w.err
	w.queue, w.queued, w.inflight = nil, 0, 0
	w.mu.Unlock()
	for _, it := range rest {
		it.done.WALDone(Pos{}, err)
	}
}

func (wr *writer) giveBack(batch []item) {
	clear(batch)
	wr.w.mu.Lock()
	wr.w.spare = batch[:0]
	wr.w.inflight = 0
	wr.w.mu.Unlock()
}

// mark writes the sync mark and, at Close, syncs it.
func (wr *writer) mark(closing bool) error {
	if !wr.marked {
		b := wr.page(pageLen)
		encodeSyncMark(b[len(wr.head):], wr.file.tag, Pos{wr.file.no, wr.off})
		if err := writeFull(wr.file, b, wr.off-int64(len(wr.head))); err != nil {
			return err
		}
		wr.marked, wr.unsynced = true, true
		wr.w.mu.Lock()
		wr.w.stats.SyncMarks++
		wr.w.stats.Quiet = true
		wr.w.mu.Unlock()
	}
	if closing {
		wr.unsynced = false
		return wr.w.syncFile("close", wr.file)
	}
	return nil
}

// syncFile syncs with coordinates on the error.
func (w *WAL) syncFile(name string, f *logFile) error {
	if err := w.sync(name, f.f); err != nil {
		return fmt.Errorf("sync %s: %w", f.name, err)
	}
	return nil
}

func writeFull(f *logFile, b []byte, off int64) error {
	n, err := f.f.WriteAt(b, off)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("write %s at %d: %w", f.name, off, err)
	}
	return nil
}

// writeSync is writeFull and a sync of what was written.
func (w *WAL) writeSync(name string, f *logFile, b []byte, off int64) error {
	if w.opt.dropSync != nil && w.opt.dropSync(name) {
		return writeFull(f, b, off)
	}
	n, err := vfs.WriteSync(f.f, b, off)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("write and sync %s at %d: %w", f.name, off, err)
	}
	return nil
}

func (wr *writer) scratch(n int64) []byte {
	if int64(cap(wr.buf)) < n {
		wr.buf = vfs.Aligned(alignUp(n, 64<<10))
	}
	return wr.buf[:n]
}

// page returns n bytes that begin at the page border before off: what stands
// there already, then zeros. Whole pages are written, past the page cache where
// that can be; see doc.go on what is assumed of the disk.
func (wr *writer) page(n int64) []byte {
	b := wr.scratch(n)
	clear(b[copy(b, wr.head):])
	return b
}

// fit returns how many entries go into one group at off and their size.
func (wr *writer) fit(items []item, off int64) (n int, size int64) {
	room := wr.w.opt.FileBytes - off - groupHeaderLen - syncMarkLen
	for n < len(items) {
		s := size + entrySize(len(items[n].e.Data))
		if alignUp(s, groupAlign) > room || n > 0 && s > int64(wr.w.opt.GroupBytes) {
			break
		}
		size = s
		n++
	}
	return n, size
}

// group writes the first entries of items as one group: one write, one sync,
// then the waiters. It returns how many those were.
func (wr *writer) group(items []item) (int, error) {
	w := wr.w
	n, size := 0, int64(0)
	if wr.file != nil {
		n, size = wr.fit(items, wr.off)
	}
	if n == 0 {
		if err := wr.roll(); err != nil {
			return 0, err
		}
		n, size = wr.fit(items, wr.off)
	}
	off := wr.off
	start := off - int64(len(wr.head))
	if wr.fresh {
		start = 0
	}
	end := alignUp(off+groupHeaderLen+size, groupAlign)
	padded := min(alignUp(end, pageLen), w.opt.FileBytes)
	buf := wr.encode(items[:n], start, size, padded)
	t := w.opt.Now()
	if err := w.writeSync("group", wr.file, buf, start); err != nil {
		return 0, err
	}
	took := w.opt.Now().Sub(t)
	wr.off, wr.fresh, wr.marked, wr.unsynced = end, false, false, false
	wr.head = append(wr.head[:0], buf[end&^(pageLen-1)-start:end-start]...)
	if start > 0 {
		start = off // what was repeated is not counted
	}
	wr.finish(items[:n], size, off, start, padded, took)
	return n, nil
}

// encode builds the bytes of the file from start to padded.
func (wr *writer) encode(items []item, start, size, padded int64) []byte {
	buf := wr.scratch(padded - start)
	g := buf[copy(buf, wr.head):]
	if wr.fresh {
		clear(buf[:dataStart])
		h := fileHeader{File: wr.file.no, Tag: wr.file.tag, ID: wr.w.id, PrevFile: wr.file.prev.File, PrevEnd: wr.file.prev.Off}
		h.encode(buf)
		h.encode(buf[fileHeaderCopy:])
		g = buf[dataStart:]
	}
	groupHeader{Tag: wr.file.tag, Len: uint32(size), Count: uint32(len(items))}.encode(g, Pos{wr.file.no, wr.off})
	g = g[groupHeaderLen:]
	for i := range items {
		g = g[putEntry(g, &items[i].e, wr.file.tag):]
	}
	clear(g)
	return buf
}

// finish makes a synced group known: first readable, then told, then the cut.
// size is that of its entries, which are live from now on and queued no more.
func (wr *writer) finish(items []item, size, off, start, padded int64, took time.Duration) {
	w := wr.w
	no, end := wr.file.no, wr.off
	w.mu.Lock()
	wr.file.end = end
	w.synced = Pos{no, end}
	w.live += end - off
	w.queued -= size
	w.stats.group(len(items), end-start, padded-end, took)
	w.stats.Quiet = false
	w.mu.Unlock()

	p, bytes := off+groupHeaderLen, int64(0)
	for i := range items {
		n := len(items[i].e.Data)
		items[i].done.WALDone(Pos{no, p}, nil)
		p += entrySize(n)
		bytes += int64(n)
	}
	w.mu.Lock()
	w.pos = Pos{no, end}
	w.inflight -= len(items)
	w.stats.DataBytes += bytes
	w.mu.Unlock()
}

// roll goes on to the next file, waiting for it if it is not ready.
func (wr *writer) roll() error {
	w := wr.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next == nil {
		w.stats.Stalls++
	}
	for w.next == nil && w.err == nil {
		if w.prepErr != nil && w.state == stateClosing {
			return fmt.Errorf("%w: %w", ErrClosed, w.prepErr)
		}
		w.work.Wait()
	}
	if w.err != nil {
		return w.err
	}
	f := w.next
	w.next = nil
	f.prev = w.synced
	if wr.file == nil {
		f.prev = wr.prev
	}
	f.end = dataStart
	w.files[f.no] = f
	w.cur = f
	w.kickLocked()
	wr.file, wr.off, wr.fresh, wr.marked, wr.head = f, dataStart, true, true, wr.head[:0]
	return nil
}

// failLocked makes err sticky.
func (w *WAL) failLocked(err error) {
	if w.err != nil {
		return
	}
	if errors.Is(err, ErrClosed) || errors.Is(err, ErrFailed) {
		w.err = err
	} else {
		w.err = fmt.Errorf("%w: %w", ErrFailed, err)
	}
	w.opt.Logger.Error("wal failed: nothing is acknowledged any more", "dir", w.opt.Dir, "err", err)
	w.work.Broadcast()
	w.prep.Broadcast()
}

// fail makes err sticky and tells all waiters, those of items first.
func (wr *writer) fail(items []item, err error) {
	wr.w.mu.Lock()
	wr.w.failLocked(err)
	err = wr.w.err
	wr.w.mu.Unlock()
	for _, it := range items {
		it.done.WALDone(Pos{}, err)
	}
	wr.drain()
}

// newTag returns a random tag, never 0.
func (w *WAL) newTag() (uint64, error) {
	var b [8]byte
	for {
		if _, err := io.ReadFull(w.opt.Rand, b[:]); err != nil {
			return 0, fmt.Errorf("read random tag: %w", err)
		}
		if t := binary.LittleEndian.Uint64(b[:]); t != 0 {
			return t, nil
		}
	}
}
