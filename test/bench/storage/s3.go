package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"sync"
	"time"

	miniogo "github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/test/harness"
	"github.com/robustmq/robustmq-go/tier/store/limit"
	"github.com/robustmq/robustmq-go/tier/store/metrics"
	openstore "github.com/robustmq/robustmq-go/tier/store/open"
	"github.com/robustmq/robustmq-go/tier/store/retry"
)

const (
	s3Bucket   = "robustmq-bench"
	s3Rounds   = 3
	s3Endpoint = "ROBUSTMQ_BENCH_S3"
)

// coldShards is how many shards cold-s3 spreads what it writes over.
func coldShards() uint32 {
	if *count > 0 {
		return uint32(*count)
	}
	return 4
}

func coldS3(ctx context.Context, d string) error {
	if err := os.MkdirAll(d, 0o755); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	s, err := harness.StartMinIO(ctx, s3Bucket)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := os.Setenv(s3Endpoint, s.Endpoint); err != nil {
		return fmt.Errorf("pass on endpoint: %w", err)
	}
	n, err := openS3(ctx, d)
	if err != nil {
		return err
	}
	if err := write(ctx, n, bytesOr(2<<30), 64<<20, coldShards()); err != nil {
		return err
	}
	if err := n.close(ctx); err != nil {
		return err
	}
	return child(d, "cold-s3-read")
}

// openS3 opens an engine over MinIO with the decorators of a gateway.
func openS3(ctx context.Context, d string) (*node, error) {
	bare, end, err := openstore.Open(ctx, openstore.Config{Kind: "minio", Endpoint: "http://" + os.Getenv(s3Endpoint), PathStyle: true, Bucket: s3Bucket,
		Region: harness.S3Region, AccessKey: harness.S3AccessKey, SecretKey: harness.S3SecretKey})
	if err != nil {
		return nil, err
	}
	return openOver(ctx, d, limit.New(retry.New(metrics.New(bare), retry.Options{}), limit.Options{Concurrency: 64}), end)
}

// coldS3Read compares, in rounds: the client library's own GETs of whole
// objects, one after the other, and reads through the engine, whose caches are
// cold each time.
func coldS3Read(ctx context.Context, d string) error {
	client, err := miniogo.New(os.Getenv(s3Endpoint), &miniogo.Options{Creds: credentials.NewStaticV4(harness.S3AccessKey, harness.S3SecretKey, ""), Region: harness.S3Region})
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	if path := os.Getenv("ROBUSTMQ_BENCH_PROFILE"); path != "" {
		f, err := os.Create(filepath.Clean(path))
		if err != nil {
			return fmt.Errorf("create profile: %w", err)
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return fmt.Errorf("start profile: %w", err)
		}
		defer pprof.StopCPUProfile()
	}
	for round := range s3Rounds {
		plain, err := clientRate(ctx, client)
		if err != nil {
			return err
		}
		n, err := openS3(ctx, d)
		if err != nil {
			return err
		}
		for _, at := range []struct {
			name   string
			shards int
		}{{"one shard after the other", 1}, {"all shards at once", 64}} {
			rate, err := engineRate(ctx, n, at.shards)
			if err != nil {
				return err
			}
			r := n.Stats().Reader
			fmt.Printf("cold-s3 round %d: client %.0f MB/s, engine %.0f MB/s (%.2f), %s, %d GETs of %d MiB in all, peak memory %s\n",
				round+1, plain, rate, rate/plain, at.name, r.Gets, r.Bytes>>20, memory("VmHWM"))
		}
		if err := n.close(ctx); err != nil {
			return err
		}
	}
	return nil
}

func clientRate(ctx context.Context, c *miniogo.Client) (float64, error) {
	began, total := time.Now(), int64(0)
	for o := range c.ListObjectsIter(ctx, s3Bucket, miniogo.ListObjectsOptions{Recursive: true}) {
		if o.Err != nil {
			return 0, fmt.Errorf("list objects: %w", o.Err)
		}
		if !strings.Contains(o.Key, "segments/") || o.Size < 1<<20 {
			continue
		}
		body, err := c.GetObject(ctx, s3Bucket, o.Key, miniogo.GetObjectOptions{})
		if err != nil {
			return 0, fmt.Errorf("get object: %w", err)
		}
		n, err := io.Copy(io.Discard, body)
		if err != nil {
			return 0, fmt.Errorf("read object: %w", err)
		}
		total += n
		if err := body.Close(); err != nil {
			return 0, fmt.Errorf("close object: %w", err)
		}
	}
	return float64(total) / 1e6 / time.Since(began).Seconds(), nil
}

// engineRate reads all shards, so many at once.
func engineRate(ctx context.Context, n *node, atOnce int) (float64, error) {
	t, _ := n.Broker().Topics.ByName("bench")
	began := time.Now()
	var mu sync.Mutex
	var total int64
	var failed error
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i := range t.Shards {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			sum, err := readShard(ctx, n, t.Shard(i))
			mu.Lock()
			defer mu.Unlock()
			total += sum
			if err != nil {
				failed = err
			}
		})
	}
	wg.Wait()
	return float64(total) / 1e6 / time.Since(began).Seconds(), failed
}

// readShard reads a shard from its start as a Kafka consumer's fetches do.
func readShard(ctx context.Context, n *node, id shard.ID) (total int64, err error) {
	for from := int64(0); ; {
		r, err := n.Read(ctx, id, from, shard.ReadOptions{MaxBytes: 1 << 20})
		if err != nil || len(r.Batches) == 0 {
			return total, err
		}
		for _, b := range r.Batches {
			total += int64(b.Size())
			from = b.LastOffset() + 1
		}
	}
}
