package gatewaytest

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
)

// natsVerbs reads the parser's table of verbs.
func natsVerbs(t *testing.T) (names []string) {
	src, err := os.ReadFile("../nats/parse.go")
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(src), "const (\n\tverbPub verb = iota + 1")
	block, _, ok2 := strings.Cut("verbPub"+block, "\n)")
	if !ok || !ok2 {
		t.Fatal("the verbs are not where they were")
	}
	for _, m := range regexp.MustCompile(`(?m)^\s*verb(\w+)`).FindAllStringSubmatch(block, -1) {
		if m[1] != "Login" { // is no command
			names = append(names, strings.ToUpper(m[1]))
		}
	}
	return names
}

// nats sends lines and tells what came back until PONG.
func (w *wire) nats(lines ...string) (answer string) {
	_, _ = io.WriteString(w, strings.Join(append(lines, "PING"), "\r\n")+"\r\n")
	for {
		line, err := w.r.ReadString('\n')
		if err != nil || strings.HasPrefix(line, "PONG") {
			return answer
		}
		answer += line
	}
}

func natsRows() protocolRows {
	p := protocolRows{name: "nats", verbs: natsVerbs, free: []string{"UNSUB", "PING", "PONG", "OK", "ERR", "INFO"}}
	p.rows = append(p.rows, row{verb: "CONNECT", object: "own credentials, or none", early: true, try: func(c *cell) string { return outcome(c.wire("nats") != nil) }})
	publish := func(headers bool, subject func(c *cell) string) func(c *cell) string {
		return func(c *cell) string {
			s := subject(c)
			var lines []string
			if headers {
				lines = []string{`CONNECT {"verbose":false,"pedantic":false,"headers":true` + c.natsLogin() + `}`, "HPUB " + s + " 12 13\r\nNATS/1.0\r\n\r\nx"}
			} else {
				lines = []string{"PUB " + s + " 1\r\nx"}
			}
			return outcome(!strings.Contains(c.wire("nats").nats(lines...), "Permissions Violation"))
		}
	}
	subscribe := func(queue string, kind string) func(c *cell) string {
		return func(c *cell) string {
			mix, root := c.name(kind), c.h.root(c.t, "nats")
			w := c.wire("nats")
			if got := w.nats("SUB " + mix + ".>" + queue + " 1"); strings.Contains(got, "Permissions Violation") {
				return no
			}
			root.nats("PUB "+mix+".den 1\r\nx", "PUB "+mix+".ok 1\r\nx")
			got := w.nats()
			for range 1000 {
				if strings.Contains(got, mix+".ok ") {
					break
				}
				got += w.nats()
			}
			if !strings.Contains(got, mix+".den ") {
				return inPart
			}
			return yes
		}
	}
	for _, verb := range []string{"PUB", "HPUB"} {
		for _, o := range []struct {
			object  string
			subject func(c *cell) string
		}{
			{"own subject", func(c *cell) string { return c.name("own") }},
			{"captured subject", func(c *cell) string { return captured(c) + ".ok" }},
			{"denied subject", func(c *cell) string { return c.name("den") }},
			{"denied subject that own topic captures", func(c *cell) string { return captured(c) + ".den" }},
			{"denied subject that is relayed", func(c *cell) string { return c.name("_INBOX") }},
		} {
			r := row{verb: "PUB", object: o.object, try: publish(verb == "HPUB", o.subject)}
			if verb == "HPUB" {
				r.object += ", with headers (HPUB)"
			}
			p.rows = append(p.rows, r)
		}
	}
	p.rows = append(p.rows,
		row{verb: "SUB", object: "own subjects", try: subscribe("", "own")},
		row{verb: "SUB", object: "denied subjects", try: subscribe("", "den")},
		row{verb: "SUB", object: "subjects of which one is denied", try: subscribe("", "mix")},
		row{verb: "SUB", object: "own subjects, in a queue", try: subscribe(" q", "own")},
		row{verb: "SUB", object: "subjects of which one is denied, in a queue", try: subscribe(" q", "mix")})
	return p
}

// captured makes a topic that captures what is mixed, and gives the prefix.
func captured(c *cell) string {
	c.mixed()
	return c.name("mix")
}

func (c *cell) natsLogin() string {
	if c.who.user == "" {
		return ""
	}
	return fmt.Sprintf(`,"user":%q,"pass":%q`, c.who.user, password)
}
