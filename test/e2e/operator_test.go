package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/test/e2e/clients"
	"github.com/robustmq/robustmq-go/test/harness"
)

// strangeObject is a key as a gateway names its objects, of the year 2016.
const strangeObject = "objects/segments/0/e9/0000000000000003-01ARZ3NDEKTSV4RRFFQ69G5FAV"

// killed is the data directory of a broker that was killed: messages 0 to 2 of op.a and one of op.b
// are in an object, messages 3 to 5 of op.a in the log.
func killed(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	b := harness.NewBroker(t, harness.Options{DataDir: dir, Args: []string{"--set", "wal.file_bytes=4194304"}}) // it is copied often
	w, err := clients.NewWriter(t.Context(), clients.MQTT, b.Ports)
	must(t, err)
	write := func(topic, value string) {
		must(t, w.Write(t.Context(), clients.Message{Name: topic, Value: []byte(value)}))
	}
	for i := range 3 {
		write("op/a", fmt.Sprint("flushed-", i))
	}
	write("op/b", "other-0")
	if code, out := operator(t, dir, "flush", "--server", b.AdminURL(), "--user", "admin", "--password", "robustmq"); code != 0 {
		t.Fatalf("flush: %d %s", code, out)
	}
	for i := 3; i < 6; i++ {
		write("op/a", fmt.Sprint("logged-", i))
	}
	w.Close()
	b.Kill()
	return dir
}

// operator runs the binary as somebody at a terminal does. In args "DIR" is the data directory.
func operator(t *testing.T, dir string, args ...string) (code int, out string) {
	t.Helper()
	bin, err := harness.Binary(t.Context(), false)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i, a := range args {
		args[i] = strings.ReplaceAll(a, "DIR", dir)
	}
	b, err := exec.CommandContext(ctx, bin, args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("robustmq %s: %v", strings.Join(args, " "), err)
	}
	if exit != nil {
		code = exit.ExitCode()
	}
	return code, string(b)
}

// fileWith gives the file below dir that holds a text, and where.
func fileWith(t *testing.T, dir, text string) (path string, at int) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		if i := bytes.Index(b, []byte(text)); i >= 0 {
			path, at = p, i
		}
		return err
	}))
	if path == "" {
		t.Fatalf("nothing below %s holds %q", dir, text)
	}
	return path, at
}

func flipAt(t *testing.T, dir, text string) {
	t.Helper()
	path, at := fileWith(t, dir, text)
	b, err := os.ReadFile(path)
	must(t, err)
	b[at] ^= 1
	must(t, os.WriteFile(path, b, 0o644))
}

// TestOperatorTellsDamage damages what a broker left in each way, and asks the verbs that an
// operator has: what is wrong, of which topic which offsets, what to do, and the exit code.
func TestOperatorTellsDamage(t *testing.T) {
	whole := killed(t)
	for _, tc := range []struct {
		name           string
		damage         func(t *testing.T, dir string)
		verify, doctor int
		says, told     []string // by verify, by doctor
	}{
		{name: "sound", damage: func(*testing.T, string) {}, says: []string{"0 findings"}, told: []string{"ok    stored data"}},
		{name: "byte of an object flipped", damage: func(t *testing.T, dir string) { flipAt(t, filepath.Join(dir, "objects"), "flushed-1") },
			verify: 1, says: []string{"(op.a[0]) offsets 1 to 1: corrupt", "bring the object back under the same key", "1 finding\n"}},
		{name: "object missing", damage: func(t *testing.T, dir string) {
			path, _ := fileWith(t, filepath.Join(dir, "objects"), "flushed-1")
			must(t, os.Remove(path))
		}, verify: 1, doctor: 1, says: []string{"(op.a[0]) offsets 0 to 2: the object is missing", "(op.b[0]) offsets 0 to 0: the object is missing",
			"bring the object back"}, told: []string{"fail  stored data", "offsets 0 to 2: the object is missing", "robustmq verify names all offsets"}},
		{name: "object that nobody names", damage: func(t *testing.T, dir string) {
			path := filepath.Join(dir, filepath.FromSlash(strangeObject))
			must(t, os.MkdirAll(filepath.Dir(path), 0o755))
			must(t, os.WriteFile(path, []byte("left behind"), 0o644))
			if code, out := operator(t, dir, "orphans", "--data-dir", "DIR"); code != 0 || !strings.Contains(out, "01ARZ3NDEKTSV4RRFFQ69G5FAV\t11 bytes") {
				t.Errorf("orphans: %d %s", code, out)
			}
		}, says: []string{"1 object, 11 bytes, that the catalog does not name: no harm; robustmq orphans", "0 findings"}},
		{name: "tail of the log torn", damage: func(t *testing.T, dir string) {
			path, at := fileWith(t, filepath.Join(dir, "wal"), "logged-5")
			must(t, os.Truncate(path, int64(at+3)))
		}, says: []string{"of a write that was cut off and never acknowledged", "0 findings"}},
		{name: "byte in the middle of the log flipped", damage: func(t *testing.T, dir string) { flipAt(t, filepath.Join(dir, "wal"), "logged-4") },
			verify: 1, doctor: 1, says: []string{"(op.a[0]) offsets 4 to 4: the entry fails its checksum", "have no other copy. Start the gateway"},
			told: []string{"fail  stored data", "offsets 4 to 4"}},
		{name: "catalog away", damage: func(t *testing.T, dir string) { must(t, os.RemoveAll(filepath.Join(dir, "etcd"))) },
			verify: 1, doctor: 1, says: []string{"the catalog is missing", "has records", "from a backup"},
			told: []string{"fail  etcd", "the catalog is missing", "from a backup"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			must(t, os.CopyFS(dir, os.DirFS(whole)))
			tc.damage(t, dir)
			check := func(verb string, want int, says []string) {
				code, out := operator(t, dir, verb, "--data-dir", "DIR")
				if code != want {
					t.Errorf("robustmq %s: exit code %d, want %d:\n%s", verb, code, want, out)
				}
				for _, s := range says {
					if !strings.Contains(out, s) {
						t.Errorf("robustmq %s does not say %q:\n%s", verb, s, out)
					}
				}
			}
			check("verify", tc.verify, tc.says)
			check("doctor", tc.doctor, tc.told)
		})
	}
}

// TestServeWithoutCatalog: a broker does not start over records whose catalog is missing, which
// would give their topics' numbers to others, and changes nothing; with the catalog back it serves.
func TestServeWithoutCatalog(t *testing.T) {
	whole := killed(t)
	for _, tc := range []struct{ name, away, holds string }{
		{"log", "objects", "has records"},
		{"objects", "wal", "holds objects"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			must(t, os.CopyFS(dir, os.DirFS(whole)))
			must(t, os.RemoveAll(filepath.Join(dir, tc.away)))
			must(t, os.RemoveAll(filepath.Join(dir, "etcd")))
			code, out := operator(t, dir, "serve", "--data-dir", "DIR")
			if code != 1 || !strings.Contains(out, "the catalog is missing") || !strings.Contains(out, tc.holds) {
				t.Errorf("serve: %d %s", code, out)
			}
			if _, err := os.Stat(filepath.Join(dir, "etcd")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a new catalog was made: %v", err)
			}
		})
	}
	t.Run("empty etcd", func(t *testing.T) {
		etcd := harness.Must(t)(harness.StartEtcd(t.Context()))
		dir := filepath.Join(t.TempDir(), "data")
		must(t, os.CopyFS(dir, os.DirFS(whole)))
		for _, verb := range []string{"serve", "verify"} {
			code, out := operator(t, dir, verb, "--data-dir", "DIR", "--set", "etcd.endpoints="+etcd.Endpoint)
			if code != 1 || !strings.Contains(out, "the catalog is missing") {
				t.Errorf("%s: %d %s", verb, code, out)
			}
		}
		etcd.Kill()
		if code, out := operator(t, dir, "verify", "--data-dir", "DIR", "--set", "etcd.endpoints="+etcd.Endpoint); code != 1 || !strings.Contains(out, "catalog is unavailable") {
			t.Errorf("verify with etcd away: %d %s", code, out)
		}
		if code, out := operator(t, dir, "doctor", "--data-dir", "DIR", "--set", "etcd.endpoints="+etcd.Endpoint); code != 1 || !strings.Contains(out, "fail  etcd") {
			t.Errorf("doctor with etcd away: %d %s", code, out)
		}
	})
	b := harness.NewBroker(t, harness.Options{DataDir: whole})
	rs, err := clients.ReadRange(t.Context(), b.Ports.Kafka, "op.a", 0, 0, 6)
	must(t, err)
	if len(rs) != 6 || string(rs[5].Value) != "logged-5" {
		t.Errorf("read %d records with the catalog there", len(rs))
	}
}
