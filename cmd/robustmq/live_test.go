package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// get gives the answer of an admin path.
func (b *broker) get(path string) string {
	b.t.Helper()
	resp, err := http.Get("http://" + b.admin + path)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(body)
}

// until waits for an answer to match.
func (b *broker) until(path, pattern string) {
	b.t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		body := b.get(path)
		if re.MatchString(body) {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%s never says %q: %s", path, pattern, body)
		}
	}
}

func (b *broker) signal(s os.Signal) {
	b.t.Helper()
	if err := b.cmd.Process.Signal(s); err != nil {
		b.t.Fatal(err)
	}
}

// certificate gives the name in the certificate that a listener shows.
func certificateOf(t *testing.T, addr string) string {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, string(b))
}

// TestHangup: SIGHUP takes the certificate, the log's level and the listeners'
// limits, says what needs a restart, and never ends the process; what is wrong
// changes nothing and is told in /readyz and a metric. No other signal that means
// nothing ends it either.
func TestHangup(t *testing.T) {
	a := newAuthority(t)
	dir := t.TempDir()
	cert, key, file := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "c.yaml")
	use := func(name string) {
		c, k := a.issue(name, time.Now().Add(time.Hour))
		copyFile(t, c, cert)
		copyFile(t, k, key)
	}
	use("first")
	config := func(more string) {
		write(t, file, fmt.Sprintf("tls:\n  cert_file: %s\n  key_file: %s\n%s", cert, key, more))
	}
	config("")
	secure := freePort(t)
	b := startBroker(t, t.TempDir(), "--config", file, "--set", "admin.tls_listen="+secure)
	if name := certificateOf(t, secure); name != "first" {
		t.Fatalf("certificate %q", name)
	}
	use("second")
	config("log:\n  level: debug\nlimits:\n  max_connections: 7\nwal:\n  max_bytes: 1GiB\n")
	b.signal(syscall.SIGHUP)
	b.until("/metrics", `config_reloads_total\{result="ok"\} 1\b`)
	if name := certificateOf(t, secure); name != "second" {
		t.Errorf("certificate %q after SIGHUP", name)
	}
	write(t, key, "no key")
	b.signal(syscall.SIGHUP)
	b.until("/metrics", `config_reloads_total\{result="failed"\} 1\b`)
	b.until("/metrics", `tls_reload_failing 1\b`)
	b.until("/readyz", "degraded: .*TLS certificate could not be read")
	if name := certificateOf(t, secure); name != "second" {
		t.Errorf("certificate %q while the new one is broken", name)
	}
	use("third")
	config("no_such_section:\n  x: 1\n")
	b.signal(syscall.SIGHUP)
	b.until("/metrics", `config_reloads_total\{result="failed"\} 2\b`)
	b.until("/readyz", "no_such_section")
	config("")
	b.signal(syscall.SIGHUP)
	b.until("/metrics", `config_reloads_total\{result="ok"\} 2\b`)
	b.until("/readyz", "^ok")
	if name := certificateOf(t, secure); name != "third" {
		t.Errorf("certificate %q", name)
	}
	for _, s := range []os.Signal{syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE, syscall.SIGALRM} {
		b.signal(s)
	}
	b.until("/readyz", "^ok")
	b.signal(syscall.SIGTERM)
	_ = b.cmd.Process.Signal(syscall.SIGTERM) // or it is gone already
	if err := b.cmd.Wait(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	for _, want := range []string{"limits.max_connections", "need_a_restart=[wal.max_bytes]", "the old one goes on"} {
		if !strings.Contains(b.log.String(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
}

// TestHangupWhileStarting: it neither ends the start nor is lost.
func TestHangupWhileStarting(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	b := &broker{t: t, dir: dir, admin: freePort(t)}
	b.cmd = exec.Command(path, "serve", "--data-dir", dir, "--admin.listen", b.admin, "--nats.listen", freePort(t), "--nats.ws-listen", "off",
		"--mqtt.listen", "off", "--mqtt.ws-listen", "off", "--kafka.listen", "off", "--amqp.listen", "off")
	r, w, err := os.Pipe() // and nobody reads its log
	if err != nil {
		t.Fatal(err)
	}
	b.cmd.Env, b.cmd.Stderr, b.cmd.Stdout = environment(), w, w
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.cmd.Process.Kill(); _ = b.cmd.Wait() })
	_, _ = w.Close(), r.Close()
	deadline := time.Now().Add(30 * time.Second)
	for !exists(filepath.Join(dir, "LOCK")) && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	b.signal(syscall.SIGHUP)
	for time.Now().Before(deadline) {
		if resp, err := http.Get("http://" + b.admin + "/readyz"); err == nil {
			resp.Body.Close()
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.until("/metrics", `config_reloads_total\{result="ok"\} 1\b`)
	b.signal(syscall.SIGHUP)
	b.until("/metrics", `config_reloads_total\{result="ok"\} 2\b`)
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}
