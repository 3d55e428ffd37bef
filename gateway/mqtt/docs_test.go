package mqtt

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocs: every test that docs/protocols/mqtt.md names exists, and every row
// of what is supported and how it is mapped names one.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/protocols/mqtt.md")
	if err != nil {
		t.Fatal(err)
	}
	var src strings.Builder
	files, _ := filepath.Glob("*_test.go")
	more, _ := filepath.Glob("packet/*_test.go")
	shared, _ := filepath.Glob("../gatewaytest/*_test.go")
	for _, f := range append(append(files, more...), shared...) {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		src.Write(b)
	}
	name := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	text := string(page)
	for _, m := range name.FindAllStringSubmatch(text, -1) {
		if !strings.Contains(src.String(), "func "+m[1]+"(") {
			t.Errorf("%s does not exist", m[1])
		}
	}
	backed, _, _ := strings.Cut(text, "## Not supported")
	for line := range strings.Lines(backed) {
		if strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| ---") && !name.MatchString(line) &&
			!strings.HasPrefix(line, "| what") && !strings.HasPrefix(line, "| MQTT |") {
			t.Errorf("no test: %s", line)
		}
	}
}
