package storetest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/tier/store/fault"
	"github.com/robustmq/robustmq-go/tier/store/mem"
	"github.com/robustmq/robustmq-go/tier/store/open"
)

// drivers opens both S3 drivers on an endpoint.
func drivers(t *testing.T, url string) map[string]store.Store {
	out := map[string]store.Store{}
	for _, kind := range []string{"s3", "minio"} {
		out[kind] = opened(t, open.Config{Kind: kind, Endpoint: url, Bucket: "bucket", PathStyle: true, AccessKey: "k", SecretKey: "s"})
	}
	return out
}

// TestAnswers gives the drivers answers that servers give, and compares the kind
// of error.
func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		status   int
		code     string
		put, get error
	}{
		{503, "SlowDown", store.ErrTemporary, store.ErrTemporary},
		{503, "ServiceUnavailable", store.ErrTemporary, store.ErrTemporary},
		{500, "InternalError", store.ErrTemporary, store.ErrTemporary},
		{502, "", store.ErrTemporary, store.ErrTemporary},
		{429, "TooManyRequests", store.ErrTemporary, store.ErrTemporary},
		{400, "RequestTimeout", store.ErrTemporary, store.ErrTemporary},
		{403, "AccessDenied", store.ErrDenied, store.ErrDenied},
		{403, "InvalidAccessKeyId", store.ErrDenied, store.ErrDenied},
		{403, "RequestTimeTooSkewed", store.ErrDenied, store.ErrDenied},
		{403, "", store.ErrDenied, store.ErrDenied},
		{404, "NoSuchBucket", store.ErrDenied, store.ErrDenied},
		{404, "NoSuchKey", store.ErrNotFound, store.ErrNotFound},
		{412, "PreconditionFailed", store.ErrExists, store.ErrExists},
		{416, "InvalidRange", store.ErrRange, store.ErrRange},
		{409, "OperationAborted", store.ErrTemporary, store.ErrTemporary},
		{501, "NotImplemented", store.ErrBroken, store.ErrBroken},
		{400, "EntityTooLarge", store.ErrTooLarge, store.ErrTooLarge},
		{400, "MalformedXML", store.ErrDenied, store.ErrDenied},
	} {
		var calls atomic.Int64
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			calls.Add(1)
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(c.status)
			if c.code != "" {
				_, _ = fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>m</Message></Error>", c.code)
			}
		}))
		for kind, s := range drivers(t, srv.URL) {
			calls.Store(0)
			if err := s.Put(context.Background(), "k", []byte("x")); !errors.Is(err, c.put) {
				t.Errorf("%s put, %d %s: %v, want %v", kind, c.status, c.code, err, c.put)
			}
			if _, err := s.Get(context.Background(), "k", 0, 5); !errors.Is(err, c.get) {
				t.Errorf("%s get, %d %s: %v, want %v", kind, c.status, c.code, err, c.get)
			}
			if calls.Load() != 2 {
				t.Errorf("%s, %d %s: %d requests for 2 calls: the driver retries on its own", kind, c.status, c.code, calls.Load())
			}
		}
		srv.Close()
	}
}

// TestConflictIsSentAgain: S3's 409 to a conditional Put while another is under
// way means nothing was done.
func TestConflictIsSentAgain(t *testing.T) {
	var calls atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") != "*" {
			t.Errorf("put without If-None-Match: %v", r.Header)
		}
		if calls.Add(1)%3 != 0 {
			w.WriteHeader(http.StatusConflict)
			_, _ = fmt.Fprint(w, "<Error><Code>ConditionalRequestConflict</Code></Error>")
			return
		}
		w.Header().Set("ETag", `"1"`)
	}))
	defer srv.Close()
	for kind, s := range drivers(t, srv.URL) {
		calls.Store(0)
		if err := s.Put(context.Background(), "k", []byte("x")); err != nil || calls.Load() != 3 {
			t.Errorf("%s: %v after %d requests", kind, err, calls.Load())
		}
	}
}

// TestBrokenBodies: an answer cut off is tried again by who wants to, a server
// that ignores the range is not believed.
func TestBrokenBodies(t *testing.T) {
	how := ""
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		switch how {
		case "cut off":
			w.Header().Set("Content-Length", "10")
			w.Header().Set("Content-Range", "bytes 5-14/100")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write([]byte("12345"))
		case "whole":
			_, _ = w.Write(make([]byte, 10))
		case "other range":
			w.Header().Set("Content-Range", "bytes 0-9/100")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(make([]byte, 10))
		}
	}))
	defer srv.Close()
	for kind, s := range drivers(t, srv.URL) {
		for h, want := range map[string]error{"cut off": store.ErrTemporary, "whole": store.ErrBroken, "other range": store.ErrBroken} {
			how = h
			if _, err := s.Get(context.Background(), "k", 5, 10); !errors.Is(err, want) {
				t.Errorf("%s, %s: %v, want %v", kind, h, err, want)
			}
		}
	}
}

func TestNoServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	hang := drivers(t, url) // accepts and never answers
	for kind, s := range hang {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		if _, err := s.Head(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s, no answer: %v", kind, err)
		}
		cancel()
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for kind, s := range drivers(t, url) {
		if err := s.Put(context.Background(), "k", []byte("x")); !errors.Is(err, store.ErrTemporary) {
			t.Errorf("%s, connection refused: %v", kind, err)
		}
	}
}

// unconditional is a server without conditional writes: Put replaces.
type unconditional struct{ *mem.Store }

func (u unconditional) Put(ctx context.Context, key string, data []byte) error {
	if err := u.Delete(ctx, key); err != nil {
		return err
	}
	if err := u.Store.Put(ctx, key, data); !errors.Is(err, store.ErrExists) {
		return err
	}
	return nil
}

func TestProbeFindsProblems(t *testing.T) {
	ctx := context.Background()
	rep := store.Probe(ctx, unconditional{mem.New(nil)}, "probe/1")
	if rep.ConditionalPut || rep.ConditionalRace || !rep.Put || !rep.Get || !rep.Delete || len(rep.Problems) != 2 {
		t.Errorf("store without conditions: %+v", rep)
	}
	for _, op := range []string{"get", "put", "head", "delete", "list"} {
		s := fault.New(mem.New(nil), fault.Options{Choose: func(c fault.Call) fault.Fault {
			if c.Op == op {
				return fault.Denied
			}
			return fault.None
		}})
		rep := store.Probe(ctx, s, "probe/1")
		ok := map[string]bool{"get": rep.Get, "put": rep.Put, "head": rep.Head, "delete": rep.Delete, "list": rep.List}
		if ok[op] || !errors.Is(rep.Err(), store.ErrDenied) {
			t.Errorf("%s denied: %+v", op, rep)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []open.Config{{}, {Kind: "ftp"}, {Kind: "dir"}, {Kind: "s3"}, {Kind: "minio", Bucket: "b"}, {Kind: "minio", Bucket: "b", Endpoint: "localhost:9000"}, {Kind: "mem", Prefix: "a//b"}} {
		if _, _, err := open.Open(context.Background(), c); err == nil {
			t.Errorf("%+v opens", c)
		}
	}
}
