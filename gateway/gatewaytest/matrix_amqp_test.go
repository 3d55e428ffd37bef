package gatewaytest

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
)

// amqpVerbs are the methods that clients send.
func amqpVerbs(*testing.T) (names []string) {
	for class := range frame.MethodID(100) {
		for index := range frame.MethodID(200) {
			if id := class<<16 | index; id.FromClient() {
				names = append(names, id.String())
			}
		}
	}
	return names
}

// amqpClient is a connection with a channel.
type amqpClient struct {
	w    *wire
	body string // of the last content
}

func (w *wire) amqp() *amqpClient {
	c := &amqpClient{w: w}
	c.do(&frame.ChannelOpen{})
	return c
}

func (c *amqpClient) send(ms ...frame.Method) {
	var b []byte
	for _, m := range ms {
		b = frame.AppendMethod(b, 1, m)
	}
	_, _ = c.w.Write(b)
}

// next gives the next method; nil when the connection ends. A message's content is read
// with its method.
func (c *amqpClient) next() frame.Method {
	var got frame.Method
	for {
		head := make([]byte, frame.HeaderBytes)
		if _, err := io.ReadFull(c.w.r, head); err != nil {
			return nil
		}
		payload := make([]byte, binary.BigEndian.Uint32(head[3:])+1)
		if _, err := io.ReadFull(c.w.r, payload); err != nil {
			return nil
		}
		payload = payload[:len(payload)-1]
		switch frame.Type(head[0]) {
		case frame.TypeMethod:
			m, id, err := frame.Decode(payload)
			if err != nil {
				return nil
			}
			if got = m; !id.HasContent() {
				return m
			}
		case frame.TypeBody:
			c.body = string(payload)
			return got
		}
	}
}

// do sends a method and gives the answer.
func (c *amqpClient) do(m frame.Method) frame.Method {
	c.send(m)
	got := c.next()
	if _, closed := got.(*frame.ChannelClose); closed { // the next one gets a channel, too
		c.send(&frame.ChannelCloseOk{}, &frame.ChannelOpen{})
		c.next()
	}
	return got
}

// try is do, and the outcome of the answer.
func (c *amqpClient) try(m frame.Method) string { return answered(c.do(m)) }

func answered(m frame.Method) string {
	code := uint16(0)
	switch m := m.(type) {
	case *frame.ChannelClose:
		code = m.ReplyCode
	case *frame.ConnectionClose:
		code = m.ReplyCode
	case nil:
		return "closed"
	}
	switch code {
	case 0:
		return yes
	case 403:
		return no
	}
	return fmt.Sprintf("error %d", code)
}

// put publishes to an exchange, confirmed.
func (c *amqpClient) put(exchange, key string) string {
	c.do(&frame.ConfirmSelect{})
	b := frame.AppendMethod(nil, 1, &frame.BasicPublish{Exchange: exchange, RoutingKey: key})
	_, _ = c.w.Write(frame.AppendContent(b, 1, &frame.Properties{}, []byte(key), 4096))
	return answered(c.next())
}

func (c *cell) amqp() *amqpClient     { return c.wire("amqp").amqp() }
func (c *cell) amqpRoot() *amqpClient { return c.h.root(c.t, "amqp").amqp() }

func amqpRows() protocolRows {
	p := protocolRows{name: "amqp", verbs: amqpVerbs, free: []string{"connection.secure-ok", "connection.update-secret", "connection.tune-ok", "connection.close", "connection.close-ok",
		"channel.open", "channel.flow", "channel.flow-ok", "channel.close", "channel.close-ok",
		"basic.qos", "basic.cancel", "basic.cancel-ok", "basic.ack", "basic.reject", "basic.recover-async", "basic.recover", "basic.nack",
		"tx.select", "tx.rollback", "confirm.select"}}
	logIn := func(c *cell) string { return outcome(c.wire("amqp") != nil) }
	p.rows = []row{
		{verb: "connection.start-ok", object: "own credentials, or none", early: true, try: logIn},
		{verb: "connection.open", object: "vhost /", early: true, try: logIn},
	}
	p.rows = append(p.rows, amqpExchangeRows()...)
	p.rows = append(p.rows, amqpQueueRows()...)
	p.rows = append(p.rows, amqpBindRows()...)
	p.rows = append(p.rows, amqpPublishRows()...)
	p.rows = append(p.rows, amqpReadRows()...)
	return p
}

func declareExchange(name, alternate string) *frame.ExchangeDeclare {
	m := &frame.ExchangeDeclare{Exchange: name, Type: "topic"}
	if alternate != "" {
		m.Arguments = frame.Table{{Name: "alternate-exchange", Value: frame.String(alternate)}}
	}
	return m
}

func amqpExchangeRows() []row {
	return []row{
		{verb: "exchange.declare", object: "own exchange", try: func(c *cell) string { return c.amqp().try(declareExchange(c.name("own"), "")) }},
		{verb: "exchange.declare", object: "denied exchange", try: func(c *cell) string { return c.amqp().try(declareExchange(c.name("den"), "")) }},
		{verb: "exchange.declare", object: "denied alternate exchange", try: func(c *cell) string {
			c.amqpRoot().do(declareExchange(c.name("den"), ""))
			return c.amqp().try(declareExchange(c.name("own"), c.name("den")))
		}},
		{verb: "exchange.delete", object: "own exchange", try: func(c *cell) string {
			x := c.amqp()
			if got := x.try(declareExchange(c.name("own"), "")); got != yes {
				return got
			}
			return x.try(&frame.ExchangeDelete{Exchange: c.name("own")})
		}},
		{verb: "exchange.delete", object: "another's exchange", try: func(c *cell) string {
			c.amqpRoot().do(declareExchange(c.name("den"), ""))
			return c.amqp().try(&frame.ExchangeDelete{Exchange: c.name("den")})
		}},
	}
}

func amqpQueueRows() []row {
	on := func(owner, kind string, m func(name string) frame.Method) func(c *cell) string {
		return func(c *cell) string {
			x := c.amqp()
			if owner == "root" {
				c.amqpRoot().do(&frame.QueueDeclare{Queue: c.name(kind)})
			} else if got := x.try(&frame.QueueDeclare{Queue: c.name(kind)}); got != yes {
				return got // who may have none
			}
			return x.try(m(c.name(kind)))
		}
	}
	rows := []row{
		{verb: "queue.declare", object: "own queue", try: func(c *cell) string { return c.amqp().try(&frame.QueueDeclare{Queue: c.name("own")}) }},
		{verb: "queue.declare", object: "denied queue", try: func(c *cell) string { return c.amqp().try(&frame.QueueDeclare{Queue: c.name("den")}) }},
		{verb: "queue.declare", object: "dead letters to a denied subject", try: func(c *cell) string {
			return c.amqp().try(&frame.QueueDeclare{Queue: c.name("own"), Arguments: frame.Table{
				{Name: "x-dead-letter-exchange", Value: frame.String("")}, {Name: "x-dead-letter-routing-key", Value: frame.String(c.name("den"))}}})
		}},
	}
	purge := func(name string) frame.Method { return &frame.QueuePurge{Queue: name} }
	remove := func(name string) frame.Method { return &frame.QueueDelete{Queue: name} }
	return append(rows,
		row{verb: "queue.purge", object: "own queue", try: on("", "own", purge)},
		row{verb: "queue.purge", object: "another's queue", try: on("root", "den", purge)},
		row{verb: "queue.delete", object: "own queue", try: on("", "own", remove)},
		row{verb: "queue.delete", object: "another's queue", try: on("root", "den", remove)})
}

// amqpBindRows try bind and unbind of each kind of destination to each kind of source.
func amqpBindRows() (rows []row) {
	type ends struct{ object, dest, source, key string }
	pairs := []ends{
		{"own %s to own exchange", "own", "own.x", "#"},
		{"own %s to denied exchange", "own", "den.x", "#"},
		{"another's %s to own exchange", "den", "own.x", "#"},
		{"own %s to subjects of which one is denied", "own", "amq.topic", "mix.%d.#"},
	}
	for _, verb := range []string{"queue.bind", "queue.unbind", "exchange.bind", "exchange.unbind"} {
		for _, e := range pairs {
			queue, un := strings.HasPrefix(verb, "queue"), strings.HasSuffix(verb, "unbind")
			rows = append(rows, row{verb: verb, object: fmt.Sprintf(e.object, map[bool]string{true: "queue", false: "exchange"}[queue]), try: func(c *cell) string {
				root, x := c.amqpRoot(), c.amqp()
				dest, source, key := c.name(e.dest), e.source, e.key
				if source != "amq.topic" {
					source = c.name(source)
					root.do(declareExchange(source, ""))
				} else {
					key = fmt.Sprintf(key, c.n)
				}
				owner := root
				if e.dest == "own" {
					owner = x
				}
				declare := frame.Method(&frame.QueueDeclare{Queue: dest})
				if !queue {
					declare = declareExchange(dest, "")
				}
				if got := owner.try(declare); got != yes {
					return got // who may have none
				}
				bind, unbind := frame.Method(&frame.QueueBind{Queue: dest, Exchange: source, RoutingKey: key}), frame.Method(&frame.QueueUnbind{Queue: dest, Exchange: source, RoutingKey: key})
				if !queue {
					bind, unbind = &frame.ExchangeBind{Destination: dest, Source: source, RoutingKey: key}, &frame.ExchangeUnbind{Destination: dest, Source: source, RoutingKey: key}
				}
				if !un {
					return x.try(bind)
				}
				root.do(bind)
				return x.try(unbind)
			}})
		}
	}
	return rows
}

func amqpPublishRows() (rows []row) {
	for _, o := range []struct {
		object  string
		subject func(c *cell) string
	}{
		{"own subject", func(c *cell) string { return c.name("own") }},
		{"captured subject", func(c *cell) string { return captured(c) + ".ok" }},
		{"denied subject", func(c *cell) string { return c.name("den") }},
		{"denied subject that own topic captures", func(c *cell) string { return captured(c) + ".den" }},
	} {
		rows = append(rows, row{verb: "basic.publish", object: o.object, try: func(c *cell) string { return c.amqp().put("", o.subject(c)) }})
	}
	rows = append(rows, row{verb: "basic.publish", object: "denied subject that is relayed", try: func(c *cell) string { return c.amqp().put("", c.name("_INBOX")) }})
	return append(rows, row{verb: "tx.commit", object: "what was published to a denied subject", try: func(c *cell) string {
		x := c.amqp()
		x.do(&frame.TxSelect{})
		b := frame.AppendMethod(nil, 1, &frame.BasicPublish{RoutingKey: c.name("den")})
		b = frame.AppendContent(b, 1, &frame.Properties{}, []byte("x"), 4096)
		_, _ = x.w.Write(frame.AppendMethod(b, 1, &frame.TxCommit{}))
		return answered(x.next())
	}})
}

// amqpReadRows read queues: of one's own, another's, and such as are bound to a subject
// that is denied.
func amqpReadRows() (rows []row) {
	for _, verb := range []string{"basic.consume", "basic.get"} {
		for _, o := range []struct {
			object, owner, kind string
			bound               bool
		}{
			{"own queue", "", "own", false},
			{"another's queue", "root", "den", false},
			{"own queue, bound to subjects of which one is denied", "", "own", true},
			{"another's queue, bound to subjects of which one is denied", "root", "own", true},
		} {
			rows = append(rows, row{verb: verb, object: o.object, try: func(c *cell) string {
				root, x, name := c.amqpRoot(), c.amqp(), c.name(o.kind)
				owner := map[bool]*amqpClient{true: root, false: x}[o.owner == "root"]
				owner.do(&frame.QueueDeclare{Queue: name})
				if !o.bound {
					root.put("", name)
					return x.take(verb, name, 1)
				}
				root.do(&frame.QueueBind{Queue: name, Exchange: "amq.topic", RoutingKey: fmt.Sprintf("mix.%d.#", c.n)})
				root.put("amq.topic", c.name("mix")+".den")
				root.put("amq.topic", c.name("mix")+".ok")
				return x.take(verb, name, 2)
			}})
		}
	}
	return rows
}

// take reads a queue of n messages to the last of them, and tells whether all came.
func (c *amqpClient) take(verb, queue string, n int) string {
	if verb == "basic.get" {
		return c.getAll(queue, n)
	}
	if got := c.try(&frame.BasicConsume{Queue: queue, NoAck: true}); got != yes {
		return got
	}
	for i := range n {
		if c.next() == nil {
			return "closed"
		}
		if strings.HasSuffix(c.body, ".ok") && i < n-1 {
			return inPart
		}
	}
	return yes
}

func (c *amqpClient) getAll(queue string, n int) string {
	for i := range n {
		m := c.do(&frame.BasicGet{Queue: queue, NoAck: true})
		if got := answered(m); got != yes {
			return got
		}
		if _, ok := m.(*frame.BasicGetEmpty); ok {
			return fmt.Sprintf("%d messages", i)
		}
		if strings.HasSuffix(c.body, ".ok") && i < n-1 {
			return inPart
		}
	}
	return yes
}
