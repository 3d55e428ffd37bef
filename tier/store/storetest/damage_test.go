package storetest_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"sync/atomic"
	"testing"

	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/tier/store/open"
)

// damaging stands between a driver and a server and flips a byte of every body that is sent, while on.
func damaging(t *testing.T, endpoint string, on *atomic.Bool) string {
	t.Helper()
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
		if r.In.Method != http.MethodPut || !on.Load() {
			return
		}
		body, err := io.ReadAll(r.In.Body)
		if err != nil || len(body) == 0 {
			return
		}
		body[len(body)/2] ^= 1
		r.Out.Body = io.NopCloser(bytes.NewReader(body))
	}})
	t.Cleanup(srv.Close)
	return srv.URL
}

// TestDamagedUpload: a body that arrives changed is refused by the server, nothing is stored under its key, and
// the caller is told to try again. The signature does not cover the body: it is the CRC that does.
func TestDamagedUpload(t *testing.T) {
	endpoint := os.Getenv("ROBUSTMQ_TEST_S3_ENDPOINT")
	if endpoint == "" {
		return // it takes a server that checks
	}
	for _, kind := range []string{"s3", "minio"} {
		t.Run(kind, func(t *testing.T) {
			var on atomic.Bool
			c := open.Config{
				Kind: kind, Endpoint: damaging(t, endpoint, &on), PathStyle: true,
				Bucket: os.Getenv("ROBUSTMQ_TEST_S3_BUCKET"), AccessKey: os.Getenv("ROBUSTMQ_TEST_S3_ACCESS_KEY"), SecretKey: os.Getenv("ROBUSTMQ_TEST_S3_SECRET_KEY"),
			}
			s := opened(t, c)
			key, want := "damage/"+kind, bytes.Repeat([]byte("0123456789abcdef"), 1<<12)
			on.Store(true)
			if err := s.Put(t.Context(), key, want); !errors.Is(err, store.ErrTemporary) {
				t.Fatalf("a damaged upload: %v: want ErrTemporary", err)
			}
			on.Store(false)
			if _, err := s.Head(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
				t.Fatalf("after a damaged upload: %v: want ErrNotFound", err)
			}
			if err := s.Put(t.Context(), key, want); err != nil {
				t.Fatal(err)
			}
			if got, err := s.Get(t.Context(), key, 0, -1); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
		})
	}
}
