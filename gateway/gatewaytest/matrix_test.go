package gatewaytest

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/admin"
	"github.com/robustmq/robustmq-go/gateway/amqp"
	"github.com/robustmq/robustmq-go/gateway/kafka"
	"github.com/robustmq/robustmq-go/gateway/mqtt"
	"github.com/robustmq/robustmq-go/gateway/nats"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// The rights matrix: every verb of every protocol and of the admin API, held against
// what it may be about, for everybody there is. The outcome is a table in
// docs/SECURITY.md, which the test writes with -update. A verb that no row tries fails
// the test: each protocol's file asks the protocol for its verbs.

var update = flag.Bool("update", false, "write the table of docs/SECURITY.md anew")

const (
	securityPage = "../../docs/SECURITY.md"
	tableBegin   = "<!-- the table is written by TestRightsMatrix -->\n"
	tableEnd     = "<!-- end of the table -->\n"
)

// actor is who tries.
type actor struct {
	column string
	user   string
	ruled  bool // there are rules: bob's
	remote net.Addr
}

var actors = []actor{
	{"superuser", "root", true, nil},
	{"user with rules", "bob", true, nil},
	{"user, rules are others'", "eve", true, nil},
	{"user, no rule at all", "eve", false, nil},
	{"anonymous from loopback, no rule at all", "", false, nil},
	{"anonymous from elsewhere", "", false, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 999}},
}

// bobsRules: what is own is bob's; of mix he may do all but see and publish what is
// denied; the topic "all" is his, what it captures is mix.
func bobsRules() (rules []shard.ACL) {
	add := func(op shard.Operation, resource, filter string, deny bool) {
		rules = append(rules, shard.ACL{Principal: "bob", Resource: resource, Filter: filter, Operation: op, Deny: deny})
	}
	add(shard.OpAll, "subject", "own.>", false)
	add(shard.OpAll, "subject", "mix.>", false)
	add(shard.OpSubscribe, "subject", "mix.*.den", true)
	add(shard.OpPublish, "subject", "mix.*.den", true)
	add(shard.OpAll, "subject", "all.>", false)
	add(shard.OpAll, "group", "own.*", false)
	add(shard.OpAll, "group", "amqp///own.*", false)
	return rules
}

// row is a verb that is tried on something.
type row struct {
	verb, object string
	// early rows come before a log-in.
	early bool
	try   func(c *cell) string
}

// protocolRows are the rows of a protocol, and the verbs that it has.
type protocolRows struct {
	name  string
	rows  []row
	verbs func(t *testing.T) []string
	// free verbs ask for nothing: they are about what the connection has already.
	free []string
}

// cell is one try.
type cell struct {
	t   *testing.T
	h   *house
	who actor
	n   int
}

// Outcomes.
const (
	yes     = "yes"
	no      = "no"
	inPart  = "in part"
	noLogin = "no log-in"
)

func outcome(ok bool) string {
	if ok {
		return yes
	}
	return no
}

// name gives something of a kind that no other row uses: "own.17".
func (c *cell) name(kind string) string { return fmt.Sprintf("%s.%d", kind, c.n) }

// topic makes a topic as an administrator would, capturing filters.
func (c *cell) topic(name string, captures ...string) *shard.Topic {
	c.t.Helper()
	t, err := c.h.broker.Topics.Create(context.Background(), shard.Topic{Name: name, Shards: 1, Captures: captures})
	if err != nil {
		c.t.Fatal(err)
	}
	return t
}

// put appends records of subjects to a topic.
func (c *cell) put(t *shard.Topic, subjects ...string) {
	c.t.Helper()
	b := shard.NewBuilder(0)
	for _, s := range subjects {
		r := shard.Record{Timestamp: 1, Key: []byte(s), Value: []byte(s), Headers: []shard.Header{{Name: shard.HeaderSubject, Value: []byte(s)}}}
		b.Add(&r)
	}
	if _, err := shard.AppendWait(context.Background(), c.h.broker.Log, t.Shard(0), b.Build(), shard.AppendOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

// mixed makes a topic of bob's name that captures what he may see and what he may not,
// with a record of each.
func (c *cell) mixed() *shard.Topic {
	c.t.Helper()
	mix := c.name("mix")
	t := c.topic(c.name("all"), mix+".>")
	c.put(t, mix+".ok", mix+".den")
	return t
}

// wire is a connection of who tries, logged in; nil where that is refused.
func (c *cell) wire(kind string) *wire {
	c.t.Helper()
	w := c.dial(kind)
	if w.login(c.who.user) != "" {
		return nil
	}
	return w
}

// let tells whether the actor is let in. Kafka says so with the first request that a
// log-in comes before.
func (c *cell) let(kind string) bool {
	w := c.wire(kind)
	return w != nil && (kind != "kafka" || w.kafka(kmsg.NewPtrMetadataRequest(), 8) != nil)
}

func (c *cell) dial(kind string) *wire {
	c.t.Helper()
	if c.who.remote == nil {
		return c.h.dial(kind, nil)
	}
	client, server := net.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		nc := gateway.NewConn(remoteConn{server, c.who.remote}, kind)
		c.h.listeners[strings.TrimSuffix(kind, "5")].Server.ServeConn(ctx, nc)
		_ = nc.Close()
	}()
	c.t.Cleanup(func() { cancel(); _ = client.Close(); <-done })
	return greet(c.t, client, kind)
}

type remoteConn struct {
	net.Conn
	remote net.Addr
}

// RemoteAddr implements net.Conn.
func (c remoteConn) RemoteAddr() net.Addr { return c.remote }

// settle opens a house for an actor: users root, bob and eve.
func (a actor) settle(t *testing.T, users []shard.User) *house {
	t.Helper()
	o := shardmem.Options{Users: users}
	if a.ruled {
		o.ACLs = bobsRules()
	}
	h := openWith(t, nil, nil, o)
	env := admin.Env{Broker: h.broker, Auth: h.auth, Engine: idleEngine{}, Version: "test", Log: slog.New(slog.DiscardHandler)}
	for _, p := range []gateway.Protocol{mqtt.Protocol(), kafka.Protocol(), nats.Protocol(), amqp.Protocol()} {
		l := h.listeners[p.Name]
		env.Protocols = append(env.Protocols, admin.Protocol{Name: p.Name, Server: l.Server, Stats: l.Stats, Listeners: []*gateway.Listener{l}})
	}
	var err error
	if h.admin, err = admin.New(env); err != nil {
		t.Fatal(err)
	}
	return h
}

func noOptions() shardmem.Options { return shardmem.Options{} }

// root is a connection of the superuser.
func (h *house) root(t *testing.T, kind string) *wire {
	t.Helper()
	w := h.dial(kind, nil)
	if why := w.login("root"); why != "" {
		t.Fatalf("root: %s", why)
	}
	return w
}

// idleEngine has nothing to do.
type idleEngine struct{ admin.Engine }

// Health implements admin.Engine.
func (idleEngine) Health() (down, degraded error) { return nil, nil }

// Flush implements admin.Engine.
func (idleEngine) Flush(context.Context) error { return nil }

// TrustClock implements admin.Engine.
func (idleEngine) TrustClock(context.Context) error { return nil }

// Segments implements admin.Engine.
func (idleEngine) Segments(shard.ID) []admin.Segment { return nil }

func TestRightsMatrix(t *testing.T) {
	root, bob, eve := account(t, "root"), account(t, "bob"), account(t, "eve")
	root.Superuser = true
	protocols := []protocolRows{kafkaRows(), mqttRows(), natsRows(), amqpRows(), adminRows()}
	var page strings.Builder
	for _, p := range protocols {
		p.check(t)
		cells := make([][]string, len(p.rows))
		for _, a := range actors {
			h := a.settle(t, []shard.User{root, bob, eve})
			probe := &cell{t: t, h: h, who: a}
			out := p.name != "admin" && !probe.let(p.name)
			for i, r := range p.rows {
				got := noLogin
				if !out || r.early {
					got = r.try(&cell{t, h, a, i + 1})
				}
				cells[i] = append(cells[i], got)
			}
		}
		p.write(&page, cells)
	}
	old, err := os.ReadFile(securityPage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(old), tableBegin)
	_, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", securityPage)
	}
	fresh := before + tableBegin + page.String() + tableEnd + after
	switch {
	case fresh == string(old):
	case *update:
		if err := os.WriteFile(securityPage, []byte(fresh), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the table of %s is not what was found; -update writes it anew\n%s", securityPage, firstDifference(string(old), fresh))
	}
}

func firstDifference(a, b string) string {
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(as), len(bs)) {
		if as[i] != bs[i] {
			return "is    " + as[i] + "\nfound " + bs[i]
		}
	}
	return fmt.Sprintf("%d lines and %d", len(as), len(bs))
}

// check fails for a verb without a row.
func (p *protocolRows) check(t *testing.T) {
	t.Helper()
	known := make(map[string]bool)
	for _, r := range p.rows {
		known[r.verb] = true
	}
	for _, v := range p.free {
		if known[v] {
			t.Errorf("%s: %s is said to ask for nothing, and has rows", p.name, v)
		}
		known[v] = true
	}
	has := make(map[string]bool)
	for _, v := range p.verbs(t) {
		if has[v] = true; !known[v] {
			t.Errorf("%s: no row tries %s", p.name, v)
		}
	}
	for v := range known {
		if !has[v] {
			t.Errorf("%s: there is no verb %s", p.name, v)
		}
	}
}

func (p *protocolRows) write(b *strings.Builder, cells [][]string) {
	fmt.Fprintf(b, "\n### %s\n\n| verb | on |", map[string]string{"kafka": "Kafka", "mqtt": "MQTT", "nats": "NATS", "amqp": "AMQP", "admin": "Admin API"}[p.name])
	for _, a := range actors {
		b.WriteString(" " + a.column + " |")
	}
	b.WriteString("\n| --- | --- |" + strings.Repeat(" --- |", len(actors)) + "\n")
	for i, r := range p.rows {
		fmt.Fprintf(b, "| %s | %s | %s |\n", r.verb, r.object, strings.Join(cells[i], " | "))
	}
	if len(p.free) > 0 {
		fmt.Fprintf(b, "\nThese ask for nothing, being about what the connection has already: %s.\n", strings.Join(p.free, ", "))
	}
}
