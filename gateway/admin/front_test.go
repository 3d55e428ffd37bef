package admin

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

// TestFrontOutlivesTheEngine: while there is no engine, health and metrics are
// answered, and say why nothing is served.
func TestFrontOutlivesTheEngine(t *testing.T) {
	r := newRig(t)
	f := NewFront(slog.New(slog.DiscardHandler))
	at, err := f.Start("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	get := func(path string, status int, says string) {
		t.Helper()
		resp, err := http.Get("http://" + at.String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != status || !strings.Contains(string(b), says) {
			t.Fatalf("%s: %d %q, %v; want %d %q", path, resp.StatusCode, b, err, status, says)
		}
	}
	away := func(why string) {
		t.Helper()
		get("/healthz", 200, "not serving: "+why)
		get("/readyz", 503, "not serving: "+why)
		get("/metrics", 200, "robustmq_ready 0")
		get("/metrics", 200, "go_goroutines")
		get("/api/v1/topics", 503, `"kind":"unavailable"`)
	}
	away("starting")
	f.Show(r.srv)
	get("/healthz", 200, "ok")
	get("/readyz", 200, "ok")
	get("/metrics", 200, "robustmq_ready 1")
	f.Away(errors.New("etcd is away"))
	away("etcd is away")
	f.Show(r.srv)
	get("/readyz", 200, "ok")
}
