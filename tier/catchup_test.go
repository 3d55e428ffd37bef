package tier

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"testing"
	"time"

	miniogo "github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/tier/store/open"
)

// The catch-up benchmarks read one shard of catchUpObjects objects of about 64
// MiB in reads of 1 MiB, cold: with a Cursor, and, for what the store itself
// gives, in plain Gets of whole objects; against a server, also with the client
// library alone. By default over a dir store; with ROBUSTMQ_TEST_S3_ENDPOINT
// over that server.
const catchUpObjects = 6

func catchUpStore(b *testing.B) (store.Store, []Segment, open.Config, int64) {
	c := open.Config{Kind: "dir", Dir: b.TempDir() + "/objects"}
	if e := os.Getenv("ROBUSTMQ_TEST_S3_ENDPOINT"); e != "" {
		c = open.Config{
			Kind: "minio", Endpoint: e, PathStyle: true, CreateBucket: true, Bucket: os.Getenv("ROBUSTMQ_TEST_S3_BUCKET"),
			AccessKey: os.Getenv("ROBUSTMQ_TEST_S3_ACCESS_KEY"), SecretKey: os.Getenv("ROBUSTMQ_TEST_S3_SECRET_KEY"), Prefix: fmt.Sprintf("catchup/%d", time.Now().UnixNano()),
		}
	}
	s, closer, err := open.Open(context.Background(), c)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = closer.Close() })
	var segs []Segment
	var keys []string
	base, total := int64(0), int64(0)
	for i := range catchUpObjects {
		bl := NewBuilder(65 << 20)
		for bl.Size() < 64<<20 {
			if err := bl.Add(id(1, 1), batchSpec{base, 100, 100_000, 5}.make()); err != nil {
				b.Fatal(err)
			}
			base += 100
		}
		object, extents, err := bl.Finish()
		if err != nil {
			b.Fatal(err)
		}
		key := fmt.Sprintf("o/%d", i)
		if err := s.Put(context.Background(), key, object); err != nil {
			b.Fatal(err)
		}
		keys = append(keys, key)
		total += int64(len(object))
		segs = append(segs, Segment{key, int64(len(object)), extents[0]})
	}
	b.Cleanup(func() { _ = s.Delete(context.Background(), keys...) })
	return s, segs, c, total
}

func BenchmarkCatchUp(b *testing.B) {
	s, segs, c, total := catchUpStore(b)
	b.Run("cursor", func(b *testing.B) {
		b.SetBytes(total)
		for b.Loop() {
			r := readerOver(b, s, ReaderOptions{CacheBytes: 256 << 20})
			cur := r.Cursor(func(x Segment) (Segment, bool) {
				for i := range segs[:len(segs)-1] {
					if segs[i].Key == x.Key {
						return segs[i+1], true
					}
				}
				return Segment{}, false
			})
			for _, seg := range segs {
				for from := seg.Extent.Base; from <= seg.Extent.Last; {
					if _, err := cur.Batches(context.Background(), seg, from, 1<<20); err != nil {
						b.Fatal(err)
					}
					from = cur.expect
				}
			}
			b.ReportMetric(float64(r.Stats().Gets), "gets")
			b.ReportMetric(float64(r.Stats().Misses), "missed-blocks")
			r.Close()
		}
	})
	b.Run("plain", func(b *testing.B) {
		b.SetBytes(total)
		for b.Loop() {
			for _, seg := range segs {
				if _, err := s.Get(context.Background(), seg.Key, 0, seg.Size); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	if c.Kind != "minio" {
		return
	}
	b.Run("client", func(b *testing.B) {
		u, err := url.Parse(c.Endpoint)
		if err != nil {
			b.Fatal(err)
		}
		core, err := miniogo.NewCore(u.Host, &miniogo.Options{Creds: credentials.NewStaticV4(c.AccessKey, c.SecretKey, ""), Region: "us-east-1"})
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(total)
		for b.Loop() {
			for _, seg := range segs {
				body, _, _, err := core.GetObject(context.Background(), c.Bucket, c.Prefix+"/"+seg.Key, miniogo.GetObjectOptions{})
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, body); err != nil || n != seg.Size {
					b.Fatal(n, err)
				}
				if err := body.Close(); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

// TestSmallReadsAreCopied: a batch that is a small part of its block is the
// caller's own, so that it does not keep the block in memory.
func TestSmallReadsAreCopied(t *testing.T) {
	f := newFleet(t, 1, 300, 2000)
	r := newReader(t, f.st, ReaderOptions{CacheBytes: 4 << 20, BlockBytes: 64 << 10})
	s := f.segs[0]
	read := func(maxBytes int) []byte {
		t.Helper()
		all, err := r.Batches(context.Background(), s, s.Extent.Base, maxBytes)
		if err != nil {
			t.Fatal(err)
		}
		var out []byte
		for _, p := range all {
			if maxBytes == 1 && (len(p) != 1 || len(p[0]) != cap(p[0])) {
				t.Fatalf("a batch in %d pieces", len(p))
			}
			out = append(out, bytes.Join(p, nil)...)
		}
		if maxBytes == 1 {
			clear(all[0][0])
		}
		return out
	}
	one := read(1)
	if got := read(1); !bytes.Equal(got, one) || !bytes.HasPrefix(f.want, one) {
		t.Fatal("what a reader has is in the cache")
	}
	if got := read(1 << 20); !bytes.HasPrefix(f.want, got) || len(got) < 200_000 {
		t.Fatalf("%d bytes", len(got))
	}
}
