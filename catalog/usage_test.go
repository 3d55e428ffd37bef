package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/catalog/catalogtest"
	"github.com/robustmq/robustmq-go/shard"
)

// TestUsage: what etcd takes and may take is known, embedded or not, and what segments
// take of it.
func TestUsage(t *testing.T) {
	for _, name := range []string{"embedded", "external"} {
		cfg := catalog.Config{Embedded: t.TempDir(), LeaseTTL: 2 * time.Second}
		if name == "external" {
			cfg = catalogtest.Config(t)
		}
		c := catalogtest.Open(t, cfg)
		s := catalogtest.Join(t, c, "gw")
		ctx := context.Background()
		before, err := c.Usage(ctx)
		if err != nil || before.DB <= 0 || before.InUse <= 0 || before.InUse > before.DB || before.Quota < 2<<30 || before.Rows != 0 {
			t.Fatalf("%s: %+v, %v", name, before, err)
		}
		if full := before.Full(); full <= 0 || full > 0.01 {
			t.Errorf("%s: full %f", name, full)
		}
		seg := catalogtest.Segment(0, 9, shard.ID{Topic: 7}, shard.ID{Topic: 8})
		if err := s.CommitSegment(ctx, seg); err != nil {
			t.Fatal(err)
		}
		if u, err := c.Usage(ctx); err != nil || u.Rows < 60 || u.Rows > 300 {
			t.Errorf("%s: %+v after a commit, %v", name, u, err)
		}
		if err := s.SwapSegments(ctx, nil, []catalog.ULID{seg.ULID}); err != nil {
			t.Fatal(err)
		}
		if u, err := c.Usage(ctx); err != nil || u.Rows != 0 {
			t.Errorf("%s: %+v without segments, %v", name, u, err)
		}
		if did, err := c.Relieve(ctx); did || err != nil {
			t.Errorf("%s: relieved %t, %v", name, did, err)
		}
	}
}

func TestUsageFull(t *testing.T) {
	for u, want := range map[catalog.Usage]float64{
		{DB: 80, InUse: 20, Quota: 100}: .2, {DB: 100, InUse: 20, Quota: 100}: 1, {DB: 80, InUse: 80, Quota: 100}: .8, {DB: 80, InUse: 80}: 0,
	} {
		if got := u.Full(); got != want {
			t.Errorf("%+v is full to %f", u, got)
		}
	}
}

// TestQuotaReached: an embedded etcd that ran out of space is packed, at its start, and
// takes writes again.
func TestQuotaReached(t *testing.T) {
	cfg := catalog.Config{Embedded: t.TempDir(), LeaseTTL: 5 * time.Second, QuotaBytes: 8 << 20}
	ctx := context.Background()
	c, err := catalog.Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	quota := func(i int) error {
		limits := map[string]int64{}
		for j := range 1000 {
			limits[fmt.Sprintf("%020d", j)] = int64(i)
		}
		return c.PutQuota(ctx, catalog.Quota{Name: "n", Limits: limits})
	}
	for i := 0; ; i++ {
		if err = quota(i); err != nil {
			break
		}
		if i > 5000 {
			t.Fatal("etcd has no quota")
		}
	}
	if !errors.Is(err, catalog.ErrNoSpace) {
		t.Fatalf("put past the quota: %v", err)
	}
	if u, err := c.Usage(ctx); err != nil || u.Full() < 0.8 { // free pages too small for the next row are not in use
		t.Errorf("usage %+v, %v", u, err)
	}
	for _, more := range []int64{0, 64 << 20} { // history goes; or an operator gives more
		c.Close()
		cfg.QuotaBytes += more
		if c, err = catalog.Open(ctx, cfg); err != nil {
			t.Fatal(err)
		}
		if err := quota(0); err != nil {
			t.Fatalf("put with room again: %v", err)
		}
	}
	c.Close()
}

// TestHistoryCompacted: the history of an etcd that others may use, too, does not grow
// for ever.
func TestHistoryCompacted(t *testing.T) {
	cfg := catalogtest.Config(t)
	cfg.HistoryKept = 20 * time.Millisecond
	c := catalogtest.Open(t, cfg)
	client, err := clientv3.New(clientv3.Config{Endpoints: cfg.Endpoints})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	first, err := client.Get(ctx, "x")
	if err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	catalogtest.Eventually(t, "the history is compacted", func() bool {
		n++
		if err := c.PutQuota(ctx, catalog.Quota{Name: "n", Limits: map[string]int64{"a": n}}); err != nil {
			t.Fatal(err)
		}
		_, err := client.Get(ctx, "x", clientv3.WithRev(first.Header.Revision))
		return errors.Is(err, rpctypes.ErrCompacted)
	})
}
