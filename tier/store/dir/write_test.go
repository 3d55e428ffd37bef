package dir

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/internal/vfs"
)

// watched notes how files are opened and written.
type watched struct {
	vfs.FS
	direct bool  // the file opened last is written past the page cache
	sizes  []int // of its writes
}

func (w *watched) Link(o, n string) error { return vfs.Link(w.FS, o, n) }

func (w *watched) Open(name string, flag int) (vfs.File, error) {
	f, err := w.FS.Open(name, flag)
	if err != nil || flag&vfs.Create == 0 {
		return f, err
	}
	w.direct, w.sizes = flag&vfs.Direct != 0, nil
	return watchedFile{f, w}, nil
}

type watchedFile struct {
	vfs.File
	w *watched
}

func (f watchedFile) WriteAt(p []byte, off int64) (int, error) {
	f.w.sizes = append(f.w.sizes, len(p))
	return f.File.WriteAt(p, off)
}

// TestLargeObjects: an object of a megabyte goes to the disk itself, piece by piece,
// each but the last a whole number of pages; a smaller one goes through the page
// cache, and so do the next ones after several writes that were slow.
func TestLargeObjects(t *testing.T) {
	w := &watched{FS: vfs.OS{}}
	now, took := time.Unix(1000, 0), time.Millisecond
	s, err := Open(t.TempDir(), Options{FS: w, Now: func() time.Time { now = now.Add(took); return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	n := 0
	put := func(size int, direct bool) {
		t.Helper()
		n++
		key, data := fmt.Sprint("k/", n), bytes.Repeat([]byte{byte(n), 7, byte(n >> 8)}, size/3+1)[:size]
		if err := s.Put(context.Background(), key, data); err != nil {
			t.Fatal(err)
		}
		got, err := s.Get(context.Background(), key, 0, -1)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes of %d, error %v", len(got), size, err)
		}
		if w.direct != direct {
			t.Fatalf("object %d of %d bytes: past the page cache %v", n, size, w.direct)
		}
		for i, n := range w.sizes {
			if direct && (n > chunk || n%vfs.DirectAlign != 0 && (i < len(w.sizes)-1 || n > vfs.DirectAlign)) || !direct && i > 0 {
				t.Fatalf("written in pieces of %d", w.sizes)
			}
		}
	}
	put(0, false)
	put(directFrom-1, false)
	put(directFrom, true)
	put(directFrom+1, true)
	put(3*chunk-1, true)
	took = time.Second
	for range patience - 1 {
		put(directFrom+chunk+vfs.DirectAlign, true)
	}
	took = time.Millisecond
	put(directFrom, true) // the disk is fast, only busy
	took = time.Second
	for range patience {
		put(directFrom, true)
	}
	for range slowFor {
		put(directFrom, false)
	}
	took = time.Millisecond
	put(directFrom, true)
	put(directFrom, true)
}
