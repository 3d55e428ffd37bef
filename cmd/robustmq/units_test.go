package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "250ms": 250 * time.Millisecond, "7d": 168 * time.Hour, "1w": 168 * time.Hour, "1w2d12h": (7+2)*24*time.Hour + 12*time.Hour,
		"1.5d": 36 * time.Hour, "-1s": -time.Second, "-7d": -168 * time.Hour, "1d1m": 24*time.Hour + time.Minute, "0d": 0, " 5s ": 5 * time.Second,
	} {
		if d, err := parseDuration(s); err != nil || d != want {
			t.Errorf("%q: %v, %v, want %v", s, d, err, want)
		}
	}
	for _, s := range []string{"", "604800000", "-1", "1e9", "1.5", "soon", "7 days", "d", "-", "--1s", "1w-2d", "1d-1s", "9999999w", "1h7d", "0x10", "300y"} {
		if d, err := parseDuration(s); err == nil {
			t.Errorf("%q: %v, want an error", s, d)
		}
	}
	if _, err := parseDuration("604800000"); !strings.Contains(err.Error(), "604800000ms") {
		t.Errorf("the error does not say what to write: %v", err)
	}
	rapid.Check(t, func(t *rapid.T) { // what is printed can be read
		d := time.Duration(rapid.Int64Min(-1<<63+1).Draw(t, "d"))
		if got, err := parseDuration(d.String()); err != nil || got != d {
			t.Fatalf("%v: %v, %v", d, got, err)
		}
	})
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{"0": 0, "-1": -1, "8388608": 8 << 20, "8MiB": 8 << 20, "8 MiB": 8 << 20, "8MB": 8e6, "512KiB": 512 << 10,
		"512kb": 512e3, "1.5GiB": 3 << 29, "100B": 100, "2TiB": 2 << 40, "9223372036854775807": 1<<63 - 1} {
		if n, err := parseSize(s); err != nil || n != want {
			t.Errorf("%q: %d, %v, want %d", s, n, err, want)
		}
	}
	for _, s := range []string{"", "8M", "8K", "1G", "MiB", "8 mebibytes", "0.1B", "1e6", "99999999999999999999", "9TiBB", "1/2MiB", "0x10"} {
		if n, err := parseSize(s); err == nil {
			t.Errorf("%q: %d, want an error", s, n)
		}
	}
}

// everyKey gives each key of the configuration with its field.
func everyKey(t *testing.T) []setting {
	t.Helper()
	c := defaults()
	all, err := settings(&c)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// nested makes a configuration file's value of a dotted key.
func nested(key string, v any) map[string]any {
	section, rest, ok := strings.Cut(key, ".")
	if !ok {
		return map[string]any{key: v}
	}
	return map[string]any{section: nested(rest, v)}
}

// TestEveryDurationWantsAUnit: no source takes a bare number for a duration,
// whichever setting it is; and each takes days.
func TestEveryDurationWantsAUnit(t *testing.T) {
	seen := 0
	for _, s := range everyKey(t) {
		if s.kind != reflect.TypeFor[time.Duration]() {
			continue
		}
		seen++
		toml := strings.ReplaceAll(s.Key, "-", "_") + " = 604800000\n"
		j, err := json.Marshal(nested(s.Key, 604800000))
		if err != nil {
			t.Fatal(err)
		}
		for source, load := range map[string]func() (Config, error){
			"yaml":        func() (Config, error) { return loadFile(t, "c.yaml", s.Key+": 604800000\n") },
			"quoted yaml": func() (Config, error) { return loadFile(t, "c.yaml", s.Key+": \"604800000\"\n") },
			"toml":        func() (Config, error) { return loadFile(t, "c.toml", toml) },
			"json":        func() (Config, error) { return loadFile(t, "c.json", string(j)) },
			"variable":    func() (Config, error) { return load(t, "", map[string]string{s.Env: "604800000"}) },
			"flag":        func() (Config, error) { return load(t, "", nil, "--set", s.Key+"=604800000") },
		} {
			if _, err := load(); err == nil || !strings.Contains(err.Error(), s.Key) || !strings.Contains(err.Error(), "604800000ms") {
				t.Errorf("%s in %s: %v", s.Key, source, err)
			}
		}
		if _, err := load(t, "", nil, "--set", s.Key+"=0.01d"); err != nil && strings.Contains(err.Error(), "no duration") {
			t.Errorf("%s does not take days: %v", s.Key, err)
		}
	}
	if seen < 20 {
		t.Errorf("only %d settings are durations", seen)
	}
}

// TestEverySizeTakesAUnit, and what is no size takes none.
func TestEverySizeTakesAUnit(t *testing.T) {
	sizes := 0
	for _, s := range everyKey(t) {
		if s.kind == nil || !isInteger(s.kind.Kind()) || s.kind == reflect.TypeFor[time.Duration]() {
			continue
		}
		cfg, err := load(t, "", map[string]string{s.Env: "64KiB"})
		if err != nil {
			if strings.HasSuffix(s.Key, "bytes") || strings.HasSuffix(s.Key, "bytes_per_second") {
				t.Errorf("%s does not take 64KiB: %v", s.Key, err)
			}
			continue
		}
		sizes++
		all, err := settings(&cfg)
		if err != nil {
			t.Fatal(err)
		}
		for _, now := range all {
			if now.Key == s.Key && now.Value != "65536" {
				t.Errorf("%s=64KiB is %s", s.Env, now.Value)
			}
		}
	}
	if sizes < 15 {
		t.Errorf("only %d settings are sizes", sizes)
	}
	for _, kv := range []string{"limits.max_connections=64KiB", "flush.parallel=4KiB", "topics.auto_create.max=1MB"} {
		if _, err := load(t, "", nil, "--set", kv); err == nil {
			t.Errorf("%s was taken", kv)
		}
	}
}

// TestValuesAreWhatTheyLookLike: YAML's guesses and weak conversions change none.
func TestValuesAreWhatTheyLookLike(t *testing.T) {
	for _, file := range []string{
		"store:\n  secret_key: 0123\n", "store:\n  secret_key: 12345678\n", "etcd:\n  password: true\n",
		"limits:\n  max_connections: 0.9\n", "limits:\n  max_connections: true\n", "flush:\n  interval: true\n", "security:\n  anonymous: 2\n",
		"wal:\n  max_bytes: 8M\n", "topics:\n  retention: 604800000\n", "mqtt:\n  sys_interval: 10\n", "amqp:\n  heartbeat: 60\n",
	} {
		if _, err := load(t, file, nil); err == nil {
			t.Errorf("taken: %s", file)
		}
	}
	c, err := load(t, "topics:\n  retention: 7d\n  retention_bytes: 1e3\n", nil)
	if err != nil || c.Topics.Retention != 168*time.Hour || c.Topics.RetentionBytes != 1000 {
		t.Errorf("%v, %d, %v", c.Topics.Retention, c.Topics.RetentionBytes, err)
	}
}

// TestConfigCanBeLoadedAgain: what `config` prints is a configuration file of the
// same configuration, but for secrets, which are left out.
func TestConfigCanBeLoadedAgain(t *testing.T) {
	odd := []string{"--set", "mqtt.listen=[::1]:1883", "--set", "node.zone=0123", "--set", "node.id=yes", "--set", "store.prefix=a: b # c",
		"--set", "etcd.endpoints=http://a:1,http://[::1]:2", "--set", "topics.retention=-1s", "--set", "wal.max_bytes=3GiB", "--set", "kafka.listen=off",
		"--set", "store.dir=/var/lib/x y", "--set", "amqp.vhosts=t1,t2", "--set", "store.region=null", "--set", "store.bucket=1e5", "--set", "topics.retention_bytes=-1",
		"--set", "mqtt.response_information=~", "--set", "etcd.prefix=/0x1F/", "--set", "kafka.advertised=h:1"}
	for _, flags := range [][]string{nil, append(odd, "--set", "store.secret_key=tell-nobody")} {
		c, err := load(t, "", nil, flags...)
		if err != nil {
			t.Fatal(err)
		}
		all, err := settings(&c)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := printSettings(&out, all, false); err != nil {
			t.Fatal(err)
		}
		again, err := loadFile(t, "c.yaml", out.String())
		if err != nil {
			t.Fatalf("%v in:\n%s", err, out.String())
		}
		second, err := settings(&again)
		if err != nil {
			t.Fatal(err)
		}
		for i := range all {
			if all[i].Value != masked && fmt.Sprint(all[i]) != fmt.Sprint(second[i]) {
				t.Errorf("%+v became %+v", all[i], second[i])
			}
		}
		if strings.Contains(out.String(), "tell-nobody") || again.Store.SecretKey != "" {
			t.Errorf("a secret is %q", again.Store.SecretKey)
		}
	}
}

func loadFile(t *testing.T, name, text string) (Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return load(t, "", nil, "--config", path)
}
