package nats

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/robustmq/robustmq-go/test/harness"
)

// TestServices: two instances of a service share its requests, answer errors in
// headers, and are found by what they themselves answer below $SRV.
func TestServices(t *testing.T) {
	b := broker(t, harness.Options{})
	url := "nats://" + harness.Addr(b.Ports.NATS)
	server, client := connect(t, url), connect(t, url)
	instances := make([]micro.Service, 2)
	for i := range instances {
		s, err := micro.AddService(server, micro.Config{Name: "echo", Version: "1.0.0", Endpoint: &micro.EndpointConfig{
			Subject: "svc.echo", Handler: micro.HandlerFunc(func(r micro.Request) { _ = r.Respond(r.Data()) }),
		}})
		must(t, err)
		must(t, s.AddGroup("svc").AddEndpoint("fail", micro.HandlerFunc(func(r micro.Request) { _ = r.Error("400", "no good", nil) })))
		instances[i] = s
	}
	must(t, server.Flush())
	for range 10 {
		m, err := client.Request("svc.echo", []byte("hi"), patience)
		must(t, err)
		if string(m.Data) != "hi" {
			t.Fatalf("got %q", m.Data)
		}
	}
	m, err := client.Request("svc.fail", nil, patience)
	must(t, err)
	if m.Header.Get(micro.ErrorCodeHeader) != "400" || m.Header.Get(micro.ErrorHeader) != "no good" {
		t.Fatalf("got headers %v", m.Header)
	}
	answers(t, client, "$SRV.PING", 2)
	answers(t, client, "$SRV.STATS.echo", 2)
	answers(t, client, "$SRV.INFO.echo."+instances[0].Info().ID, 1)
	for _, s := range instances {
		must(t, s.Stop())
	}
	must(t, server.Flush())
	if _, err := client.Request("svc.echo", nil, patience); !errors.Is(err, nats.ErrNoResponders) {
		t.Fatalf("after its end: %v", err)
	}
}

// answers asks so many instances, each of which has to answer.
func answers(t *testing.T, nc *nats.Conn, subject string, instances int) {
	t.Helper()
	in, err := nc.SubscribeSync(nc.NewRespInbox())
	must(t, err)
	must(t, nc.PublishRequest(subject, in.Subject, nil))
	seen := make(map[string]bool)
	for range instances {
		var a micro.ServiceIdentity
		must(t, json.Unmarshal(next(t, in).Data, &a))
		seen[a.ID] = true
	}
	if len(seen) != instances {
		t.Fatalf("%s: answers of %v", subject, seen)
	}
}
