package main

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/robustmq/robustmq-go/shard"
)

// TestStoreTroubleIsTold: reads that the store answers with 503 degrade /readyz
// until they work again.
func TestStoreTroubleIsTold(t *testing.T) {
	backend := s3mem.New()
	if err := backend.CreateBucket("robustmq"); err != nil {
		t.Fatal(err)
	}
	var broken atomic.Bool
	s3 := gofakes3.New(backend, gofakes3.WithTimeSkewLimit(0)).Server()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() && r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/segments/") {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		s3.ServeHTTP(w, r)
	}))
	defer srv.Close()
	c, err := load(t, "", nil, "--data-dir", t.TempDir(), "--set", "store.kind=minio", "--set", "store.endpoint="+srv.URL, "--set", "store.bucket=robustmq",
		"--set", "store.access_key=x", "--set", "store.secret_key=xxxxxxxx", "--set", "store.tries=4", "--set", "store.retry_base=1ms", "--set", "store.retry_max=1ms")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	log := slog.New(slog.DiscardHandler)
	st, err := openStorage(ctx, &c, log, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer st.close(context.Background(), log)
	b := st.engine.Broker()
	top, err := b.Topics.Create(ctx, shard.Topic{Name: "t", Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := shard.AppendWait(ctx, b.Log, top.Shard(0), shard.BatchOf(shard.Record{Timestamp: 1, Value: []byte("x")}), shard.AppendOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := st.engine.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	key := st.cat.Extents(top.Shard(0))[0].Segment.Key
	for _, bad := range []bool{true, false} {
		broken.Store(bad)
		if _, err := st.store.Get(ctx, key, 0, -1); (err != nil) != bad {
			t.Errorf("the store is broken %v: %v", bad, err)
		}
		down, degraded := adminEngine{st}.Health()
		if down != nil || (degraded != nil) != bad || bad && !strings.Contains(degraded.Error(), "get requests") {
			t.Errorf("broken %v: down %v, degraded %v", bad, down, degraded)
		}
	}
}
