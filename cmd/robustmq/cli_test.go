package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// built is the folder of the binary, once there is one.
var built string

// binary builds the command once per test run.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "robustmq-cli-")
	if err != nil {
		return "", err
	}
	built = dir
	path := filepath.Join(dir, "robustmq")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", errors.Join(err, errors.New(string(out)))
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built)
	}
	os.Exit(code)
}

// environment leaves out what the machine may have set for RobustMQ.
func environment(add ...string) []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "ROBUSTMQ_") {
			env = append(env, kv)
		}
	}
	return append(env, add...)
}

// run runs the command to its end and gives its exit code and output.
func run(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, &errs, environment(env...)
	cmd.Stdin = strings.NewReader("typed-password\n")
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %v: %v", args, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// broker is a running `serve`.
type broker struct {
	t           *testing.T
	dir         string
	admin, nats string
	cmd         *exec.Cmd
	log         bytes.Buffer
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func startBroker(t *testing.T, dir string, args ...string) *broker {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{t: t, dir: dir, admin: freePort(t), nats: freePort(t)}
	all := append([]string{"serve", "--data-dir", dir, "--admin.listen", b.admin, "--nats.listen", b.nats, "--nats.ws-listen", "off",
		"--mqtt.listen", "off", "--mqtt.ws-listen", "off", "--kafka.listen", "off", "--amqp.listen", "off",
		"--set", "flush.interval=1h", "--set", "flush.object_interval=1h"}, args...)
	b.cmd = exec.Command(path, all...)
	b.cmd.Env, b.cmd.Stderr, b.cmd.Stdout = environment(), &b.log, &b.log
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if b.cmd.ProcessState == nil {
			_ = b.cmd.Process.Kill()
			_ = b.cmd.Wait()
		}
		if t.Failed() {
			t.Logf("log of the broker:\n%s", b.log.String())
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get("http://" + b.admin + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == 200 {
				return b
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("the broker is not ready: %v", err)
		}
	}
}

func (b *broker) stop(sig syscall.Signal) {
	b.t.Helper()
	if err := b.cmd.Process.Signal(sig); err != nil {
		b.t.Fatal(err)
	}
	err := b.cmd.Wait()
	if sig == syscall.SIGTERM && err != nil {
		b.t.Fatalf("stop: %v", err)
	}
}

// cli runs a verb as admin.
func (b *broker) cli(args ...string) (int, string, string) {
	b.t.Helper()
	return run(b.t, []string{"ROBUSTMQ_SERVER=http://" + b.admin, "ROBUSTMQ_PASSWORD=robustmq"}, args...)
}

func (b *broker) mustCLI(args ...string) string {
	b.t.Helper()
	code, out, errs := b.cli(args...)
	if code != 0 {
		b.t.Fatalf("%v: exit code %d: %s%s", args, code, out, errs)
	}
	return out
}

// publish writes messages over NATS, each synced to the log before the next.
func (b *broker) publish(subject string, values ...string) {
	b.t.Helper()
	c, err := net.Dial("tcp", b.nats)
	if err != nil {
		b.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReader(c)
	for _, v := range values {
		before := b.metric("robustmq_wal_entries_total")
		fmt.Fprintf(c, "CONNECT {\"verbose\":false}\r\nPUB %s %d\r\n%s\r\nPING\r\n", subject, len(v), v)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				b.t.Fatal(err)
			}
			if strings.HasPrefix(line, "PONG") {
				break
			}
		}
		for b.metric("robustmq_wal_entries_total") == before {
			time.Sleep(2 * time.Millisecond)
		}
	}
}

var metricLine = regexp.MustCompile(`(?m)^(\w+) (\S+)$`)

func (b *broker) metric(name string) float64 {
	b.t.Helper()
	resp, err := http.Get("http://" + b.admin + "/metrics")
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	var buf bytes.Buffer
	if _, err := buf.ReadFrom(resp.Body); err != nil {
		b.t.Fatal(err)
	}
	for _, m := range metricLine.FindAllStringSubmatch(buf.String(), -1) {
		if m[1] == name {
			v, err := strconv.ParseFloat(m[2], 64)
			if err != nil {
				b.t.Fatal(err)
			}
			return v
		}
	}
	b.t.Fatalf("no metric %s", name)
	return 0
}

func wantOutput(t *testing.T, out string, wants ...string) {
	t.Helper()
	for _, w := range wants {
		if !strings.Contains(out, w) {
			t.Errorf("output lacks %q:\n%s", w, out)
		}
	}
}

func TestVerbsOnRunningBroker(t *testing.T) {
	t.Parallel()
	b := startBroker(t, t.TempDir())
	wantOutput(t, b.mustCLI("health"), "ok")
	wantOutput(t, b.mustCLI("health", "--live"), "ok")
	wantOutput(t, b.mustCLI("topic", "create", "orders", "--shards", "3", "--retention", "2h"), "orders", "2h0m0s")
	wantOutput(t, b.mustCLI("topic", "list"), "NAME", "orders")
	var topics []struct {
		Name   string
		Shards int
	}
	if err := json.Unmarshal([]byte(b.mustCLI("topic", "list", "-o", "json")), &topics); err != nil || len(topics) != 1 || topics[0].Shards != 3 {
		t.Errorf("topics %v, %v", topics, err)
	}
	wantOutput(t, b.mustCLI("topic", "update", "orders", "--shards", "4", "--compact"), "4", "compact")
	b.publish("sensors.a", "one", "two")
	b.mustCLI("flush")
	wantOutput(t, b.mustCLI("shard", "list", "sensors.a"), "robustmq-1", "2")
	wantOutput(t, b.mustCLI("shard", "segments", "sensors.a", "0"), "segments/")
	wantOutput(t, b.mustCLI("user", "create", "bob"), "bob", "set")
	b.mustCLI("user", "password", "bob", "--generate")
	wantOutput(t, b.mustCLI("user", "set", "bob", "--max-connections", "7", "--bytes-per-second", "123456"), "bob", "7", "123456")
	wantOutput(t, b.mustCLI("user", "list"), "bob", "admin", "default")
	b.mustCLI("acl", "add", "bob", "publish", "subject", "sensors.>")
	wantOutput(t, b.mustCLI("acl", "list"), "bob", "sensors.>")
	b.mustCLI("acl", "delete", "bob", "publish", "subject", "sensors.>")
	b.mustCLI("user", "delete", "bob")
	wantOutput(t, b.mustCLI("cluster"), "robustmq-1", "nats="+b.nats)
	wantOutput(t, b.mustCLI("group", "list"), "LAG")
	wantOutput(t, b.mustCLI("session", "list"), "EXPIRES")
	if m := b.metric("robustmq_store_retries_total"); m != 0 {
		t.Errorf("%v retries", m)
	}
	if b.metric("robustmq_flush_segments_total") < 1 || b.metric("robustmq_flush_lag_bytes") != 0 {
		t.Error("metrics do not show the flush")
	}

	c, err := net.Dial("tcp", b.nats)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "CONNECT {\"verbose\":false,\"name\":\"c1\"}\r\nPING\r\n")
	var conns []struct{ ID int }
	for deadline := time.Now().Add(30 * time.Second); len(conns) == 0 && time.Now().Before(deadline); {
		if err := json.Unmarshal([]byte(b.mustCLI("connection", "list", "--protocol", "nats", "-o", "json")), &conns); err != nil {
			t.Fatal(err)
		}
	}
	if len(conns) != 1 {
		t.Fatalf("connections %v", conns)
	}
	b.mustCLI("connection", "close", strconv.Itoa(conns[0].ID))
	b.mustCLI("topic", "delete", "orders")

	unhappy(t, b)
	b.mustCLI("drain")
	if code, _, errs := b.cli("health"); code != 1 || !strings.Contains(errs, "draining") {
		t.Errorf("health while draining: %d %s", code, errs)
	}
	b.stop(syscall.SIGTERM)
	if code, _, errs := b.cli("health"); code != 1 || !strings.Contains(errs, "refused") {
		t.Errorf("health of a stopped broker: %d %s", code, errs)
	}
}

// unhappy tries what has to fail, and wants to hear why.
func unhappy(t *testing.T, b *broker) {
	for _, x := range []struct {
		env  []string
		args []string
		want string
	}{
		{[]string{"ROBUSTMQ_PASSWORD=wrong"}, []string{"topic", "list"}, "password is wrong"},
		{nil, []string{"topic", "create", "x"}, "log in"},
		{nil, []string{"user", "list"}, "ROBUSTMQ_PASSWORD"},
		{[]string{"ROBUSTMQ_PASSWORD=robustmq"}, []string{"topic", "get", "nope"}, "unknown topic"},
		{[]string{"ROBUSTMQ_PASSWORD=robustmq"}, []string{"shard", "list", "nope"}, "unknown topic"},
		{[]string{"ROBUSTMQ_PASSWORD=robustmq"}, []string{"group", "get", "nope"}, "unknown group"},
		{[]string{"ROBUSTMQ_PASSWORD=robustmq"}, []string{"topic", "create", "a", "--durability", "maybe"}, "maybe"},
		{[]string{"ROBUSTMQ_PASSWORD=robustmq"}, []string{"topic", "update", "orders", "--shards", "1"}, "unknown topic"},
		{[]string{"ROBUSTMQ_PASSWORD=robustmq"}, []string{"user", "delete", "admin"}, "last superuser"},
		{[]string{"ROBUSTMQ_PASSWORD=robustmq"}, []string{"connection", "close", "424242"}, "no connection"},
		{[]string{"ROBUSTMQ_PASSWORD=robustmq"}, []string{"topic", "list", "-o", "xml"}, "xml"},
		{nil, []string{"group", "list", "--protocol", "zork"}, "there are mqtt, kafka, nats, amqp"},
		{nil, []string{"topic", "list", "--server", "ftp://x"}, "ftp"},
		{nil, []string{"topic", "list", "--server", "http://127.0.0.1:1"}, "is the gateway running"},
		{nil, []string{"verify", "--data-dir", b.dir}, "another process uses it"},
		{nil, []string{"orphans", "--data-dir", b.dir}, "stop the gateway first"},
		{nil, []string{"serve", "--data-dir", b.dir, "--admin.listen", "off"}, "another process uses it"},
		{nil, []string{"wal", "verify", "--dir", filepath.Join(b.dir, "nothing")}, "no such file"},
		{nil, []string{"segment", "verify", "--data-dir", b.dir, "segments/nothing"}, "not"},
		{nil, []string{"config", "--set", "store.kinds=x"}, "kinds"},
		{nil, []string{"nonsense"}, "unknown command"},
	} {
		env := append([]string{"ROBUSTMQ_SERVER=http://" + b.admin}, x.env...)
		code, out, errs := run(t, env, x.args...)
		if code != 1 || !strings.Contains(errs, x.want) {
			t.Errorf("%v %v: exit code %d, %q does not say %q (%s)", x.env, x.args, code, errs, x.want, out)
		}
	}
	if _, _, errs := b.cli("user", "create", "admin", "--generate"); !strings.Contains(errs, "exists") || strings.Contains(errs, "password:") {
		t.Errorf("a password that was not set is told: %s", errs)
	}
}

// flip changes a byte of the one file below dir that holds needle.
func flip(t *testing.T, dir, needle string) {
	t.Helper()
	flipped := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if i := bytes.Index(b, []byte(needle)); i >= 0 {
			b[i] ^= 1
			flipped++
			if err := os.Chmod(path, 0o644); err != nil {
				return err
			}
			return os.WriteFile(path, b, 0o644)
		}
		return nil
	})
	if err != nil || flipped != 1 {
		t.Fatalf("flip a byte of %q below %s: %d files, %v", needle, dir, flipped, err)
	}
}

func TestVerifyNamesDamage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := startBroker(t, dir)
	b.publish("sensors.a", "flushed-0", "flushed-1", "flushed-2")
	b.publish("sensors.b", "other-0")
	b.mustCLI("flush")
	b.publish("sensors.a", "logged-3", "logged-4", "logged-5")
	b.stop(syscall.SIGKILL)
	verify := func(args ...string) (int, string, string) {
		return run(t, nil, append([]string{"verify", "--data-dir", dir}, args...)...)
	}
	if code, out, errs := verify(); code != 0 || !strings.Contains(out, "0 findings") {
		t.Fatalf("verify of sound data: %d %s%s", code, out, errs)
	}
	if code, out, errs := run(t, nil, "wal", "verify", "--data-dir", dir); code != 0 {
		t.Errorf("wal verify of sound data: %d %s%s", code, out, errs)
	}
	if code, out, _ := run(t, nil, "wal", "dump", "--data-dir", dir); code != 0 || !strings.Contains(out, "offsets 4 to 4") {
		t.Errorf("wal dump: %d %s", code, out)
	}
	if code, out, _ := run(t, nil, "segment", "verify", "--data-dir", dir); code != 0 || !strings.Contains(out, "1 objects, 0 problems") {
		t.Errorf("segment verify: %d %s", code, out)
	}
	if code, out, _ := run(t, nil, "catalog", "dump", "--data-dir", dir); code != 0 || !strings.Contains(out, "sensors.a") || strings.Contains(out, "StoredKey") {
		t.Errorf("catalog dump: %d %s", code, out)
	}
	if code, out, errs := run(t, nil, "orphans", "--data-dir", dir, "--delete"); code != 0 || !strings.Contains(out, "0 objects") {
		t.Errorf("orphans: %d %s%s", code, out, errs)
	}
	wantHealthy(t, dir)

	flip(t, filepath.Join(dir, "wal"), "logged-4")
	code, out, errs := verify()
	if code != 1 {
		t.Errorf("verify of a damaged log: %d", code)
	}
	wantOutput(t, out, "(sensors.a[0]) offsets 4 to 4", "wal ", "1 finding\n", "have no other copy")
	wantOutput(t, errs, "damaged")
	if code, out, _ := run(t, nil, "wal", "verify", "--data-dir", dir); code != 1 || !strings.Contains(out, "base offset 4") {
		t.Errorf("wal verify: %d %s", code, out)
	}

	flip(t, filepath.Join(dir, "objects"), "flushed-1")
	code, out, _ = verify("-o", "json")
	var rep struct{ Findings []findingView }
	if err := json.Unmarshal([]byte(out), &rep); err != nil || code != 1 {
		t.Fatalf("verify: %d %v %s", code, err, out)
	}
	found := false
	for _, f := range rep.Findings {
		found = found || f.Part == "store" && f.Topic == "sensors.a" && *f.From == 1 && *f.To == 1
		if f.Topic == "sensors.b" {
			t.Errorf("finding about the sound shard: %+v", f)
		}
	}
	if !found || len(rep.Findings) != 2 {
		t.Errorf("findings %+v", rep.Findings)
	}
	if code, out, _ := run(t, nil, "segment", "verify", "--data-dir", dir); code != 1 || !strings.Contains(out, "offsets 1 to 1") {
		t.Errorf("segment verify: %d %s", code, out)
	}
}

// wantHealthy wants every check to be told, and none to fail on a sound machine.
func wantHealthy(t *testing.T, dir string) {
	t.Helper()
	code, out, errs := run(t, nil, "doctor", "--data-dir", dir, "-o", "json")
	var ds []diagnosis
	if err := json.Unmarshal([]byte(out), &ds); err != nil {
		t.Fatalf("doctor: %v: %s%s", err, out, errs)
	}
	names := map[string]verdict{}
	for _, d := range ds {
		names[d.Check] = d.Verdict
	}
	for _, want := range []string{"disk", "free space", "open files", "clock", "object store", "etcd"} {
		if names[want] == "" {
			t.Errorf("doctor says nothing of %s: %s", want, out)
		}
	}
	if names["object store"] != good || names["etcd"] != good || code != 0 {
		t.Errorf("doctor: exit code %d: %s", code, out)
	}
}

func TestDoctorFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	code, out, _ := run(t, nil, "doctor", "--data-dir", dir, "--set", "store.kind=minio", "--set", "store.endpoint=http://127.0.0.1:1",
		"--set", "store.bucket=b", "--set", "store.access_key=a", "--set", "store.secret_key=b", "--set", "store.tries=1",
		"--set", "etcd.endpoints=127.0.0.1:1")
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
	wantOutput(t, out, "fail  object store", "fail  etcd", "->")
	damaged := filepath.Join(dir, "etcd", "member")
	if err := os.MkdirAll(filepath.Join(damaged, "snap"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(damaged, "snap", "db"), bytes.Repeat([]byte("x"), 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := run(t, nil, "doctor", "--data-dir", dir); code == 0 {
		t.Errorf("doctor of a damaged etcd: %s%s", out, errs)
	}
}

func TestServeRefusesExposure(t *testing.T) {
	t.Parallel()
	off := []string{"--nats.listen", "off", "--nats.ws-listen", "off", "--mqtt.listen", "off", "--mqtt.ws-listen", "off", "--kafka.listen", "off", "--amqp.listen", "off"}
	code, _, errs := run(t, nil, append([]string{"serve", "--data-dir", t.TempDir(), "--admin.listen", "0.0.0.0:0"}, off...)...)
	if code != 1 || !strings.Contains(errs, "refusing to listen on 0.0.0.0:0") {
		t.Errorf("serve: %d %s", code, errs)
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	if code, out, _ := run(t, nil, "completion", "bash"); code != 0 || !strings.Contains(out, "robustmq") {
		t.Errorf("completion: %d", code)
	}
	if code, out, _ := run(t, nil, "__complete", "topic", ""); code != 0 || !strings.Contains(out, "create") {
		t.Errorf("completion of topic: %d %s", code, out)
	}
}

// A mistyped verb is an error: a script must not take it for done.
func TestUnknownVerbs(t *testing.T) {
	for _, noun := range []string{"topic", "shard", "group", "connection", "session", "user", "acl", "wal", "segment", "catalog"} {
		if code, _, stderr := run(t, environment(), noun, "creat", "x"); code != 1 || !strings.Contains(stderr, `unknown command "creat" for "robustmq `+noun+`"`) {
			t.Errorf("%s: exit code %d, %q", noun, code, stderr)
		}
		if code, stdout, _ := run(t, environment(), noun); code != 0 || !strings.Contains(stdout, "Available Commands:") {
			t.Errorf("%s alone: exit code %d, %q", noun, code, stdout)
		}
	}
}
