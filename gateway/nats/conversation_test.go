package nats

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// referenceEnv names a real nats-server's address: the conversations are held
// with it instead, to see that they are true.
const referenceEnv = "NATS_REFERENCE"

func TestConversations(t *testing.T) {
	files, err := filepath.Glob("testdata/conversations/*.txt")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d conversations, %v", len(files), err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			addr := os.Getenv(referenceEnv)
			if addr == "" {
				addr = newBed(t, bedOptions{}).addr()
			}
			converse(t, addr, string(text))
		})
	}
}

func converse(t *testing.T, addr, text string) {
	clients := make(map[string]*client)
	held := make(map[string][]string)
	for i, l := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if l == "" || l[0] == '#' {
			continue
		}
		if len(l) < 3 && l[1:] != ">" && l[1:] != "<" {
			t.Fatalf("line %d: %q", i+1, l)
		}
		c := clients[l[:1]]
		if c == nil {
			c = dial(t, addr)
			clients[l[:1]] = c
		}
		arg := strings.TrimPrefix(l[2:], " ")
		switch l[1] {
		case '+':
			held[l[:1]] = append(held[l[:1]], arg)
		case '>':
			c.send(append(held[l[:1]], arg)...)
			delete(held, l[:1])
		case '<':
			if got := c.line(); got != arg {
				t.Fatalf("line %d: got %q, want %q", i+1, got, arg)
			}
		case ' ':
			c.closed()
		default:
			t.Fatalf("line %d: %q", i+1, l)
		}
	}
}

// TestPrefixes: every prefix of a valid conversation, then the end of the
// stream: the connection goes and nothing is left of it.
func TestPrefixes(t *testing.T) {
	const stream = "CONNECT {\"headers\":true,\"no_responders\":true}\r\nSUB a.* q 1\r\nUNSUB 1 3\r\nPUB a.b _INBOX.x 3\r\nabc\r\n" +
		"HPUB a.b 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\nPING\r\nUNSUB 1\r\n"
	b := newBed(t, bedOptions{})
	for i := range len(stream) + 1 {
		c := dial(t, b.addr())
		if _, err := c.Write([]byte(stream[:i])); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	eventually(t, "all connections and subscriptions gone", func() bool {
		return b.stats.Connections.Load() == 0 && b.stats.Subscriptions.Load() == 0 && len(b.srv.list()) == 0
	})
	c := b.dial(quiet)
	c.send("SUB a.b 1", "PUB a.b 1", "x")
	c.expect("MSG a.b 1 1", "x")
}
