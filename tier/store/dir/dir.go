package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/robustmq/robustmq-go/internal/vfs"
	"github.com/robustmq/robustmq-go/tier/store"
)

// Names in the root that are no objects: no key begins with a dot.
const (
	tmpDir   = ".tmp"  // objects being written
	lockFile = ".lock" // held by the Store that may write
)

// Options are how to open a directory.
type Options struct {
	FS       vfs.FS // nil means the operating system's
	ReadOnly bool   // no lock is taken, nothing is written; Put and Delete are refused with ErrDenied
	// Now is the clock by which the disk's speed is taken; nil means time.Now.
	Now func() time.Time
}

// Store is a store.Store in a directory. All methods may be called
// concurrently.
type Store struct {
	root     string
	fs       vfs.FS
	readOnly bool
	lock     io.Closer
	seq      atomic.Uint64
	pace     pace
	mu       struct {
		sync.Mutex
		durable map[string]bool // folders whose name is known to be synced into their parent
		broken  error           // the first failed sync of a folder, or ErrClosed
	}
}

// ErrClosed is the cause of the ErrBroken that Put and Delete return after Close.
var ErrClosed = errors.New("store is closed")

// Open opens the directory root, creates it when it is missing, and removes
// what a crash left unfinished. It fails with vfs.ErrLocked when another Store
// has the directory open for writing.
func Open(root string, o Options) (*Store, error) {
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Store{root: filepath.Clean(root), fs: o.FS, readOnly: o.ReadOnly, pace: pace{now: o.Now}}
	s.mu.durable = make(map[string]bool)
	if s.readOnly {
		return s, nil
	}
	if err := s.recover(); err != nil {
		if s.lock != nil {
			err = errors.Join(err, s.lock.Close())
		}
		return nil, fmt.Errorf("open object directory %s: %w", s.root, err)
	}
	return s, nil
}

func (s *Store) recover() error {
	tmp := filepath.Join(s.root, tmpDir)
	if err := s.fs.MkdirAll(tmp); err != nil {
		return err
	}
	// The root may be older than this process, made by one that was killed
	// before it could sync.
	if err := s.fs.SyncDir(filepath.Dir(s.root)); err != nil {
		return fmt.Errorf("sync parent: %w", err)
	}
	lock, err := vfs.Lock(s.fs, filepath.Join(s.root, lockFile))
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	s.lock = lock
	left, err := s.fs.List(tmp)
	if err != nil {
		return err
	}
	for _, e := range left {
		if err := s.fs.Remove(filepath.Join(tmp, e.Name)); err != nil {
			return fmt.Errorf("remove leftover: %w", err)
		}
	}
	return nil
}

// Close gives the directory back. Puts and Deletes after it are refused.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.broken == nil {
		s.mu.broken = ErrClosed
	}
	lock := s.lock
	s.lock = nil
	if lock == nil {
		return nil
	}
	if err := lock.Close(); err != nil {
		return fmt.Errorf("close object directory %s: %w", s.root, err)
	}
	return nil
}

// kindOf says which kind of store error an error of the file system is.
func kindOf(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return store.ErrNotFound
	case errors.Is(err, fs.ErrExist):
		return store.ErrExists
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return store.ErrDenied
	}
	return store.ErrTemporary // disk full, EIO, too many open files
}

func (s *Store) file(key string) string { return filepath.Join(s.root, filepath.FromSlash(key)) }

// open opens an object. A folder is none.
func (s *Store) open(ctx context.Context, op, key string) (vfs.File, error) {
	if err := store.ContextError(ctx, op, key); err != nil {
		return nil, err
	}
	if err := store.CheckKey(key); err != nil {
		return nil, store.Wrap(op, key, err, nil)
	}
	f, err := s.fs.Open(s.file(key), vfs.ReadOnly)
	if err != nil {
		kind := kindOf(err)
		if errors.Is(kind, store.ErrTemporary) && s.isFolder(key) {
			kind = store.ErrNotFound
		}
		return nil, store.Wrap(op, key, kind, err)
	}
	return f, nil
}

func (s *Store) isFolder(key string) bool {
	_, err := s.fs.List(s.file(key))
	return err == nil
}

// readError says what an error of reading an open file is: some systems open
// folders like files.
func readError(op, key string, err error) error {
	if errors.Is(err, syscall.EISDIR) {
		return store.Wrap(op, key, store.ErrNotFound, err)
	}
	return store.Wrap(op, key, store.ErrTemporary, err)
}

// Head implements store.Store. It reads the folder that the object is in.
func (s *Store) Head(ctx context.Context, key string) (store.Info, error) {
	f, err := s.open(ctx, "head", key)
	if err != nil {
		return store.Info{}, err
	}
	_ = f.Close() // opened for reading: nothing to lose
	name := s.file(key)
	entries, err := s.fs.List(filepath.Dir(name))
	if err != nil {
		return store.Info{}, store.Wrap("head", key, kindOf(err), err)
	}
	base := filepath.Base(name)
	i, ok := slices.BinarySearchFunc(entries, base, func(e vfs.Info, name string) int { return strings.Compare(e.Name, name) })
	if !ok || entries[i].Dir {
		return store.Info{}, store.Wrap("head", key, store.ErrNotFound, nil)
	}
	return store.Info{Key: key, Size: entries[i].Size, Modified: entries[i].ModTime}, nil
}

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, key string, data []byte) error {
	return s.put(ctx, key, int64(len(data)), inMemory(data))
}

// PutFrom implements store.FromPutter.
func (s *Store) PutFrom(ctx context.Context, key string, body io.ReaderAt, size int64, sum uint32) error {
	return s.put(ctx, key, size, readFrom(body, size, sum))
}

func (s *Store) put(ctx context.Context, key string, size int64, source source) error {
	if err := store.ContextError(ctx, "put", key); err != nil {
		return err
	}
	if err := store.CheckKey(key); err != nil {
		return store.Wrap("put", key, err, nil)
	}
	if size > store.MaxObject {
		return store.Wrap("put", key, store.ErrTooLarge, nil)
	}
	if err := s.refuses("put", key); err != nil {
		return err
	}
	tmp := filepath.Join(s.root, tmpDir, strconv.FormatUint(s.seq.Add(1), 10))
	// A temporary name that stays behind is removed by the next Open.
	defer func() { _ = s.fs.Remove(tmp) }()
	if err := s.write(tmp, size, source); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return store.Wrap("put", key, store.ErrBroken, fmt.Errorf("directory is used by another store: %w", err))
		}
		return store.Wrap("put", key, putKind(err), err)
	}
	folder := filepath.Dir(s.file(key))
	if err := s.makeFolder(folder); err != nil {
		return store.Wrap("put", key, putKind(err), err)
	}
	err := vfs.Link(s.fs, tmp, s.file(key))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		if s.isFolder(key) {
			return store.Wrap("put", key, store.ErrKey, err)
		}
		return store.Wrap("put", key, putKind(err), err)
	}
	if serr := s.syncDir(folder); serr != nil {
		return store.Wrap("put", key, store.ErrBroken, serr)
	}
	if err != nil {
		return store.Wrap("put", key, store.ErrExists, nil)
	}
	return nil
}

// refuses says why nothing may be written.
func (s *Store) refuses(op, key string) error {
	if s.readOnly {
		return store.Wrap(op, key, store.ErrDenied, errors.New("opened read-only"))
	}
	if err := s.brokenErr(); err != nil {
		return store.Wrap(op, key, store.ErrBroken, err)
	}
	return nil
}

// putKind is kindOf for Put, where a name that is missing or is not a folder
// means that the key runs through an object.
func putKind(err error) error {
	if errors.Is(err, store.ErrBroken) {
		return store.ErrBroken
	}
	if k := kindOf(err); !errors.Is(k, store.ErrNotFound) && !errors.Is(k, store.ErrExists) {
		return k
	}
	return store.ErrKey
}

// makeFolder makes folder and what is above it, down from the root, durable.
func (s *Store) makeFolder(folder string) error {
	if folder == s.root || s.isDurable(folder) {
		return nil
	}
	parent := filepath.Dir(folder)
	if err := s.makeFolder(parent); err != nil {
		return err
	}
	if err := s.fs.MkdirAll(folder); err != nil {
		if _, lerr := s.fs.List(folder); lerr == nil { // made, and not synced
			return fmt.Errorf("%w: %w", store.ErrBroken, s.breaks(parent, err))
		}
		if f, oerr := s.fs.Open(folder, vfs.ReadOnly); oerr == nil { // an object is in the way
			_ = f.Close() // opened for reading: nothing to lose
			return fmt.Errorf("%w: %w", fs.ErrExist, err)
		}
		return err
	}
	// It may have been there, made by another Put that has not synced it yet, or
	// by a process that was killed before it could.
	if err := s.syncDir(parent); err != nil {
		return fmt.Errorf("%w: %w", store.ErrBroken, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.durable[folder] = true
	return nil
}

func (s *Store) isDurable(folder string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.durable[folder]
}

func (s *Store) brokenErr() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.broken
}

// syncDir syncs a folder and, when that fails, ends the store's service: a
// later sync that succeeds would prove nothing about the names lost.
func (s *Store) syncDir(folder string) error {
	if err := s.brokenErr(); err != nil {
		return err
	}
	err := s.fs.SyncDir(folder)
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return err
	}
	return s.breaks(folder, err)
}

func (s *Store) breaks(folder string, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.broken == nil {
		s.mu.broken = fmt.Errorf("sync directory %s: %w", folder, err)
	}
	return s.mu.broken
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	var errs []error
	folders := make(map[string]string)
	for _, key := range keys {
		if err := s.remove(ctx, key); err != nil {
			errs = append(errs, err)
			continue
		}
		folders[filepath.Dir(s.file(key))] = key
	}
	for folder, key := range folders {
		err := s.syncDir(folder)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			errs = append(errs, store.Wrap("delete", key, store.ErrBroken, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Store) remove(ctx context.Context, key string) error {
	if err := store.ContextError(ctx, "delete", key); err != nil {
		return err
	}
	if err := s.refuses("delete", key); err != nil {
		return err
	}
	f, err := s.open(ctx, "delete", key)
	if errors.Is(err, store.ErrNotFound) { // or a folder, which stays
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.ReadAt(make([]byte, 1), 0)
	_ = f.Close() // opened for reading: nothing to lose
	if errors.Is(err, syscall.EISDIR) {
		return nil
	}
	err = s.fs.Remove(s.file(key))
	if err == nil || errors.Is(kindOf(err), store.ErrNotFound) {
		return nil
	}
	return store.Wrap("delete", key, kindOf(err), err)
}

// List implements store.Store. It reads only folders that can hold matches.
func (s *Store) List(ctx context.Context, prefix, after string, max int) ([]store.Info, error) {
	if err := store.CheckPrefix(prefix); err != nil {
		return nil, store.Wrap("list", prefix, err, nil)
	}
	w := &walk{s: s, ctx: ctx, prefix: prefix, after: after, max: store.ListMax(max)}
	from := "" // the folder in which all keys with the prefix are
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		from = prefix[:i+1]
	}
	if err := w.folder(from); err != nil {
		return nil, err
	}
	return w.out, nil
}

type walk struct {
	s             *Store
	ctx           context.Context
	prefix, after string
	max           int
	out           []store.Info
}

// folder adds the objects below a folder: "" or a path with a slash at its end.
func (w *walk) folder(dir string) error {
	if err := store.ContextError(w.ctx, "list", w.prefix); err != nil {
		return err
	}
	entries, err := w.s.fs.List(w.s.file(dir))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	if err != nil {
		return store.Wrap("list", w.prefix, kindOf(err), err)
	}
	kept := entries[:0]
	for _, e := range entries {
		e.Name = dir + e.Name
		if store.CheckKey(e.Name) != nil {
			continue // ".tmp", or no file of ours
		}
		if e.Dir {
			e.Name += "/" // sorts as the keys below it do
		}
		kept = append(kept, e)
	}
	slices.SortFunc(kept, func(a, b vfs.Info) int { return strings.Compare(a.Name, b.Name) })
	for _, e := range kept {
		if len(w.out) == w.max {
			return nil
		}
		if err := w.entry(e); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) entry(e vfs.Info) error {
	if e.Dir {
		if !strings.HasPrefix(e.Name, w.prefix) && !strings.HasPrefix(w.prefix, e.Name) {
			return nil
		}
		if e.Name <= w.after && !strings.HasPrefix(w.after, e.Name) {
			return nil
		}
		return w.folder(e.Name)
	}
	if strings.HasPrefix(e.Name, w.prefix) && e.Name > w.after {
		w.out = append(w.out, store.Info{Key: e.Name, Size: e.Size, Modified: e.ModTime})
	}
	return nil
}
