package catalogtest

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
)

// EnvEtcd names the environment variable with the address of an etcd to test on.
const EnvEtcd = "ROBUSTMQ_TEST_ETCD"

// Config gives the configuration of an empty cluster that several catalogs may
// open: on the etcd that EnvEtcd names, or on one started for this test.
func Config(tb testing.TB) catalog.Config {
	tb.Helper()
	cfg := catalog.Config{LeaseTTL: 2 * time.Second, Prefix: "/robustmq-test/" + ulid.Make().String() + "/"}
	if ep := os.Getenv(EnvEtcd); ep != "" {
		cfg.Endpoints = []string{ep}
	} else {
		cfg.Endpoints = []string{StartEtcd(tb).Endpoint()}
	}
	return cfg
}

// Open opens a catalog; it is closed at the end of the test.
func Open(tb testing.TB, cfg catalog.Config) *catalog.Catalog {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := catalog.Open(ctx, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return c
}

// OpenEmbedded opens a catalog with etcd inside, on a directory of the test's.
func OpenEmbedded(tb testing.TB) *catalog.Catalog {
	tb.Helper()
	return Open(tb, catalog.Config{Embedded: tb.TempDir(), LeaseTTL: 2 * time.Second})
}

// Join joins under an id, with a WAL called "wal-"+id.
func Join(tb testing.TB, c *catalog.Catalog, id string) *catalog.Session {
	tb.Helper()
	s, err := c.Join(context.Background(), catalog.Gateway{ID: id, WALID: "wal-" + id, Addresses: map[string]string{"rpc": "127.0.0.1:1"}}, false)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// Segment makes a segment with one extent for each shard, offsets base to last.
func Segment(base, last int64, shards ...shard.ID) catalog.Segment {
	id := ulid.Make()
	s := catalog.Segment{ULID: id, Key: "test/" + id.String(), Size: 1000 * int64(len(shards)), Created: 1_700_000_000_000}
	for i, sh := range shards {
		s.Extents = append(s.Extents, catalog.Extent{
			Shard: sh, Base: base, Last: last, Pos: int64(i) * 1000, Len: 1000, Records: last - base + 1,
			MinTime: s.Created - 1000, MaxTime: s.Created,
		})
	}
	return s
}

// Eventually waits until ok holds, woken by changes where it can be.
func Eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	tb.Fatalf("not in 10 s: %s", what)
}
