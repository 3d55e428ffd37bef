package wal

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/robustmq/robustmq-go/internal/vfs"
	"github.com/robustmq/robustmq-go/shard"
)

// Errors. All but ErrFull are wrapped with coordinates: compare with errors.Is.
var (
	// ErrFull: Options.MaxBytes are in use or the disk is full. Retry after Trim.
	ErrFull = errors.New("wal: full")
	// ErrFailed: a write or sync failed. Sticky: nothing is acknowledged again
	// until the WAL has been opened and replayed anew.
	ErrFailed = errors.New("wal: failed")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("wal: closed")
	// ErrTooLarge: the entry is larger than Options.MaxEntryBytes.
	ErrTooLarge = errors.New("wal: entry too large")
	// ErrNotReplayed: Replay has not been called, or was called twice.
	ErrNotReplayed = errors.New("wal: not replayed")
	// ErrCorrupt: bytes on disk do not bear out their checksum.
	ErrCorrupt = errors.New("wal: corrupt")
	// ErrVersion: the file was written by a version of the format not known here.
	ErrVersion = errors.New("wal: unknown format version")
	// ErrTrimmed: the position is before the trim mark.
	ErrTrimmed = errors.New("wal: trimmed")
	// ErrBadPos: no entry starts there, or it lies past the end.
	ErrBadPos = errors.New("wal: no such position")
)

// Entry is one record batch of one shard.
type Entry struct {
	Shard shard.ID
	Epoch int32  // ownership epoch of the writer
	Data  []byte // one RecordBatch v2, base offset already set; opaque here
}

// Pos is the place of an entry: file number and byte offset. The order of
// positions is the order of Append.
type Pos struct {
	File uint64
	Off  int64
}

// Compare returns -1, 0 or 1.
func (p Pos) Compare(o Pos) int {
	if c := cmp.Compare(p.File, o.File); c != 0 {
		return c
	}
	return cmp.Compare(p.Off, o.Off)
}

// Less reports whether p was appended before o.
func (p Pos) Less(o Pos) bool { return p.Compare(o) < 0 }

// IsZero reports whether p is the zero Pos, which is before all others.
func (p Pos) IsZero() bool { return p == Pos{} }

// String gives "file:offset".
func (p Pos) String() string { return fmt.Sprintf("%d:%d", p.File, p.Off) }

// Waiter is told what became of an entry.
type Waiter interface {
	// WALDone is called exactly once for each entry whose Append returned nil,
	// in append order, from the goroutine that syncs: it must not block and
	// must not call Close. err is nil when the entry is durable; pos is then
	// where it is. Any other err wraps ErrFailed or ErrClosed, and whether the
	// entry will be replayed is unknown.
	WALDone(pos Pos, err error)
}

// Options configure a WAL. Zero values take the defaults.
type Options struct {
	Dir           string           // made if missing
	FS            vfs.FS           // default vfs.OS
	FileBytes     int64            // size of one file, 64 KiB to 1 GiB; default 64 MiB
	MaxBytes      int64            // log not yet trimmed, in bytes, before ErrFull; default 8 GiB
	MaxEntryBytes int              // largest Entry.Data; default 16 MiB or what fits a file
	GroupBytes    int              // a group is closed at this size; default 4 MiB or what fits a file
	FreeFiles     int              // trimmed files kept for reuse; default 4
	Logger        *slog.Logger     // default: discard
	Now           func() time.Time // for latencies; default time.Now
	Rand          io.Reader        // for the tags of files; default crypto/rand

	// dropSync, in tests, skips the sync of that name as if it had succeeded.
	dropSync func(name string) bool
	// markAtOnce, in tests, does not wait markAfter: crashes meet more marks.
	markAtOnce bool
}

const (
	minFileBytes = 64 << 10
	maxFileBytes = 1 << 30
)

func (o *Options) fill() error {
	def := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	def(&o.FileBytes, 64<<20)
	def(&o.MaxBytes, 8<<30)
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.FreeFiles == 0 {
		o.FreeFiles = 4
	}
	if o.Dir == "" || o.FileBytes < minFileBytes || o.FileBytes > maxFileBytes || o.FileBytes%pageLen != 0 {
		return fmt.Errorf("open wal: directory %q, file size %d: want a directory and a multiple of %d in [%d, %d]",
			o.Dir, o.FileBytes, pageLen, minFileBytes, maxFileBytes)
	}
	room := o.FileBytes - dataStart - groupHeaderLen - syncMarkLen
	if o.MaxEntryBytes == 0 {
		o.MaxEntryBytes = int(min(16<<20, room-entryHeaderLen-groupAlign))
	}
	if o.GroupBytes == 0 {
		o.GroupBytes = int(min(4<<20, room))
	}
	if o.MaxEntryBytes < 0 || o.GroupBytes < 0 || o.MaxBytes < 0 || o.FreeFiles < 0 || alignUp(entrySize(o.MaxEntryBytes), groupAlign) > room {
		return fmt.Errorf("open wal: entries of %d bytes do not fit files of %d", o.MaxEntryBytes, o.FileBytes)
	}
	return nil
}

// item is a queued entry.
type item struct {
	e    Entry
	done Waiter
}

// WAL is an open log. All methods may be called concurrently, except that
// Appends for one shard are ordered by their caller, and that nothing but Close
// may be called before Replay has returned.
type WAL struct {
	opt  Options
	fs   vfs.FS
	lock io.Closer
	id   [16]byte

	joining  sync.Mutex // held over SetJoined
	trimming sync.Mutex // held over Trim; taken before mu
	mark     *markFile  // guarded by trimming once replayed

	mu    sync.Mutex // guards all below
	state uint8
	err   error // sticky
	work  *sync.Cond
	prep  *sync.Cond

	queue, spare []item
	queued       int64 // bytes of entries queued or being written
	refused      int64 // size of the largest entry that did not fit and would not now, 0: none
	inflight     int   // entries being written

	files  map[uint64]*logFile // what may be read: marked up to the current one
	cur    *logFile            // being written, nil before the first group
	lastNo uint64              // highest file number handed out
	synced Pos                 // end of the last synced group
	pos    Pos                 // the same, once its waiters have all been called
	trim   Pos
	live   int64 // bytes in files between trim and synced

	next     *logFile // prepared for the writer
	prepErr  error    // why there is none: the disk is full
	prepKick bool     // try again
	pool     []*logFile
	stats    Stats

	wdone, pdone chan struct{}
	w            writer
}

const (
	stateOpen = iota
	stateReplayed
	stateClosing // the writer finishes what is queued
	stateClosed
)

// logFile is one file of the log.
type logFile struct {
	f       vfs.File
	no      uint64
	name    string // path at present
	tag     uint64
	prev    Pos   // for the header: end of the file before
	size    int64 // of the file
	end     int64 // of the log in it
	refs    int   // readers
	retired bool
}

// Open locks the directory and reads the trim mark. The entries are read by
// Replay, which must be called next.
func Open(opt Options) (*WAL, error) {
	if err := opt.fill(); err != nil {
		return nil, err
	}
	w := &WAL{opt: opt, fs: opt.FS, files: map[uint64]*logFile{}, wdone: make(chan struct{}), pdone: make(chan struct{})}
	w.work, w.prep = sync.NewCond(&w.mu), sync.NewCond(&w.mu)
	w.w.w = w
	if err := w.fs.MkdirAll(opt.Dir); err != nil {
		return nil, fmt.Errorf("open wal: %w", err)
	}
	lock, err := vfs.Lock(w.fs, lockName(opt.Dir))
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return nil, fmt.Errorf("open wal: %w", err)
	}
	w.lock = lock
	if w.mark, err = w.openMark(); err != nil {
		w.unlock()
		return nil, fmt.Errorf("open wal: %w", err)
	}
	w.trim = w.mark.m.Pos
	return w, nil
}

func (w *WAL) unlock() {
	if w.lock != nil {
		_ = w.lock.Close()
		w.lock = nil
	}
}

// sync is the one way a file is synced. name says what for.
func (w *WAL) sync(name string, f vfs.File) error {
	if w.opt.dropSync != nil && w.opt.dropSync(name) {
		return nil
	}
	return f.Sync()
}

func (w *WAL) syncDir(name string) error {
	if w.opt.dropSync != nil && w.opt.dropSync(name) {
		return nil
	}
	return w.fs.SyncDir(w.opt.Dir)
}

// ID is the random identity the directory got when it was first opened.
func (w *WAL) ID() [16]byte { return w.id }

// usable returns why the WAL takes no entries. Called with mu held.
func (w *WAL) usable() error {
	switch {
	case w.state >= stateClosing:
		return ErrClosed
	case w.err != nil:
		return w.err
	case w.state == stateOpen:
		return ErrNotReplayed
	}
	return nil
}

// Append queues an entry and returns at once; done hears when it is durable.
// e.Data must not change until then. It fails with ErrFull, ErrFailed,
// ErrClosed or ErrTooLarge, and then done is not called.
func (w *WAL) Append(e Entry, done Waiter) error {
	if len(e.Data) > w.opt.MaxEntryBytes {
		return fmt.Errorf("append %d bytes for shard %s: %w: at most %d", len(e.Data), e.Shard, ErrTooLarge, w.opt.MaxEntryBytes)
	}
	size := entrySize(len(e.Data))
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.usable(); err != nil {
		return err
	}
	if w.fullFor(size) {
		w.stats.Refused++
		w.refused = max(w.refused, size)
		if w.prepErr != nil {
			w.kickLocked()
		}
		return ErrFull
	}
	if w.refused > 0 && !w.fullFor(w.refused) {
		w.refused = 0
	}
	if len(w.queue) == 0 {
		w.work.Signal()
	}
	w.queue = append(w.queue, item{e, done})
	w.queued += size
	return nil
}

// fullFor tells whether an entry of that size is to be refused: MaxBytes are in
// use, or the current file is the last that the disk has room for.
func (w *WAL) fullFor(size int64) bool {
	return w.live+w.queued+size > w.opt.MaxBytes || w.prepErr != nil && w.queued+size > w.roomLocked()
}

// roomLocked is what surely still fits the current file, were each entry to
// become a group of its own.
func (w *WAL) roomLocked() int64 {
	if w.cur == nil {
		return 0
	}
	groups := int64(len(w.queue) + w.inflight + 1)
	return w.opt.FileBytes - w.cur.end - syncMarkLen - groups*(groupHeaderLen+groupAlign)
}

// Position returns the cut for a flush: every entry before it has been reported
// to its waiter, every entry not yet reported lies at or after it.
func (w *WAL) Position() Pos {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pos
}

// Err returns why the WAL failed, nil while it has not.
func (w *WAL) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Close writes and syncs what is queued, tells the waiters and releases the
// directory. Entries that cannot be written for lack of disk space are reported
// with ErrClosed. Calling it again does nothing.
func (w *WAL) Close() error {
	w.mu.Lock()
	was := w.state
	if was >= stateClosing {
		w.mu.Unlock()
		return nil
	}
	w.state = stateClosing
	w.work.Broadcast()
	w.mu.Unlock()
	if was == stateReplayed {
		<-w.wdone
		w.mu.Lock()
		w.state = stateClosed
		w.prep.Broadcast()
		w.mu.Unlock()
		<-w.pdone
	}
	w.trimming.Lock()
	defer w.trimming.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.err
	if was == stateOpen {
		err = nil
	}
	for _, f := range w.files {
		err = errors.Join(err, f.f.Close())
	}
	for _, f := range w.pool {
		err = errors.Join(err, f.f.Close())
	}
	if w.next != nil {
		err = errors.Join(err, w.next.f.Close())
	}
	err = errors.Join(err, w.mark.f.Close())
	w.unlock()
	return err
}
