package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"

	"github.com/robustmq/robustmq-go/internal/vfs"
)

const (
	joinedMagic    = "RMQ-JND\n"
	joinedLen      = 58 // without the cluster's id
	maxClusterName = 256
)

// Joined is what the directory of a log remembers of the catalog, so that one of
// the two that is older than the other is noticed.
type Joined struct {
	// Cluster is the id of the cluster whose log it is.
	Cluster string
	// Mark is what the catalog holds of the log since its gateway joined last, or
	// Before, where it did not come to that.
	Mark, Before [16]byte
	// Revision is the highest revision of the catalog that the gateway has seen.
	Revision int64
}

func (j *Joined) encode() ([]byte, error) {
	if len(j.Cluster) > maxClusterName || j.Revision < 0 {
		return nil, fmt.Errorf("note catalog: cluster id of %d bytes, revision %d", len(j.Cluster), j.Revision)
	}
	b := make([]byte, joinedLen, joinedLen+len(j.Cluster))
	copy(b, joinedMagic)
	le := binary.LittleEndian
	le.PutUint32(b[8:], version1)
	le.PutUint64(b[16:], uint64(j.Revision))
	copy(b[24:], j.Mark[:])
	copy(b[40:], j.Before[:])
	le.PutUint16(b[56:], uint16(len(j.Cluster)))
	b = append(b, j.Cluster...)
	le.PutUint32(b[12:], crcMore(crc(b[:12]), b[16:]))
	return b, nil
}

func decodeJoined(b []byte) (j Joined, err error) {
	if len(b) < joinedLen {
		return j, fmt.Errorf("%w: what is noted of the catalog has %d bytes", ErrCorrupt, len(b))
	}
	if err := checkPreamble(b, joinedMagic, len(b)); err != nil {
		return j, err
	}
	le := binary.LittleEndian
	n := int(le.Uint16(b[56:]))
	rev := le.Uint64(b[16:])
	if n != len(b)-joinedLen || n > maxClusterName || rev > math.MaxInt64 {
		return j, fmt.Errorf("%w: what is noted of the catalog", ErrCorrupt)
	}
	j.Revision, j.Cluster = int64(rev), string(b[joinedLen:])
	copy(j.Mark[:], b[24:40])
	copy(j.Before[:], b[40:56])
	return j, nil
}

func joinedName(dir string) string { return filepath.Join(dir, "joined") }

// Joined gives what SetJoined noted last; ok is false where it never did.
// ErrCorrupt: it cannot be read.
func (w *WAL) Joined() (j Joined, ok bool, err error) {
	return ReadJoined(Source{Dir: w.opt.Dir, FS: w.fs})
}

// ReadJoined is WAL.Joined for a log that is not open.
func ReadJoined(src Source) (j Joined, ok bool, err error) {
	f, err := src.fs().Open(joinedName(src.Dir), vfs.ReadOnly)
	if errors.Is(err, fs.ErrNotExist) {
		return j, false, nil
	}
	if err != nil {
		return j, false, fmt.Errorf("read what is noted of the catalog: %w", err)
	}
	b := make([]byte, joinedLen+maxClusterName+1)
	n, err := f.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return j, false, fmt.Errorf("read what is noted of the catalog: %w", err)
	}
	j, err = decodeJoined(b[:n])
	return j, err == nil, err
}

// SetJoined notes it, durably and whole or not at all.
func (w *WAL) SetJoined(j Joined) error {
	b, err := j.encode()
	if err != nil {
		return err
	}
	w.joining.Lock()
	defer w.joining.Unlock()
	tmp := joinedName(w.opt.Dir) + ".tmp"
	if err := w.fs.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("note catalog: %w", err)
	}
	f, err := w.fs.Open(tmp, vfs.ReadWrite|vfs.Create)
	if err == nil {
		_, err = f.WriteAt(b, 0)
		if err == nil {
			err = w.sync("joined", f)
		}
		err = errors.Join(err, f.Close())
	}
	if err == nil {
		err = w.fs.Rename(tmp, joinedName(w.opt.Dir))
	}
	if err == nil {
		err = w.syncDir("joined-dir")
	}
	if err != nil {
		return fmt.Errorf("note catalog: %w", err)
	}
	return nil
}

// Hold locks the directory of a log that is there, so that no gateway opens it.
func Hold(fsys vfs.FS, dir string) (io.Closer, error) {
	lock, err := vfs.Lock(fsys, lockName(dir))
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return nil, fmt.Errorf("lock wal: %w", err)
	}
	if lock == nil {
		lock = io.NopCloser(nil)
	}
	return lock, nil
}

// Identify gives the id of the log in a directory. ok is false where neither the
// trim mark nor the header of a file tells it.
func Identify(src Source) (id [16]byte, ok bool, err error) {
	fsys := src.fs()
	f, err := fsys.Open(markName(src.Dir), vfs.ReadOnly)
	if err == nil {
		m, known, err := readMark(f)
		if err := errors.Join(err, f.Close()); err != nil || known {
			return m.ID, known, err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return id, false, fmt.Errorf("identify wal: %w", err)
	}
	nos, err := listFiles(fsys, src.Dir)
	if err != nil {
		return id, false, fmt.Errorf("identify wal: %w", err)
	}
	for _, no := range nos {
		if h, state, err := headerOf(fsys, src.Dir, no); err == nil && state != headerBad {
			id, ok = h.ID, true
		}
	}
	return id, ok, nil
}
