package amqp

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each line of the protocol's page is backed by tests that exist.
func TestPageNamesItsTests(t *testing.T) {
	page, err := os.ReadFile("../../docs/protocols/amqp.md")
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, pattern := range []string{"*_test.go", "frame/*_test.go", "../gatewaytest/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
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
	for _, line := range strings.Split(string(page), "\n") {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| ---") || strings.HasSuffix(line, "| test |") {
			continue
		}
		rows++
		names := regexp.MustCompile(`Test\w+`).FindAllString(line, -1)
		if len(names) == 0 {
			t.Errorf("no test in: %s", line)
		}
		for _, n := range names {
			if !have[n] {
				t.Errorf("there is no %s: %s", n, line)
			}
		}
	}
	if rows < 50 {
		t.Errorf("only %d rows were read", rows)
	}
}
