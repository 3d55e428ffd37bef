package admin

import (
	"net/http"
	"strings"
	"testing"
)

// TestRefusalsAreJSON: what no route matches is told as all else of the API is.
func TestRefusalsAreJSON(t *testing.T) {
	r := newRig(t)
	crossSite := func(q *http.Request) { q.Header.Set("Sec-Fetch-Site", "cross-site") }
	for _, x := range []struct {
		method, path string
		mods         []func(*http.Request)
		status       int
		kind, says   string
	}{
		{"GET", "/api/v1/nothing", nil, 404, "not found", "no such path"},
		{"GET", "/api/v2/topics", nil, 404, "not found", "openapi.json"},
		{"GET", "/api", nil, 404, "not found", "no such path"},
		{"PUT", "/api/v1/topics", nil, 405, "invalid", "PUT is not allowed here: GET, HEAD, POST are"},
		{"POST", "/api/v1/topics", []func(*http.Request){crossSite}, 403, "denied", "another site"},
		{"GET", "/api/v1/groups?protocol=zork", nil, 400, "invalid", "there are fake"},
		{"GET", "/api/v1/connections?protocol=zork", nil, 400, "invalid", "there are fake"},
	} {
		w := r.do(x.method, x.path, "", "", x.mods...)
		if w.Code != x.status || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %d %s", x.method, x.path, w.Code, w.Header())
			continue
		}
		p := decode[problem](t, w.Body.Bytes())
		if p.Error.Kind != x.kind || !strings.Contains(p.Error.Message, x.says) {
			t.Errorf("%s %s: %+v", x.method, x.path, p)
		}
		if x.status == 405 && w.Header().Get("Allow") == "" {
			t.Errorf("%s %s: no Allow header", x.method, x.path)
		}
	}
	if w := r.do("GET", "/nothing", "", ""); w.Code != 404 {
		t.Errorf("a path beside the API: %d", w.Code)
	}
	if w := r.do("GET", "/api/v1/../v1/topics", "", ""); w.Code/100 != 3 {
		t.Errorf("a path to be cleaned: %d", w.Code)
	}
}
