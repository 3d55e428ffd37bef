package nats

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// chunks reads a few bytes at a time.
type chunks struct {
	b    []byte
	size func(i int) int
	i    int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.b) == 0 {
		return 0, io.EOF
	}
	n := min(max(c.size(c.i), 1), len(c.b), len(p))
	c.i++
	copy(p, c.b[:n])
	c.b = c.b[n:]
	return n, nil
}

const testMaxPayload = 1000

// parseAll gives the commands of a stream and the error that ended it. As the
// connection does, it unlocks where login is asked for.
func parseAll(src io.Reader) (cmds []string, err error) {
	p := parser{maxPayload: testMaxPayload, maxLine: defaultControlLine, locked: true}
	need := 1
	for {
		if err := p.fill(src, need); err != nil {
			return cmds, err
		}
		for {
			var cmd *command
			cmd, need, err = p.next()
			if err != nil {
				return cmds, err
			}
			if need > 0 {
				break
			}
			if cmd.verb == verbLogin || cmd.verb == verbConnect {
				p.locked = false
			}
			cmds = append(cmds, fmt.Sprintf("%d %q %q %q %q %q", cmd.verb, cmd.args, cmd.subject, cmd.reply, cmd.headers, cmd.payload))
		}
		if len(p.buf) > maxBuffer {
			return cmds, fmt.Errorf("buffer of %d bytes for payloads of at most %d", len(p.buf), testMaxPayload)
		}
	}
}

var parserSeeds = []string{
	"CONNECT {\"verbose\":true}\r\nPING\r\nPONG\r\n+OK\r\n-ERR 'x'\r\nINFO {}\r\n",
	"PUB a 5\r\nhello\r\nPUB a.b reply 0\r\n\r\nSUB a 1\r\nSUB a.* q 2\r\nUNSUB 1\r\nUNSUB 2 5\r\n",
	"HPUB a 12 17\r\nNATS/1.0\r\n\r\nhello\r\nHPUB a r 22 22\r\nNATS/1.0\r\nA: b\r\n\r\n1234\r\n",
	"pub\ta\t 2\r\nhi\r\nsUb  a   1 \r\nunsub 1\npInG\n",
	"PUB a 5\r\nhello!\r\n", "PUB a 6\r\nhello\r\n\r\n", "PUB a -1\r\n", "PUB a 1001\r\n", "PUB a 99999999999999999999\r\n",
	"PUB a\r\n", "PUB a b c 1\r\n", "HPUB a 5 4\r\nabcd\r\n", "XYZ\r\n", "\r\n", "\x16\x03\x01", "PUB " + strings.Repeat("x", 5000) + " 0\r\n\r\n",
	"CONNECT " + strings.Repeat("x", 9000) + "\r\n", "CONNECT " + strings.Repeat("x", 20000), strings.Repeat("y", 6000),
}

// FuzzParser: never panics, and gives the same however the stream is cut.
func FuzzParser(f *testing.F) {
	for i, s := range parserSeeds {
		f.Add([]byte(s), uint8(i))
	}
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		whole, err := parseAll(bytes.NewReader(b))
		for _, size := range []func(int) int{
			func(int) int { return 1 },
			func(i int) int { return int(cut)%7 + i%3 },
			func(i int) int { return int(cut) * 37 },
		} {
			got, err2 := parseAll(&chunks{b: b, size: size})
			if strings.Join(got, "\n") != strings.Join(whole, "\n") || !errors.Is(err2, err) {
				t.Fatalf("in one: %v %q\nin parts: %v %q", err, whole, err2, got)
			}
		}
	})
}

func TestParser(t *testing.T) {
	for _, c := range []struct {
		in, want string
		err      error
	}{
		{"PUB a 5\r\nhello\r\n", `10 "" "" "" "" ""|1 "" "a" "" "" "hello"`, io.EOF},
		{"CONNECT {}\r\nHPUB a.b r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", `4 "{}" "" "" "" ""|1 "" "a.b" "r" "NATS/1.0\r\n\r\n" "hi"`, io.EOF},
		{"connect\t{}\r\nsub a q 1\nUNSUB  1  2\r\n", `4 "{}" "" "" "" ""|2 "a q 1" "" "" "" ""|3 "1  2" "" "" "" ""`, io.EOF},
		{"PING\r\nPUB a 5\r\nhello!\r\n", `10 "" "" "" "" ""|5 "" "" "" "" ""`, errParser},
		{"PING\r\nPUB a 1001\r\n", `10 "" "" "" "" ""|5 "" "" "" "" ""`, errPayload},
		{"CONNECT {}\r\nGET / HTTP/1.1\r\n", `4 "{}" "" "" "" ""`, errParser},
		{strings.Repeat("y", 6000), "", errControlLine},
		{"CONNECT " + strings.Repeat("x", 20000), "", errControlLine},
		{"CONNECT {}\r\nPUB a 1000\r\nshort", `4 "{}" "" "" "" ""`, io.EOF},
	} {
		got, err := parseAll(strings.NewReader(c.in))
		if s := strings.Join(got, "|"); s != c.want || !errors.Is(err, c.err) {
			t.Errorf("%.60q: got %s, %v\nwant %s, %v", c.in, s, err, c.want, c.err)
		}
	}
}

// TestNoMemoryBeforeLogin: a header line that announces a payload takes no
// buffer for it from somebody unknown.
func TestNoMemoryBeforeLogin(t *testing.T) {
	p := parser{maxPayload: 64 << 20, maxLine: defaultControlLine, locked: true}
	if err := p.fill(strings.NewReader("PUB a 60000000\r\n"), 1); err != nil {
		t.Fatal(err)
	}
	cmd, need, err := p.next()
	if err != nil || need != 0 || cmd.verb != verbLogin || len(p.buf) > minBuffer {
		t.Fatalf("%+v, need %d, %v, buffer %d", cmd, need, err, len(p.buf))
	}
}

// TestBufferShrinks: a connection that was busy and is not any more, or that sent
// one large message, does not keep its memory.
func TestBufferShrinks(t *testing.T) {
	p := parser{maxPayload: 1 << 20, maxLine: defaultControlLine}
	in := "PUB a 1000000\r\n" + strings.Repeat("x", 1000000) + "\r\n"
	largest := 0
	run := func(in string) {
		for src := strings.NewReader(in); ; {
			_, need, err := p.next()
			if err != nil {
				t.Fatal(err)
			}
			largest = max(largest, len(p.buf))
			if need > 0 && p.fill(src, need) != nil {
				return
			}
		}
	}
	run(in)
	if largest < 1000000 {
		t.Fatalf("buffer of %d bytes", largest)
	}
	for range 200 {
		run("PING\r\n")
	}
	if len(p.buf) > minBuffer {
		t.Fatalf("buffer of %d bytes after small reads", len(p.buf))
	}
}

func BenchmarkParse(b *testing.B) {
	var in []byte
	for range 100 {
		in = append(in, "PUB bench.subject 128\r\n"...)
		in = append(in, make([]byte, 128)...)
		in = append(in, "\r\n"...)
	}
	p := parser{maxPayload: 1 << 20, maxLine: defaultControlLine}
	p.buf = in
	b.ReportAllocs()
	for b.Loop() {
		p.r, p.w = 0, len(in)
		for range 100 {
			if _, need, err := p.next(); need > 0 || err != nil {
				b.Fatal(need, err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*100), "ns/msg")
}

// TestBufferGrows: full reads make for larger ones, so that what a fast
// publisher sends becomes few and large batches.
func TestBufferGrows(t *testing.T) {
	p := parser{maxPayload: 1 << 20, maxLine: defaultControlLine}
	src := strings.NewReader(strings.Repeat("PUB a 100\r\n"+strings.Repeat("x", 100)+"\r\n", 10_000))
	fills := 0
	for need := 1; p.fill(src, need) == nil; fills++ {
		for need = 0; need == 0; {
			var err error
			if _, need, err = p.next(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if fills > 30 {
		t.Errorf("%d reads for 1.1 MB", fills)
	}
}
