package amqp

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// testServer is a gateway over a broker in memory, on a port of its own.
type testServer struct {
	t      testing.TB
	mem    *shardmem.Broker
	broker shard.Broker
	srv    *server
	stats  *gateway.Stats
	addr   string
	stop   func()
}

type testOptions struct {
	mem    shardmem.Options
	limits gateway.Limits
	config func(*Config)
	addr   string
	auth   gateway.AuthConfig
	broker func(*shard.Broker)
}

func startServer(t testing.TB, o testOptions) *testServer {
	t.Helper()
	admin, err := gateway.NewUser("admin", "robustmq")
	if err != nil {
		t.Fatal(err)
	}
	admin.Superuser = true
	bob, err := gateway.NewUser("bob", "secret")
	if err != nil {
		t.Fatal(err)
	}
	o.mem.Users = append(o.mem.Users, admin, bob)
	mem := shardmem.New(o.mem)
	t.Cleanup(mem.Close)
	b := mem.Broker()
	if o.broker != nil {
		o.broker(&b)
	}
	return serveOn(t, o, mem, b)
}

// serveOn starts a gateway over a broker that is there.
func serveOn(t testing.TB, o testOptions, mem *shardmem.Broker, b shard.Broker) *testServer {
	t.Helper()
	if o.limits == (gateway.Limits{}) {
		o.limits = gateway.DefaultLimits()
	}
	if o.addr == "" {
		o.addr = "127.0.0.1:0"
	}
	log := slog.New(slog.DiscardHandler)
	stats := new(gateway.Stats)
	env := gateway.Env{
		Broker: b, Auth: gateway.NewAuth(b.Users, b.ACLs, o.auth), Log: log, Limits: o.limits, Stats: stats,
		Decode: func(dst any) error {
			if o.config != nil {
				o.config(dst.(*Config))
			}
			return nil
		},
	}
	srv, err := New(env)
	if err != nil {
		t.Fatal(err)
	}
	l := &gateway.Listener{Protocol: "amqp", Addr: o.addr, Server: srv, Log: log, Stats: stats, MaxConnections: 1000, LoginTimeout: 5 * time.Second}
	if err := l.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	s := &testServer{t: t, mem: mem, broker: b, srv: srv.(*server), stats: stats, addr: l.Address().(*net.TCPAddr).String(), stop: l.Close}
	t.Cleanup(l.Close)
	return s
}
