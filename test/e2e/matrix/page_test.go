package matrix

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/robustmq/robustmq-go/test/harness"
)

var update = flag.Bool("update", false, "write docs/protocols/README.md anew")

// TestPage holds docs/protocols/README.md to the table.
func TestPage(t *testing.T) {
	root, err := harness.Root()
	if err != nil {
		t.Fatalf("find repository: %v", err)
	}
	path := filepath.Join(root, "docs", "protocols", "README.md")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatalf("write page: %v", err)
		}
		if err := os.WriteFile(path, []byte(Page()), 0o644); err != nil {
			t.Fatalf("write page: %v", err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("read page: %v", err)
	}
	if string(got) != Page() {
		t.Error("docs/protocols/README.md is not what the table says: go test ./e2e/matrix -run TestPage -update")
	}
}
