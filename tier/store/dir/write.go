package dir

import (
	"fmt"
	"hash/crc32"
	"io"
	"sync/atomic"
	"time"

	"github.com/robustmq/robustmq-go/internal/vfs"
	"github.com/robustmq/robustmq-go/tier/store"
)

const (
	// directFrom is the size in bytes from which an object is written past the page
	// cache where the disk is fast: there the copy costs more than the disk, and
	// whoever reads the object brings it into the cache.
	directFrom = 1 << 20
	// chunk is how much of it the disk is given at a time: the write-ahead log,
	// whose writers wait, mostly shares the disk.
	chunk = 2 << 20
	// fast is the speed in bytes per second that such writes have to reach, one of
	// patience in a row: a single one may wait for a processor. Where none does, the
	// disk is slow, and so many objects as slowFor go through the page cache, so
	// that who reads them soon needs no disk.
	fast     = 200 << 20
	patience = 8
	slowFor  = 64
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// pace knows whether the disk is fast.
type pace struct {
	now   func() time.Time
	below atomic.Int32 // writes past the page cache in a row that were not fast
	slow  atomic.Int32 // objects to be written through the page cache
}

// direct tells whether an object of so many bytes is written past the page cache.
func (p *pace) direct(size int64) bool {
	if size < directFrom {
		return false
	}
	if p.slow.Load() > 0 {
		p.slow.Add(-1)
		return false
	}
	return true
}

// took notes how long a write past the page cache took, its sync included.
func (p *pace) took(size int64, d time.Duration) {
	if float64(size) >= fast*d.Seconds() {
		p.below.Store(0)
	} else if p.below.Add(1) >= patience {
		p.below.Store(0)
		p.slow.Store(slowFor)
	}
}

// source gives the n bytes of an object from at on, valid until the next call.
type source func(at, n int64) ([]byte, error)

func inMemory(data []byte) source {
	return func(at, n int64) ([]byte, error) { return data[at : at+n], nil }
}

// readFrom is the source of an object that is read a chunk at a time, in order. Its
// end is not given where the sum of all is another one.
func readFrom(body io.ReaderAt, size int64, sum uint32) source {
	memory := vfs.Aligned(chunk)
	read := uint32(0)
	return func(at, n int64) ([]byte, error) {
		b := memory[:min(n, chunk)]
		if k, err := body.ReadAt(b, at); k < len(b) {
			return nil, fmt.Errorf("read what is put: %w", err)
		}
		read = crc32.Update(read, castagnoli, b)
		if at+int64(len(b)) == size && read != sum {
			return nil, store.ErrBodySum
		}
		return b, nil
	}
}

// write makes a file of size bytes of source, synced.
func (s *Store) write(name string, size int64, source source) error {
	flags, step := vfs.ReadWrite|vfs.Create|vfs.Exclusive, size
	direct := s.pace.direct(size)
	if direct {
		flags, step = flags|vfs.Direct, chunk
	}
	began := s.pace.now()
	f, err := s.fs.Open(name, flags)
	if err != nil {
		return err
	}
	for at := int64(0); at < size && err == nil; {
		n := min(size-at, step)
		if direct && n > vfs.DirectAlign { // the rest of a page goes through the page cache
			n &^= vfs.DirectAlign - 1
		}
		var b []byte
		if b, err = source(at, n); err == nil {
			_, err = f.WriteAt(b, at)
		}
		at += int64(len(b))
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if direct && err == nil {
		s.pace.took(size, s.pace.now().Sub(began))
	}
	return err
}
