package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/robustmq/robustmq-go/test/harness"
)

const (
	coldBucket = "robustmq"
	coldTopic  = "cold"
	coldSize   = 1024
)

// coldStore is a broker of ours on a MinIO and an etcd of its own.
type coldStore struct {
	b    *harness.Broker
	s3   *harness.Service
	etcd *harness.Service
}

func (c *coldStore) close() {
	if c.b != nil {
		c.b.Kill()
		_ = c.b.Close() // it was killed
	}
	for _, s := range []*harness.Service{c.s3, c.etcd} {
		if s != nil {
			s.Kill()
			_ = s.Close() // it was killed
		}
	}
}

func coldRows(b *bench) []row {
	c := &coldStore{}
	n := b.n(4 << 20) // 4 GiB
	ours := server{name: "RobustMQ on MinIO", version: "this checkout, " + revision(), settings: "external etcd, MinIO (minio-go), else no configuration", keep: true,
		start: func(ctx context.Context, _ *bench, dir string) (*running, error) { return c.start(ctx, dir) }}
	store := func(r *running) []*harness.Proc { return []*harness.Proc{c.s3.Proc()} }
	written := func(ctx context.Context, r *running) error { return c.fill(ctx, r, n) }
	wiped := func(ctx context.Context, r *running) error {
		if err := written(ctx, r); err != nil {
			return err
		}
		return c.wipe(ctx, r)
	}
	kafka := kafkaDefault()
	inKafka := func(ctx context.Context, r *running) error {
		if r.memo[coldTopic] {
			return nil
		}
		err := errors.Join(kafkaTopic(ctx, r, coldTopic, 1), kgoSend(ctx, r, coldTopic, coldSize, n))
		r.memo[coldTopic] = err == nil
		return err
	}
	kgoRead := func(ctx context.Context, r *running) (figure, error) {
		return megabytes(n, func() (int64, error) { return kgoReceive(ctx, r, coldTopic, n) })
	}
	wireRead := func(ctx context.Context, r *running) (figure, error) {
		return megabytes(n, func() (int64, error) { return kafkaWireReceive(ctx, r, coldTopic, coldSize, n) })
	}
	toolRead := func(ctx context.Context, r *running) (figure, error) {
		f, err := b.kafkaConsumeN(coldTopic, n)(ctx, r)
		f.value *= coldSize / 1e6
		return f, err
	}
	gets := func(parallel int) func(context.Context, *running) (figure, error) {
		return func(ctx context.Context, _ *running) (figure, error) {
			return megabytes(n, func() (int64, error) { return c.get(ctx, parallel) })
		}
	}
	made := func(name, tool string, read func(context.Context, *running) (figure, error)) row {
		return row{name: name, unit: "MB/s", within: 10 * time.Minute, note: fmt.Sprintf("%d MiB of 1 KiB messages, one partition, written by franz-go, flushed to MinIO by a clean stop; then the broker starts with an empty data directory, so that all comes from MinIO; %s. The store client's own line is whole-object GETs of the same objects by minio-go in the same run. MinIO's and Kafka's files are in the page cache: nobody's disk is measured. CPU and memory are the broker's, or MinIO's in the lines of GETs.", n>>10, tool),
			sides: []side{
				{server: ours, durability: "reads", prepare: wiped, load: read},
				{server: ours, label: "minio-go, GETs one by one", durability: "reads", bar: 0.8, prepare: written, load: gets(1), watch: store},
				{server: ours, label: "minio-go, 4 GETs at a time", durability: "reads", prepare: written, load: gets(4), watch: store},
				{server: kafka, label: "Kafka, its local log", durability: "reads", prepare: inKafka, load: read},
			}}
	}
	return []row{
		made("cold read, frugal reader", "our own frugal reader, the same for every server: one fetch of up to 8 MiB after the other, counted by the heads of the batches, records not decoded", wireRead),
		made("cold read, franz-go", kgoNote+", one client without a group", kgoRead),
		made("cold read, kafka-consumer-perf-test", "kafka-consumer-perf-test, one consumer", toolRead),
	}
}

// megabytes is the rate of what read returns.
func megabytes(n int, read func() (int64, error)) (figure, error) {
	began := time.Now()
	size, err := read()
	return figure{value: float64(size) / 1e6 / time.Since(began).Seconds(), messages: n}, err
}

func (c *coldStore) start(ctx context.Context, dir string) (_ *running, err error) {
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if c.s3, err = harness.StartMinIO(ctx, coldBucket); err != nil {
		return nil, err
	}
	if c.etcd, err = harness.StartEtcd(ctx); err != nil {
		return nil, err
	}
	var args []string
	for k, v := range map[string]string{
		"store.kind": "minio", "store.endpoint": c.s3.URL, "store.bucket": coldBucket, "store.region": harness.S3Region,
		"store.access_key": harness.S3AccessKey, "store.secret_key": harness.S3SecretKey, "etcd.endpoints": c.etcd.Endpoint,
	} {
		args = append(args, "--set", k+"="+v)
	}
	if c.b, err = harness.StartBroker(ctx, harness.Options{DataDir: filepath.Join(dir, "data"), Args: args, Within: startWithin}); err != nil {
		return nil, err
	}
	return &running{port: c.b.Ports.Kafka, ours: c.b.Ports, user: harness.User, pass: harness.Password, proc: c.b.Proc(), end: c.close}, nil
}

// fill writes the messages, once.
func (c *coldStore) fill(ctx context.Context, r *running, n int) error {
	if r.memo[coldTopic] {
		return nil
	}
	err := errors.Join(kafkaTopic(ctx, r, coldTopic, 1), kgoSend(ctx, r, coldTopic, coldSize, n))
	if err == nil {
		err = c.wipe(ctx, r)
	}
	r.memo[coldTopic] = err == nil
	return err
}

// wipe starts the broker again without its disk.
func (c *coldStore) wipe(ctx context.Context, r *running) error {
	if err := c.b.Stop(); err != nil {
		return err
	}
	if err := os.RemoveAll(c.b.DataDir); err != nil {
		return fmt.Errorf("wipe: %w", err)
	}
	err := c.b.Start(ctx)
	r.proc = c.b.Proc()
	return err
}

// get reads every object of the bucket whole, some at a time.
func (c *coldStore) get(ctx context.Context, parallel int) (int64, error) {
	s3, err := c.s3.S3()
	if err != nil {
		return 0, err
	}
	var keys []string
	for o := range s3.ListObjects(ctx, coldBucket, minio.ListObjectsOptions{Recursive: true}) {
		if o.Err != nil {
			return 0, fmt.Errorf("list objects: %w", o.Err)
		}
		keys = append(keys, o.Key)
	}
	var size atomic.Int64
	err = atOnce(len(keys), parallel, func(i int) error {
		o, err := s3.GetObject(ctx, coldBucket, keys[i], minio.GetObjectOptions{})
		if err != nil {
			return fmt.Errorf("get object: %w", err)
		}
		defer o.Close()
		n, err := io.Copy(io.Discard, o)
		size.Add(n)
		return err
	})
	return size.Load(), err
}
