package storetest_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/robustmq/robustmq-go/internal/vfs"
	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/tier/store/dir"
	"github.com/robustmq/robustmq-go/tier/store/fault"
	"github.com/robustmq/robustmq-go/tier/store/limit"
	"github.com/robustmq/robustmq-go/tier/store/mem"
	"github.com/robustmq/robustmq-go/tier/store/metrics"
	"github.com/robustmq/robustmq-go/tier/store/open"
	"github.com/robustmq/robustmq-go/tier/store/prefix"
	"github.com/robustmq/robustmq-go/tier/store/retry"
	"github.com/robustmq/robustmq-go/tier/store/storetest"
)

func TestMem(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return mem.New(nil) })
}

func TestDir(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		return opened(t, open.Config{Kind: "dir", Dir: t.TempDir() + "/data/objects"})
	})
}

// TestDirInMemory is TestDir on the file system that the crash tests use.
func TestDirInMemory(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		s, err := dir.Open("/data/objects", dir.Options{FS: vfs.NewMem()})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

// TestDecorators runs the suite over all decorators at once.
func TestDecorators(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		var s store.Store = mem.New(nil)
		s = metrics.New(s)
		s, err := prefix.New(s, "clusters/one")
		if err != nil {
			t.Fatal(err)
		}
		s = fault.New(s, fault.Options{})
		s = limit.New(s, limit.Options{Concurrency: 4, BytesPerSec: 1 << 40, Burst: 1 << 20})
		return retry.New(s, retry.Options{})
	})
}

// TestRetryOverFaults runs the suite over a store that refuses one call in ten,
// and loses the answer of as many that it carried out.
func TestRetryOverFaults(t *testing.T) {
	var seed uint64
	storetest.Run(t, func(t *testing.T) store.Store {
		seed++
		f := fault.New(mem.New(nil), fault.Options{
			Seed: seed, Slowness: time.Millisecond, Rates: map[fault.Fault]float64{fault.Unavailable: 0.05, fault.Timeout: 0.05, fault.LostAnswer: 0.1, fault.Slow: 0.02},
		})
		return retry.New(f, retry.Options{Tries: 20, Base: time.Microsecond, Max: time.Millisecond, Seed: seed})
	})
}

func opened(t *testing.T, c open.Config) store.Store {
	t.Helper()
	s, closer, err := open.Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := closer.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// fake starts an S3 server in this process.
func fake(t *testing.T) open.Config {
	srv := httptest.NewServer(gofakes3.New(s3mem.New(), gofakes3.WithTimeSkewLimit(0)).Server())
	t.Cleanup(srv.Close)
	return open.Config{Endpoint: srv.URL, Bucket: "suite", PathStyle: true, AccessKey: "key", SecretKey: "secret", CreateBucket: true}
}

func TestS3Fake(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		c := fake(t)
		c.Kind = "s3"
		return opened(t, c)
	})
}

func TestMinioFake(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		c := fake(t)
		c.Kind = "minio"
		return opened(t, c)
	})
}

var runs atomic.Int64

// TestServer runs the suite through both drivers against the server that the
// environment names, below a prefix of its own. Without one there is nothing to
// run: the drivers are tested by the Fake tests.
func TestServer(t *testing.T) {
	endpoint := os.Getenv("ROBUSTMQ_TEST_S3_ENDPOINT")
	if endpoint == "" {
		return
	}
	for _, kind := range []string{"s3", "minio"} {
		t.Run(kind, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) store.Store {
				return opened(t, open.Config{
					Kind: kind, Endpoint: endpoint, PathStyle: true, CreateBucket: true,
					Bucket: os.Getenv("ROBUSTMQ_TEST_S3_BUCKET"), AccessKey: os.Getenv("ROBUSTMQ_TEST_S3_ACCESS_KEY"), SecretKey: os.Getenv("ROBUSTMQ_TEST_S3_SECRET_KEY"),
					Prefix: fmt.Sprintf("suite/%d-%d", time.Now().UnixNano(), runs.Add(1)),
				})
			})
		})
	}
}
