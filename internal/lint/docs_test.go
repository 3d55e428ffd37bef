package lint

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestPackageComments wants a doc.go with a comment of at least one whole sentence in every
// package; a command may say it in main.go.
func TestPackageComments(t *testing.T) {
	for _, p := range mustPackages(t) {
		want := "Package " + p.Name + " "
		home := "doc.go"
		if p.Name == "main" {
			want, home = "Command ", "main.go"
		}
		if !strings.HasPrefix(p.Doc, want) || !strings.HasSuffix(strings.TrimSpace(p.Doc), ".") {
			t.Errorf("%s: the package comment %q is not a sentence that begins %q", p.rel(), p.Doc, want)
		}
		// A small package may say it in the file of its own name.
		if !slices.Contains(p.GoFiles, home) && !slices.Contains(p.GoFiles, "doc.go") && !slices.Contains(p.GoFiles, p.Name+".go") {
			t.Errorf("%s has no %s", p.rel(), home)
		}
	}
}

// forbidden words never appear in the repository. They are spelt in halves here, so that this file
// does not contain them.
var forbidden = []string{
	"/wor" + "k/", "/roo" + "t/", // paths of somebody's machine
	"prox" + "y.golang.org", "registry.npm" + "js.org", "repo.maven." + "apache.org", "repo1." + "maven.org",
	"files.python" + "hosted.org", "py" + "pi.org/simple", "deb.deb" + "ian.org",
	"TO" + "DO", "FIX" + "ME", "XX" + "X:", "HA" + "CK:",
	"t.Sk" + "ip(", "t.Sk" + "ipf(", "t.Skip" + "Now(",
	"clau" + "de", "chat" + "gpt", "open" + "ai", "anth" + "ropic", "copi" + "lot",
	"<<<<" + "<<<", ">>>>" + ">>>",
}

// binaryFiles are not text: golden bytes, pictures.
func isText(b []byte) bool {
	return utf8.Valid(b) && !strings.ContainsRune(string(b[:min(len(b), 8000)]), 0)
}

func TestForbiddenWords(t *testing.T) {
	dir, err := root()
	if err != nil {
		t.Fatalf("find repository: %v", err)
	}
	for _, f := range tracked(t) {
		b, err := os.ReadFile(filepath.Join(dir, f))
		if err != nil {
			t.Errorf("read %s: %v", f, err)
			continue
		}
		if !isText(b) || strings.HasSuffix(f, "go.sum") {
			continue
		}
		lower := strings.ToLower(string(b))
		for _, word := range forbidden {
			text, w := string(b), word
			if w == strings.ToLower(w) {
				text = lower
			}
			if i := strings.Index(text, w); i >= 0 {
				t.Errorf("%s:%d: %q must not appear in the repository", f, 1+strings.Count(text[:i], "\n"), word)
			}
		}
	}
}

// TestNoLargeFiles keeps built things and captures out of git.
func TestNoLargeFiles(t *testing.T) {
	const limit = 1 << 20
	dir, err := root()
	if err != nil {
		t.Fatalf("find repository: %v", err)
	}
	for _, f := range tracked(t) {
		st, err := os.Stat(filepath.Join(dir, f))
		if err != nil {
			t.Errorf("stat %s: %v", f, err)
		} else if st.Size() > limit {
			t.Errorf("%s has %d bytes, the limit is %d", f, st.Size(), limit)
		}
	}
}
