package everyday

import (
	"context"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/test/harness"
)

// scriptWithin bounds a script, restart of the broker included.
const scriptWithin = 60 * time.Second

// must ends the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// node runs testdata/name with Node.js and the libraries of `install.sh nodeclients` and `mqttjs`.
func node(t *testing.T, b *harness.Broker, name string, port int) {
	t.Helper()
	tools, err := harness.ToolsDir()
	must(t, err)
	script(t, b, "node", name, port, nodePath(tools))
}

// nodePath says where Node.js finds them.
func nodePath(tools string) string {
	return "NODE_PATH=" + filepath.Join(tools, "node", "node_modules") + string(filepath.ListSeparator) + filepath.Join(tools, "npm", "node_modules")
}

// python runs testdata/name with the libraries of `install.sh python`.
func python(t *testing.T, b *harness.Broker, name string, port int) {
	t.Helper()
	script(t, b, "python3", name, port)
}

// script runs a script of testdata to its end; doc.go says how it talks to the test.
func script(t *testing.T, b *harness.Broker, tool, name string, port int, env ...string) {
	t.Helper()
	path, err := harness.Tool(tool)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), scriptWithin)
	defer cancel()
	p, err := harness.StartProc(harness.Command{
		Name: name, Path: path, Args: []string{filepath.Join("testdata", name), strconv.Itoa(port)}, Env: env, KeepStdin: true,
	})
	must(t, err)
	defer p.Kill()
	printed := func(word string) func([]harness.Line) bool {
		return func(lines []harness.Line) bool {
			for _, l := range lines {
				if l.From == harness.Stdout && l.Text == word {
					return true
				}
			}
			return false
		}
	}
	must(t, p.WaitFor(ctx, "kill", printed("kill")))
	b.Kill()
	must(t, b.Start(ctx))
	_, err = p.Write([]byte("\n"))
	must(t, err)
	if err := p.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if !printed("ok")(p.Lines()) {
		t.Fatalf("%s ended without ok:\n%s", name, p.Tail(20))
	}
}
