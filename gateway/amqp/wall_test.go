package amqp

import (
	"testing"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
)

// A vhost is a wall, both ways: for the subjects of another one, "/" is refused where
// it names them, and passed over where a pattern would hold them.
func TestVHostIsAWall(t *testing.T) {
	s := startServer(t, testOptions{config: func(c *Config) { c.VHosts = []string{"t1"} }})
	root, tenant := open(t, s), dialAs(t, s, "t1", "PLAIN", "\x00admin\x00robustmq")
	tenant.channel(1)
	tenant.confirms(1)
	tenant.declare(1, frame.QueueDeclare{Queue: "secret", Durable: true})
	tenant.exchange(frame.ExchangeDeclare{Exchange: "x", Type: "fanout", Durable: true})
	tenant.bind("secret", "x", "")
	root.declare(1, frame.QueueDeclare{Queue: "all", Durable: true, Arguments: deadArgs("", "dead", frame.Field{Name: "x-max-length", Value: frame.Int(1)})})
	root.declare(1, frame.QueueDeclare{Queue: "dead"})
	root.bind("all", "amq.topic", "#")
	root.bind("all", "amq.topic", "*.secret")
	for range 2 {
		tenant.put(1, "", "secret", "theirs")
		tenant.put(1, "x", "k", "theirs")
		tenant.put(1, "amq.topic", "a.b", "theirs")
	}
	root.wantGet(1, "all", "")
	root.wantGet(1, "dead", "")
	root.put(1, "amq.topic", "t10.secret", "ours")
	root.wantGet(1, "all", "ours")

	cc := frame.Properties{Flags: frame.HasHeaders, Headers: frame.Table{keys("CC", "t1.secret")}}
	for name, do := range map[string]func(){
		"publish to the queue":   func() { root.publish(2, "", "t1.secret", "x") },
		"publish by key":         func() { root.publish(2, "amq.topic", "t1.secret", "x") },
		"bind":                   func() { root.send(2, &frame.QueueBind{Queue: "dead", Exchange: "amq.topic", RoutingKey: "t1.#"}) },
		"declare a queue":        func() { root.send(2, &frame.QueueDeclare{Queue: "t1.secret"}) },
		"consume":                func() { root.send(2, &frame.BasicConsume{Queue: "t1.secret"}) },
		"get":                    func() { root.send(2, &frame.BasicGet{Queue: "t1.secret"}) },
		"declare its exchange":   func() { root.send(2, &frame.ExchangeDeclare{Exchange: "t1", Type: "fanout"}) },
		"declare its exchange x": func() { root.send(2, &frame.ExchangeDeclare{Exchange: "t1.x", Type: "fanout"}) },
		"dead-letter there":      func() { root.send(2, &frame.QueueDeclare{Queue: "mine", Arguments: deadArgs("", "t1.secret")}) },
	} {
		root.channel(2)
		do()
		if m := expect[*frame.ChannelClose](root, 2); m.ReplyCode != 403 {
			t.Errorf("%s: %+v", name, m)
		}
		root.send(2, &frame.ChannelCloseOk{})
	}
	root.write(publishFrames(nil, 1, "amq.topic", "a", cc, []byte("copied"), false))
	expect[*frame.BasicAck](root, 1)
	root.wantGet(1, "all", "copied")
	for range 4 {
		tenant.wantGet(1, "secret", "theirs")
	}
	tenant.wantGet(1, "secret", "")
	// Over a restart, and for what is read back.
	s.stop()
	mem := s.mem.Reopen()
	t.Cleanup(mem.Close)
	s = serveOn(t, testOptions{config: func(c *Config) { c.VHosts = []string{"t1"} }}, mem, mem.Broker())
	root = open(t, s)
	root.wantGet(1, "all", "")
}

// With amqp.root_sees_vhosts "/" is the whole subject space.
func TestRootSeesVHosts(t *testing.T) {
	s := startServer(t, testOptions{config: func(c *Config) { c.VHosts, c.RootSeesVHosts = []string{"t1"}, true }})
	root, tenant := open(t, s), dialAs(t, s, "t1", "PLAIN", "\x00admin\x00robustmq")
	tenant.channel(1)
	tenant.confirms(1)
	tenant.declare(1, frame.QueueDeclare{Queue: "q"})
	root.declare(1, frame.QueueDeclare{Queue: "all"})
	root.bind("all", "amq.topic", "t1.#")
	root.put(1, "amq.topic", "t1.q", "x")
	tenant.wantGet(1, "q", "x")
	root.wantGet(1, "all", "x")
}

// Of two vhosts none may hold the subjects or the queues of the other.
func TestVHostsAreApart(t *testing.T) {
	for _, bad := range [][]string{{"a", "a.b"}, {"a.b", "a"}, {"a", "a/b"}, {"//x"}} {
		if c := (&Config{VHosts: bad}); c.checkApart() == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if err := (&Config{VHosts: []string{"a", "ab", "/x", "b/a", "/"}}).checkApart(); err != nil {
		t.Error(err)
	}
}
