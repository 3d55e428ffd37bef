package lint

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	maxFuncLines  = 70
	maxFileLines  = 500
	longFuncsFile = "testdata/long_functions.txt"
	longFilesFile = "testdata/long_files.txt"
)

// measured is one function or file and its length in lines.
type measured struct {
	name  string
	lines int
}

// readRatchet reads lines of "name lines"; # begins a comment.
func readRatchet(t *testing.T, path string) map[string]int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatalf("open ratchet: %v", err)
	}
	defer f.Close()
	list := map[string]int{}
	for s := bufio.NewScanner(f); s.Scan(); {
		line, _, _ := strings.Cut(s.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		n, err := strconv.Atoi(fields[len(fields)-1])
		if err != nil || len(fields) != 2 {
			t.Fatalf("%s: %q is not `name lines`", path, line)
		}
		list[fields[0]] = n
	}
	return list
}

// checkRatchet wants what is longer than limit to be listed at its length or more, and what is
// listed to be still that long.
func checkRatchet(t *testing.T, path string, limit int, all []measured) {
	t.Helper()
	listed := readRatchet(t, path)
	for _, m := range all {
		allowed, isListed := listed[m.name]
		delete(listed, m.name)
		switch {
		case m.lines > limit && !isListed:
			t.Errorf("%s has %d lines, the limit is %d: divide it (%s lists older offenders)", m.name, m.lines, limit, path)
		case m.lines > limit && m.lines > allowed:
			t.Errorf("%s grew from %d to %d lines; listed ones may only shrink", m.name, allowed, m.lines)
		case isListed && m.lines <= limit:
			t.Errorf("%s is down to %d lines: take it off %s", m.name, m.lines, path)
		case isListed && m.lines < allowed:
			t.Errorf("%s is down to %d lines: lower its figure in %s", m.name, m.lines, path)
		}
	}
	for name := range listed {
		t.Errorf("%s is gone: take it off %s", name, path)
	}
}

// parsed is a Go file that people write: not generated.
type parsed struct {
	path string
	fset *token.FileSet
	file *ast.File
}

func goFiles(t *testing.T) []parsed {
	t.Helper()
	dir, err := root()
	if err != nil {
		t.Fatalf("find repository: %v", err)
	}
	var out []parsed
	for _, f := range tracked(t) {
		if !strings.HasSuffix(f, ".go") {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, filepath.Join(dir, f), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("parse: %v", err)
			continue
		}
		if !ast.IsGenerated(file) {
			out = append(out, parsed{f, fset, file})
		}
	}
	return out
}

func TestFunctionLength(t *testing.T) {
	var all []measured
	for _, p := range goFiles(t) {
		for _, d := range p.file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil || isTestTable(p.path) {
				continue
			}
			lines := p.fset.Position(fn.Body.Rbrace).Line - p.fset.Position(fn.Pos()).Line + 1
			all = append(all, measured{fmt.Sprintf("%s:%s", p.path, funcName(fn)), lines})
		}
	}
	checkRatchet(t, longFuncsFile, maxFuncLines, all)
}

// isTestTable: tests are tables and conversations, which are read from top to bottom.
func isTestTable(path string) bool { return strings.HasSuffix(path, "_test.go") }

func funcName(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return fn.Name.Name
	}
	typ := fn.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	switch x := typ.(type) {
	case *ast.IndexExpr:
		typ = x.X
	case *ast.IndexListExpr:
		typ = x.X
	}
	if id, ok := typ.(*ast.Ident); ok {
		return id.Name + "." + fn.Name.Name
	}
	return fn.Name.Name
}

func TestFileLength(t *testing.T) {
	var all []measured
	for _, p := range goFiles(t) {
		if !isTestTable(p.path) {
			all = append(all, measured{p.path, p.fset.Position(p.file.FileEnd).Line})
		}
	}
	checkRatchet(t, longFilesFile, maxFileLines, all)
}

// TestInterfaceSize wants interfaces of at most six methods of their own, embedded ones not
// counted: more power is a second, optional interface.
func TestInterfaceSize(t *testing.T) {
	const maxMethods = 6
	for _, p := range goFiles(t) {
		ast.Inspect(p.file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			i, ok := spec.Type.(*ast.InterfaceType)
			if !ok {
				return true
			}
			methods := 0
			for _, m := range i.Methods.List {
				methods += len(m.Names)
			}
			if methods > maxMethods {
				t.Errorf("%s: interface %s has %d methods, the limit is %d", p.path, spec.Name.Name, methods, maxMethods)
			}
			return true
		})
	}
}

// TestNoInit forbids init functions: what happens at start is written in main, in order.
func TestNoInit(t *testing.T) {
	for _, p := range goFiles(t) {
		if slices.ContainsFunc(p.file.Decls, func(d ast.Decl) bool {
			fn, ok := d.(*ast.FuncDecl)
			return ok && fn.Recv == nil && fn.Name.Name == "init"
		}) {
			t.Errorf("%s has an init function: call it by its name from main or a constructor", p.path)
		}
	}
}
