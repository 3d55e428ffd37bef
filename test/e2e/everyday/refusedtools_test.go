package everyday

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/test/harness"
)

// toolWithin is how long a tool may run; one that listens for ever is ended then.
const toolWithin = 20 * time.Second

// tool is a command line whose output is what its user reads; it is ended when it has told what is wanted.
func tool(t *testing.T, got chan<- refusal, client, name, stdin, path string, args ...string) {
	t.Helper()
	found, err := harness.Tool(path)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), toolWithin)
	defer cancel()
	started := time.Now()
	p, err := harness.StartProc(harness.Command{Name: path, Path: found, Args: args, KeepStdin: true,
		Env: []string{"XDG_CONFIG_HOME=/nonexistent", "NO_COLOR=1"}})
	must(t, err)
	defer p.Kill()
	if _, err := p.Write([]byte(stdin)); err != nil && !errors.Is(err, os.ErrClosed) {
		t.Logf("%s ended before it read its input: %v", path, err)
	}
	if err := p.CloseStdin(); err != nil && !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	if p.WaitLine(ctx, wantRefusals[client][name]) == nil {
		got <- refusal{client, name, wantRefusals[client][name], time.Since(started).Milliseconds()}
		return
	}
	got <- refusal{client, name, p.Tail(20), time.Since(started).Milliseconds()}
}

func mosquittoRefused(t *testing.T, b *harness.Broker, got chan<- refusal) {
	for client, version := range map[string]string{"mosquitto 3.1.1": "311", "mosquitto 5": "5"} {
		at := []string{"-h", "127.0.0.1", "-p", strconv.Itoa(b.Ports.MQTT), "-V", version, "-u", limitedUser, "-q", "1", "-P"}
		with := func(password string, args ...string) []string {
			return append(append(at[:len(at):len(at)], password), args...)
		}
		tool(t, got, client, "wrong password", "", "mosquitto_pub", with("wrong", "-t", "x", "-m", "x")...)
		tool(t, got, client, "publish", "", "mosquitto_pub", with(limitedPassword, "-t", "closed/x", "-m", "x")...)
		if version != "5" { // which says nothing, and ends with 0
			tool(t, got, client, "too large", string(large), "mosquitto_pub", with(limitedPassword, "-t", "open/x", "-s")...)
		}
		tool(t, got, client, "subscribe", "", "mosquitto_sub", with(limitedPassword, "-t", "closed/#")...)
	}
}

func kafkaToolsRefused(t *testing.T, b *harness.Broker, got chan<- refusal) {
	at := harness.Addr(b.Ports.Kafka)
	kcat := func(password string, args ...string) []string {
		return append([]string{"-b", at, "-X", "security.protocol=SASL_PLAINTEXT", "-X", "sasl.mechanism=PLAIN", "-X", "topic.metadata.propagation.max.ms=200",
			"-X", "sasl.username=" + limitedUser, "-X", "sasl.password=" + password}, args...)
	}
	tool(t, got, "kcat", "wrong password", "", "kcat", kcat("wrong", "-L")...)
	tool(t, got, "kcat", "publish", "x\n", "kcat", kcat(limitedPassword, "-P", "-t", "closed.topic")...)
	tool(t, got, "kcat", "too large", string(large)+"\n", "kcat", kcat(limitedPassword, "-P", "-t", "open.topic")...)
	tool(t, got, "kcat", "unknown", "x\n", "kcat", kcat(limitedPassword, "-P", "-t", "unknown.topic")...)
	tool(t, got, "kcat", "subscribe", "", "kcat", kcat(limitedPassword, "-C", "-e", "-t", "closed.topic")...)
	tool(t, got, "kcat", "read unknown", "", "kcat", kcat(limitedPassword, "-C", "-e", "-t", "unknown.topic")...)

	file := func(password string) string {
		path := filepath.Join(t.TempDir(), "client.properties")
		must(t, os.WriteFile(path, []byte("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n"+
			"sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username=\""+limitedUser+"\" password=\""+password+"\";\n"), 0o600))
		return path
	}
	java := func(name, stdin, path string, args ...string) {
		tool(t, got, "Kafka's Java tools", name, stdin, path, append([]string{"--bootstrap-server", at}, args...)...)
	}
	java("wrong password", "", "kafka-topics.sh", "--list", "--command-config", file("wrong"))
	right := file(limitedPassword)
	java("publish", "x\n", "kafka-console-producer.sh", "--topic", "closed.topic", "--producer.config", right)
	java("unknown", "x\n", "kafka-console-producer.sh", "--topic", "unknown.topic", "--producer.config", right, "--max-block-ms", "3000")
	java("too large", string(large)+"\n", "kafka-console-producer.sh", "--topic", "open.topic", "--producer.config", right)
	java("read unknown", "", "kafka-console-consumer.sh", "--topic", "unknown.topic", "--consumer.config", right)
	java("subscribe", "", "kafka-console-consumer.sh", "--topic", "closed.topic", "--consumer.config", right)
}

func natsToolRefused(t *testing.T, b *harness.Broker, got chan<- refusal) {
	with := func(password string, args ...string) []string {
		return append(args, "--server", "nats://"+limitedUser+":"+password+"@"+harness.Addr(b.Ports.NATS))
	}
	tool(t, got, "nats", "wrong password", "", "nats", with("wrong", "pub", "x", "x")...)
	tool(t, got, "nats", "publish", "", "nats", with(limitedPassword, "pub", "closed.x", "x")...)
	tool(t, got, "nats", "subscribe", "", "nats", with(limitedPassword, "sub", "closed.>")...)
	tool(t, got, "nats", "too large", string(large), "nats", with(limitedPassword, "pub", "open.x", "--force-stdin")...)
	tool(t, got, "nats", "unknown", "", "nats", with(limitedPassword, "request", "unknown.service", "x")...)
}
