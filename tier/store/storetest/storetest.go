// Package storetest is the conformance suite of store.Store. Every
// implementation and every decorator runs it.
//
// By default the suite runs over mem, dir, and the s3 and minio drivers against
// an in-process S3 server. With ROBUSTMQ_TEST_S3_ENDPOINT set (and
// ROBUSTMQ_TEST_S3_ACCESS_KEY, ROBUSTMQ_TEST_S3_SECRET_KEY,
// ROBUSTMQ_TEST_S3_BUCKET) both drivers run it against that server too.
//
// Differences between real stores that the suite met are comments that begin
// with "Differs:".
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/tier/store"
)

// Run runs the suite. open returns an empty store for one subtest; what it has
// to clean up it registers with t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, s store.Store)
	}{
		{"RoundTrip", testRoundTrip},
		{"Ranges", testRanges},
		{"Empty", testEmpty},
		{"NotFound", testNotFound},
		{"PutIfAbsent", testPutIfAbsent},
		{"PutRace", testPutRace},
		{"Delete", testDelete},
		{"DeleteMany", testDeleteMany},
		{"List", testList},
		{"ListPages", testListPages},
		{"BadKeys", testBadKeys},
		{"Context", testContext},
		{"Large", testLarge},
		{"PutFrom", testPutFrom},
		{"Ownership", testOwnership},
		{"Probe", testProbe},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

func ctxFor(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func put(t *testing.T, s store.Store, key string, data []byte) {
	t.Helper()
	if err := s.Put(ctxFor(t), key, data); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: error %v, want %v", what, err, want)
	}
}

// Pattern returns n bytes in which every position can be told from its
// neighbours.
func Pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8*7 ^ i>>16*13)
	}
	return b
}

func testRoundTrip(t *testing.T, s store.Store) {
	ctx := ctxFor(t)
	data := Pattern(100_000)
	put(t, s, "a/b-1_2=x.seg", data)
	got, err := s.Get(ctx, "a/b-1_2=x.seg", 0, -1)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("get: %d bytes, error %v", len(got), err)
	}
	info, err := s.Head(ctx, "a/b-1_2=x.seg")
	if err != nil || info.Size != 100_000 || info.Key != "a/b-1_2=x.seg" {
		t.Fatalf("head: %+v, error %v", info, err)
	}
	// Differs: S3 stores keep whole seconds in Last-Modified, and their clocks
	// are their own: an hour is allowed.
	if age := time.Since(info.Modified); age < -time.Hour || age > time.Hour {
		t.Fatalf("head: modified %v ago", age)
	}
}

func testRanges(t *testing.T, s store.Store) {
	ctx := ctxFor(t)
	data := Pattern(1000)
	put(t, s, "r", data)
	for _, c := range []struct {
		off, n int64
		want   []byte
		err    error
	}{
		{0, 1, data[:1], nil},
		{0, 1000, data, nil},
		{0, -1, data, nil},
		{10, 20, data[10:30], nil},
		{999, 1, data[999:], nil},
		{500, -1, data[500:], nil},
		{990, 100, data[990:], nil}, // the object ends earlier: what there is
		{0, 5000, data, nil},
		{1000, 1, nil, store.ErrRange},
		{1000, -1, nil, store.ErrRange},
		{2000, 5, nil, store.ErrRange},
		{-1, 5, nil, store.ErrRange},
		{0, 0, nil, store.ErrRange},
		{0, store.MaxObject + 1, nil, store.ErrTooLarge},
	} {
		got, err := s.Get(ctx, "r", c.off, c.n)
		if !errors.Is(err, c.err) || !bytes.Equal(got, c.want) {
			t.Errorf("get [%d,+%d): %d bytes, error %v; want %d bytes, error %v", c.off, c.n, len(got), err, len(c.want), c.err)
		}
		if c.n > 0 {
			parts, err := store.GetParts(ctx, s, "r", c.off, c.n, 7)
			if !errors.Is(err, c.err) || !bytes.Equal(bytes.Join(parts, nil), c.want) || len(parts) != (len(c.want)+6)/7 {
				t.Errorf("get parts [%d,+%d): %d parts, error %v; want %d bytes, error %v", c.off, c.n, len(parts), err, len(c.want), c.err)
			}
		}
	}
}

func testEmpty(t *testing.T, s store.Store) {
	ctx := ctxFor(t)
	put(t, s, "empty", nil)
	got, err := s.Get(ctx, "empty", 0, -1)
	if err != nil || len(got) != 0 {
		t.Fatalf("get: %q, error %v", got, err)
	}
	_, err = s.Get(ctx, "empty", 0, 1)
	wantErr(t, "get of one byte", err, store.ErrRange)
	info, err := s.Head(ctx, "empty")
	if err != nil || info.Size != 0 {
		t.Fatalf("head: %+v, error %v", info, err)
	}
	wantErr(t, "second put", s.Put(ctx, "empty", []byte("x")), store.ErrExists)
}

func testNotFound(t *testing.T, s store.Store) {
	ctx := ctxFor(t)
	put(t, s, "dir/there", []byte("x"))
	for _, key := range []string{"missing", "dir/missing", "none/at/all", "dir"} {
		_, err := s.Get(ctx, key, 0, -1)
		wantErr(t, "get "+key, err, store.ErrNotFound)
		_, err = s.Get(ctx, key, 3, 4)
		wantErr(t, "ranged get "+key, err, store.ErrNotFound)
		_, err = s.Head(ctx, key)
		wantErr(t, "head "+key, err, store.ErrNotFound)
		var e *store.Error
		if !errors.As(err, &e) || e.Key != key || e.Op != "head" {
			t.Fatalf("head %s: error %v does not carry operation and key", key, err)
		}
	}
}

func testPutIfAbsent(t *testing.T, s store.Store) {
	ctx := ctxFor(t)
	put(t, s, "k", []byte("first"))
	wantErr(t, "second put", s.Put(ctx, "k", []byte("second")), store.ErrExists)
	wantErr(t, "same bytes again", s.Put(ctx, "k", []byte("first")), store.ErrExists)
	got, err := s.Get(ctx, "k", 0, -1)
	if err != nil || string(got) != "first" {
		t.Fatalf("get: %q, error %v", got, err)
	}
}

// Differs: some servers check and then write (SeaweedFS, RGW posix): two
// winners. MinIO, versitygw and S3 have one. S3 may answer 409 to the losers
// while the winner is in flight; drivers turn that into a retry.
func testPutRace(t *testing.T, s store.Store) {
	ctx := ctxFor(t)
	for round := range 5 {
		key := fmt.Sprintf("race/%d", round)
		var won, lost atomic.Int32
		var winner atomic.Pointer[[]byte]
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				data := bytes.Repeat([]byte{byte('a' + i)}, 2000)
				err := s.Put(ctx, key, data)
				switch {
				case err == nil:
					won.Add(1)
					winner.Store(&data)
				case errors.Is(err, store.ErrExists):
					lost.Add(1)
				default:
					t.Errorf("put: %v", err)
				}
			}()
		}
		wg.Wait()
		if won.Load() != 1 || lost.Load() != 7 {
			t.Fatalf("round %d: %d won, %d lost; want 1 and 7", round, won.Load(), lost.Load())
		}
		got, err := s.Get(ctx, key, 0, -1)
		if err != nil || !bytes.Equal(got, *winner.Load()) {
			t.Fatalf("round %d: stored bytes are not the winner's (error %v)", round, err)
		}
	}
}

func testDelete(t *testing.T, s store.Store) {
	ctx := ctxFor(t)
	put(t, s, "d/one", []byte("1"))
	put(t, s, "d/two", []byte("2"))
	if err := s.Delete(ctx, "d/one", "d/none", "elsewhere/none"); err != nil {
		t.Fatalf("delete: %v", err)
	}
	_, err := s.Get(ctx, "d/one", 0, -1)
	wantErr(t, "get of deleted", err, store.ErrNotFound)
	if got, err := s.Get(ctx, "d/two", 0, -1); err != nil || string(got) != "2" {
		t.Fatalf("get of the other: %q, error %v", got, err)
	}
	if err := s.Delete(ctx, "d/one"); err != nil {
		t.Fatalf("second delete: %v", err)
	}
	if err := s.Delete(ctx); err != nil {
		t.Fatalf("delete of nothing: %v", err)
	}
	// A folder is no object: deleting its name takes nothing away.
	if err := s.Delete(ctx, "d"); err != nil {
		t.Fatalf("delete of a folder's name: %v", err)
	}
	if _, err := s.Head(ctx, "d/two"); err != nil {
		t.Fatalf("head after delete of a folder's name: %v", err)
	}
	put(t, s, "d/one", []byte("again"))
	if got, err := s.Get(ctx, "d/one", 0, -1); err != nil || string(got) != "again" {
		t.Fatalf("get after put again: %q, error %v", got, err)
	}
}

func testDeleteMany(t *testing.T, s store.Store) {
	ctx := ctxFor(t)
	var keys []string
	for i := range 60 {
		keys = append(keys, fmt.Sprintf("many/%02d/x", i))
		put(t, s, keys[i], []byte{byte(i)})
	}
	for i := range 1100 { // more than one request's worth
		keys = append(keys, fmt.Sprintf("many/none-%d", i))
	}
	// Differs: versitygw on a busy machine was seen to end the connection in the middle
	// of its answer to 1,000 keys. That is ErrTemporary, and Delete may be called again.
	err := s.Delete(ctx, keys...)
	for try := 0; try < 3 && errors.Is(err, store.ErrTemporary); try++ {
		err = s.Delete(ctx, keys...)
	}
	if err != nil {
		t.Fatalf("delete: %v", err)
	}
	if left, err := s.List(ctx, "many/", "", 0); err != nil || len(left) != 0 {
		t.Fatalf("list: %d left, error %v", len(left), err)
	}
}

func keysOf(infos []store.Info) []string {
	out := []string{}
	for _, i := range infos {
		out = append(out, i.Key)
	}
	return out
}

// Byte order puts '-' and '.' before '/' and '/' before digits: a store that
// walks folders has to take care.
var listKeys = []string{"a-b", "a.b", "a/b", "a/b.c", "a/b=c", "a0", "ab/c", "ab/d/e", "ab/d0", "b"}

func testList(t *testing.T, s store.Store) {
	ctx := ctxFor(t)
	for i, k := range slices.Backward(listKeys) {
		put(t, s, k, Pattern(i))
	}
	for _, prefix := range []string{"", "a", "a/", "a/b", "a/b.", "ab/", "ab/d", "b", "c", "a/x/y", "zz"} {
		for _, after := range []string{"", "a", "a-b", "a/", "a/b", "ab/c", "ab/d/e", "b", "zzz"} {
			for _, max := range []int{0, 1, 3, 5000} {
				want := []string{}
				for _, k := range listKeys {
					if strings.HasPrefix(k, prefix) && k > after && (max == 0 || len(want) < max) {
						want = append(want, k)
					}
				}
				got, err := s.List(ctx, prefix, after, max)
				if err != nil || !slices.Equal(keysOf(got), want) {
					t.Fatalf("list %q after %q max %d: %v, error %v; want %v", prefix, after, max, keysOf(got), err, want)
				}
			}
		}
	}
	got, err := s.List(ctx, "", "", 0)
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	for i, info := range got {
		if info.Size != int64(i) || info.Modified.IsZero() {
			t.Errorf("list: %+v, want size %d and a time", info, i)
		}
	}
}

func testListPages(t *testing.T, s store.Store) {
	ctx := ctxFor(t)
	var want []string
	for i := range 25 {
		want = append(want, fmt.Sprintf("p/%x/%02d", i/7, i))
		put(t, s, want[i], []byte("x"))
	}
	var got []string
	after := ""
	for {
		page, err := s.List(ctx, "p/", after, 4)
		if err != nil {
			t.Fatalf("list after %q: %v", after, err)
		}
		got = append(got, keysOf(page)...)
		if len(page) < 4 {
			break
		}
		after = page[len(page)-1].Key
	}
	if !slices.Equal(got, want) {
		t.Fatalf("pages: %v, want %v", got, want)
	}
}

func testBadKeys(t *testing.T, s store.Store) {
	ctx := ctxFor(t)
	for _, key := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/.b", ".tmp/1", "a\x00b", "a b", "ä", "a\\b", "a:b",
		strings.Repeat("a", store.MaxKey+1), strings.Repeat("a", 201),
	} {
		wantErr(t, "put "+key, s.Put(ctx, key, []byte("x")), store.ErrKey)
		_, err := s.Get(ctx, key, 0, -1)
		wantErr(t, "get "+key, err, store.ErrKey)
		_, err = s.Head(ctx, key)
		wantErr(t, "head "+key, err, store.ErrKey)
		wantErr(t, "delete "+key, s.Delete(ctx, key), store.ErrKey)
	}
	for _, prefix := range []string{"/", "../", ".", "a//", "a/.", "a b"} {
		_, err := s.List(ctx, prefix, "", 0)
		wantErr(t, "list "+prefix, err, store.ErrKey)
	}
	put(t, s, strings.Repeat(strings.Repeat("k", 99)+"/", 4)+"end", []byte("long"))
}

func testContext(t *testing.T, s store.Store) {
	put(t, s, "c", []byte("x"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := s.Get(ctx, "c", 0, -1)
	wantErr(t, "get", err, context.Canceled)
	_, err = s.Head(ctx, "c")
	wantErr(t, "head", err, context.Canceled)
	_, err = s.List(ctx, "", "", 0)
	wantErr(t, "list", err, context.Canceled)
	wantErr(t, "put", s.Put(ctx, "c2", nil), context.Canceled)
	wantErr(t, "delete", s.Delete(ctx, "c"), context.Canceled)
	if errors.Is(err, store.ErrTemporary) {
		t.Fatalf("the caller's own cancellation is reported as the store's: %v", err)
	}
	if _, err := s.Head(ctxFor(t), "c"); err != nil {
		t.Fatalf("head after cancelled delete: %v", err)
	}
}

func testLarge(t *testing.T, s store.Store) {
	ctx := ctxFor(t)
	data := Pattern(17<<20 + 12345) // above the size at which clients like to split
	put(t, s, "large", data)
	got, err := s.Get(ctx, "large", 0, -1)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("get: %d bytes, error %v", len(got), err)
	}
	got, err = s.Get(ctx, "large", 16<<20-1, 1<<20)
	if err != nil || !bytes.Equal(got, data[16<<20-1:17<<20-1]) {
		t.Fatalf("ranged get: %d bytes, error %v", len(got), err)
	}
	// versitygw refuses a Put before it has read the body and closes the connection:
	// the reset may overtake the answer, and all that the client knows is that there
	// was none. That is ErrTemporary, the same Put may be sent again, and package
	// retry looks before it does.
	for range 100 {
		if err = s.Put(ctx, "large", data[:1<<20]); !errors.Is(err, store.ErrTemporary) {
			break
		}
	}
	wantErr(t, "second put", err, store.ErrExists)
	if info, err := s.Head(ctx, "large"); err != nil || info.Size != int64(len(data)) {
		t.Fatalf("head after the second put: %d bytes, error %v", info.Size, err)
	}
}

func testOwnership(t *testing.T, s store.Store) {
	ctx := ctxFor(t)
	data := []byte("original")
	put(t, s, "o", data)
	copy(data, "scribble")
	got, err := s.Get(ctx, "o", 0, -1)
	if err != nil || string(got) != "original" {
		t.Fatalf("get after the caller changed its slice: %q, error %v", got, err)
	}
	copy(got, "scribble")
	if got, err = s.Get(ctx, "o", 0, -1); err != nil || string(got) != "original" {
		t.Fatalf("get after a reader changed its slice: %q, error %v", got, err)
	}
}

func testProbe(t *testing.T, s store.Store) {
	ctx := ctxFor(t)
	rep := store.Probe(ctx, s, "probe/x1")
	if err := rep.Err(); err != nil {
		t.Fatalf("probe: %v\n%+v", err, rep)
	}
	if !rep.ConditionalPut || !rep.ConditionalRace {
		t.Fatalf("probe: %+v", rep)
	}
	if left, err := s.List(ctx, "", "", 0); err != nil || len(left) != 0 {
		t.Fatalf("probe left %v, error %v", keysOf(left), err)
	}
}
