package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// load reads a configuration from a file's text, the environment and flags.
func load(t *testing.T, file string, env map[string]string, flags ...string) (Config, error) {
	t.Helper()
	cmd := &cobra.Command{Use: "x"}
	configFlags(cmd)
	if file != "" {
		path := filepath.Join(t.TempDir(), "robustmq.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		flags = append([]string{"--config", path}, flags...)
	}
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "ROBUSTMQ_") {
			t.Setenv(name, "") // restored after the test
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	for k, v := range env {
		t.Setenv(k, v)
	}
	if err := cmd.ParseFlags(flags); err != nil {
		t.Fatal(err)
	}
	return loadConfig(cmd.Flags())
}

func TestConfigPrecedence(t *testing.T) {
	const file = "store:\n  kind: minio\n  bucket: from-file\n  region: from-file\ntopics:\n  auto_create:\n    shards: 2\nflush:\n  interval: 3s\n"
	c, err := load(t, file, map[string]string{
		"ROBUSTMQ_STORE_BUCKET": "from-env", "ROBUSTMQ_STORE_REGION": "from-env", "ROBUSTMQ_TOPICS_AUTO_CREATE_MAX": "7",
		"ROBUSTMQ_ETCD_ENDPOINTS": "a:1,b:2", "ROBUSTMQ_STORE_SECRET_KEY": "env-secret",
	}, "--set", "store.region=from-flag", "--data-dir", "from-flag", "--set", "store.retry-max=9s")
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string][2]any{
		"file":        {c.Store.Kind, "minio"},
		"env > file":  {c.Store.Bucket, "from-env"},
		"flag > env":  {c.Store.Region, "from-flag"},
		"flag":        {c.DataDir, "from-flag"},
		"dashes":      {c.Store.RetryMax, 9 * time.Second},
		"nested file": {c.Topics.AutoCreate.Shards, uint32(2)},
		"nested env":  {c.Topics.AutoCreate.Max, 7},
		"duration":    {c.Flush.Interval, 3 * time.Second},
		"list":        {len(c.Etcd.Endpoints), 2},
		"default":     {c.Store.Tries, 5},
		"underscore":  {c.Store.SecretKey, "env-secret"},
	} {
		if x[0] != x[1] {
			t.Errorf("%s: %v, want %v", name, x[0], x[1])
		}
	}
}

func TestConfigEnvironmentOfOthers(t *testing.T) {
	c, err := load(t, "", map[string]string{"ROBUSTMQ_TOOLS": "/x", "ROBUSTMQ_BIN": "/x", "ROBUSTMQ_TEST_S3": "1",
		"ROBUSTMQ_SERVER": "x", "ROBUSTMQ_USER": "x", "ROBUSTMQ_PASSWORD": "x"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Store.Kind != "dir" {
		t.Errorf("store kind %q", c.Store.Kind)
	}
}

func TestConfigRefuses(t *testing.T) {
	for name, x := range map[string]struct {
		file  string
		env   map[string]string
		flags []string
		want  string
	}{
		"unknown key in file":  {file: "store:\n  kinds: dir\n", want: "kinds"},
		"unknown section":      {file: "stores:\n  kind: dir\n", want: "stores"},
		"unknown variable":     {env: map[string]string{"ROBUSTMQ_STORE_KINDS": "dir"}, want: "kinds"},
		"variable, no section": {env: map[string]string{"ROBUSTMQ_NOTHING": "1"}, want: "ROBUSTMQ_NOTHING"},
		"unknown flag setting": {flags: []string{"--set", "store.kinds=x"}, want: "kinds"},
		"setting, no value":    {flags: []string{"--set", "store.kind"}, want: "key=value"},
		"store kind":           {flags: []string{"--set", "store.kind=tape"}, want: "tape"},
		"durability":           {flags: []string{"--set", "topics.durability=maybe"}, want: "maybe"},
		"limit":                {flags: []string{"--set", "limits.max_connections=0"}, want: "limits.max_connections"},
		"tries":                {flags: []string{"--set", "store.tries=0"}, want: "store.tries"},
		"concurrency":          {flags: []string{"--set", "store.concurrency=-1"}, want: "store.concurrency"},
		"messages over batches": {flags: []string{"--set", "limits.max_message_bytes=2000000", "--set", "topics.max_message_bytes=1000000"},
			want: "over topics.max_message_bytes"},
		"duration": {flags: []string{"--set", "flush.interval=soon"}, want: "flush.interval"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, x.file, x.env, x.flags...)
			if err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("error %v does not say %q", err, x.want)
			}
		})
	}
}

func TestEndpoints(t *testing.T) {
	c, err := load(t, "mqtt:\n  ws_listen: off\n  tls_listen: 127.0.0.1:8883\n  max_inflight: 9\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	p := protocols()[0]
	es, rest, err := c.endpoints(p)
	if err != nil {
		t.Fatal(err)
	}
	if len(es) != 2 || es[0].addr != "127.0.0.1:1883" || es[0].tls || es[1].addr != "127.0.0.1:8883" || !es[1].tls {
		t.Errorf("endpoints %+v", es)
	}
	if len(rest) != 1 || rest["max_inflight"] == nil {
		t.Errorf("left for the gateway: %v", rest)
	}
	if _, err = load(t, "mqtt:\n  listen: nowhere\n", nil); err == nil || !strings.Contains(err.Error(), "mqtt.listen") {
		t.Errorf("error %v", err)
	}
}

func TestExposure(t *testing.T) {
	for _, x := range []struct {
		addr            string
		defaultPassword bool
		set             []string
		want            string // of the error; "" none
	}{
		{"127.0.0.1:8080", true, nil, ""},
		{"[::1]:8080", true, nil, ""},
		{"localhost:8080", true, nil, ""},
		{"0.0.0.0:8080", true, nil, "default password"},
		{":8080", true, nil, "default password"},
		{"broker.example:8080", true, nil, "default password"},
		{"0.0.0.0:8080", false, nil, "anonymous"},
		{"0.0.0.0:8080", false, []string{"security.anonymous=false"}, ""},
		{"0.0.0.0:8080", true, []string{"security.anonymous=false"}, "default password"},
		{"0.0.0.0:8080", true, []string{"security.allow_default_password_remotely=true"}, "anonymous"},
		{"0.0.0.0:8080", true, []string{"security.allow_default_password_remotely=true", "security.allow_anonymous_remotely=true"}, ""},
	} {
		for _, key := range []string{"admin.listen", "admin.tls_listen"} {
			flags := []string{"--set", key + "=" + x.addr}
			for _, s := range x.set {
				flags = append(flags, "--set", s)
			}
			c, err := load(t, "", nil, flags...)
			if err != nil {
				t.Fatal(err)
			}
			err = c.checkExposure(c.adminEndpoints(), x.defaultPassword)
			if (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
				t.Errorf("%s %v: error %v, want %q", flags, x.defaultPassword, err, x.want)
			}
		}
	}
	c := defaults()
	c.Admin.Listen = "off"
	if es := c.adminEndpoints(); len(es) != 0 {
		t.Errorf("admin off has endpoints %v", es)
	}
}

// TestSettingsAreComplete wants every key to be listed with what it means, and
// secrets never to be.
func TestSettingsAreComplete(t *testing.T) {
	c, err := load(t, "", map[string]string{"ROBUSTMQ_STORE_SECRET_KEY": "tell-nobody", "ROBUSTMQ_ETCD_PASSWORD": "tell-nobody"},
		"--set", "mqtt.max_inflight=9", "--set", "kafka.listen=127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	all, err := settings(&c)
	if err != nil {
		t.Fatal(err)
	}
	byKey := map[string]setting{}
	for _, s := range all {
		if _, twice := byKey[s.Key]; twice {
			t.Errorf("%s is listed twice", s.Key)
		}
		byKey[s.Key] = s
		if s.Value == "tell-nobody" {
			t.Errorf("%s shows a secret", s.Key)
		}
		section, _, _ := strings.Cut(s.Key, ".")
		if s.Doc == "" && c.protocols[section] == nil && section != "nats" && section != "amqp" {
			t.Errorf("%s has no doc", s.Key)
		}
	}
	if s := byKey["mqtt.max_inflight"]; s.Value != "9" || s.Default != "1024" || s.Doc == "" {
		t.Errorf("mqtt.max_inflight: %+v", s)
	}
	if s := byKey["kafka.listen"]; s.Value != "127.0.0.1:1" || s.Default != net.JoinHostPort("127.0.0.1", "9092") {
		t.Errorf("kafka.listen: %+v", s)
	}
	if byKey["wal.max_bytes"].Value == "0" || byKey["store.secret_key"].Value != "********" {
		t.Errorf("%+v, %+v", byKey["wal.max_bytes"], byKey["store.secret_key"])
	}
	for _, s := range all { // each can be set by its variable
		section, _, _ := strings.Cut(s.Key, ".")
		if _, own := map[string]bool{"mqtt": true, "kafka": true, "nats": true, "amqp": true}[section]; own {
			continue
		}
		v := s.Default
		if v == `""` || strings.HasPrefix(v, "[") {
			v = "x"
		}
		if _, err := load(t, "", map[string]string{s.Env: v}); err != nil {
			t.Errorf("%s=%s: %v", s.Env, v, err)
		}
	}
}

// What would end in a panic of the running gateway, or in none of its work done, is refused.
// What no message may have, no topic refuses later: the bound of messages follows that
// of batches where it is not set.
func TestMessageBoundFollowsTopics(t *testing.T) {
	for args, want := range map[string]int{
		"":                                 16 << 20,
		"topics.max_message_bytes=1000000": 1_000_000,
		"topics.max_message_bytes=0":       16 << 20,
		"limits.max_message_bytes=1000000": 1_000_000,
	} {
		var flags []string
		if args != "" {
			flags = []string{"--set", args}
		}
		c, err := load(t, "", nil, flags...)
		if err != nil || c.Limits.MaxMessageBytes != want || c.Limits.MaxMessageBytes > c.batchBound() {
			t.Errorf("%q: %d, %v; want %d", args, c.Limits.MaxMessageBytes, err, want)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, kv := range []string{
		"wal.max_bytes=-1", "flush.bytes=-1", "flush.interval=-1s", "flush.parallel=-1", "memory.append_bytes=-1",
		"background.retention_interval=-1s", "background.merge_interval=-1s", "background.merge_segments=1",
		"background.delete_grace=-1s", "etcd.lease_ttl=-1s", "limits.login_timeout=-1s", "topics.auto_create.max=-1",
		"topics.auto_create.shards=100001", "limits.max_connections=0", "store.kind=tape",
	} {
		key, _, _ := strings.Cut(kv, "=")
		if _, err := load(t, "", nil, "--set", kv); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", kv, err)
		}
	}
	if _, err := load(t, "", nil, "--set", "topics.retention=-1s", "--set", "topics.retention_bytes=-1", "--set", "flush.bytes=0"); err != nil {
		t.Error(err)
	}
}
