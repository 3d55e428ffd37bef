package nats

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/robustmq/robustmq-go/shard"
)

// FuzzHeaders: a block that is accepted is written back to one that means the
// same, and never panics.
func FuzzHeaders(f *testing.F) {
	for _, s := range []string{
		"NATS/1.0\r\n\r\n", "NATS/1.0 503\r\n\r\n", "NATS/1.0 100 Idle Heartbeat\r\nA: b\r\nA:c\r\nB:  d \r\n\r\n",
		"NATS/1.0\r\nrobustmq-x: y\r\n\r\n", "NATS/1.0\r\n: y\r\n\r\n", "NATS/1.0\r\nA b: \x00\xff\r\n\r\n", "NATS/1.0\r\nA: b\n\r\n\r\n", "",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		hs, plain, ok := parseHeaders(nil, b)
		if !ok {
			return
		}
		made := appendHeaders(nil, hs, sortHeaders(hs).status)
		if plain && string(made) != string(b) {
			t.Fatalf("%q is said to be plain, and becomes %q", b, made)
		}
		again, _, ok := parseHeaders(nil, made)
		var want []shard.Header
		for _, h := range hs {
			if h.Name == headerStatus {
				want = append(want, h)
			} else if shown(&h) {
				want = append(want, shard.Header{Name: string(appendName(nil, h.Name)), Value: h.Value})
			}
		}
		if !ok || fmt.Sprintf("%q", again) != fmt.Sprintf("%q", want) {
			t.Fatalf("%q: %q, want %q", b, again, want)
		}
	})
}

// FuzzMessage: whatever a record of another protocol holds, a client reads
// exactly one message of it, with all of its value.
func FuzzMessage(f *testing.F) {
	f.Add("a.b", "A", []byte("b"), []byte("reply"), []byte("503"), []byte("value"), true)
	f.Add("a b\r\n", "x\r\ny: z", []byte("1\r\nMSG a 1 0\r\n"), []byte("r 1\r\n"), []byte("\r\n"), []byte("\r\nPING\r\n"), true)
	f.Add("\x00", "", []byte(nil), []byte(nil), []byte(nil), []byte(nil), false)
	f.Fuzz(func(t *testing.T, subject, name string, value, reply, code, payload []byte, headers bool) {
		if subject == "" {
			return // no message has none
		}
		m := shard.Message{Subject: subject, Record: &shard.Record{Value: payload, Headers: []shard.Header{
			{Name: name, Value: value}, {Name: shard.HeaderReplySubject, Value: reply},
			{Name: headerStatus, Value: code}, {Name: "Last", Value: []byte("1")},
		}}}
		r := runState{fresh: true}
		out, size := r.appendMessage(nil, &m, "7", headers)
		if size < len(payload) {
			t.Fatalf("counts %d bytes", size)
		}
		out, _ = r.appendMessage(out, &m, "7", headers)
		ms, err := readMessages(out)
		if err != nil || len(ms) != 2 || ms[0] != ms[1] || ms[0].payload != string(payload) || ms[0].sid != "7" {
			t.Fatalf("%q: %v, %v", out, ms, err)
		}
		if headers {
			hs, _, ok := parseHeaders(nil, []byte(ms[0].headers))
			if !ok || len(hs) == 0 || hs[len(hs)-1].Name != "Last" {
				t.Fatalf("headers %q: %v", ms[0].headers, hs)
			}
		}
	})
}

// TestForeignMessage: what messages of other protocols look like.
func TestForeignMessage(t *testing.T) {
	h := func(kv ...string) (hs []shard.Header) {
		for i := 0; i < len(kv); i += 2 {
			hs = append(hs, shard.Header{Name: kv[i], Value: []byte(kv[i+1])})
		}
		return hs
	}
	const v = "NATS/1.0\r\n"
	for _, c := range []struct {
		what    string
		subject string
		record  shard.Record
		headers bool
		want    string
	}{
		{"no headers", "a", shard.Record{Value: []byte("x")}, true, "MSG a 1 1\r\nx\r\n"},
		{"null value", "a", shard.Record{}, true, "MSG a 1 0\r\n\r\n"},
		{"binary value", "a", shard.Record{Value: []byte("\r\n\x00\xff")}, true, "MSG a 1 4\r\n\r\n\x00\xff\r\n"},
		{"common headers", "a", shard.Record{Headers: h(shard.HeaderContentType, "text/plain", shard.HeaderCorrelationID, "7",
			shard.HeaderReplyTo, "q", shard.HeaderExpiration, "60000")}, true,
			"HMSG a 1 89 89\r\n" + v + "content-type: text/plain\r\ncorrelation-id: 7\r\nreply-to: q\r\nexpiration: 60000\r\n\r\n\r\n"},
		{"repeated in order", "a", shard.Record{Headers: h("B", "2", "A", "1", "B", "3")}, true,
			"HMSG a 1 30 30\r\n" + v + "B: 2\r\nA: 1\r\nB: 3\r\n\r\n\r\n"},
		{"reserved hidden", "a", shard.Record{Headers: h(shard.HeaderSubject, "a", shard.HeaderMQTT, "1r", shard.HeaderOrigin, "x")}, true,
			"MSG a 1 0\r\n\r\n"},
		{"headers off", "a", shard.Record{Headers: h("A", "1")}, false, "MSG a 1 0\r\n\r\n"},
		{"value with line ends", "a", shard.Record{Headers: h("A", "1\r\nB: 2")}, true, "MSG a 1 0\r\n\r\n"},
		{"another beside it", "a", shard.Record{Headers: h("A", "1\n", "B", "2")}, true, "HMSG a 1 18 18\r\n" + v + "B: 2\r\n\r\n\r\n"},
		{"binary header", "a", shard.Record{Headers: h("A", "\x00\xfe\xff")}, true, "HMSG a 1 20 20\r\n" + v + "A: \x00\xfe\xff\r\n\r\n\r\n"},
		{"null header", "a", shard.Record{Headers: []shard.Header{{Name: "A"}}}, true, "HMSG a 1 17 17\r\n" + v + "A: \r\n\r\n\r\n"},
		{"name with blank, colon, umlaut", "a", shard.Record{Headers: h("a b:ü", "1")}, true,
			"HMSG a 1 31 31\r\n" + v + "a%20b%3A%C3%BC: 1\r\n\r\n\r\n"},
		{"header without name", "a", shard.Record{Headers: h("", "1")}, true, "MSG a 1 0\r\n\r\n"},
		{"subject with blanks", "a b\tc\r\n", shard.Record{}, true, "MSG a%20b%09c%0D%0A 1 0\r\n\r\n"},
		{"empty tokens", "a..b", shard.Record{}, true, "MSG a..b 1 0\r\n\r\n"},
		{"reply", "a", shard.Record{Headers: h(shard.HeaderReplySubject, "_INBOX.1")}, true, "MSG a 1 _INBOX.1 0\r\n\r\n"},
		{"reply that cannot be spelled", "a", shard.Record{Headers: h(shard.HeaderReplySubject, "x 9\r\n")}, true, "MSG a 1 0\r\n\r\n"},
		{"response topic", "a", shard.Record{Headers: h(shard.HeaderReplyTo, "rpc.1", shard.HeaderMQTT, "1")}, true,
			"HMSG a 1 rpc.1 29 29\r\n" + v + "reply-to: rpc.1\r\n\r\n\r\n"},
		{"response topic of earlier versions", "a", shard.Record{Headers: h(shard.HeaderReplyTo, "rpc/1", shard.HeaderMQTT, "1")}, true,
			"HMSG a 1 29 29\r\n" + v + "reply-to: rpc/1\r\n\r\n\r\n"},
		{"user property", "a", shard.Record{Headers: h(shard.HeaderMQTT, "1", shard.HeaderReplyTo, "rpc.1")}, true,
			"HMSG a 1 29 29\r\n" + v + "reply-to: rpc.1\r\n\r\n\r\n"},
		{"status", "a", shard.Record{Headers: h(headerStatus, "503")}, true, "HMSG a 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"},
	} {
		m := shard.Message{Subject: c.subject, Record: &c.record}
		out, _ := (&runState{fresh: true}).appendMessage(nil, &m, "1", c.headers)
		got := string(out)
		if got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.what, got, c.want)
		}
		if ms, err := readMessages([]byte(got)); err != nil || len(ms) != 1 {
			t.Errorf("%s: a client reads %v, %v", c.what, ms, err)
		}
	}
}

func TestParseHeaders(t *testing.T) {
	for in, want := range map[string]string{
		"NATS/1.0\r\n\r\n":                           "[]",
		"NATS/1.0\r\nA: b\r\na:c\r\nA: \r\n\r\n":     "[A=b a=c A=]",
		"NATS/1.0\r\nA:   b c \r\n\r\n":              "[A=b c ]",
		"NATS/1.0 503\r\n\r\n":                       "[robustmq-nats-status=503]",
		"NATS/1.0 503 No Responders\r\nA: b\r\n\r\n": "[robustmq-nats-status=503 No Responders A=b]",
		"NATS/1.0\r\nrobustmq-subject: x\r\n\r\n":    "[]",
		"NATS/1.0\r\nA: b\r\n":                       "refused",
		"NATS/1.0\r\nA\r\n\r\n":                      "refused",
		"NATS/1.0\r\n A: b\r\n\r\n":                  "refused",
		"NATS/1.0\r\n: b\r\n\r\n":                    "refused",
		"NATS/1.0\r\n\r\nmore":                       "refused",
		"NATS/1.0 5\n3\r\n\r\n":                      "refused",
		"HTTP/1.0\r\n\r\n":                           "refused",
		"":                                           "refused",
	} {
		got := "refused"
		if hs, _, ok := parseHeaders(nil, []byte(in)); ok {
			var all []string
			for _, h := range hs {
				all = append(all, h.Name+"="+string(h.Value))
			}
			got = fmt.Sprint(all)
		}
		if got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

// TestNoAllocation: neither parsing nor delivering takes memory per message.
func TestNoAllocation(t *testing.T) {
	headers := []shard.Header{{Name: "A", Value: []byte("b")}, {Name: shard.HeaderReplySubject, Value: []byte("r")}}
	m := shard.Message{Subject: "a.b", Record: &shard.Record{Value: make([]byte, 100), Headers: headers}}
	r := runState{fresh: true}
	buf := make([]byte, 0, 1<<10)
	if n := testing.AllocsPerRun(100, func() { buf, _ = r.appendMessage(buf[:0], &m, "1", true) }); n > 0 {
		t.Errorf("%v allocations per delivered message", n)
	}
	in := []byte("HPUB a.b r 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n")
	p := parser{maxPayload: 100, maxLine: 100, buf: in}
	hs := make([]shard.Header, 0, 4)
	if n := testing.AllocsPerRun(100, func() {
		p.r, p.w = 0, len(in)
		cmd, need, err := p.next()
		if err != nil || need > 0 {
			t.Fatal(need, err)
		}
		if _, _, ok := parseHeaders(hs, cmd.headers); !ok {
			t.Fatal("headers refused")
		}
	}); n > 0 {
		t.Errorf("%v allocations per parsed message", n)
	}
}

func TestCloneHeaders(t *testing.T) {
	b := []byte("NATS/1.0\r\nName: value\r\n\r\n")
	hs, _, _ := parseHeaders(nil, b)
	c := cloneHeaders(hs)
	copy(b, bytes.Repeat([]byte("x"), len(b)))
	if c[0].Name != "Name" || string(c[0].Value) != "value" || slices.Equal(c[0].Value, hs[0].Value) || strings.HasPrefix(hs[0].Name, "N") {
		t.Fatalf("clone %v of %v", c, hs)
	}
}
