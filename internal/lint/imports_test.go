package lint

import (
	"path"
	"slices"
	"strings"
	"testing"
)

// importRule says which packages of ours the packages under a folder may import.
type importRule struct {
	under string   // a folder, with everything below it
	may   []string // folders, with everything below them; "=x" means exactly x, "*" anything
	why   string
}

// importRules: the first rule whose folder holds a package decides. Importing what lies below the
// package itself, or a sibling below the same rule's folder, is allowed where the rule names it.
var importRules = []importRule{
	{"cmd", []string{"*"}, "commands join everything"},
	{"shard/shardmem", []string{"shard", "engine/live", "engine/group", "engine/producer"}, "the in-memory implementation shares the engine's pure parts"},
	{"shard/shardtest", []string{"shard", "engine/live", "engine/group"}, "the conformance suite knows the API and pure parts only"},
	{"shard", []string{"internal/raw"}, "the API is a leaf"},
	{"engine/live", []string{"=shard"}, "pure: usable without a WAL, tier or catalog"},
	{"engine/group", []string{"=shard", "engine/live"}, "pure: usable without a WAL, tier or catalog"},
	{"engine", []string{"shard", "engine", "wal", "tier", "catalog", "internal"}, "the only joiner of wal, tier and catalog"},
	{"wal", []string{"=shard", "wal", "internal/vfs", "internal/raw", "internal/crc32c"}, "knows no other layer"},
	{"tier/store", []string{"tier/store", "internal/vfs", "internal/raw"}, "object stores know nothing of records"},
	{"tier", []string{"=shard", "tier", "internal/raw", "internal/crc32c"}, "knows no other layer"},
	{"catalog", []string{"=shard", "catalog"}, "knows no other layer"},
	{"gateway/gatewaytest", []string{"=shard", "shard/shardmem", "shard/shardtest", "gateway"}, "what gateway tests run on"},
	{"gateway", []string{"=shard", "=gateway", "internal/raw"}, "a protocol knows the API and what all protocols share"},
	{"internal/lint", nil, "rules look at the code from outside"},
	{"internal/vfs", nil, "a leaf"},
	{"internal/raw", nil, "a leaf"},
	{"internal/ratelog", nil, "a leaf"},
	{"internal/crc32c", nil, "a leaf"},
	{"internal", []string{"shard", "internal"}, "helpers below the layers"},
}

// mayAlsoInTests widens a rule for _test.go files.
var mayAlsoInTests = map[string][]string{
	"gateway": {"shard/shardmem", "shard/shardtest", "gateway/gatewaytest"},
	"engine":  {"shard/shardmem", "shard/shardtest"},
	"shard":   {"shard", "internal/vfs"},
	"wal":     {"internal", "shard"},
	"tier":    {"internal", "shard"},
	"catalog": {"internal", "shard"},
}

func under(dir, folder string) bool { return dir == folder || strings.HasPrefix(dir, folder+"/") }

func ruleFor(dir string) (importRule, bool) {
	for _, r := range importRules {
		if under(dir, r.under) {
			return r, true
		}
	}
	return importRule{}, false
}

func allowed(dir, imported string, may []string) bool {
	for _, m := range may {
		exact, isExact := strings.CutPrefix(m, "=")
		switch {
		case m == "*", isExact && imported == exact, !isExact && under(imported, m):
			return true
		}
	}
	// A protocol's own codec and parts: gateway/mqtt may import gateway/mqtt/packet. The same goes
	// for parts among themselves: gateway/nats/jetstream may import gateway/nats.
	return under(dir, "gateway") && dir != "gateway" && protocolOf(dir) == protocolOf(imported)
}

// protocolOf is the folder of a protocol below gateway: "gateway/mqtt" of "gateway/mqtt/packet".
func protocolOf(dir string) string {
	parts := strings.SplitN(dir, "/", 3)
	return path.Join(parts[:min(2, len(parts))]...)
}

func TestImports(t *testing.T) {
	for _, p := range mustPackages(t) {
		dir := p.rel()
		rule, ok := ruleFor(dir)
		if !ok {
			t.Errorf("package %q: no rule says what it may import: add it to the tree's table (importRules)", dir)
			continue
		}
		check := func(kind string, imports, may []string) {
			for _, imp := range imports {
				if !ours(imp) || rel(imp) == dir || allowed(dir, rel(imp), may) {
					continue
				}
				t.Errorf("%s%s imports %s, which it may not (%s; allowed: %v)", dir, kind, rel(imp), rule.why, may)
			}
		}
		check("", p.Imports, rule.may)
		inTests := slices.Concat(rule.may, mayAlsoInTests[strings.SplitN(dir, "/", 2)[0]])
		check(" (tests)", slices.Concat(p.TestImports, p.XTestImports), inTests)
	}
}

// TestProductDoesNotLinkTestSuites keeps conformance suites and test helpers, and package testing
// with them, out of everything that is shipped.
func TestProductDoesNotLinkTestSuites(t *testing.T) {
	for _, p := range mustPackages(t) {
		if strings.HasSuffix(p.rel(), "test") || under(p.rel(), "internal/lint") {
			continue
		}
		for _, imp := range p.Imports {
			if imp == "testing" || ours(imp) && strings.HasSuffix(imp, "test") {
				t.Errorf("%s imports %s outside its tests", p.rel(), imp)
			}
		}
	}
}

func TestRulesThemselves(t *testing.T) {
	for _, c := range []struct {
		dir, imported string
		want          bool
	}{
		{"gateway/mqtt", "shard", true},
		{"gateway/mqtt", "gateway", true},
		{"gateway/mqtt", "gateway/mqtt/packet", true},
		{"gateway/nats/jetstream", "gateway/nats", true},
		{"gateway/mqtt", "gateway/kafka", false},
		{"gateway/mqtt", "engine", false},
		{"gateway/mqtt", "shard/shardmem", false},
		{"gateway", "gateway/mqtt", false},
		{"wal", "tier", false},
		{"wal", "internal/vfs", true},
		{"tier", "tier/store", true},
		{"tier", "catalog", false},
		{"tier/store/s3", "tier/store", true},
		{"tier/store/s3", "tier", false},
		{"tier/store", "shard", false},
		{"catalog", "wal", false},
		{"engine", "catalog", true},
		{"engine", "gateway", false},
		{"engine/live", "shard", true},
		{"engine/live", "engine", false},
		{"shard/shardmem", "engine/group", true},
		{"shard/shardmem", "engine", false},
		{"shard", "shard/shardmem", false},
		{"cmd/robustmq", "gateway/mqtt", true},
	} {
		rule, ok := ruleFor(c.dir)
		if !ok {
			t.Errorf("no rule for %s", c.dir)
		} else if got := allowed(c.dir, c.imported, rule.may); got != c.want {
			t.Errorf("%s may import %s: %v, want %v", c.dir, c.imported, got, c.want)
		}
	}
}
