package amqp

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// keys is a header of routing keys.
func keys(name string, ks ...string) frame.Field {
	f := frame.Field{Name: name, Value: frame.Value{Kind: frame.KindArray}}
	for _, k := range ks {
		f.Value.List = append(f.Value.List, frame.Field{Value: frame.String(k)})
	}
	return f
}

func (c *testClient) publishTo(exchange, key, body string, mandatory bool, hs ...frame.Field) {
	c.t.Helper()
	p := frame.Properties{Flags: frame.HasHeaders, Headers: hs}
	c.write(publishFrames(nil, 1, exchange, key, p, []byte(body), mandatory))
}

// TestSelectedKeys: CC and BCC route, a queue that several keys reach has the message once, BCC is
// not seen, and what is delivered tells the publish's own key.
func TestSelectedKeys(t *testing.T) {
	c := open(t, startServer(t, testOptions{}))
	for _, q := range []string{"a", "b", "d", "e"} {
		c.declare(1, frame.QueueDeclare{Queue: q})
	}
	c.bind("a", "amq.direct", "ka")
	c.bind("b", "amq.direct", "kb")
	c.bind("b", "amq.direct", "ka")
	c.bind("d", "amq.direct", "kd")
	for _, exchange := range []string{"", "amq.direct"} {
		k := ""
		if exchange != "" {
			k = "k"
		}
		c.publishTo(exchange, k+"a", "m", true, keys("CC", k+"b", "nobody"), keys("BCC", k+"d", k+"a"))
		expect[*frame.BasicAck](c, 1)
		for _, q := range []string{"a", "b", "d"} {
			e := c.wantGet(1, q, "m")
			m := e.method.(*frame.BasicGetOk)
			_, bcc := e.props.Headers.Get("BCC")
			if _, cc := e.props.Headers.Get("CC"); m.Exchange != exchange || m.RoutingKey != k+"a" || bcc || !cc {
				t.Errorf("%s has it with %+v %v", q, m, e.props.Headers)
			}
			c.wantDrain(q)
		}
	}
	// The publish's own key need not reach anybody; and nobody at all is a return, with one confirm.
	c.publishTo("amq.direct", "nobody", "m", true, keys("CC", "kd"))
	expect[*frame.BasicAck](c, 1)
	c.wantDrain("d", "m")
	c.publishTo("amq.direct", "nobody", "m", true, keys("CC", "no one"))
	expect[*frame.BasicReturn](c, 1)
	expect[*frame.BasicAck](c, 1)
	// An alternate exchange has what no key finds a queue for.
	c.exchange(frame.ExchangeDeclare{Exchange: "main", Type: "direct", Arguments: frame.Table{{Name: "alternate-exchange", Value: frame.String("rest")}}})
	c.exchange(frame.ExchangeDeclare{Exchange: "rest", Type: "topic"})
	c.bind("a", "main", "ka")
	c.bind("e", "rest", "x.#")
	c.publishTo("main", "x", "one", false, keys("CC", "ka"))
	expect[*frame.BasicAck](c, 1)
	c.publishTo("main", "y", "two", false, keys("CC", "x.1"))
	expect[*frame.BasicAck](c, 1)
	c.wantDrain("a", "one")
	c.wantDrain("e", "two")
	for _, h := range []frame.Field{
		{Name: "CC", Value: frame.String("a")}, {Name: "BCC", Value: frame.Value{Kind: frame.KindArray, List: frame.Table{{Value: frame.Int(1)}}}},
		keys("CC", make([]string, maxSelected+1)...),
	} {
		c.channel(2)
		p := frame.Properties{Flags: frame.HasHeaders, Headers: frame.Table{h}}
		c.write(publishFrames(nil, 2, "", "a", p, []byte("m"), false))
		c.channelClosed(2, 406)
	}
}

// TestSelectedKeysAreOneMessage: one confirm speaks for all records of a message, wherever one of
// them is refused, and a transaction has all of them.
func TestSelectedKeysAreOneMessage(t *testing.T) {
	s := startServer(t, testOptions{mem: shardmem.Options{FailAppend: func(_ shard.ID, b *shard.Batch, _ shard.AppendOptions) error {
		if bytes.Contains(b.Raw(), []byte("poison")) && bytes.Contains(b.Raw(), []byte("the second")) {
			return shard.Errorf(shard.KindInvalid, "no")
		}
		return nil
	}}})
	c := open(t, s)
	for i := range 20 {
		c.declare(1, frame.QueueDeclare{Queue: fmt.Sprint("q", i)})
	}
	var ks []string
	for i := range 20 {
		ks = append(ks, fmt.Sprint("q", i))
	}
	c.publishTo("", "q0", "m", false, keys("CC", ks...))
	if m := expect[*frame.BasicAck](c, 1); m.DeliveryTag != 1 {
		t.Errorf("confirm = %+v", m)
	}
	c.put(1, "", "q0", "next")
	c.wantDrain("q0", "m", "next")
	c.channel(2)
	call[*frame.TxSelectOk](c, 2, &frame.TxSelect{})
	p := frame.Properties{Flags: frame.HasHeaders, Headers: frame.Table{keys("BCC", ks...)}}
	c.write(publishFrames(nil, 2, "", "q0", p, []byte("tx"), false))
	call[*frame.TxCommitOk](c, 2, &frame.TxCommit{})
	c.wantDrain("q0", "tx")
	for _, q := range ks[1:] {
		c.wantDrain(q, "m", "tx")
	}
	// What is stored for q1 and q2 has the publish's own routing key beside it.
	c.publishTo("", "the second", "poison", false, keys("CC", "q1", "q2"))
	if m := expect[*frame.BasicNack](c, 1); m.DeliveryTag != 3 || m.Multiple {
		t.Errorf("confirm = %+v", m)
	}
}
