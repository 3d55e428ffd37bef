package everyday

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/test/harness"
)

// The user of the refusals: everything is open to them but what is under "closed".
const (
	limitedUser     = "limited"
	limitedPassword = "limited-secret"
)

// answeredWithin is the bound on how long a user waits for a refusal: the broker answers at once,
// but some libraries ask again a few times.
const answeredWithin = 5 * time.Second

// large is a message over the broker's limit; it holds no line end, and compression does not help.
var large = func() []byte {
	b := make([]byte, 300_000)
	for i := range b {
		b[i] = 'a' + byte(rand.IntN(26))
	}
	return b
}()

// refusal is what a library told its user.
type refusal struct {
	Client string `json:"client"`
	Case   string `json:"case"`
	Words  string `json:"words"`
	Ms     int64  `json:"ms"`
}

// wantRefusals has, by client and case, a part of the words. Cases: a wrong password, a publish and
// a subscribe that the access rules refuse, and what is not there (a Kafka topic with auto-create
// off, a NATS service, an AMQP exchange or queue), written to ("unknown") or read ("read unknown").
// Too large is a message over limits.max_message_bytes: mosquitto_pub 2.0 at version 5, which is told
// the limit as it connects, drops such a message and says nothing. MQTT 3.1.1 has no word for a publish that is refused: the connection is closed [MQTT-3.3.5-2].
// franz-go reads on quietly until a topic is there, unless it is told to keep such errors.
var wantRefusals = map[string]map[string]string{
	"paho-mqtt 3.1.1":    {"wrong password": "Bad user name or password", "too large": "Unspecified error", "publish": "Unspecified error", "subscribe": "Unspecified error"},
	"paho-mqtt 5":        {"wrong password": "Bad user name or password", "too large": "Packet too large", "publish": "Not authorized", "subscribe": "Not authorized"},
	"MQTT.js 3.1.1":      {"wrong password": "Bad username or password", "too large": "connection closed", "publish": "connection closed", "subscribe": "Unspecified error"},
	"MQTT.js 5":          {"wrong password": "Bad User Name or Password", "too large": "disconnected with 0x95", "publish": "Not authorized", "subscribe": "Not authorized"},
	"mosquitto 3.1.1":    {"wrong password": "bad user name or password", "too large": "The connection was lost", "publish": "The connection was lost", "subscribe": "All subscription requests were denied"},
	"mosquitto 5":        {"wrong password": "Bad User Name or Password", "publish": "Not authorized", "subscribe": "All subscription requests were denied"},
	"paho.mqtt.golang":   {"wrong password": "bad user name or password", "too large": "connection lost", "publish": "connection lost", "subscribe": "128"},
	"paho.golang":        {"wrong password": "bad user name or password", "too large": "too large", "publish": "The PUBLISH is not authorized", "subscribe": "failed to subscribe"},
	"confluent-kafka":    {"wrong password": "user name or password is wrong", "too large": "Message size too large", "publish": "Topic authorization failed", "subscribe": "Topic authorization failed", "unknown": "Unknown topic or partition", "read unknown": "Unknown topic or partition"},
	"kafkajs":            {"wrong password": "user name or password is wrong", "too large": "larger than the max message size", "publish": "Topic authorization failed", "subscribe": "Topic authorization failed", "unknown": "does not host this topic-partition", "read unknown": "does not host this topic-partition"},
	"kcat":               {"wrong password": "user name or password is wrong", "too large": "Message size too large", "publish": "Topic authorization failed", "subscribe": "Topic authorization failed", "unknown": "Unknown topic or partition", "read unknown": "Unknown topic or partition"},
	"Kafka's Java tools": {"wrong password": "user name or password is wrong", "too large": "RecordTooLargeException", "publish": "Not authorized to access topics: [closed.topic]", "subscribe": "Not authorized to access topics: [closed.topic]", "unknown": "UNKNOWN_TOPIC_OR_PARTITION", "read unknown": "UNKNOWN_TOPIC_OR_PARTITION"},
	"franz-go":           {"wrong password": "SASL_AUTHENTICATION_FAILED", "too large": "MESSAGE_TOO_LARGE", "publish": "TOPIC_AUTHORIZATION_FAILED", "subscribe": "TOPIC_AUTHORIZATION_FAILED", "unknown": "UNKNOWN_TOPIC_OR_PARTITION", "read unknown": "UNKNOWN_TOPIC_OR_PARTITION"},
	"sarama":             {"wrong password": "SASL Authentication failed", "too large": "too large", "publish": "not authorized to access this topic", "subscribe": "not authorized to access this topic", "unknown": "does not exist", "read unknown": "does not exist"},
	"nats-py":            {"wrong password": "Authorization Violation", "too large": "maximum payload exceeded", "publish": "permissions violation for publish", "subscribe": "permissions violation for subscription", "unknown": "no responders"},
	"@nats-io":           {"wrong password": "Authorization Violation", "too large": "payload", "publish": "Permissions Violation for Publish", "subscribe": "Permissions Violation for Subscription", "unknown": "no responders"},
	"nats.go":            {"wrong password": "Authorization Violation", "too large": "maximum payload exceeded", "publish": "Permissions Violation for Publish", "subscribe": "Permissions Violation for Subscription", "unknown": "no responders"},
	"nats":               {"wrong password": "Authorization Violation", "too large": "maximum payload exceeded", "publish": "Permissions Violation for Publish", "subscribe": "Permissions Violation for Subscription", "unknown": "No responders"},
	"pika":               {"wrong password": "ACCESS_REFUSED", "too large": "CONTENT_TOO_LARGE", "publish": "ACCESS_REFUSED", "subscribe": "ACCESS_REFUSED", "unknown": "no exchange 'unknown.exchange'", "unknown queue": "unroutable", "read unknown": "no queue 'unknown.queue'"},
	"amqplib":            {"wrong password": "ACCESS_REFUSED", "too large": "CONTENT_TOO_LARGE", "publish": "ACCESS_REFUSED", "subscribe": "ACCESS_REFUSED", "unknown": "no exchange 'unknown.exchange'", "unknown queue": "NO_ROUTE", "read unknown": "no queue 'unknown.queue'"},
	"amqp091-go":         {"wrong password": "username or password not allowed", "too large": "CONTENT_TOO_LARGE", "publish": "ACCESS_REFUSED", "subscribe": "ACCESS_REFUSED", "unknown": "no exchange 'unknown.exchange'", "unknown queue": "NO_ROUTE", "read unknown": "no queue 'unknown.queue'"},
}

// TestRefused: each library tells its user what was refused, in its own words, soon.
func TestRefused(t *testing.T) {
	b := harness.NewBroker(t, harness.Options{Config: "kafka:\n  auto_create_topics: false\nlimits:\n  max_message_bytes: 200000\ntopics:\n  max_message_bytes: 200000\n"})
	closeTo(t, b)
	got := make(chan refusal, 1000)
	t.Run("libraries", func(t *testing.T) {
		for name, run := range map[string]func(*testing.T, *harness.Broker, chan<- refusal){
			"python": pythonRefused, "node": nodeRefused, "mqtt": mqttGoRefused, "kafka": kafkaGoRefused,
			"nats": natsGoRefused, "amqp": amqpGoRefused, "mosquitto": mosquittoRefused, "kafka tools": kafkaToolsRefused,
			"nats tool": natsToolRefused,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				run(t, b, got)
			})
		}
	})
	close(got)
	seen := map[string]map[string]bool{}
	for r := range got {
		if seen[r.Client] == nil {
			seen[r.Client] = map[string]bool{}
		}
		seen[r.Client][r.Case] = true
		want, ok := wantRefusals[r.Client][r.Case]
		if !ok || !strings.Contains(r.Words, want) {
			t.Errorf("%s, %s: the user reads %q, want %q", r.Client, r.Case, r.Words, want)
		}
		if took := time.Duration(r.Ms) * time.Millisecond; took > answeredWithin && r.Client != "Kafka's Java tools" {
			t.Errorf("%s, %s: told after %v", r.Client, r.Case, took)
		}
	}
	for client, cases := range wantRefusals {
		for c := range cases {
			if !seen[client][c] {
				t.Errorf("%s, %s: nothing was told", client, c)
			}
		}
	}
}

// closeTo makes the limited user, and what is closed to it.
func closeTo(t *testing.T, b *harness.Broker) {
	t.Helper()
	kcatTopic(t, b, "closed.topic")
	kcatTopic(t, b, "closed.queue")
	kcatTopic(t, b, "open.topic")
	command(t, b, limitedPassword+"\n", "user", "create", limitedUser)
	for _, resource := range []string{"subject >", "group *", "cluster *"} {
		command(t, b, "", append([]string{"acl", "add", limitedUser, "all"}, strings.Fields(resource)...)...)
	}
	for _, op := range []string{"publish", "subscribe"} {
		command(t, b, "", "acl", "add", "--deny", limitedUser, op, "subject", "closed.>")
	}
}

// command runs the broker's own command line.
func command(t *testing.T, b *harness.Broker, stdin string, args ...string) {
	t.Helper()
	binary, err := harness.Binary(t.Context(), false)
	must(t, err)
	_, err = harness.Run(t.Context(), harness.Command{
		Path: binary, Args: append(args, "--server", b.AdminURL(), "--user", harness.User),
		Env: []string{"ROBUSTMQ_PASSWORD=" + harness.Password}, Stdin: strings.NewReader(stdin),
	})
	must(t, err)
}

// attempt tells what a call gives back.
func attempt(got chan<- refusal, client, name string, call func() error) {
	started := time.Now()
	words := "taken"
	if err := call(); err != nil {
		words = err.Error()
	}
	got <- refusal{client, name, words, time.Since(started).Milliseconds()}
}

// scripted reads the refusals that a script prints.
func scripted(t *testing.T, b *harness.Broker, got chan<- refusal, tool, name string, env ...string) {
	t.Helper()
	path, err := harness.Tool(tool)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), scriptWithin)
	defer cancel()
	args := []string{filepath.Join("testdata", name)}
	for _, port := range []int{b.Ports.MQTT, b.Ports.Kafka, b.Ports.NATS, b.Ports.AMQP} {
		args = append(args, strconv.Itoa(port))
	}
	out, err := harness.Run(ctx, harness.Command{Name: name, Path: path, Args: args, Env: env})
	must(t, err)
	for line := range strings.Lines(out) {
		var r refusal
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%s printed %q: %v", name, line, err)
		}
		got <- r
	}
}

// pythonRefused: paho-mqtt, confluent-kafka, nats-py, pika.
func pythonRefused(t *testing.T, b *harness.Broker, got chan<- refusal) {
	scripted(t, b, got, "python3", "refused.py")
}

// nodeRefused: MQTT.js, kafkajs, @nats-io, amqplib.
func nodeRefused(t *testing.T, b *harness.Broker, got chan<- refusal) {
	tools, err := harness.ToolsDir()
	must(t, err)
	scripted(t, b, got, "node", "refused.js", nodePath(tools))
}
