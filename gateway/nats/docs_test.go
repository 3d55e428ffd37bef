package nats

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestPageNamesItsTests: each line of the protocol's page is backed by tests that
// exist.
func TestPageNamesItsTests(t *testing.T) {
	page, err := os.ReadFile("../../docs/protocols/nats.md")
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, pattern := range []string{"*_test.go", "../*_test.go", "../gatewaytest/*_test.go", "../../test/e2e/nats/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, f := range files {
			src, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(src), -1) {
				have[m[1]] = true
			}
		}
	}
	rows := 0
	for line := range strings.Lines(string(page)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| ---") || strings.HasSuffix(line, "| test |") {
			continue
		}
		rows++
		names := regexp.MustCompile(`(Test\w+)(?:/(\w+))?`).FindAllStringSubmatch(line, -1)
		if len(names) == 0 {
			t.Errorf("no test in: %s", line)
		}
		for _, n := range names {
			if !have[n[1]] {
				t.Errorf("there is no %s: %s", n[1], line)
			}
			if n[1] == "TestConversations" && n[2] != "" {
				if _, err := os.Stat("testdata/conversations/" + n[2] + ".txt"); err != nil {
					t.Errorf("%v: %s", err, line)
				}
			}
		}
	}
	if rows < 40 {
		t.Errorf("only %d rows were read", rows)
	}
}
