package catalog

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestRelieveWhatIsFull: an embedded etcd that takes no more is packed while it runs, also
// where no more than a third of its file is free.
func TestRelieveWhatIsFull(t *testing.T) {
	ctx := context.Background()
	c, err := Open(ctx, Config{Embedded: t.TempDir(), LeaseTTL: 5 * time.Second, QuotaBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	limits := map[string]int64{}
	for j := range 1000 {
		limits[fmt.Sprintf("%020d", j)] = 1
	}
	n := 0
	for ; err == nil && n < 5000; n++ {
		err = c.PutQuota(ctx, Quota{Name: fmt.Sprint("n", n), Limits: limits})
	}
	if !errors.Is(err, ErrNoSpace) {
		t.Fatalf("put %d: %v", n, err)
	}
	for i := range n / 3 {
		if _, err := c.client.Delete(ctx, c.key(kindQuota, fmt.Sprint("n", i))); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := c.client.Get(ctx, "\x00", clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.client.Compact(ctx, resp.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	if u, err := c.Usage(ctx); err != nil || 10*u.InUse > 8*u.DB || 2*u.InUse < u.DB {
		t.Fatalf("usage %+v, %v", u, err)
	}
	did, err := c.Relieve(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.PutQuota(ctx, Quota{Name: "more", Limits: limits}); err != nil {
		t.Errorf("relieved %t, and a put is refused: %v", did, err)
	}
}
