package storetest

import (
	"bytes"
	"errors"
	"hash/crc32"
	"strconv"
	"testing"

	"github.com/robustmq/robustmq-go/tier/store"
)

// failing is a body of which nothing after a place can be read.
type failing struct {
	data []byte
	from int64
}

var errBody = errors.New("body cannot be read")

// ReadAt implements io.ReaderAt.
func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.from {
		return 0, errBody
	}
	return copy(p, f.data[off:]), nil
}

func sum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// testPutFrom puts objects that are read meanwhile: of sizes around those in
// which drivers read, one that is there, and ones that cannot be read, or are not what they were.
func testPutFrom(t *testing.T, s store.Store) {
	ctx := ctxFor(t)
	data := Pattern(9<<20 + 123)
	for _, n := range []int{0, 1, 4096, 2 << 20, 2<<20 + 1, len(data)} {
		key := "from/" + strconv.Itoa(n)
		if err := store.PutFrom(ctx, s, key, bytes.NewReader(data[:n]), int64(n), sum(data[:n])); err != nil {
			t.Fatalf("put of %d bytes: %v", n, err)
		}
		got, err := s.Get(ctx, key, 0, -1)
		if err != nil || !bytes.Equal(got, data[:n]) {
			t.Fatalf("get of %d bytes: %d bytes, error %v", n, len(got), err)
		}
		other := bytes.Clone(data[:n])
		if n > 0 {
			other[n-1]++
		}
		for _, c := range []struct {
			body []byte
			want bool
		}{{data[:n], true}, {other, n == 0}} {
			if same, err := store.Same(ctx, s, key, bytes.NewReader(c.body), int64(n)); err != nil || same != c.want {
				t.Fatalf("same of %d bytes: %t, error %v; want %t", n, same, err, c.want)
			}
		}
	}
	wantErr(t, "put of what is there", store.PutFrom(ctx, s, "from/1", bytes.NewReader(data[:2]), 2, sum(data[:2])), store.ErrExists)
	if got, err := s.Get(ctx, "from/1", 0, -1); err != nil || !bytes.Equal(got, data[:1]) {
		t.Fatalf("get after a second put: %d bytes, error %v", len(got), err)
	}
	for _, from := range []int64{0, 3 << 20} {
		err := store.PutFrom(ctx, s, "from/none", failing{data, from}, int64(len(data)), sum(data))
		wantErr(t, "put of what cannot be read", err, store.ErrTemporary)
		_, err = s.Head(ctx, "from/none")
		wantErr(t, "head of what could not be read", err, store.ErrNotFound)
	}
	for _, n := range []int{1, len(data)} { // what the disk gave back is not what was written
		err := store.PutFrom(ctx, s, "from/none", bytes.NewReader(data[:n]), int64(n), sum(data[:n])^1)
		wantErr(t, "put of what has another sum", err, store.ErrTemporary)
		wantErr(t, "put of what has another sum", err, store.ErrBodySum)
		_, err = s.Head(ctx, "from/none")
		wantErr(t, "head of what had another sum", err, store.ErrNotFound)
	}
	if _, err := store.Same(ctx, s, "from/4096", failing{data, 0}, 4096); !errors.Is(err, store.ErrTemporary) {
		t.Fatalf("compare with what cannot be read: %v", err)
	}
}
