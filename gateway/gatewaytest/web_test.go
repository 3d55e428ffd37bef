package gatewaytest

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/mqtt"
	"github.com/robustmq/robustmq-go/gateway/nats"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// web serves one protocol by WebSocket, or HTTP, on loopback.
func web(t *testing.T, p gateway.Protocol, key string, cfg gateway.AuthConfig) string {
	t.Helper()
	mem := shardmem.New(shardmem.Options{Users: []shard.User{account(t, "bob")}})
	t.Cleanup(mem.Close)
	b := mem.Broker()
	auth, log, stats := gateway.NewAuth(b.Users, b.ACLs, cfg), slog.New(slog.DiscardHandler), new(gateway.Stats)
	srv, err := p.New(gateway.Env{Broker: b, Auth: auth, Log: log, Limits: gateway.DefaultLimits(), Stats: stats})
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range p.Listeners {
		if spec.Key != key {
			continue
		}
		l := &gateway.Listener{Protocol: p.Name, Addr: "127.0.0.1:0", Server: srv, Log: log, Stats: stats, Auth: auth, Subprotocols: spec.Subprotocols}
		if hs, ok := srv.(gateway.HTTPServer); ok && spec.HTTP {
			l.HTTP = hs.HTTPHandler(key)
		}
		if err := l.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.Close)
		return l.Address().String()
	}
	t.Fatalf("%s has no listener %s", p.Name, key)
	return ""
}

// TestPagesAndProxies: what a page in a browser of this machine or a proxy on it
// asks for is not from this machine, and other sites' pages get nowhere.
func TestPagesAndProxies(t *testing.T) {
	own := func(addr string) string { return addr }
	evil := func(string) string { return "evil.example" }
	cases := []struct {
		name    string
		host    func(addr string) string
		headers map[string]string
		origins []string
		opens   bool   // the WebSocket
		anon    bool   // may be anonymous there
		user    string // who logs in there
	}{
		{name: "no browser", host: own, opens: true, anon: true},
		{name: "another site's page", host: own, headers: map[string]string{"Origin": "http://evil.example"}},
		{name: "another port's page", host: own, headers: map[string]string{"Origin": "http://127.0.0.1:3000"}},
		{name: "a file", host: own, headers: map[string]string{"Origin": "null"}},
		{name: "a listed site's page", host: own, headers: map[string]string{"Origin": "https://app.example"}, origins: []string{"https://app.example"}, opens: true, anon: true},
		{name: "a site below a listed one", host: own, headers: map[string]string{"Origin": "https://a.app.example:444"}, origins: []string{"https://*.app.example:444"}, opens: true, anon: true},
		{name: "another scheme", host: own, headers: map[string]string{"Origin": "http://app.example"}, origins: []string{"https://app.example"}},
		{name: "any site", host: own, headers: map[string]string{"Origin": "http://evil.example"}, origins: []string{"*"}, opens: true, anon: true},
		{name: "DNS rebinding", host: evil, headers: map[string]string{"Origin": "http://evil.example"}, opens: true},
		{name: "a name of this machine", host: evil, opens: true},
		{name: "X-Forwarded-For", host: own, headers: map[string]string{"X-Forwarded-For": "10.0.0.1"}, opens: true},
		{name: "X-Forwarded-Proto", host: own, headers: map[string]string{"X-Forwarded-Proto": "https"}, opens: true},
		{name: "Forwarded", host: own, headers: map[string]string{"Forwarded": "for=10.0.0.1"}, opens: true},
		{name: "Via", host: own, headers: map[string]string{"Via": "1.1 proxy"}, opens: true},
		{name: "an empty mark", host: own, headers: map[string]string{"X-Real-Ip": ""}, opens: true},
	}
	for _, p := range []gateway.Protocol{mqtt.Protocol(), nats.Protocol()} {
		for _, c := range cases {
			t.Run(p.Name+"/"+c.name, func(t *testing.T) {
				addr := web(t, p, "ws_listen", gateway.AuthConfig{Origins: c.origins})
				for _, user := range []string{"", "bob"} {
					w, err := dialWeb(t, p.Name, addr, c.host(addr), c.headers)
					if (err == nil) != c.opens {
						t.Fatalf("opens: %v", err)
					}
					if err != nil {
						return
					}
					why := w.login(user)
					if want := user != "" || c.anon; (why == "") != want {
						t.Errorf("%q: %q", user, why)
					}
				}
			})
		}
	}
}

func dialWeb(t *testing.T, protocol, addr, host string, headers map[string]string) (*wire, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	t.Cleanup(cancel)
	o := &websocket.DialOptions{Subprotocols: []string{protocol}, Host: host, HTTPHeader: http.Header{}}
	for k, v := range headers {
		o.HTTPHeader.Set(k, v)
	}
	ws, _, err := websocket.Dial(ctx, "ws://"+addr, o)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = ws.CloseNow() })
	return greet(t, websocket.NetConn(ctx, ws, websocket.MessageBinary), protocol), nil
}

// TestMonitorIsLocal: monitoring, which has no log-in, is for this machine.
func TestMonitorIsLocal(t *testing.T) {
	for _, c := range []struct {
		host, header string
		open         bool // security.allow_anonymous_remotely
		status       int
	}{
		{"", "", false, 200}, {"localhost:1", "", false, 200},
		{"evil.example", "", false, 403}, {"", "X-Forwarded-For", false, 403}, {"", "Via", false, 403}, {"", "Origin", false, 403},
		{"evil.example", "", true, 200}, {"", "X-Forwarded-For", true, 200}, {"", "Origin", true, 403},
	} {
		addr := web(t, nats.Protocol(), "monitor_listen", gateway.AuthConfig{AnonymousRemotely: c.open})
		q, err := http.NewRequest("GET", "http://"+addr+"/connz", nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.host != "" {
			q.Host = c.host
		}
		if c.header != "" {
			q.Header.Set(c.header, "http://evil.example")
		}
		r, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		if r.StatusCode != c.status {
			t.Errorf("%+v: %d", c, r.StatusCode)
		}
	}
}
