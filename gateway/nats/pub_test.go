package nats

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

func TestWhatIsStored(t *testing.T) {
	b := newBed(t, bedOptions{config: func(c *Config) { c.InboxPrefixes = []string{"_REPLY_bob"} }})
	all := b.dial(quiet)
	all.send("SUB > 1")
	all.sync()
	c := b.dial(withHeaders)
	deep := "d" + strings.Repeat(".d", shard.MaxSubjectDepth)
	for _, s := range []string{"a.b", "_INBOX.x", "$JS.API.INFO", "_REPLY_bob.1", "w.*", "$KV.b.k", deep} {
		c.send("PUB "+s+" 1", "x")
	}
	c.send("PUB req.unknown reply.to 1", "x", "PUB $SYS.broker.version 1", "x", "PUB a.b reply.to 1", "y",
		"HPUB a.b 45 46", "NATS/1.0", "A: 1", "robustmq-subject: z", "a: 2", "", "z")
	c.sync()
	for _, want := range []string{"a.b 1  [] x", "_INBOX.x 1  [] x", "$JS.API.INFO 1  [] x", "_REPLY_bob.1 1  [] x", "w.* 1  [] x", "$KV.b.k 1  [] x", deep + " 1  [] x",
		"req.unknown 1 reply.to [] x", "a.b 1 reply.to [] y", "a.b 1  [] z"} {
		if m := all.message(); m.String() != want {
			t.Fatalf("got %s, want %s", m, want)
		}
	}
	var names []string
	for _, topic := range b.mem.Broker().Topics.List() {
		names = append(names, topic.Name)
	}
	if fmt.Sprint(names) != "[$KV.b.k a.b]" {
		t.Errorf("topics %v", names)
	}
	var got []string
	for _, r := range b.stored("a.b") {
		s := string(r.Value)
		for _, h := range r.Headers {
			s += " " + h.Name + "=" + string(h.Value)
		}
		if r.Timestamp < time.Now().Add(-time.Minute).UnixMilli() {
			t.Errorf("timestamp %d", r.Timestamp)
		}
		got = append(got, s)
	}
	// The block is kept for NATS clients; what others read of it has no reserved name.
	want := "[x y robustmq-reply-subject=reply.to z A=1 a=2 robustmq-nats-block=NATS/1.0\r\nA: 1\r\nrobustmq-subject: z\r\na: 2\r\n\r\n]"
	if fmt.Sprint(got) != want {
		t.Errorf("stored %v, want %s", got, want)
	}
}

// TestCapturedSubjects: subjects of a topic that captures many keep their names
// and are its keys.
func TestCapturedSubjects(t *testing.T) {
	b := newBed(t, bedOptions{})
	if _, err := b.mem.Broker().Topics.Create(t.Context(), shard.Topic{Name: "orders", Shards: 3, Captures: []string{"orders.>"}}); err != nil {
		t.Fatal(err)
	}
	c := b.dial(quiet)
	c.send("SUB orders.> 1")
	for i := range 30 {
		c.send(fmt.Sprintf("PUB orders.%d 2", i%5), fmt.Sprintf("%02d", i))
	}
	last := make(map[string]string)
	for range 30 {
		m := c.message()
		if m.payload <= last[m.subject] {
			t.Fatalf("%s: %s after %s", m.subject, m.payload, last[m.subject])
		}
		last[m.subject] = m.payload
	}
	rs := b.stored("orders")
	for _, r := range rs {
		if v, _ := r.Header(shard.HeaderSubject); string(v) != string(r.Key) || !strings.HasPrefix(string(v), "orders.") {
			t.Fatalf("key %q, subject %q", r.Key, v)
		}
	}
	if len(rs) != 30 {
		t.Fatalf("%d stored", len(rs))
	}
}

// TestBatchBounds: a topic's bound is for batches, so gathering must not make of
// small messages a batch that is refused; and one message over it is dropped.
func TestBatchBounds(t *testing.T) {
	for name, o := range map[string]shardmem.Options{"topic's own": {}, "cluster's": {MaxMessageBytes: 2000}} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, bedOptions{mem: o})
			topic := shard.Topic{Name: "small"}
			if o.MaxMessageBytes == 0 {
				topic.Config.MaxMessageBytes = 2000
			}
			if _, err := b.mem.Broker().Topics.Create(t.Context(), topic); err != nil {
				t.Fatal(err)
			}
			var in strings.Builder
			for i := range 500 {
				fmt.Fprintf(&in, "PUB small 100\r\n%0100d\r\n", i)
			}
			in.WriteString("PUB small 3000\r\n" + strings.Repeat("x", 3000) + "\r\nPUB small 3\r\nend")
			c := b.dial(quiet)
			c.send(in.String())
			c.sync()
			rs := b.stored("small")
			if len(rs) != 501 || b.stats.Dropped.Load() != 1 || string(rs[500].Value) != "end" {
				t.Fatalf("%d stored, %d dropped", len(rs), b.stats.Dropped.Load())
			}
			for i, r := range rs[:500] {
				if string(r.Value) != fmt.Sprintf("%0100d", i) {
					t.Fatalf("record %d is %s", i, r.Value)
				}
			}
		})
	}
}

func TestLargeMessage(t *testing.T) {
	b := newBed(t, bedOptions{})
	c := b.dial(quiet)
	c.send("SUB large 1")
	big := strings.Repeat("0123456789abcdef", 1<<16)
	c.send("PUB large 5", "small", "PUB large 1048576", big, "PUB large 5", "small")
	for _, want := range []string{"small", big, "small"} {
		if m := c.message(); m.payload != want {
			t.Fatalf("payload of %d bytes, want %d", len(m.payload), len(want))
		}
	}
}

// TestFullLog: while the log is full the client is not read; nothing is lost.
func TestFullLog(t *testing.T) {
	var full atomic.Bool
	full.Store(true)
	b := newBed(t, bedOptions{mem: shardmem.Options{FailAppend: func(shard.ID, *shard.Batch, shard.AppendOptions) error {
		if full.Load() {
			return shard.ErrWALFull
		}
		return nil
	}}})
	c := b.dial(quiet)
	c.send("PUB a 1", "x", "PING")
	if s, err := c.tryLine(150 * time.Millisecond); err == nil {
		t.Fatalf("got %q while the log is full", s)
	}
	full.Store(false)
	c.expect("PONG")
	if n := len(b.stored("a")); n != 1 {
		t.Fatalf("%d stored", n)
	}
	full.Store(true)
	c.send("PUB a 1", "x")
	time.Sleep(50 * time.Millisecond)
	b.listener.Close() // returns though a publish waits
}

// TestRefusedPublish: a plain publish is promised nothing and gets no error,
// which would end the client; a request is answered by a status.
func TestRefusedPublish(t *testing.T) {
	b := newBed(t, bedOptions{mem: shardmem.Options{AutoTopics: 1, FailAppend: func(_ shard.ID, b *shard.Batch, _ shard.AppendOptions) error {
		return errors.New("broken")
	}}})
	c := b.dial(withHeaders)
	c.send("PUB a 1", "x", "HPUB a 7 8", "garbagey")
	c.sync()
	if n := b.stats.Dropped.Load(); n != 2 {
		t.Errorf("%d dropped", n)
	}
	c.send("SUB r 1", "HPUB a r 7 8", "garbagey") // a block that nobody looks into, as in nats-server
	if m := c.message(); !strings.HasPrefix(m.headers, "NATS/1.0 503\r\n") {
		t.Fatalf("got %s", m)
	}
}

// TestStatusIsPrivate: the 503 of a request reaches who asked and nobody else,
// or it would be a way to speak where one may not publish.
func TestStatusIsPrivate(t *testing.T) {
	b := newBed(t, bedOptions{})
	victim, c := b.dial(withHeaders), b.dial(withHeaders)
	victim.send("SUB alarms 1")
	victim.sync()
	c.send("SUB > 1", "PUB nobody.there alarms 1", "x")
	if m := c.message(); m.subject != "nobody.there" {
		t.Fatalf("got %s", m) // its own '>' takes the request
	}
	c.send("UNSUB 1", "SUB alarms 2", "PUB nobody.there alarms 1", "x")
	if m := c.message(); m.subject != "alarms" || m.sid != "2" || !strings.Contains(m.headers, "503") {
		t.Fatalf("got %s", m)
	}
	victim.sync()
}

func TestQueueGroups(t *testing.T) {
	b := newBed(t, bedOptions{})
	var members [3]*client
	for i := range members {
		members[i] = b.dial(quiet)
		members[i].send("SUB q.> workers 1")
		members[i].sync()
	}
	plain := b.dial(quiet)
	plain.send("SUB q.x 1", "SUB q.x other 2")
	plain.sync()
	c := b.dial(quiet)
	const n = 300
	for i := range n {
		c.send("PUB q.x 3", fmt.Sprintf("%03d", i))
		c.sync()
	}
	seen := make(map[string]int)
	for _, m := range members {
		m.send("PING")
		for got := 0; ; got++ {
			if s, err := m.tryLine(patience); err != nil {
				t.Fatal(err)
			} else if s == "PONG" {
				if got < n/10 {
					t.Errorf("a member got %d of %d", got, n)
				}
				break
			}
			seen[m.line()]++
		}
	}
	for i := range n {
		if seen[fmt.Sprintf("%03d", i)] != 1 {
			t.Fatalf("message %d came %d times", i, seen[fmt.Sprintf("%03d", i)])
		}
	}
	for range 2 * n {
		plain.message()
	}
}

// TestQueueGroupsOverFilters: a queue group is its name, whatever the filters of
// its members, as with nats-server.
func TestQueueGroupsOverFilters(t *testing.T) {
	b := newBed(t, bedOptions{})
	c := b.dial(quiet)
	c.send("SUB q.> workers 1", "SUB q.* workers 2", "SUB q.x workers 3")
	const n = 60
	for range n {
		c.send("PUB q.x 1", "m")
	}
	c.send("PING")
	got := 0
	for ; c.line() != "PONG"; got++ {
		c.expect("m")
	}
	if got != n {
		t.Fatalf("%d messages came %d times", n, got)
	}
}

// TestQueueMemberWithMaximum: what a member does not take any more goes to the
// others, and none of it is lost.
func TestQueueMemberWithMaximum(t *testing.T) {
	b := newBed(t, bedOptions{})
	for round := range 20 {
		c := b.dial(quiet)
		queue := fmt.Sprint("workers", round)
		c.send("SUB q.x "+queue+" 1", "UNSUB 1 2", "SUB q.x "+queue+" 2", "PING")
		c.expect("PONG")
		const n = 10
		lines := make([]string, 0, 2*n+1)
		for i := range n {
			lines = append(lines, "PUB q.x 1", fmt.Sprint(i))
		}
		c.send(append(lines, "PING")...)
		got := 0
		for ; c.line() != "PONG"; got++ {
			c.line()
		}
		if got != n {
			t.Fatalf("%d of %d messages came", got, n)
		}
		c.send("UNSUB 2")
	}
}

// TestForeignRecords: records that another protocol stored reach a subscriber.
func TestForeignRecords(t *testing.T) {
	b := newBed(t, bedOptions{})
	c := b.dial(withHeaders)
	c.send("SUB f.x 1")
	c.sync()
	now := time.Now().UnixMilli()
	b.append("f.x", shard.Record{Timestamp: now, Key: []byte("k")},
		shard.Record{Timestamp: now, Value: []byte("gone"), Headers: []shard.Header{{Name: shard.HeaderExpiration, Value: []byte("0")}}},
		shard.Record{Timestamp: now, Value: []byte("v"), Headers: []shard.Header{{Name: "A", Value: []byte("1\n2")}, {Name: "a b", Value: []byte("2")}, {Name: shard.HeaderMQTT, Value: []byte("1")}}})
	if m := c.message(); m.String() != "f.x 1  [] " {
		t.Fatalf("got %s", m)
	}
	if m := c.message(); m.String() != "f.x 1  [NATS/1.0\r\na%20b: 2\r\n\r\n] v" {
		t.Fatalf("got %s", m)
	}
}

func TestMaxSubscriptions(t *testing.T) {
	b := newBed(t, bedOptions{limits: func(l *gateway.Limits) { l.MaxSubscriptions = 2 }})
	c := b.dial(quiet)
	c.send("SUB a 1", "SUB b 2", "SUB c 3")
	c.expect("-ERR 'maximum subscriptions exceeded'")
	c.send("UNSUB 1", "SUB c 3", "PUB c 1", "x")
	if m := c.message(); m.sid != "3" {
		t.Fatalf("got %s", m)
	}
}

func TestInvalidSubscription(t *testing.T) {
	b := newBed(t, bedOptions{})
	c := b.dial(quiet)
	for _, s := range []string{"a..b", ".a", "a.", "a.>.b", ">.a"} {
		c.send("SUB " + s + " 1")
		c.expect("-ERR 'Invalid Subject'")
	}
	c.send("SUB a.*b 1", "PUB a.*b 1", "x")
	c.expect("MSG a.*b 1 1", "x")
	c.send("SUB toofew")
	c.expect("-ERR 'Unknown Protocol Operation'")
	c.closed()
}
