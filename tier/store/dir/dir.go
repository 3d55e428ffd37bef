package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/robustmq/robustmq-go/tier/store"
)

// tmpDir holds objects being written. No key begins with a dot.
const tmpDir = ".tmp"

// Store is a store.Store in a directory. All methods may be called
// concurrently.
type Store struct {
	root  string
	files Files
	seq   atomic.Uint64
	mu    struct {
		sync.Mutex
		durable map[string]bool // folders whose name is known to be synced into their parent
		broken  error           // the first failed sync of a folder
	}
}

// Open opens the directory root, creates it when it is missing (its parent has
// to exist), and removes what a crash left unfinished. files nil means the
// operating system's.
func Open(root string, files Files) (*Store, error) {
	if files == nil {
		files = osFiles{}
	}
	s := &Store{root: path.Clean(root), files: files}
	s.mu.durable = make(map[string]bool)
	for _, name := range []string{s.root, path.Join(s.root, tmpDir)} {
		if err := files.Mkdir(name, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("open object directory: %w", err)
		}
	}
	if err := files.SyncDir(path.Dir(s.root)); err != nil {
		return nil, fmt.Errorf("open object directory: sync parent: %w", err)
	}
	left, err := files.ReadDir(path.Join(s.root, tmpDir))
	if err != nil {
		return nil, fmt.Errorf("open object directory: %w", err)
	}
	for _, e := range left {
		if err := files.Remove(path.Join(s.root, tmpDir, e.Name())); err != nil {
			return nil, fmt.Errorf("open object directory: remove leftover: %w", err)
		}
	}
	return s, nil
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

func (s *Store) file(key string) string { return path.Join(s.root, key) }

func (s *Store) open(ctx context.Context, op, key string) (File, fs.FileInfo, error) {
	if err := store.ContextError(ctx, op, key); err != nil {
		return nil, nil, err
	}
	if err := store.CheckKey(key); err != nil {
		return nil, nil, store.Wrap(op, key, err, nil)
	}
	f, err := s.files.OpenFile(s.file(key), os.O_RDONLY, 0)
	if err != nil {
		return nil, nil, store.Wrap(op, key, kindOf(err), err)
	}
	fi, err := f.Stat()
	if err == nil && fi.IsDir() {
		err = fs.ErrNotExist
	}
	if err != nil {
		_ = f.Close() // opened for reading: nothing to lose
		return nil, nil, store.Wrap(op, key, kindOf(err), err)
	}
	return f, fi, nil
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string, off, n int64) ([]byte, error) {
	if err := store.CheckRange(off, n); err != nil {
		return nil, store.Wrap("get", key, err, nil)
	}
	f, fi, err := s.open(ctx, "get", key)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // opened for reading: nothing to lose
	size := fi.Size()
	if off >= size && (off > 0 || n > 0) {
		return nil, store.Wrap("get", key, store.ErrRange, nil)
	}
	if n < 0 || n > size-off {
		n = size - off
	}
	if n > store.MaxObject {
		return nil, store.Wrap("get", key, store.ErrTooLarge, nil)
	}
	data := make([]byte, n)
	if m, err := f.ReadAt(data, off); int64(m) < n {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, store.Wrap("get", key, store.ErrTemporary, err)
	}
	return data, nil
}

// Head implements store.Store.
func (s *Store) Head(ctx context.Context, key string) (store.Info, error) {
	f, fi, err := s.open(ctx, "head", key)
	if err != nil {
		return store.Info{}, err
	}
	_ = f.Close() // opened for reading: nothing to lose
	return store.Info{Key: key, Size: fi.Size(), Modified: fi.ModTime()}, nil
}

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, key string, data []byte) error {
	if err := store.ContextError(ctx, "put", key); err != nil {
		return err
	}
	if err := store.CheckKey(key); err != nil {
		return store.Wrap("put", key, err, nil)
	}
	if len(data) > store.MaxObject {
		return store.Wrap("put", key, store.ErrTooLarge, nil)
	}
	if err := s.brokenErr(); err != nil {
		return store.Wrap("put", key, store.ErrBroken, err)
	}
	tmp := path.Join(s.root, tmpDir, strconv.FormatUint(s.seq.Add(1), 10))
	// A temporary name that stays behind is removed by the next Open.
	defer func() { _ = s.files.Remove(tmp) }()
	if err := s.write(tmp, data); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return store.Wrap("put", key, store.ErrBroken, fmt.Errorf("directory is used by another store: %w", err))
		}
		return store.Wrap("put", key, putKind(err), err)
	}
	folder := path.Dir(s.file(key))
	if err := s.makeFolder(folder); err != nil {
		return store.Wrap("put", key, putKind(err), err)
	}
	err := s.files.Link(tmp, s.file(key))
	if err != nil && !errors.Is(err, fs.ErrExist) {
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

// putKind is kindOf for Put, where a name that is missing or is not a folder
// means that the key runs through an object.
func putKind(err error) error {
	if errors.Is(err, store.ErrBroken) {
		return store.ErrBroken
	}
	if k := kindOf(err); k != store.ErrNotFound && k != store.ErrExists {
		return k
	}
	return store.ErrKey
}

func (s *Store) write(tmp string, data []byte) error {
	f, err := s.files.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// makeFolder makes folder and what is above it, down from the root, durable.
func (s *Store) makeFolder(folder string) error {
	if folder == s.root || s.isDurable(folder) {
		return nil
	}
	parent := path.Dir(folder)
	if err := s.makeFolder(parent); err != nil {
		return err
	}
	if err := s.files.Mkdir(folder, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
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
	err := s.files.SyncDir(folder)
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return err
	}
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
		folders[path.Dir(s.file(key))] = key
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
	if err := s.brokenErr(); err != nil {
		return store.Wrap("delete", key, store.ErrBroken, err)
	}
	f, _, err := s.open(ctx, "delete", key)
	if errors.Is(err, store.ErrNotFound) { // or a folder, which stays
		return nil
	}
	if err != nil {
		return err
	}
	_ = f.Close() // opened for reading: nothing to lose
	err = s.files.Remove(s.file(key))
	if err == nil || kindOf(err) == store.ErrNotFound {
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
	entries, err := w.s.files.ReadDir(w.s.file(dir))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	if err != nil {
		return store.Wrap("list", w.prefix, kindOf(err), err)
	}
	names := make([]string, 0, len(entries))
	byName := make(map[string]fs.DirEntry, len(entries))
	for _, e := range entries {
		name := dir + e.Name()
		if store.CheckKey(name) != nil {
			continue // ".tmp", or no file of ours
		}
		if e.IsDir() {
			name += "/" // sorts as the keys below it do
		}
		names = append(names, name)
		byName[name] = e
	}
	slices.Sort(names)
	for _, name := range names {
		if len(w.out) == w.max {
			return nil
		}
		if err := w.entry(name, byName[name]); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) entry(name string, e fs.DirEntry) error {
	if e.IsDir() {
		if !strings.HasPrefix(name, w.prefix) && !strings.HasPrefix(w.prefix, name) {
			return nil
		}
		if name <= w.after && !strings.HasPrefix(w.after, name) {
			return nil
		}
		return w.folder(name)
	}
	if !strings.HasPrefix(name, w.prefix) || name <= w.after || !e.Type().IsRegular() {
		return nil
	}
	fi, err := e.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return store.Wrap("list", w.prefix, kindOf(err), err)
	}
	w.out = append(w.out, store.Info{Key: name, Size: fi.Size(), Modified: fi.ModTime()})
	return nil
}
