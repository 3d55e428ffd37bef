package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// fakeEngine stands for the storage engine.
type fakeEngine struct {
	down, degraded atomic.Pointer[error]
	flushes        atomic.Int64
}

func (f *fakeEngine) Health() (down, degraded error) {
	if e := f.down.Load(); e != nil {
		down = *e
	}
	if e := f.degraded.Load(); e != nil {
		degraded = *e
	}
	return down, degraded
}

func (f *fakeEngine) Flush(context.Context) error { f.flushes.Add(1); return nil }

func (f *fakeEngine) TrustClock(context.Context) error { return nil }

func (f *fakeEngine) Segments(shard.ID) []Segment {
	return []Segment{{Object: "segments/a", Base: 0, Last: 9, Records: 10}, {Object: "segments/b", Base: 10, Last: 10, Records: 1}}
}

// fakeProtocol is a protocol with groups and sessions of its own.
type fakeProtocol struct {
	groups       []gateway.GroupInfo
	moved, ended []string
	offsets      []gateway.GroupOffset
}

func (f *fakeProtocol) ServeConn(ctx context.Context, c *gateway.Conn) {
	c.Authenticated(gateway.Principal{Name: "ann"}, "client-1")
	_, _ = bufio.NewReader(c).ReadByte()
	<-ctx.Done()
}
func (f *fakeProtocol) Drain(context.Context) {}
func (f *fakeProtocol) ListGroups(context.Context) ([]gateway.GroupInfo, error) {
	return f.groups, nil
}
func (f *fakeProtocol) ListSessions(context.Context) ([]gateway.SessionInfo, error) {
	return []gateway.SessionInfo{{ID: "c1", Connected: true, Subscriptions: 2, Group: "fake/plain"}, {ID: "c2", Left: time.Unix(100, 0), Expires: time.Unix(200, 0)}}, nil
}

// moved and ended are what fakeProtocol was asked to do.
func (f *fakeProtocol) MoveGroup(_ context.Context, name string, to []gateway.GroupOffset) error {
	f.moved = append(f.moved, name)
	f.offsets = to
	return nil
}
func (f *fakeProtocol) DeleteGroup(_ context.Context, name string) error {
	f.ended = append(f.ended, "positions "+name)
	return nil
}
func (f *fakeProtocol) EndGroup(_ context.Context, name string, force bool) error {
	if name == "fake/plain" {
		return shard.ErrGroupNotFound
	}
	f.ended = append(f.ended, fmt.Sprint(name, " ", force))
	return nil
}
func (f *fakeProtocol) EndSession(_ context.Context, id string) error {
	f.ended = append(f.ended, "session "+id)
	return nil
}

type rig struct {
	t      *testing.T
	broker *shardmem.Broker
	b      shard.Broker
	engine *fakeEngine
	proto  *fakeProtocol
	ln     *gateway.Listener
	srv    *Server
	drains atomic.Int64
}

func newRig(t *testing.T) *rig {
	t.Helper()
	user := func(name, password string, super bool) shard.User {
		u, err := gateway.NewUser(name, password)
		if err != nil {
			t.Fatal(err)
		}
		u.Superuser = super
		return u
	}
	r := &rig{t: t, engine: &fakeEngine{}, proto: &fakeProtocol{}}
	r.broker = shardmem.New(shardmem.Options{Users: []shard.User{user("boss", "boss-password", true), user("ann", "ann-password", false)}})
	t.Cleanup(r.broker.Close)
	r.b = r.broker.Broker()
	stats := &gateway.Stats{}
	r.ln = &gateway.Listener{Protocol: "fake", Addr: "127.0.0.1:0", Server: r.proto, Log: slog.New(slog.DiscardHandler), Stats: stats}
	if err := r.ln.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.ln.Close)
	var err error
	r.srv, err = New(Env{Broker: r.b, Auth: gateway.NewAuth(r.b.Users, r.b.ACLs, gateway.AuthConfig{}), Engine: r.engine, Version: "test",
		Protocols: []Protocol{{Name: "fake", Server: r.proto, Stats: stats, Listeners: []*gateway.Listener{r.ln}}},
		Pinned: func() map[string]int64 {
			all := map[string]int64{"fake/plain": 7}
			for i := range 50 {
				all[fmt.Sprintf("g%02d", i)] = int64(100 + i)
			}
			return all
		},
		Drain: func(context.Context) { r.drains.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// do sends a request as user (empty: without a login) from loopback, changed by mods.
func (r *rig) do(method, path, user, body string, mods ...func(*http.Request)) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.RemoteAddr, req.Host = "127.0.0.1:5555", "127.0.0.1:8080"
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if user != "" {
		req.SetBasicAuth(user, user+"-password")
	}
	for _, m := range mods {
		m(req)
	}
	w := httptest.NewRecorder()
	r.srv.Handler().ServeHTTP(w, req)
	return w
}

func (r *rig) want(status int, method, path, user, body string, mods ...func(*http.Request)) []byte {
	r.t.Helper()
	w := r.do(method, path, user, body, mods...)
	if w.Code != status {
		r.t.Fatalf("%s %s as %q: status %d, want %d: %s", method, path, user, w.Code, status, w.Body)
	}
	return w.Body.Bytes()
}

func decode[T any](t *testing.T, b []byte) (v T) {
	t.Helper()
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("decode %s: %v", b, err)
	}
	return v
}

// TestRoutesMatchDocument compares what is dispatched with what is documented.
func TestRoutesMatchDocument(t *testing.T) {
	r := newRig(t)
	type doc struct {
		OpenAPI    string
		Paths      map[string]map[string]struct{ OperationID string }
		Components struct{ Schemas map[string]json.RawMessage }
	}
	raw := r.want(200, "GET", "/api/v1/openapi.json", "", "")
	d := decode[doc](t, raw)
	if d.OpenAPI != "3.1.0" {
		t.Errorf("openapi version %q", d.OpenAPI)
	}
	ids := map[string]bool{}
	documented := 0
	for path, item := range d.Paths {
		for method, op := range item {
			documented++
			if ids[op.OperationID] {
				t.Errorf("operation id %s twice", op.OperationID)
			}
			ids[op.OperationID] = true
			concrete := strings.NewReplacer("{name}", "nothing", "{index}", "0", "{id}", "1").Replace(path)
			w := r.do(strings.ToUpper(method), concrete, "", "")
			if w.Code == http.StatusMethodNotAllowed || strings.Contains(w.Body.String(), "no such path") {
				t.Errorf("%s %s is documented and not served: %d", method, path, w.Code)
			}
		}
	}
	if documented != len(r.srv.routes) {
		t.Errorf("%d operations documented, %d routes", documented, len(r.srv.routes))
	}
	for _, rt := range r.srv.routes {
		if d.Paths[rt.path][strings.ToLower(rt.method)].OperationID != rt.id {
			t.Errorf("%s %s is not documented as %s", rt.method, rt.path, rt.id)
		}
	}
	for _, part := range strings.Split(string(raw), `"#/components/schemas/`)[1:] {
		name, _, _ := strings.Cut(part, `"`)
		if d.Components.Schemas[name] == nil {
			t.Errorf("schema %s is referred to and missing", name)
		}
	}
}

func TestWhoMayCall(t *testing.T) {
	r := newRig(t)
	from := func(addr string) func(*http.Request) { return func(q *http.Request) { q.RemoteAddr = addr } }
	host := func(h string) func(*http.Request) { return func(q *http.Request) { q.Host = h } }
	header := func(k, v string) func(*http.Request) { return func(q *http.Request) { q.Header.Set(k, v) } }
	const topic = `{"name":"x%d","config":{}}`
	n := 0
	body := func() string { n++; return fmt.Sprintf(topic, n) }
	r.want(200, "GET", "/api/v1/topics", "", "")
	r.want(200, "GET", "/api/v1/topics", "", "", host("localhost:8080"))
	r.want(200, "GET", "/api/v1/topics", "", "", from("[::1]:99"), host("[::1]:8080"))
	r.want(401, "GET", "/api/v1/topics", "", "", from("10.0.0.1:99"))
	r.want(401, "GET", "/api/v1/topics", "", "", host("evil.example"))
	r.want(401, "GET", "/api/v1/topics", "", "", header("X-Forwarded-For", "10.0.0.1"))
	r.want(401, "GET", "/api/v1/topics", "", "", header("X-Forwarded-Host", "x"))
	r.want(200, "GET", "/metrics", "", "")
	r.want(200, "GET", "/metrics", "", "", from("10.0.0.1:99"), host("broker.example"))
	r.want(403, "GET", "/metrics", "", "", host("evil.example"))
	r.want(403, "GET", "/metrics", "", "", header("Via", "1.1 proxy"))
	r.want(403, "GET", "/metrics", "", "", header("Origin", "http://evil.example"))
	r.want(200, "GET", "/metrics", "ann", "", header("Via", "1.1 proxy"))
	r.want(200, "GET", "/healthz", "", "", host("evil.example"))
	r.want(401, "GET", "/api/v1/users", "", "")
	r.want(401, "GET", "/api/v1/acls", "", "")
	r.want(401, "POST", "/api/v1/topics", "", body())
	r.want(401, "POST", "/api/v1/flush", "", "")
	r.want(401, "GET", "/api/v1/topics", "", "", header("Authorization", "Bearer x"))
	w := r.do("GET", "/api/v1/users", "boss", "", func(q *http.Request) { q.SetBasicAuth("boss", "wrong") })
	if w.Code != 401 || !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Basic ") {
		t.Errorf("wrong password: %d %v", w.Code, w.Header())
	}
	r.want(401, "GET", "/api/v1/users", "nobody", "")
	r.want(200, "GET", "/api/v1/topics", "ann", "")
	r.want(403, "GET", "/api/v1/topics", "ann", "", from("10.0.0.1:99"))
	r.want(201, "POST", "/api/v1/topics", "ann", body()) // no rule: as the first use of a subject, which Kafka lets her too
	r.want(403, "POST", "/api/v1/topics", "ann", `{"name":"y","captures":["x1"],"config":{}}`)
	r.want(403, "PATCH", "/api/v1/topics/x2", "ann", `{"config":{"retention_ms":1}}`)
	r.want(403, "DELETE", "/api/v1/topics/x2", "ann", "")
	r.want(403, "GET", "/api/v1/users", "ann", "")
	r.want(403, "PUT", "/api/v1/users/boss/password", "ann", `{"password":"taken-over"}`)
	r.want(204, "PUT", "/api/v1/users/ann/password", "ann", `{"password":"ann-password"}`)
	r.want(401, "PUT", "/api/v1/users/ann/password", "", `{"password":"ann-password"}`)
	r.want(201, "POST", "/api/v1/topics", "boss", body())
	r.want(201, "POST", "/api/v1/topics", "boss", body(), from("10.0.0.1:99"), host("broker.example"))
	r.want(403, "POST", "/api/v1/topics", "boss", body(), header("Sec-Fetch-Site", "cross-site"))
	r.want(204, "POST", "/api/v1/acls", "boss", `{"rules":[{"principal":"ann","resource":"cluster","filter":"cluster","operation":"admin"}]}`)
	r.want(201, "POST", "/api/v1/topics", "ann", body())
	r.want(200, "GET", "/api/v1/users", "ann", "", from("10.0.0.1:99"))
	r.want(204, "POST", "/api/v1/acls/delete", "boss", `{"rules":[{"principal":"ann","resource":"cluster","filter":"cluster","operation":"admin"}]}`)
	r.want(403, "PATCH", "/api/v1/topics/x2", "ann", `{"config":{"retention_ms":1}}`)
}

func TestProfiles(t *testing.T) {
	r := newRig(t)
	r.want(401, "GET", "/debug/pprof/heap", "", "") // not even from loopback
	r.want(403, "GET", "/debug/pprof/profile?seconds=1", "ann", "")
	for _, name := range []string{"allocs", "heap", "goroutine", "profile?seconds=1"} {
		if b := r.want(200, "GET", "/debug/pprof/"+name, "boss", ""); len(b) < 2 || b[0] != 0x1f || b[1] != 0x8b {
			t.Errorf("%s: %d bytes that are no gzip", name, len(b))
		}
	}
	r.want(404, "GET", "/debug/pprof/cmdline", "boss", "")
	r.want(400, "GET", "/debug/pprof/profile?seconds=1000", "boss", "")
	r.want(400, "GET", "/debug/pprof/heap?seconds=x", "boss", "")
}

func TestAnonymousOff(t *testing.T) {
	r := newRig(t)
	r.srv.env.Auth = gateway.NewAuth(r.b.Users, r.b.ACLs, gateway.AuthConfig{AnonymousOff: true})
	r.want(401, "GET", "/api/v1/topics", "", "")
	r.want(403, "GET", "/api/v1/topics", "ann", "")
	r.want(200, "GET", "/api/v1/topics", "boss", "")
	r.srv.env.Auth = gateway.NewAuth(r.b.Users, r.b.ACLs, gateway.AuthConfig{AnonymousRemotely: true})
	r.want(401, "GET", "/api/v1/topics", "", "", func(q *http.Request) { q.RemoteAddr = "10.0.0.1:1" })
}

func TestTopics(t *testing.T) {
	r := newRig(t)
	made := decode[Topic](t, r.want(201, "POST", "/api/v1/topics", "boss",
		`{"name":"a/b.c","shards":3,"captures":["sensors.>"],"config":{"retention_ms":1000,"durability":"object","extra":{"k":"v"}}}`))
	if made.Shards != 3 || *made.Config.RetentionMs != 1000 || *made.Config.Durability != "object" || *made.Config.Extra["k"] != "v" {
		t.Errorf("created %+v", made)
	}
	r.want(409, "POST", "/api/v1/topics", "boss", `{"name":"a/b.c","config":{}}`)
	got := decode[Topic](t, r.want(200, "GET", "/api/v1/topics/a%2Fb.c", "", ""))
	if got.Name != "a/b.c" {
		t.Errorf("got %+v", got)
	}
	up := decode[Topic](t, r.want(200, "PATCH", "/api/v1/topics/a%2Fb.c", "boss", `{"shards":5,"config":{"compact":true,"extra":{"k":null}}}`))
	if up.Shards != 5 || !*up.Config.Compact || *up.Config.RetentionMs != 1000 || len(up.Config.Extra) != 0 {
		t.Errorf("updated %+v", up)
	}
	for status, body := range map[string]string{
		`{"shards":1}`:                            "grow",
		`{"shard":9}`:                             "unknown field",
		`{} {}`:                                   "more than one",
		`{"shards":-1}`:                           "decode body",
		`{"config":{"durability":"maybe"}}`:       "durability",
		`{"config":{"max_message_bytes":-5}}`:     "max_message_bytes",
		`{"captures":["a..b"]}`:                   "",
		`{"config":{"retention_ms":-2}}`:          "retention",
		`{"config":{"retention_ms":"yesterday"}}`: "decode body",
	} {
		if b := r.want(400, "PATCH", "/api/v1/topics/a%2Fb.c", "boss", status); !strings.Contains(string(b), body) {
			t.Errorf("%s: answer %s does not say %q", status, b, body)
		}
	}
	r.want(400, "POST", "/api/v1/topics", "boss", `{"name":"y","config":{}}`, func(q *http.Request) { q.Header.Set("Content-Type", "text/plain") })
	r.want(413, "POST", "/api/v1/topics", "boss", `{"name":"`+strings.Repeat("x", maxBodyBytes)+`"}`)
	r.want(404, "GET", "/api/v1/topics/nope", "", "")
	r.want(404, "PATCH", "/api/v1/topics/nope", "boss", `{}`)
	r.want(404, "DELETE", "/api/v1/topics/nope", "boss", "")
	r.want(404, "GET", "/api/v1/topics/a%2Fb.c/shards/5", "", "")
	r.want(404, "GET", "/api/v1/topics/a%2Fb.c/shards/x", "", "")

	topic, _ := r.b.Topics.ByName("a/b.c")
	if _, err := shard.AppendWait(context.Background(), r.b.Log, topic.Shard(4), shard.BatchOf(shard.Record{Value: []byte("1")}, shard.Record{Value: []byte("2")}), shard.AppendOptions{}); err != nil {
		t.Fatal(err)
	}
	shards := decode[page[Shard]](t, r.want(200, "GET", "/api/v1/topics/a%2Fb.c/shards?limit=3", "", ""))
	if len(shards.Items) != 3 || shards.Next != "2" {
		t.Fatalf("shards %+v", shards)
	}
	shards = decode[page[Shard]](t, r.want(200, "GET", "/api/v1/topics/a%2Fb.c/shards?after=2", "", ""))
	if len(shards.Items) != 2 || shards.Items[1].End != 2 || shards.Next != "" {
		t.Errorf("shards %+v", shards)
	}
	segs := decode[page[Segment]](t, r.want(200, "GET", "/api/v1/topics/a%2Fb.c/shards/0/segments?limit=1", "", ""))
	if len(segs.Items) != 1 || segs.Next == "" {
		t.Fatalf("segments %+v", segs)
	}
	segs = decode[page[Segment]](t, r.want(200, "GET", "/api/v1/topics/a%2Fb.c/shards/0/segments?after="+segs.Next, "", ""))
	if len(segs.Items) != 1 || segs.Items[0].Base != 10 {
		t.Errorf("segments %+v", segs)
	}
	r.want(204, "DELETE", "/api/v1/topics/a%2Fb.c", "boss", "")
	r.want(404, "GET", "/api/v1/topics/a%2Fb.c", "", "")
}

func TestPages(t *testing.T) {
	r := newRig(t)
	for i := range 25 {
		r.want(201, "POST", "/api/v1/topics", "boss", fmt.Sprintf(`{"name":"p%02d","config":{}}`, i))
	}
	var names []string
	for after := ""; ; {
		p := decode[page[Topic]](t, r.want(200, "GET", "/api/v1/topics?prefix=p1&limit=4&after="+after, "", ""))
		for _, x := range p.Items {
			names = append(names, x.Name)
		}
		if after = p.Next; after == "" {
			break
		}
	}
	if fmt.Sprint(names) != "[p10 p11 p12 p13 p14 p15 p16 p17 p18 p19]" {
		t.Errorf("pages gave %v", names)
	}
	for _, bad := range []string{"0", "1001", "x", "-1"} {
		r.want(400, "GET", "/api/v1/topics?limit="+bad, "", "")
	}
}

func TestUsers(t *testing.T) {
	r := newRig(t)
	r.want(201, "POST", "/api/v1/users", "boss", `{"name":"bob","password":"bob-password","max_connections":3}`)
	r.want(409, "POST", "/api/v1/users", "boss", `{"name":"bob","password":"other-password"}`)
	r.want(400, "POST", "/api/v1/users", "boss", `{"name":"eve","password":"short"}`)
	r.want(400, "POST", "/api/v1/users", "boss", `{"name":"eve"}`)
	r.want(400, "POST", "/api/v1/users", "boss", `{"name":"anonymous","password":"long-enough"}`)
	u, _ := r.b.Users.User("bob")
	if u.SCRAM256 == nil || u.SCRAM512 == nil {
		t.Fatal("bob has no credentials")
	}
	for _, path := range []string{"/api/v1/users", "/api/v1/users/bob"} {
		b := string(r.want(200, "GET", path, "boss", ""))
		for _, secret := range []string{"alt", "tored", "crypt", "erver_key", "ServerKey", "bob-password"} {
			if strings.Contains(b, secret) {
				t.Errorf("GET %s holds %q: %s", path, secret, b)
			}
		}
	}
	r.want(403, "POST", "/api/v1/flush", "bob", "")
	bob := decode[User](t, r.want(200, "PATCH", "/api/v1/users/bob", "boss", `{"bytes_per_second":5000}`))
	if bob.MaxConnections != 3 || bob.BytesPerSecond != 5000 || !bob.HasPassword || bob.Superuser {
		t.Errorf("after a change of one limit: %+v", bob)
	}
	if bob = decode[User](t, r.want(200, "PATCH", "/api/v1/users/bob", "boss", `{"max_connections":0}`)); bob.MaxConnections != 0 || bob.BytesPerSecond != 5000 {
		t.Errorf("after a limit was lifted: %+v", bob)
	}
	r.want(400, "PATCH", "/api/v1/users/bob", "boss", `{"max_connections":-1}`)
	r.want(404, "PATCH", "/api/v1/users/eve", "boss", `{"max_connections":1}`)
	r.want(409, "PATCH", "/api/v1/users/boss", "boss", `{"superuser":false}`)
	r.want(204, "PUT", "/api/v1/users/bob/password", "boss", `{"password":"new-password"}`)
	r.want(401, "GET", "/api/v1/topics", "bob", "")
	r.want(404, "PUT", "/api/v1/users/eve/password", "boss", `{"password":"new-password"}`)
	r.want(204, "DELETE", "/api/v1/users/bob", "boss", "")
	r.want(404, "DELETE", "/api/v1/users/bob", "boss", "")
	if b := r.want(409, "DELETE", "/api/v1/users/boss", "boss", ""); !strings.Contains(string(b), "last superuser") {
		t.Errorf("answer %s", b)
	}
}

func TestPasswordChangeEndsDefault(t *testing.T) {
	r := newRig(t)
	u, _ := r.b.Users.User("boss")
	d := *u
	d.DefaultPassword = true
	if err := r.b.Users.Put(context.Background(), d); err != nil {
		t.Fatal(err)
	}
	r.want(403, "GET", "/api/v1/users", "boss", "", func(q *http.Request) { q.RemoteAddr = "10.0.0.1:1" })
	r.want(204, "PUT", "/api/v1/users/boss/password", "boss", `{"password":"boss-password"}`)
	r.want(200, "GET", "/api/v1/users", "boss", "", func(q *http.Request) { q.RemoteAddr = "10.0.0.1:1" })
}

func TestACLs(t *testing.T) {
	r := newRig(t)
	for _, bad := range []string{
		`{"rules":[]}`,
		`{"rules":[{"principal":"","resource":"subject","filter":"a","operation":"publish"}]}`,
		`{"rules":[{"principal":"a","resource":"topic","filter":"a","operation":"publish"}]}`,
		`{"rules":[{"principal":"a","resource":"subject","filter":"a","operation":"write"}]}`,
		`{"rules":[{"principal":"a","resource":"subject","filter":"","operation":"publish"}]}`,
		`{"rules":[{"principal":"a","resource":"subject","filter":"a..b","operation":"publish"}]}`,
	} {
		r.want(400, "POST", "/api/v1/acls", "boss", bad)
	}
	rule := `{"rules":[{"principal":"ann","resource":"subject","filter":"a.>","operation":"publish","deny":true}]}`
	r.want(204, "POST", "/api/v1/acls", "boss", rule)
	got := decode[page[ACL]](t, r.want(200, "GET", "/api/v1/acls?principal=ann", "boss", ""))
	if len(got.Items) != 1 || !got.Items[0].Deny || got.Items[0].Filter != "a.>" {
		t.Errorf("rules %+v", got)
	}
	r.want(204, "POST", "/api/v1/acls/delete", "boss", rule)
	r.want(404, "POST", "/api/v1/acls/delete", "boss", rule)
}

func TestGroupsOfAllProtocols(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	topic, err := r.b.Topics.Create(ctx, shard.Topic{Name: "orders", Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	g, err := r.b.Groups.Create(ctx, shard.GroupConfig{Name: "amqp///work", Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Bindings().Add(ctx, shard.Binding{ID: "b", Filter: shard.LiteralFilter("orders")}); err != nil {
		t.Fatal(err)
	}
	for range 7 {
		if _, err := shard.AppendWait(ctx, r.b.Log, topic.Shard(0), shard.BatchOf(shard.Record{Value: []byte("x")}), shard.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	r.proto.groups = []gateway.GroupInfo{{Name: "g1", State: "Stable", Members: 2,
		Offsets: []gateway.GroupOffset{{Shard: topic.Shard(0), Offset: 4}, {Shard: shard.ID{Topic: 999}, Offset: 1}}}}
	deadline := time.Now().Add(30 * time.Second)
	var all page[Group]
	for { // the group counts behind the append
		all = decode[page[Group]](t, r.want(200, "GET", "/api/v1/groups", "", ""))
		if len(all.Items) == 2 && all.Items[0].Lag == 7 || time.Now().After(deadline) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if len(all.Items) != 2 {
		t.Fatalf("groups %+v", all)
	}
	if a := all.Items[0]; a.Name != "amqp///work" || a.Protocol != "amqp" || a.Lag != 7 || a.Kind != "cursor" || !a.Durable {
		t.Errorf("group %+v", a)
	}
	if k := all.Items[1]; k.Name != "fake/group/g1" || k.Lag != 3 || k.Kind != "position" || k.Consumers != 2 || k.State != "Stable" || k.Offsets != nil {
		t.Errorf("group %+v", k)
	}
	one := decode[Group](t, r.want(200, "GET", "/api/v1/groups/fake%2Fgroup%2Fg1", "", ""))
	if len(one.Offsets) != 1 || one.Offsets[0] != (GroupOffset{Topic: "orders", Committed: 4, End: 7, Lag: 3}) {
		t.Errorf("group %+v", one)
	}
	one = decode[Group](t, r.want(200, "GET", "/api/v1/groups/amqp%2F%2F%2Fwork", "", ""))
	if len(one.Bindings) != 1 || one.Bindings[0] != "orders" {
		t.Errorf("group %+v", one)
	}
	only := decode[page[Group]](t, r.want(200, "GET", "/api/v1/groups?protocol=fake", "", ""))
	if len(only.Items) != 1 || only.Items[0].Protocol != "fake" {
		t.Errorf("groups %+v", only)
	}
	r.want(404, "GET", "/api/v1/groups/none", "", "")
	m := r.do("GET", "/metrics", "", "").Body.String()
	for _, line := range []string{`robustmq_group_lag_messages{protocol="amqp"} 7`, `robustmq_group_lag_messages{protocol="fake"} 3`, `robustmq_groups{protocol="fake"} 1`} {
		if !strings.Contains(m, line+"\n") {
			t.Errorf("metrics lack %s", line)
		}
	}
}

func TestConnectionsAndSessions(t *testing.T) {
	r := newRig(t)
	c, err := net.Dial("tcp", r.ln.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var got page[Connection]
	for deadline := time.Now().Add(30 * time.Second); len(got.Items) == 0 && time.Now().Before(deadline); {
		got = decode[page[Connection]](t, r.want(200, "GET", "/api/v1/connections?protocol=fake&user=ann&client_id=client-1", "", ""))
	}
	if len(got.Items) != 1 || got.Items[0].Remote != c.LocalAddr().String() {
		t.Fatalf("connections %+v", got)
	}
	if none := decode[page[Connection]](t, r.want(200, "GET", "/api/v1/connections?user=bob", "", "")); len(none.Items) != 0 {
		t.Errorf("connections of bob %+v", none)
	}
	path := fmt.Sprintf("/api/v1/connections/%d", got.Items[0].ID)
	r.want(401, "DELETE", path, "", "")
	r.want(204, "DELETE", path, "boss", "")
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("read of a closed connection: %v", err)
	}
	r.want(404, "DELETE", "/api/v1/connections/99999999", "boss", "")
	r.want(400, "DELETE", "/api/v1/connections/x", "boss", "")
	ss := decode[page[Session]](t, r.want(200, "GET", "/api/v1/sessions", "", ""))
	if len(ss.Items) != 2 || !ss.Items[0].Connected || ss.Items[0].Left != nil || !ss.Items[1].Expires.Equal(time.Unix(200, 0)) {
		t.Errorf("sessions %+v", ss)
	}
}

func TestHealthAndOperations(t *testing.T) {
	r := newRig(t)
	r.want(200, "GET", "/healthz", "", "", func(q *http.Request) { q.RemoteAddr = "10.0.0.1:1" })
	r.want(200, "GET", "/readyz", "", "")
	says := func(code int, body string, gauges ...string) {
		t.Helper()
		if b := r.want(code, "GET", "/readyz", "", ""); string(b) != body+"\n" {
			t.Errorf("readyz says %q", b)
		}
		if b := r.want(200, "GET", "/healthz", "", ""); string(b) != body+"\n" {
			t.Errorf("healthz says %q", b)
		}
		m := string(r.want(200, "GET", "/metrics", "", ""))
		for _, g := range gauges {
			if !strings.Contains(m, "\nrobustmq_"+g+"\n") {
				t.Errorf("metrics without %s", g)
			}
		}
	}
	says(200, "ok", "ready 1", "degraded 0")
	hurt := errors.Join(errors.New("the object store is away"), errors.New("a slot is damaged"))
	r.engine.degraded.Store(&hurt)
	says(200, "degraded: the object store is away; a slot is damaged", "ready 1", "degraded 1")
	c := decode[Cluster](t, r.want(200, "GET", "/api/v1/cluster", "", ""))
	if !c.Ready || c.Problem != "" || !strings.Contains(c.Degraded, "away") {
		t.Errorf("cluster %+v", c)
	}
	down := errors.New("out of paper")
	r.engine.down.Store(&down)
	says(503, "not serving: out of paper\ndegraded: the object store is away; a slot is damaged", "ready 0", "degraded 1")
	c = decode[Cluster](t, r.want(200, "GET", "/api/v1/cluster", "", ""))
	if c.Ready || !strings.Contains(c.Problem, "out of paper") || len(c.Nodes) != 1 {
		t.Errorf("cluster %+v", c)
	}
	r.engine.degraded.Store(nil)
	says(503, "not serving: out of paper", "ready 0", "degraded 0")
	r.engine.down.Store(nil)
	r.want(204, "POST", "/api/v1/flush", "boss", "")
	if r.engine.flushes.Load() != 1 {
		t.Error("flush did not flush")
	}
	r.want(204, "POST", "/api/v1/drain", "boss", "")
	if r.drains.Load() != 1 {
		t.Error("drain did not drain")
	}
	if b := r.want(503, "GET", "/readyz", "", ""); !strings.Contains(string(b), "draining") {
		t.Errorf("readyz says %s", b)
	}
}

func TestMetricsKeepConventions(t *testing.T) {
	r := newRig(t)
	w := r.do("GET", "/metrics", "", "", func(q *http.Request) { q.RemoteAddr = "10.0.0.1:1" })
	if w.Code != 200 || !strings.Contains(w.Body.String(), `robustmq_connections{protocol="fake"} 0`) || !strings.Contains(w.Body.String(), "go_goroutines") {
		t.Fatalf("metrics: %d %s", w.Code, w.Body)
	}
	problems, err := promlint.New(strings.NewReader(w.Body.String())).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "robustmq_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func TestTooManyAtOnce(t *testing.T) {
	r := newRig(t)
	for range maxInFlight {
		r.srv.slots <- struct{}{}
	}
	r.want(503, "GET", "/api/v1/topics", "", "")
	r.want(200, "GET", "/healthz", "", "")
	<-r.srv.slots
	r.want(200, "GET", "/api/v1/topics", "", "")
}

func TestListenerBoundsConnections(t *testing.T) {
	r := newRig(t)
	at, err := r.srv.Start("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.srv.Close()
	resp, err := http.Get("http://" + at.String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
	r.srv.Close()
	if _, err := net.DialTimeout("tcp", at.String(), time.Second); err == nil {
		t.Error("listens after Close")
	}
}
