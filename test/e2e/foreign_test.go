package e2e

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/robustmq/robustmq-go/test/harness"
)

// markers are the keys of the markers in a service's bucket.
func markers(t *testing.T, s *harness.Service) (keys []string) {
	t.Helper()
	c, err := s.S3()
	must(t, err)
	for o := range c.ListObjects(t.Context(), bucket, minio.ListObjectsOptions{Prefix: "clusters/", Recursive: true}) {
		must(t, o.Err)
		if !strings.Contains(o.Key, ".rev/") { // what revision a cluster's catalog had
			keys = append(keys, o.Key)
		}
	}
	return keys
}

// putObject stores a few bytes under a key.
func putObject(t *testing.T, s *harness.Service, key string) {
	t.Helper()
	c, err := s.S3()
	must(t, err)
	_, err = c.PutObject(t.Context(), bucket, key, strings.NewReader("x"), 1, minio.PutObjectOptions{})
	must(t, err)
}

// told runs a verb, and wants its exit code and what it says.
func told(t *testing.T, want int, args []string, says ...string) {
	t.Helper()
	code, out := operator(t, "", args...)
	if code != want {
		t.Errorf("robustmq %s: exit code %d, want %d:\n%s", args[0], code, want, out)
	}
	for _, s := range says {
		if !strings.Contains(out, s) {
			t.Errorf("robustmq %s does not say %q:\n%s", args[0], s, out)
		}
	}
}

// TestServeWithoutCatalogOverBucket: etcd is empty (a wrong endpoint or prefix, a restore that went
// wrong), the disk is new, and the bucket is full. Nothing starts and nothing is deleted; with the
// catalog back everything is there; who wants to begin anew may, and the old segments stay.
func TestServeWithoutCatalogOverBucket(t *testing.T) {
	s3 := harness.Must(t)(harness.StartMinIO(t.Context(), bucket))
	etcd := harness.Must(t)(harness.StartEtcd(t.Context()))
	empty := harness.Must(t)(harness.StartEtcd(t.Context()))
	dir := filepath.Join(t.TempDir(), "data")
	right, wrong := onServers("minio", s3, etcd), onServers("minio", s3, empty)
	verb := func(settings []string, args ...string) []string {
		return slices.Concat(args, []string{"--data-dir", dir}, settings)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()

	told(t, 0, verb(right, "doctor"), "ok    store owner      it holds no segments yet")
	b := harness.NewBroker(t, harness.Options{DataDir: dir, Args: right})
	must(t, writeAll(ctx, b.Ports, "lost", 0, 10))
	must(t, b.Stop())
	must(t, os.RemoveAll(dir))
	must(t, os.Mkdir(dir, 0o755))
	before, size := objects(t, s3)
	putObject(t, s3, strings.TrimPrefix(strangeObject, "objects/")) // old enough for an orphan
	if before == 0 || len(markers(t, s3)) != 1 {
		t.Fatalf("%d segments, markers %v", before, markers(t, s3))
	}
	told(t, 0, verb(right, "doctor"), "ok    store owner      cluster "+strings.TrimPrefix(markers(t, s3)[0], "clusters/"))

	prefix := slices.Concat(right, []string{"--set", "etcd.prefix=/other/"})
	told(t, 1, verb(wrong, "verify"), "the catalog is missing", empty.Endpoint+" below /robustmq/ is empty")
	embedded := slices.Concat(right, []string{"--set", "etcd.endpoints="}) // it was on the disk that is gone
	for _, settings := range [][]string{wrong, prefix, embedded} {
		told(t, 1, verb(settings, "doctor"), "fail  store owner", "segments that are not of this catalog", "check etcd.endpoints, etcd.prefix")
		for range 2 {
			told(t, 1, verb(settings, "serve"), "the catalog is missing", "is new", "minio bucket robustmq", "segments/",
				"check etcd.endpoints, etcd.prefix", "from a backup", "store.accept_foreign=true")
		}
		told(t, 1, verb(settings, "orphans", "--delete"), "\tkept", "nothing is deleted")
		told(t, 1, verb(settings, "verify"), "segments that are not of this catalog", "-> store: check etcd.endpoints")
	}
	if n, now := objects(t, s3); n != before+1 || now != size+1 || len(markers(t, s3)) != 1 {
		t.Fatalf("%d segments of %d bytes, before %d of %d; markers %v", n, now, before, size, markers(t, s3))
	}

	must(t, b.Start(ctx))
	must(t, readAll(ctx, b.Ports, "lost", 10))
	must(t, b.Stop())
	must(t, os.RemoveAll(dir))

	anew := harness.NewBroker(t, harness.Options{DataDir: dir, Args: slices.Concat(wrong, []string{"--set", "store.accept_foreign=true"})})
	must(t, writeAll(ctx, anew.Ports, "anew", 0, 5))
	must(t, anew.Stop())
	must(t, os.RemoveAll(dir))
	told(t, 0, verb(wrong, "doctor"), "warn  store owner", "also marked by cluster")
	told(t, 1, verb(wrong, "orphans", "--delete"), "\tkept", "nothing is deleted: the object store is also that of cluster")
	again := harness.NewBroker(t, harness.Options{DataDir: dir, Args: wrong})
	must(t, readAll(ctx, again.Ports, "anew", 5))
	must(t, again.Stop())
	must(t, os.RemoveAll(dir))
	must(t, b.Start(ctx)) // and the first cluster is what it was
	must(t, readAll(ctx, b.Ports, "lost", 10))
}

// TestServeBeforeMarkers: a deployment from before there were markers starts without its disk, and
// has its marker then; the bucket keeps versions. With the store away, a new cluster does not start.
func TestServeBeforeMarkers(t *testing.T) {
	s3 := harness.Must(t)(harness.StartMinIO(t.Context(), bucket))
	etcd := harness.Must(t)(harness.StartEtcd(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := s3.S3()
	must(t, err)
	must(t, c.EnableVersioning(ctx, bucket))
	b := harness.NewBroker(t, harness.Options{Args: onServers("s3", s3, etcd)})
	must(t, writeAll(ctx, b.Ports, "old", 0, 10))
	must(t, b.Stop())
	must(t, c.RemoveObject(ctx, bucket, markers(t, s3)[0], minio.RemoveObjectOptions{}))
	must(t, os.RemoveAll(b.DataDir))
	must(t, b.Start(ctx))
	must(t, readAll(ctx, b.Ports, "old", 10))
	if m := markers(t, s3); len(m) != 1 {
		t.Errorf("markers %v", m)
	}
	s3.Kill()
	dir := filepath.Join(t.TempDir(), "data")
	told(t, 1, slices.Concat([]string{"serve", "--data-dir", dir, "--set", "etcd.prefix=/new/"}, onServers("s3", s3, etcd)),
		"begin a new cluster: find out whose the object store is", "object store temporarily unavailable")
	must(t, s3.Start(ctx)) // for the broker to stop in order
}
