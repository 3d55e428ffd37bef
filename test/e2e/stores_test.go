package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/robustmq/robustmq-go/test/harness"
)

const (
	bucket = "robustmq"
	demo   = "robustmq.multi.protocol"
	// toolWithin bounds each step with native tools.
	toolWithin = time.Minute
	// quiet is how long it is listened for what must not come.
	quiet = 500 * time.Millisecond
)

// onServers are the settings of a broker on an S3 service and an etcd.
func onServers(kind string, s3, etcd *harness.Service) []string {
	var args []string
	for k, v := range map[string]string{
		"store.kind": kind, "store.endpoint": s3.URL, "store.bucket": bucket, "store.region": harness.S3Region,
		"store.access_key": harness.S3AccessKey, "store.secret_key": harness.S3SecretKey, "etcd.endpoints": etcd.Endpoint,
	} {
		args = append(args, "--set", k+"="+v)
	}
	return args
}

// TestExternalServers plays the demo on a real etcd and a real MinIO, with either client library of
// S3, then takes the write-ahead log away before Kafka reads.
func TestExternalServers(t *testing.T) {
	for _, kind := range []string{"s3", "minio"} {
		t.Run(kind, func(t *testing.T) {
			s3 := harness.Must(t)(harness.StartMinIO(t.Context(), bucket))
			etcd := harness.Must(t)(harness.StartEtcd(t.Context()))
			b := harness.NewBroker(t, harness.Options{Args: onServers(kind, s3, etcd)})
			ctx, cancel := context.WithTimeout(t.Context(), 3*toolWithin)
			defer cancel()
			want := playDemo(ctx, t, b.Ports)
			if err := b.Stop(); err != nil {
				t.Fatal(err)
			}
			for _, dir := range []string{"wal", "objects", "etcd"} {
				path := filepath.Join(b.DataDir, dir)
				if _, err := os.Stat(path); (err == nil) != (dir == "wal") {
					t.Errorf("%s: %v: want the write-ahead log alone on this disk", path, err)
				}
			}
			if err := os.RemoveAll(b.DataDir); err != nil {
				t.Fatal(err)
			}
			if err := b.Start(ctx); err != nil {
				t.Fatal(err)
			}
			n, size := objects(t, s3)
			if n == 0 {
				t.Error("the bucket is empty")
			}
			t.Logf("ready again in %v without its disk; %d objects of %d bytes in MinIO", b.StartupTime().Round(time.Millisecond), n, size)
			kafka, err := harness.KafkaConsole(b.Ports.Kafka, demo, "--partition", "0", "--from-beginning")
			if err != nil {
				t.Fatal(err)
			}
			defer kafka.Kill()
			wantMessages(ctx, t, "kafka", kafka, want)
		})
	}
}

// playDemo publishes with each protocol's tool to the readers of all, and gives the messages.
func playDemo(ctx context.Context, t *testing.T, p harness.Ports) (want []string) {
	t.Helper()
	mqtt, err := harness.MosquittoSub(p.MQTT, demo, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer mqtt.Kill()
	nats, err := harness.NATSSub(p.NATS, demo)
	if err != nil {
		t.Fatal(err)
	}
	defer nats.Kill()
	for _, c := range []*harness.Client{mqtt, nats} {
		if err := c.Ready(ctx); err != nil {
			t.Fatal(err)
		}
	}
	publish := []func(text string) error{
		func(text string) error { return harness.MQTTPub(ctx, p.MQTT, demo, 1, text) },
		func(text string) error { return harness.KcatProduce(ctx, p.Kafka, demo, []string{text}) },
		func(text string) error { return harness.NATSPub(ctx, p.NATS, demo, text) },
		func(text string) error { return harness.PikaPublish(ctx, p.AMQP, demo, text) },
	}
	for i, f := range publish {
		text := fmt.Sprintf("robustmq multi protocol success %d", i+1)
		if err := f(text); err != nil {
			t.Fatal(err)
		}
		want = append(want, text)
	}
	amqp, err := harness.PikaConsumer(p.AMQP)
	if err != nil {
		t.Fatal(err)
	}
	defer amqp.Kill()
	readers := map[string]*harness.Client{"mqtt": mqtt, "nats": nats, "amqp": amqp}
	for _, c := range readers {
		if _, err := c.WaitMessages(ctx, len(want)); err != nil {
			t.Error(err)
		}
	}
	time.Sleep(quiet) // for copies too many, and for pika, which an interrupt while it acknowledges can leave hanging
	for name, c := range readers {
		wantMessages(ctx, t, name, c, want)
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	}
	return want
}

func wantMessages(ctx context.Context, t *testing.T, name string, c *harness.Client, want []string) {
	t.Helper()
	ms, err := c.WaitMessages(ctx, len(want))
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	var got []string
	for _, m := range ms {
		got = append(got, m.Text)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s printed %q, want %q", name, got, want)
	}
}

// objects counts a service's segment objects, and their bytes.
func objects(t *testing.T, s *harness.Service) (n int, size int64) {
	t.Helper()
	c, err := s.S3()
	if err != nil {
		t.Fatal(err)
	}
	for o := range c.ListObjects(t.Context(), bucket, minio.ListObjectsOptions{Prefix: "segments/", Recursive: true}) {
		if o.Err != nil {
			t.Fatalf("list objects: %v", o.Err)
		}
		n, size = n+1, size+o.Size
	}
	return n, size
}
