package nats

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// get asks the monitor and decodes the answer.
func (b *bed) get(path string) map[string]any {
	b.t.Helper()
	w := httptest.NewRecorder()
	b.srv.Monitor().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	if w.Code != http.StatusOK {
		b.t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	m := make(map[string]any)
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
		b.t.Fatalf("%s: %v", path, err)
	}
	return m
}

func TestMonitor(t *testing.T) {
	b := newBed(t, bedOptions{})
	one := b.dial(`{"verbose":false,"name":"one","lang":"go","version":"1.2"}`)
	two := b.dial(`{"verbose":false,"name":"two"}`)
	one.send("SUB m.> 1", "SUB m.x q 2", "UNSUB 2 10")
	one.sync()
	two.send("PUB m.x 5", "hello", "PUB m.y 5", "hello")
	two.sync()
	for range 3 {
		one.message()
	}
	v := b.get("/varz")
	for field, want := range map[string]any{"connections": 2., "subscriptions": 2., "in_msgs": 2., "out_msgs": 3., "in_bytes": 10.,
		"max_payload": 1048576., "total_connections": 2., "slow_consumers": 0., "version": protocolVersion, "max_control_line": 4096., "ping_max": 2.} {
		if v[field] != want {
			t.Errorf("varz %s is %v, want %v", field, v[field], want)
		}
	}
	if mem, _ := v["mem"].(float64); mem < 1<<20 || v["server_id"] != b.srv.id || v["uptime"] == nil || v["port"] == 0. {
		t.Errorf("varz %v", v)
	}
	z := b.get("/connz?subs=detail&auth=1&sort=subs")
	conns := z["connections"].([]any)
	first := conns[0].(map[string]any)
	if z["num_connections"] != 2. || first["name"] != "one" || first["lang"] != "go" || first["version"] != "1.2" || first["subscriptions"] != 2. ||
		first["authorized_user"] != "anonymous" || first["out_msgs"] != 3. || first["ip"] != "127.0.0.1" {
		t.Errorf("connz %v", z)
	}
	if got := fmt.Sprint(first["subscriptions_list_detail"]); got != fmt.Sprintf("[map[cid:%v msgs:2 sid:1 subject:m.>] map[cid:%v max:10 msgs:1 qgroup:q sid:2 subject:m.x]]", first["cid"], first["cid"]) {
		t.Errorf("details %s", got)
	}
	if z := b.get("/connz?limit=1&offset=1&subs=1"); z["total"] != 2. || z["num_connections"] != 1. || z["connections"].([]any)[0].(map[string]any)["name"] != "two" {
		t.Errorf("second page %v", z)
	}
	if z := b.get(fmt.Sprintf("/connz?cid=%v", first["cid"])); z["num_connections"] != 1. {
		t.Errorf("by cid %v", z)
	}
	if z := b.get("/subsz?subs=1"); z["num_subscriptions"] != 2. || z["total"] != 2. || z["num_inserts"] != 2. {
		t.Errorf("subsz %v", z)
	}
	if z := b.get("/subscriptionsz?test=m.y"); z["total"] != 1. {
		t.Errorf("subsz by subject %v", z)
	}
	if h := b.get("/healthz"); h["status"] != "ok" {
		t.Errorf("healthz %v", h)
	}
	for _, path := range []string{"/connz?limit=x", "/connz?sort=x", "/connz?cid=x", "/subsz?offset=-1", "/subsz?test=m.*"} {
		w := httptest.NewRecorder()
		if b.srv.Monitor().ServeHTTP(w, httptest.NewRequest("GET", path, nil)); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if n := b.get("/varz")["http_req_stats"].(map[string]any)["/connz"]; n != 6. {
		t.Errorf("%v requests counted", n)
	}
}

func TestUptime(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0s", 61 * time.Second: "1m1s", 3601 * time.Second: "1h0m1s", 90061 * time.Second: "1d1h1m1s"} {
		if got := uptime(d); got != want {
			t.Errorf("%v: %s", d, got)
		}
	}
}
