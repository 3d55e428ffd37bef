package lint

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/robustmq/robustmq-go"

// pkg is what `go list -json` tells of a package.
type pkg struct {
	ImportPath   string
	Dir          string
	Name         string
	Doc          string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// rel is the package's folder in the repository, "" for the top.
func (p *pkg) rel() string { return rel(p.ImportPath) }

func rel(importPath string) string {
	return strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/")
}

func ours(importPath string) bool {
	return importPath == module || strings.HasPrefix(importPath, module+"/")
}

var root = sync.OnceValues(func() (string, error) { return filepath.Abs("../..") })

// packages lists every package of the product's module once per test run.
var packages = sync.OnceValues(func() ([]pkg, error) {
	dir, err := root()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("go", "list", "-e=false", "-json=ImportPath,Dir,Name,Doc,GoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, errors.Join(err, errors.New(stderr.String()))
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
})

func mustPackages(t *testing.T) []pkg {
	t.Helper()
	all, err := packages()
	if err != nil {
		t.Fatalf("list packages: %v", err)
	}
	if len(all) < 3 {
		t.Fatalf("go list found only %d packages: the rules would check nothing", len(all))
	}
	return all
}

// tracked lists the files that git knows, relative to the top of the repository.
func tracked(t *testing.T) []string {
	t.Helper()
	dir, err := root()
	if err != nil {
		t.Fatalf("find repository: %v", err)
	}
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	var files []string
	for f := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if st, err := os.Lstat(filepath.Join(dir, f)); err == nil && st.Mode().IsRegular() {
			files = append(files, f)
		}
	}
	// go test caches a pass by what the test itself opened; git and go list are outside that. So each
	// folder is opened here: a new file anywhere then means that the rules run again.
	seen := map[string]bool{}
	for _, f := range files {
		for d := filepath.Dir(f); !seen[d]; d = filepath.Dir(d) {
			seen[d] = true
			if _, err := os.ReadDir(filepath.Join(dir, d)); err != nil {
				t.Fatalf("list folder: %v", err)
			}
		}
	}
	if len(files) < 10 {
		t.Fatalf("git lists only %d files: the rules would check nothing", len(files))
	}
	return files
}
