package nats

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

func testUser(t *testing.T, name, password string, fn func(*shard.User)) shard.User {
	t.Helper()
	u, err := gateway.NewUser(name, password)
	if err != nil {
		t.Fatal(err)
	}
	if fn != nil {
		fn(&u)
	}
	return u
}

func TestLogin(t *testing.T) {
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	stranger, _ := nkeys.CreateUser()
	pub, _ := key.PublicKey()
	b := newBed(t, bedOptions{auth: gateway.AuthConfig{AnonymousOff: true}, mem: shardmem.Options{Users: []shard.User{
		testUser(t, "ann", "secret", nil),
		testUser(t, "bob", "x", func(u *shard.User) { u.TokenHash = gateway.TokenHash("tok-1") }),
		testUser(t, "eve", "x", func(u *shard.User) { u.NKey = pub }),
	}}})
	sign := func(k nkeys.KeyPair) func(*client) string {
		return func(c *client) string {
			var i info
			if err := json.Unmarshal([]byte(strings.TrimPrefix(c.info, "INFO ")), &i); err != nil || i.Nonce == "" || !i.AuthRequired {
				t.Fatalf("INFO %s: %v", c.info, err)
			}
			sig, err := k.Sign([]byte(i.Nonce))
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf(`CONNECT {"verbose":false,"nkey":%q,"sig":%q}`, pub, base64.RawURLEncoding.EncodeToString(sig))
		}
	}
	is := func(s string) func(*client) string { return func(*client) string { return s } }
	for _, c := range []struct {
		name string
		line func(*client) string
		user string // "": refused
	}{
		{"password", is(`CONNECT {"verbose":false,"user":"ann","pass":"secret"}`), "ann"},
		{"wrong password", is(`CONNECT {"user":"ann","pass":"Secret"}`), ""},
		{"unknown user", is(`CONNECT {"user":"nobody","pass":"secret"}`), ""},
		{"no password", is(`CONNECT {"user":"ann"}`), ""},
		{"token", is(`CONNECT {"verbose":false,"auth_token":"tok-1"}`), "bob"},
		{"wrong token", is(`CONNECT {"auth_token":"tok-2"}`), ""},
		{"nkey", sign(key), "eve"},
		{"nkey of another", sign(stranger), ""},
		{"nkey without signature", is(fmt.Sprintf(`CONNECT {"nkey":%q}`, pub)), ""},
		{"garbage nkey", is(`CONNECT {"nkey":"xx","sig":"yy"}`), ""},
		{"anonymous", is(`CONNECT {}`), ""},
		{"PING first", is("PING"), ""},
		{"PUB first", is("PUB a 1000000"), ""},
		{"SUB first", is("SUB > 1"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			nc := dial(t, b.addr())
			nc.t = t
			nc.send(c.line(nc))
			if c.user == "" {
				nc.expect("-ERR 'Authorization Violation'")
				nc.closed()
				return
			}
			nc.sync()
			if conns := b.listener.Conns(); len(conns) == 0 || conns[len(conns)-1].Info().User != c.user && conns[0].Info().User != c.user {
				t.Errorf("not logged in as %s", c.user)
			}
			_ = nc.Close()
			eventually(t, "connection gone", func() bool { return len(b.listener.Conns()) == 0 })
		})
	}
}

func TestPermissions(t *testing.T) {
	rule := func(op shard.Operation, filter string, deny bool) shard.ACL {
		return shard.ACL{Principal: "ann", Resource: gateway.ResourceSubject, Filter: filter, Operation: op, Deny: deny}
	}
	b := newBed(t, bedOptions{mem: shardmem.Options{
		Users: []shard.User{testUser(t, "ann", "a", nil), testUser(t, "root", "r", func(u *shard.User) { u.Superuser = true })},
		ACLs:  []shard.ACL{rule(shard.OpPublish, "in.*", false), rule(shard.OpSubscribe, "out.*", false), rule(shard.OpPublish, "in.secret", true)},
	}})
	c := b.dial(`{"verbose":false,"user":"ann","pass":"a"}`)
	for _, s := range []struct{ send, want string }{
		{"PUB in.x 0\r\n", ""},
		{"PUB other 0\r\n", `-ERR 'Permissions Violation for Publish to "other"'`},
		{"PUB other 0\r\n", `-ERR 'Permissions Violation for Publish to "other"'`},
		{"PUB in.secret 0\r\n", `-ERR 'Permissions Violation for Publish to "in.secret"'`},
		{"PUB _INBOX.x 0\r\n", `-ERR 'Permissions Violation for Publish to "_INBOX.x"'`},
		{"SUB out.x 1", ""},
		{"SUB out.* 2", ""},
		{"SUB out.> 3", `-ERR 'Permissions Violation for Subscription to "out.>"'`},
		{"SUB > 4", `-ERR 'Permissions Violation for Subscription to ">"'`},
		{"SUB in.x q 5", `-ERR 'Permissions Violation for Subscription to "in.x" using queue "q"'`},
	} {
		c.send(s.send)
		if s.want != "" {
			c.expect(s.want)
		}
		c.sync()
	}
	// Another login on the same connection brings other permissions.
	c.send(`CONNECT {"verbose":false,"user":"root","pass":"r"}`, "SUB > 6", "PUB other 0", "")
	if m := c.message(); m.subject != "other" || m.sid != "6" {
		t.Fatalf("got %s", m)
	}
}

// TestSlowLoris: who trickles bytes is told so and goes; nobody else waits.
func TestSlowLoris(t *testing.T) {
	b := newBed(t, bedOptions{config: func(c *Config) { c.AuthTimeout = 200 * time.Millisecond }})
	c := dial(t, b.addr())
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, ch := range []byte(`CONNECT {"name":"a slow one"`) {
			if _, err := c.Write([]byte{ch}); err != nil {
				return
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-stop:
				return
			}
		}
	})
	b.dial(quiet)
	c.expect("-ERR 'Authentication Timeout'")
	c.closed()
	close(stop)
	wg.Wait()
	// Once logged in there is no such time.
	in := b.dial(quiet)
	time.Sleep(300 * time.Millisecond)
	in.sync()
}

// TestSlowConsumer: a subscriber that does not read is dropped; its publisher
// was held back before, and others get everything.
func TestSlowConsumer(t *testing.T) {
	b := newBed(t, bedOptions{limits: func(l *gateway.Limits) { l.MaxOutboundBytes = 2 << 20 },
		config: func(c *Config) { c.WriteDeadline = 700 * time.Millisecond }})
	slow, good := b.dial(quiet), b.dial(quiet)
	slow.send("SUB s.x 1")
	slow.sync()
	good.send("SUB s.x 1")
	good.sync()
	const n = 4000
	got := make(chan int)
	go func() {
		k := 0
		for ; k < n; k++ {
			if _, err := io.ReadFull(good.r, make([]byte, len("MSG s.x 1 4096\r\n")+4096+2)); err != nil {
				break
			}
		}
		got <- k
	}()
	pub := b.dial(quiet)
	payload := strings.Repeat("x", 4096)
	_ = good.SetReadDeadline(time.Now().Add(20 * time.Second))
	for range n {
		pub.send("PUB s.x 4096", payload)
	}
	if k := <-got; k != n {
		t.Errorf("the good one got %d of %d", k, n)
	}
	eventually(t, "slow consumer dropped", func() bool { return b.stats.SlowConsumers.Load() == 1 && b.stats.Subscriptions.Load() == 1 })
	var stalls int64
	for _, c := range b.srv.list() {
		stalls += c.stats.stalls.Load()
	}
	if stalls == 0 {
		t.Error("the publisher was never held back")
	}
}

// TestRepliesAreBounded: who sends commands and does not read the answers is not
// read any more; nothing is lost when it reads.
func TestRepliesAreBounded(t *testing.T) {
	b := newBed(t, bedOptions{})
	c := b.dial(quiet)
	const n = 2_000_000
	done := make(chan error, 1)
	go func() {
		pings := []byte(strings.Repeat("PING\r\n", 10_000))
		for range n / 10_000 {
			if _, err := c.Write(pings); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	time.Sleep(300 * time.Millisecond)
	if q := b.srv.list()[0].out.queued(); q > 4<<20 {
		t.Errorf("%d bytes of replies queued", q)
	}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.CopyN(io.Discard, c.r, n*int64(len("PONG\r\n"))); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestStaleConnection(t *testing.T) {
	b := newBed(t, bedOptions{config: func(c *Config) { c.PingInterval, c.PingMax = 40*time.Millisecond, 2 }})
	c := b.dial(quiet)
	c.expect("PING", "PING", "-ERR 'Stale Connection'")
	c.closed()
	if n := b.srv.stale.Load(); n != 1 {
		t.Errorf("%d stale", n)
	}
	alive := b.dial(quiet)
	for range 6 {
		alive.expect("PING")
		alive.send("PONG")
	}
	eventually(t, "round trip measured", func() bool {
		l := b.srv.list()
		return len(l) == 1 && l[0].stats.rtt.Load() > 0
	})
}

// TestIdleBuffer: a publisher that falls silent gives its buffer back, and goes
// on where it was, in the middle of a command too.
func TestIdleBuffer(t *testing.T) {
	b := newBed(t, bedOptions{config: func(c *Config) { c.PingInterval, c.PingMax = 50*time.Millisecond, 100 }})
	c := b.dial(quiet)
	c.send("SUB idle.x 1", "PUB a 100000", strings.Repeat("x", 100_000), "PUB idle.x 5")
	if _, err := io.WriteString(c, "he"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "buffer is large", func() bool { l := b.srv.list(); return len(l) == 1 && l[0].large.Load() })
	eventually(t, "buffer is given back", func() bool { return !b.srv.list()[0].large.Load() })
	c.send("llo")
	for l := c.line(); l != "MSG idle.x 1 5"; l = c.line() {
		if l != "PING" {
			t.Fatalf("got %q", l)
		}
	}
	c.expect("hello")
}

func TestDrain(t *testing.T) {
	b := newBed(t, bedOptions{})
	c := b.dial(quiet)
	c.send("SUB d.x 1")
	c.sync()
	b.srv.Drain(t.Context())
	if l := c.line(); !strings.HasPrefix(l, "INFO {") || !strings.Contains(l, `"ldm":true`) {
		t.Fatalf("got %q", l)
	}
	// Until it goes, it works.
	c.send("PUB d.x 1", "x")
	c.expect("MSG d.x 1 1", "x")
	late := dial(t, b.addr())
	if !strings.Contains(late.info, `"ldm":true`) {
		t.Errorf("late INFO %s", late.info)
	}
	if h := b.srv.healthz(); h.code != 503 {
		t.Errorf("healthz %+v", h)
	}
	b.listener.Close()
	c.closed()
}

// TestContextEnds: the end of the listener's context ends connections that wait
// to read, and leaves nothing behind.
func TestContextEnds(t *testing.T) {
	b := newBed(t, bedOptions{})
	before := runtime.NumGoroutine()
	for range 20 {
		c := b.dial(quiet)
		c.send("SUB x.> 1")
		c.sync()
	}
	b.listener.Close()
	eventually(t, "goroutines gone", func() bool { return runtime.NumGoroutine() <= before })
	if n := b.stats.Subscriptions.Load(); n != 0 {
		t.Errorf("%d subscriptions", n)
	}
}

// TestUnsubRaces: maxima are exact whoever publishes, from UNSUB on, and counters
// come to zero.
func TestUnsubRaces(t *testing.T) {
	b := newBed(t, bedOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 3 {
		c := b.dial(quiet)
		wg.Go(func() {
			for k := 0; ctx.Err() == nil; k++ {
				_, _ = fmt.Fprintf(c, "PUB u.%d 1\r\nx\r\nPUB u.%d 1\r\ny\r\n", i, (i+k)%3)
			}
		})
	}
	c := b.dial(quiet)
	for round := range 200 {
		c.send(fmt.Sprintf("SUB u.* %d", round), fmt.Sprintf("UNSUB %d 3", round))
		if round%2 == 0 {
			c.send(fmt.Sprintf("UNSUB %d", round))
		}
		c.send("PING")
		got, late := 0, 0 // late: after UNSUB was executed for sure
		for pong := false; !pong || round%2 == 1 && got < 3; {
			l := c.line()
			if l == "PONG" {
				pong = true
				continue
			}
			if f := strings.Fields(l); len(f) != 4 || f[2] != fmt.Sprint(round) {
				t.Fatalf("round %d: %q", round, l)
			}
			c.line()
			if got++; pong {
				late++
			}
		}
		if late > 0 && got > 3 {
			t.Fatalf("round %d: %d messages, %d of them late", round, got, late)
		}
		c.sync() // or a message too many is read in its place
	}
	cancel()
	wg.Wait()
	_ = c.Close()
	eventually(t, "no subscription left", func() bool { return b.stats.Subscriptions.Load() == 0 })
}
